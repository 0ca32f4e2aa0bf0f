"""Engines that write, and what nobody could write or handle."""

from bot import keys, texts
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.doctor.redis_server import Server
from engine import dead
from engine.client import EngineClient

MOST = 500
"""Buried jobs that are counted; there is no need to know how many more."""


async def check_engines(server: Server) -> list[Finding]:
    """Whether an engine lives."""
    cells = await EngineClient(server.redis).cells()
    if cells:
        named = ", ".join(f"{cell} {checkpoint}" for cell, checkpoint in sorted(cells.items()))
        return [fine("engines.alive", texts.ENGINES_WRITE, cells=named)]
    if server.is_own:
        return [skipped("engines.alive", texts.ENGINES_WILL_START)]
    return [wrong("engines.alive", texts.ENGINES_NONE, texts.ENGINES_NONE_DO)]


async def check_dead(server: Server) -> list[Finding]:
    """Jobs that were buried, which a person has to look at."""
    count = 0
    async for _entry in dead.listed(server.redis):
        count += 1
        if count > MOST:
            break
    if not count:
        return [fine("engines.dead", texts.JOBS_NONE_DEAD)]
    shown = f"> {MOST}" if count > MOST else str(count)
    return [warning("engines.dead", texts.JOBS_DEAD, texts.JOBS_DEAD_DO, count=shown)]


async def check_dead_updates(server: Server, platform: str) -> list[Finding]:
    """Updates that a bot could not read or handle."""
    count = await server.redis.xlen(keys.dead(platform))
    if not count:
        return []
    said, remedy = texts.UPDATES_DEAD, texts.UPDATES_DEAD_DO
    return [warning("engines.updates", said, remedy, platform=platform, count=count)]
