"""Every check, beside the others: none can keep another from running, and none takes long."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from redis.exceptions import NoPermissionError

from bot import texts
from bot.doctor import (
    agreement,
    cards,
    clock,
    data,
    database,
    engines,
    keeping,
    listening,
    models,
    platforms,
    redis_server,
    rights,
)
from bot.doctor.finding import Finding, skipped, warning, wrong
from bot.doctor.redis_server import Server
from bot.doctor.variables import Case
from bot.texts import Text

LIMIT_S = 10.0
"""How long a check may take, but one that has a limit of its own."""

SUBJECTS: dict[str, Text] = {
    "settings": texts.DOCTOR_SETTINGS,
    "data": texts.DOCTOR_DATA,
    "redis": texts.DOCTOR_REDIS,
    "engines": texts.DOCTOR_ENGINES,
    "database": texts.DOCTOR_DATABASE,
    "models": texts.DOCTOR_MODELS,
    "cards": texts.DOCTOR_CARDS,
    "telegram": texts.DOCTOR_TELEGRAM,
    "discord": texts.DOCTOR_DISCORD,
    "listen": texts.DOCTOR_LISTEN,
    "clock": texts.DOCTOR_CLOCK,
}
"""What findings are about, in the order of telling."""

Look = Callable[[Case], list[Finding]]
Ask = Callable[[Case], Awaitable[list[Finding]]]

_LOOKS: dict[str, Look] = {
    "settings.agreement": agreement.check_agreement,
    "data.folder": data.check_data,
    "data.key": data.check_key,
    "cards.font": cards.check_font,
    "cards.words": cards.check_words,
    "clock.zone": clock.check_zone,
}
_ASKS: dict[str, Ask] = {
    "database.reach": database.check_database,
    "telegram.token": platforms.check_telegram,
    "discord.token": platforms.check_discord,
    "listen.address": listening.check_listening,
    "listen.public": listening.check_public_address,
}


async def examine(case: Case) -> list[Finding]:
    """Look at everything, and say of each what is to be said, by subject."""
    found = await asyncio.gather(
        *(guarded(name, asyncio.to_thread(look, case)) for name, look in _LOOKS.items()),
        *(guarded(name, ask(case)) for name, ask in _ASKS.items()),
        guarded("models.champions", models.check_models(case), limit_s=models.LIMIT_S),
        guarded("redis.reach", _examine_redis(case), limit_s=2 * LIMIT_S),
    )
    order = list(SUBJECTS)
    flat = [finding for findings in found for finding in findings]
    return sorted(flat, key=lambda finding: order.index(finding.subject))


async def _examine_redis(case: Case) -> list[Finding]:
    """Redis, and what only it can tell."""
    async with redis_server.reach(case) as reached:
        server = reached.server
        if server is None:
            return [*reached.findings, *_unasked(case)]
        checks = dict(_redis_checks(case, server))
        found = await asyncio.gather(*(guarded(name, check) for name, check in checks.items()))
    return [*reached.findings, *(finding for findings in found for finding in findings)]


def _redis_checks(case: Case, server: Server) -> Iterator[tuple[str, Awaitable[list[Finding]]]]:
    yield "redis.keeping", keeping.check_keeping(server)
    yield "engines.alive", engines.check_engines(server)
    yield "engines.dead", engines.check_dead(server)
    yield "clock.redis", clock.check_clock(server)
    for platform in served(case, server):
        yield f"redis.rights.{platform}", rights.check_rights(server, platform)
        yield f"engines.updates.{platform}", engines.check_dead_updates(server, platform)


def served(case: Case, server: Server) -> list[str]:
    """The platforms that are served with these settings.

    Without a token that is the console, unless Redis knows us as another process.
    """
    tokens = {
        "telegram": case.settings.telegram_token,
        "discord": case.settings.discord_token,
    }
    served = [platform for platform, token in tokens.items() if token is not None]
    return served or (["console"] if server.user == redis_server.USUAL_USER else [])


def _unasked(case: Case) -> list[Finding]:
    """What is said of engines where Redis cannot be asked: one that is to come brings its own."""
    if case.settings.redis_url is None and "redis_url" not in case.unusable:
        return [skipped("engines.alive", texts.ENGINES_WILL_START)]
    return [
        skipped(name, texts.DOCTOR_NEEDS_REDIS)
        for name in ("redis.keeping", "engines.alive", "clock.redis")
    ]


async def guarded(
    name: str, check: Awaitable[list[Finding]], *, limit_s: float = LIMIT_S
) -> list[Finding]:
    """What a check finds; that it took too long, or failed by itself, is a finding, too."""
    try:
        async with asyncio.timeout(limit_s):
            return await check
    except NoPermissionError:
        return [skipped(name, texts.DOCTOR_NOT_ALLOWED)]
    except TimeoutError:
        said, remedy = texts.DOCTOR_LATE, texts.DOCTOR_LATE_DO
        return [warning(name, said, remedy, seconds=f"{limit_s:.0f}")]
    except PermissionError as error:
        said, remedy = texts.DOCTOR_FORBIDDEN, texts.FILE_UNREADABLE_DO
        return [wrong(name, said, remedy, path=error.filename)]
    except Exception as error:
        # Only its name: what it says may quote anything.
        said, remedy = texts.DOCTOR_BROKE, texts.DOCTOR_BROKE_DO
        return [wrong(name, said, remedy, error=type(error).__name__)]
