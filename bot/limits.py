"""What one person and one chat may ask for, the same on every platform, and how it is said."""

from math import ceil

from bot import texts
from bot.language import Language
from bot.pseudonyms import Pseudonyms
from bot.settings import BotSettings
from bot.texts import Text
from engine.client import Admission, Admitted, Limit, Quota, Rate, Whose

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 24 * HOUR_S

# From here on a person thinks in the greater unit: 90 s, then 2 min.
_UNITS_MOST = 1.5


class Limits:
    """The quotas that the settings give to each person and each chat."""

    def __init__(self, settings: BotSettings, pseudonyms: Pseudonyms) -> None:
        """Keep quotas under the `pseudonyms` of people and chats."""
        self._settings = settings
        self._pseudonyms = pseudonyms

    def quotas(self, *, person: str | None, chat: str) -> tuple[Quota, ...]:
        """What counts a job that `person` asks for in `chat`, each with the platform.

        Where a chat speaks as such there is no person.
        """
        settings, found = self._settings, []
        if person is not None:
            found.append(
                Quota(
                    whose=Whose.PERSON,
                    name=self._pseudonyms.of(person),
                    in_flight=settings.person_in_flight,
                    rates=_rates(settings.person_per_minute, settings.person_per_day),
                )
            )
        found.append(
            Quota(
                whose=Whose.CHAT,
                name=self._pseudonyms.of(chat),
                in_flight=settings.chat_in_flight,
                rates=_rates(settings.chat_per_minute, settings.chat_per_day),
            )
        )
        return tuple(quota for quota in found if quota.in_flight or quota.rates)


def _rates(per_minute: int, per_day: int) -> tuple[Rate, ...]:
    """The rates of a quota; 0 is none."""
    counts = {MINUTE_S: per_minute, DAY_S: per_day}
    return tuple(Rate(count=count, window_s=window) for window, count in counts.items() if count)


def explain(admission: Admission, language: Language) -> str | None:
    """Why a job was not let in and what to do, in one line; None where it was."""
    if admission.status is Admitted.FULL:
        return _busy(admission, language)
    if admission.limit is not None and admission.retry_after_s is not None:
        return _limited(admission.limit, admission.retry_after_s, language)
    return None


def _busy(admission: Admission, language: Language) -> str:
    if admission.retry_after_s is None or admission.position == 0:
        return texts.BUSY.say(language)
    wait = duration(admission.retry_after_s, language)
    return texts.BUSY_AHEAD.say(language, ahead=admission.position - 1, wait=wait)


def _limited(limit: Limit, wait_s: float, language: Language) -> str:
    wait = duration(wait_s, language)
    if limit.window_s is None:
        return _IN_FLIGHT[limit.whose].say(language, most=limit.most, wait=wait)
    window = duration(limit.window_s, language)
    return _RATE[limit.whose].say(language, most=limit.most, window=window, wait=wait)


_IN_FLIGHT: dict[Whose, Text] = {
    Whose.PERSON: texts.LIMIT_PERSON_IN_FLIGHT,
    Whose.CHAT: texts.LIMIT_CHAT_IN_FLIGHT,
}
_RATE: dict[Whose, Text] = {
    Whose.PERSON: texts.LIMIT_PERSON_RATE,
    Whose.CHAT: texts.LIMIT_CHAT_RATE,
}


def duration(seconds: float, language: Language) -> str:
    """A length of time in one unit, rounded up: nobody comes back too early."""
    whole = max(ceil(seconds), 1)
    for unit_s, text in ((HOUR_S, texts.HOURS), (MINUTE_S, texts.MINUTES)):
        if whole > _UNITS_MOST * unit_s or whole == unit_s:
            return text.say(language, count=ceil(whole / unit_s))
    return texts.SECONDS.say(language, count=whole)
