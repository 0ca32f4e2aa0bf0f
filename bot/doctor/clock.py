"""The clock of this machine against those of others, and the zone of daily poems."""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from bot import texts
from bot.doctor.finding import Finding, fine, warning, wrong
from bot.doctor.redis_server import Server
from bot.doctor.variables import Case

CLOSE_S = 2.0
"""Clocks further apart than this should be set; a platform's says no parts of a second."""
FAR_S = 30.0
"""Further apart, poems are dropped as too late, or nobody is told that they were."""


def compare(whose: str, ahead_s: float) -> Finding:
    """What to say of a clock here that is so far ahead of somebody else's."""
    name, seconds = f"clock.{whose.casefold()}", f"{abs(ahead_s):.1f}"
    if abs(ahead_s) <= CLOSE_S:
        return fine(name, texts.CLOCK_RIGHT, whose=whose, seconds=seconds)
    mark = wrong if abs(ahead_s) > FAR_S else warning
    way = texts.CLOCK_AHEAD if ahead_s > 0 else texts.CLOCK_BEHIND
    said, remedy = texts.CLOCK_WRONG, texts.CLOCK_WRONG_DO
    return mark(name, said, remedy, whose=whose, seconds=seconds, way=way)


def compare_date(whose: str, date: str | None, clock: Callable[[], float]) -> list[Finding]:
    """What to say of the clock of whoever answered with that `Date`; nothing if it is none."""
    try:
        theirs_s = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return []
    # It leaves out the part of a second that has passed: half of one, on the whole.
    return [compare(whose, clock() - theirs_s - 0.5)]


async def check_clock(server: Server, clock: Callable[[], float] = time.time) -> list[Finding]:
    """The clock here against that of Redis, by which jobs expire and leases end."""
    if server.place.is_here:
        return []
    ask: Callable[[], Awaitable[tuple[int, int]]] = server.redis.time
    before_s = clock()
    seconds, micros = await ask()
    here_s = (before_s + clock()) / 2
    return [compare(server.name, here_s - seconds - micros / 1e6)]


def check_zone(case: Case) -> list[Finding]:
    """The zone of daily poems, and whether anything is known of zones at all."""
    if not available_timezones():
        return [wrong("clock.zone", texts.ZONES_MISSING, texts.ZONES_MISSING_DO)]
    if missing := case.needs("clock.zone", "zone"):
        return missing
    zone = case.settings.zone
    try:
        now = datetime.now(ZoneInfo(zone))
    except ZoneInfoNotFoundError:
        return [wrong("clock.zone", texts.ZONES_MISSING, texts.ZONES_MISSING_DO)]
    return [fine("clock.zone", texts.ZONE_KNOWN, zone=zone, time=f"{now:%H:%M}")]
