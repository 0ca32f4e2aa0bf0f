"""Whether settings that are right each by itself go together."""

import re
from collections.abc import Iterator

from redis.asyncio.connection import parse_url

from bot import texts
from bot.doctor.finding import Finding, warning, wrong
from bot.doctor.place import Place, place_of
from bot.doctor.variables import Case, variable
from bot.settings import BotSettings

PLATFORMS = ("telegram", "discord", "console")
"""What may stand before a number in `curators` and `chats`."""

_NAMED = re.compile(r"([a-z]+):")
_NEEDS = (("webhook_url", "telegram_token"), ("webhook_secret", "webhook_url"))
"""What does nothing, and without what."""


def check_agreement(case: Case) -> list[Finding]:
    """What has no effect, and what would surprise."""
    return [
        *_idle(case),
        *_platforms(case),
        *_served(case),
        *_limits(case),
        *_shared(case),
        *_in_the_clear(case),
    ]


def _idle(case: Case) -> Iterator[Finding]:
    given = case.settings.model_fields_set
    for field, needed in _NEEDS:
        if (
            field in given
            and getattr(case.settings, field)
            and not (getattr(case.settings, needed) or needed in case.unusable)
        ):
            said, remedy = texts.VARIABLE_IDLE, texts.VARIABLE_IDLE_DO
            values = {"variable": variable(field), "needed": variable(needed)}
            yield warning("settings.idle", said, remedy, **values)


def _platforms(case: Case) -> Iterator[Finding]:
    for field in ("curators", "chats"):
        named = set(_NAMED.findall(getattr(case.settings, field)))
        if unknown := sorted(named - set(PLATFORMS)):
            said, remedy = texts.PLATFORM_UNKNOWN, texts.PLATFORM_UNKNOWN_DO
            values = {"names": ", ".join(unknown), "platforms": ", ".join(PLATFORMS)}
            yield wrong("settings.platforms", said, remedy, variable=variable(field), **values)


def _served(case: Case) -> Iterator[Finding]:
    """A platform that has a token, and nobody who is answered there."""
    served = case.settings.served
    for platform in ("telegram", "discord"):
        has_token = getattr(case.settings, f"{platform}_token") is not None
        if served and has_token and not any(name.startswith(f"{platform}:") for name in served):
            said, remedy = texts.SERVES_NOBODY, texts.SERVES_NOBODY_DO
            yield warning("settings.chats", said, remedy, platform=platform.capitalize())


def _limits(case: Case) -> Iterator[Finding]:
    for what in ("in_flight", "per_minute", "per_day"):
        person, chat = f"person_{what}", f"chat_{what}"
        # 0 is no limit.
        if 0 < getattr(case.settings, chat) < getattr(case.settings, person):
            said, remedy = texts.LIMIT_OUTDONE, texts.LIMIT_OUTDONE_DO
            values = {"person": variable(person), "chat": variable(chat)}
            yield warning("settings.limits", said, remedy, **values)


def _shared(case: Case) -> Iterator[Finding]:
    """What several machines would have to share, and would each have of their own."""
    settings = case.settings
    if settings.database_url is not None and not (
        settings.pseudonym_key or "pseudonym_key" in case.unusable
    ):
        yield warning("settings.key", texts.KEY_NOT_SHARED, texts.KEY_NOT_SHARED_DO)
    if settings.database_url is None and _is_elsewhere(settings):
        said, remedy = texts.ANTHOLOGY_NOT_SHARED, texts.ANTHOLOGY_NOT_SHARED_DO
        yield warning("settings.anthology", said, remedy)


def _is_elsewhere(settings: BotSettings) -> bool:
    """Whether Redis is on another machine, as far as its address tells."""
    if settings.redis_url is None:
        return False
    try:
        host = parse_url(settings.redis_url.get_secret_value()).get("host", "")
    except ValueError:
        return False
    return not Place(host=str(host)).is_here


def _in_the_clear(case: Case) -> Iterator[Finding]:
    """A token that would be sent where others can read it."""
    for platform in ("telegram", "discord"):
        field = f"{platform}_api"
        url: str = getattr(case.settings, field)
        has_token = getattr(case.settings, f"{platform}_token") is not None
        if has_token and url.startswith("http://") and not place_of(url).is_here:
            said, remedy = texts.API_IN_THE_CLEAR, texts.API_IN_THE_CLEAR_DO
            yield warning(
                "settings.api", said, remedy, variable=variable(field), place=place_of(url)
            )
