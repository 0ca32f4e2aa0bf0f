"""Sets when a chat gets its poem of the day."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.schedules import Pause
from bot.buttons import Verb
from bot.clerks import Act, TapAct, say
from bot.message import Incoming, Reply
from bot.requests import DailyRequest, DailyShowRequest, DailyStopRequest
from bot.texts import Text
from bot.timetable import Timetable
from bot.zones import zone_title


class DailyClerk:
    """Keeps in the anthology when chats, and topics of them, get their poem of the day."""

    def __init__(self, anthology: Anthology, *, zone: str, clock: Callable[[], float]) -> None:
        """Times are those of `zone` where nobody names one; `clock` tells the Unix time in s."""
        self._anthology = anthology
        self._zone = zone
        self._clock = clock

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        return {
            DailyRequest: self._set,
            DailyStopRequest: self._stop,
            DailyShowRequest: self._show,
        }

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """It has no buttons."""
        return {}

    async def _set(
        self, request: DailyRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        schedules, address = self._anthology.schedules, incoming.address
        known = await schedules.find(address)
        at = request.at or (known.timetable.at if known else None)
        if at is None:
            return say(incoming, texts.DAILY_UNCLEAR.say(incoming.language))
        zone = request.zone or (known.timetable.zone.key if known else None)
        zone = zone or await schedules.last_zone(address.chat) or self._zone
        timetable = await schedules.start(
            address, at=at, zone=zone, language=incoming.language, now=self._now()
        )
        return self._say(texts.DAILY_SET, timetable, incoming)

    async def _stop(
        self, _request: DailyStopRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        await self._anthology.schedules.pause(incoming.address, Pause.ASKED, self._now())
        return say(incoming, texts.DAILY_STOPPED.say(incoming.language))

    async def _show(
        self, _request: DailyShowRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        schedule = await self._anthology.schedules.find(incoming.address)
        if schedule is None or schedule.pause is Pause.ASKED:
            return say(incoming, texts.DAILY_NONE.say(incoming.language))
        if schedule.pause is None:
            return self._say(texts.DAILY_SHOWN, schedule.timetable, incoming)
        # Whoever can ask again takes our messages again.
        timetable = await self._anthology.schedules.start(
            incoming.address,
            at=schedule.timetable.at,
            zone=schedule.timetable.zone.key,
            language=incoming.language,
            now=self._now(),
        )
        return self._say(texts.DAILY_RESUMED, timetable, incoming)

    def _say(self, text: Text, timetable: Timetable, incoming: Incoming) -> Reply:
        """Answer with `text`, which speaks of a timetable."""
        slot = timetable.next_slot(self._now())
        filled = text.say(
            incoming.language,
            time=f"{timetable.at:%H:%M}",
            zone=zone_title(timetable.zone.key),
            next=f"{slot.moment.astimezone(timetable.zone):%Y-%m-%d %H:%M}",
        )
        return say(incoming, filled)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
