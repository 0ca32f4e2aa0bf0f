"""The poem of the day: whatever is due becomes a job, once a chat and local date.

What is due when is told by `bot.timetable` and kept in the anthology. Three things see to it that
nothing is posted twice: the id of its job, which the engine's queue admits once in 48 hours,
whoever puts it; the dates that the anthology remembers; and the outbox, which shows nothing twice
that nobody asked for. Whoever dies in between leaves the schedule due, and the next puts the same
job again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random

import structlog

from bot import texts
from bot.anthology import Anthology
from bot.anthology.schedules import Due
from bot.asking import SHORT_FORMS
from bot.errors import AnthologyError
from bot.language import script_for
from bot.metrics import Metrics, PostResult
from bot.requests import PoemRequest
from bot.seasons import day_name, occasion_of, seasonal_character
from bot.style import Style
from bot.submit import Context, job_for, seed_of
from bot.timetable import LATE_MAX, Slot
from bot.trace import Trace
from engine.client import Admitted, EngineClient, EngineUnavailableError
from engine.jobs import USUAL_CELL, Cell, Job, Lane

TICK_S = 15.0
"""The time between two looks at what is due, and so how late a poem is begun."""

_BATCH = 64
_DRAIN = timedelta(hours=1)
"""What is left for writing and posting a poem that is begun late."""

log = structlog.get_logger(__name__)


class Poster:
    """Has the poems of the day of one platform written. Two at once post no more than one."""

    def __init__(
        self,
        *,
        engine: EngineClient,
        anthology: Anthology,
        platform: str,
        client: str,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Poems go to the reply stream of `client`; `clock` tells the Unix time in seconds.

        `metrics` count those that are too late to be begun.
        """
        self._engine = engine
        self._anthology = anthology
        self._platform = platform
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._looked: datetime | None = None

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            await self.tick()
            # Counted by a clock that nobody can set: by one on the wall that is set back a day, the
            # next tick would be a day away (decision 22).
            await asyncio.sleep(TICK_S)

    async def tick(self) -> list[Job]:
        """Put a job for each chat whose poem is due; those that were not put before."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        put: list[Job] = []
        try:
            if self._looked is None or now < self._looked:
                await self._anthology.schedules.recall(self._platform, now)
            self._looked = now
            while found := await self._anthology.schedules.due(self._platform, now, _BATCH):
                if not await self._post(found, now, put):
                    log.warning("! the queue is full", action="daily.full")
                    break
        except (AnthologyError, EngineUnavailableError) as error:
            # What is due stays so.
            log.warning("↻", action="daily.again", error=type(error).__name__)
        return put

    async def _post(self, found: Sequence[Due], now: datetime, put: list[Job]) -> bool:
        """Put the jobs of those in `found` that still have one, and add them to `put`.

        False where the queue has no room for all of them.
        """
        cells = frozenset(await self._engine.cells())
        looked: dict[int, date | None] = {}
        try:
            for due in found:
                slot = due.timetable.next_slot(now)
                if slot.moment > now:
                    log.warning("! skipped", action="daily.skip", schedule=due.name)
                    self._metrics.count_post(PostResult.SKIPPED)
                    looked[due.id] = None
                    continue
                job = make_daily_job(due, slot, cells=cells, client=self._client, now=now)
                admission = await self._engine.put(job)
                if admission.status is Admitted.FULL:
                    return False
                log.info("→", action="daily", cause=job.id, status=admission.status)
                looked[due.id] = slot.day
                put += [job] if admission.status is Admitted.ACCEPTED else []
        finally:
            await self._anthology.schedules.advance(looked, now)
        return True


def make_daily_job(
    due: Due, slot: Slot, *, cells: frozenset[Cell], client: str, now: datetime
) -> Job:
    """The job for the poem of one day, for the reply stream of `client`.

    Args:
        due: The schedule.
        slot: Which of its days.
        cells: The models that run now; empty where nobody knows.
        client: Whose reply stream the poem goes to.
        now: The time, in UTC.
    """
    cause = f"daily:{due.name}:{slot.day}"
    style = _writable(due.settings.style, cells)
    until_ms = _in_ms(max(slot.moment + LATE_MAX, now + _DRAIN))
    request = _request(due, slot, seed_of(cause))
    context = Context(
        address=due.address,
        language=due.language,
        script=request.script,
        glyphs=request.glyphs,
        temperature=style.temperature,
        theme=request.theme,
        heading=texts.DAILY_HEADING.say(due.language, day=day_name(slot.day, due.language)),
        until_ms=until_ms,
        trace=Trace(
            cause=cause,
            came_ms=_in_ms(slot.moment),
            command="daily",
            asked_ms=_in_ms(now),
        ),
    )
    return job_for(
        request,
        context,
        style,
        cause=cause,
        client=client,
        deadline_ms=until_ms,
        lane=Lane.BULK,
    )


def _in_ms(moment: datetime) -> int:
    """`moment` as a Unix time in milliseconds."""
    return int(moment.timestamp() * 1000)


def _request(due: Due, slot: Slot, seed: int) -> PoemRequest:
    """What a poem of that day is asked to be: begin as the calendar has it, in the chat's form."""
    occasion = occasion_of(slot.day)
    if occasion is None:
        opening, theme = seasonal_character(slot.day, seed), ""
    else:
        opening, theme = Random(seed).choice(occasion.openings), occasion.theme
    return PoemRequest(
        opening=opening,
        glyphs=opening,
        form=due.settings.style.form or Random(seed).choice(SHORT_FORMS),
        script=due.settings.script or script_for(opening, due.language),
        theme=theme,
    )


def _writable(style: Style, cells: frozenset[Cell]) -> Style:
    """`style`, by a model that runs: nobody is there to be told that theirs does not."""
    if not cells or style.cell in cells:
        return style
    return replace(style, cell=USUAL_CELL if USUAL_CELL in cells else min(cells))
