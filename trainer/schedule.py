"""When nights run: once a local date, by a clock that cannot be trusted.

APScheduler only wakes us. It fires twice in the night in which clocks are put back, and not at all
at a time that a night leaves out; set back by a day, it does not fire for a day. So each waking,
and a look every ten minutes that counts on no clock, asks the ledger which date's night is due:
the latest that has come, if it had none. That is also how a trainer catches up that was away.
"""

import threading
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from bot.timetable import moment_of

LOOK_S = 600.0
"""How often to look whether a night is due that nothing woke us for."""

_log = structlog.get_logger(__name__)


def due(
    now: datetime, at: time, zone: ZoneInfo, *, since: datetime, ended: Collection[date]
) -> date | None:
    """The local date whose night is to run now; None where none is.

    Args:
        now: The time.
        at: The wall time of nights.
        zone: The zone of that time.
        since: When nights were first asked for: none is due that should have begun before.
        ended: The dates whose night has ended, well or badly.
    """
    today = now.astimezone(zone).date()
    for back in range(3):
        day = today - timedelta(days=back)
        moment = moment_of(day, at, zone)
        if moment is not None and moment <= now:
            return None if moment < since or day in ended else day
    return None


def serve(
    look: Callable[[], None],
    *,
    at: time,
    zone: ZoneInfo,
    look_s: float = LOOK_S,
    stop: threading.Event | None = None,
) -> None:
    """Call `look` now, whenever a night is due by the clock, and every `look_s` seconds.

    `look` is called in this thread and never twice at once. Runs until interrupted, or until
    `look` sets `stop`.
    """
    stop = stop or threading.Event()
    wake = threading.Event()
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(
        wake.set,
        CronTrigger(hour=at.hour, minute=at.minute, second=at.second, timezone=zone),
        misfire_grace_time=None,
        coalesce=True,
        max_instances=1,
    )
    scheduler.start()
    _log.info("→ nights", action="nights.started", at=at.isoformat("minutes"), zone=zone.key)
    try:
        while True:
            wake.clear()
            look()
            if stop.is_set():
                return
            wake.wait(look_s)
    finally:
        scheduler.shutdown(wait=False)
