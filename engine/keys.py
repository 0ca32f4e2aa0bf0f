"""Every key that Yuefu's engine keeps in Redis: its type, its time to live, and why it is there.

    key                          type    TTL     holds
    yuefu:jobs:chat              stream  none    jobs of people, until each is finished
    yuefu:jobs:bulk              stream  none    jobs of machines, until each is finished
    yuefu:job:<job id>           string  48 h    "waiting" or "done": admitted once, answered once
    yuefu:cancel:<job id>        string  1 h     set when nobody wants the job any more
    yuefu:replies:<client>       stream  48 h    outcomes for one client, until it dealt with them
    yuefu:dead                   stream  none    jobs that were buried, to look at and to retry
    yuefu:engines                set     none    names of the workers that have ever beaten
    yuefu:engine:<worker>        string  5 s     a worker's heartbeat: its models, slots and pace
    yuefu:rollback:<cell>        string  60 s    an order: put the champion before back
    yuefu:refusal:<order id>     string  60 s    why an engine cannot carry an order out
    yuefu:night                  string  7 d     what the trainer tells chats of its nights
    yuefu:pace:<lane>            hash    24 h    how long the lane takes for a job, for estimates
    yuefu:quota:<whose>:<name>:running   zset  till the last deadline   ids of jobs that have not
                                                 ended, by deadline: a lost one frees its place
    yuefu:quota:<whose>:<name>:admitted  zset  longest window (24 h)    ids of jobs let in, by time:
                                                 windows that slide are counted in it

Each stream of jobs and of replies has one consumer group, `GROUP`, made at 0 so that nothing put
before it is passed over. The names in quotas are pseudonyms. Everything here may be lost with no
loss but what is in flight.
"""

from functools import cache
from typing import Final

from engine.jobs import Cell, Lane
from engine.quotas import Quota

PREFIX: Final = "yuefu:"
"""Yuefu may share a Redis with others."""

GROUP: Final = "yuefu"
"""The consumer group of every stream that is read by more than one process."""

DEAD: Final = f"{PREFIX}dead"
"""Stream: what was buried, with the reason (`engine.dead`). Kept to about `DEAD_LENGTH` entries.

A job has the fields lane, id, job (JSON), why and attempts; an outcome that could not be read has
client, outcome and why."""

DEAD_LENGTH: Final = 10_000
"""A flood of bad jobs must not fill the memory that good ones need; the newest are kept."""

ENGINES: Final = f"{PREFIX}engines"
"""Set: whose heartbeat to look for, so that no client has to scan the keys."""

JOB_TTL_S: Final = 48 * 3600
"""A cause can come again for a day: Telegram keeps an update that long. Twice that is safe."""

CANCEL_TTL_S: Final = 3600
"""No job waits for an hour: those of people have a deadline of minutes."""

REPLIES_TTL_S: Final = 48 * 3600
"""Counted from the last outcome. A client away for two days has no chat that still waits."""

HEARTBEAT_TTL_MS: Final = 5_000
"""A worker that has not beaten for this long is taken for dead."""

ORDER_TTL_S: Final = 60
"""Whoever gave an order waits for seconds; what is still there later, nobody waits for."""

NIGHT: Final = f"{PREFIX}night"
"""String, 7 d, JSON: what the trainer is doing, and how its last nights went."""

NIGHT_TTL_S: Final = 7 * 24 * 3600
"""Written every night: what is a week old is of a trainer that runs no more."""

PACE_TTL_S: Final = 24 * 3600
"""Yesterday's pace is a better guess than none; one older than that is not."""


def came_ms(entry: str) -> int:
    """When an entry came into its stream, by the clock of Redis, Unix ms: its id begins with it."""
    return int(entry.partition("-")[0])


@cache
def jobs(lane: Lane) -> str:
    """Stream: the jobs of `lane`, waiting and running; finishing one deletes its entry.

    It is never trimmed, for that would drop jobs unread; admission keeps it short instead.
    """
    return f"{PREFIX}jobs:{lane}"


def job(job_id: str) -> str:
    """String, 48 h: "waiting" once the job is admitted, "done" once it has its first outcome."""
    return f"{PREFIX}job:{job_id}"


def cancel(job_id: str) -> str:
    """String, 1 h: there if the job shall be dropped when a worker comes to take it, or is at it.

    A flag, because deleting an entry that was never read spoils the group's count of what lags.
    """
    return f"{PREFIX}cancel:{job_id}"


def replies(client: str) -> str:
    """Stream, 48 h: the outcomes for `client`, read through the group by its consumers."""
    return f"{PREFIX}replies:{client}"


def engine(worker: str) -> str:
    """String, 5 s: the heartbeat of `worker` as JSON (`engine.heartbeat.Heartbeat`)."""
    return f"{PREFIX}engine:{worker}"


def rollback(cell: Cell) -> str:
    """String, 60 s: the order to put the previous champion of `cell` back (`engine.orders`)."""
    return f"{PREFIX}rollback:{cell}"


def refusal(order: str) -> str:
    """String, 60 s: why the order of that id cannot be carried out (`engine.orders.Obstacle`)."""
    return f"{PREFIX}refusal:{order}"


@cache
def pace(lane: Lane) -> str:
    """Hash, 24 h: `ms`, the mean time between the ends of jobs while there was work, and `last`."""
    return f"{PREFIX}pace:{lane}"


def running(quota: Quota) -> str:
    """Sorted set: ids of the jobs that count against `quota` and have not ended, by deadline.

    It lives until the last of the deadlines.
    """
    return f"{PREFIX}quota:{quota.whose}:{quota.name}:running"


def admitted(quota: Quota) -> str:
    """Sorted set: ids of the jobs that were let in within the longest window, by Unix ms."""
    return f"{PREFIX}quota:{quota.whose}:{quota.name}:admitted"
