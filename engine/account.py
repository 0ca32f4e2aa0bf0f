"""What is told of every job that comes to an engine: one line in the log, and a count.

The line has the action `job.finished`, whatever became of the job, and is written once Redis knows.
"""

import time
from dataclasses import dataclass

import structlog

from engine.gauges import CANCELLED, POEM, UNKNOWN, Gauges
from engine.jobs import Failure, Job, Lane, Outcome, Reason, cause_of
from engine.keys import came_ms

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One job, as it ended."""

    job_id: str
    """Which."""
    job: Job | None
    """What was asked; None where nobody could, or dared to, read it."""
    lane: Lane
    """The lane it came from."""
    attempt: int
    """1 the first time, and one more for each worker that died with it."""
    outcome: Outcome | None
    """What became of it; None where nobody wanted it any more."""
    took_s: float | None = None
    """Seconds from taking it until Redis knew; None where it was not begun here."""
    first: bool = True
    """Whether no other worker had answered it before."""

    @property
    def result(self) -> str:
        """Its outcome in a word."""
        if self.outcome is None:
            return CANCELLED
        return self.outcome.reason.value if isinstance(self.outcome, Failure) else POEM


class Account:
    """Keeps account of one engine's jobs."""

    def __init__(self) -> None:
        """No job has come yet."""
        self.gauges = Gauges()
        self._waits = {lane: self.gauges.job_wait_seconds.labels(lane) for lane in Lane}

    def taken(self, *, entry: str, lane: Lane, attempt: int) -> None:
        """A job was taken; the id of its entry says when it was put."""
        if attempt > 1:
            self.gauges.retries.inc()
            return
        waited_s = time.time() - came_ms(entry) / 1000
        self._waits[lane].observe(max(0.0, waited_s))

    def ended(self, ended: Ended) -> None:
        """A job has ended, and Redis knows."""
        cell = UNKNOWN if ended.job is None else ended.job.cell
        self.gauges.jobs.labels(cell, ended.result).inc()
        if ended.result == Reason.BURIED:
            self.gauges.buried.inc()
        if ended.took_s is not None and ended.outcome is not None:
            self.gauges.job_seconds.labels(ended.lane).observe(ended.took_s)
        _tell(ended)


def _tell(ended: Ended) -> None:
    """The one canonical line of a job."""
    tell = _log.warning if ended.result == Reason.BURIED else _log.info
    about = {"cause": cause_of(ended.job_id), "job": ended.job_id, "lane": ended.lane}
    tell(
        "← poem" if ended.result == POEM else "! no poem",
        action="job.finished",
        outcome=ended.result,
        detail=ended.outcome.detail if isinstance(ended.outcome, Failure) else "",
        first=ended.first,
        took_ms=None if ended.took_s is None else round(1000 * ended.took_s),
        attempt=ended.attempt,
        **about | (ended.job.log_context() if ended.job is not None else {}),
    )
