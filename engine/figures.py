"""How much waits in the queue, who is at work, and what was buried: read from Redis alone."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from engine import keys
from engine.client import EngineUnavailableError, in_time
from engine.jobs import Lane
from engine.queue import LANES


@dataclass(frozen=True, kw_only=True)
class LaneFigures:
    """One lane."""

    depth: int
    """Jobs that nobody has taken."""
    pending: int
    """Jobs that engines have taken and not finished."""
    oldest_s: float
    """How long the job waits that nobody has taken and that was put first; 0 if there is none."""


@dataclass(frozen=True, kw_only=True)
class QueueFigures:
    """The queue."""

    lanes: Mapping[Lane, LaneFigures]
    """Each lane, the first served first."""
    dead: int
    """Jobs on the dead stream."""

    @property
    def pending(self) -> int:
        """Jobs of all lanes that engines have taken and not finished."""
        return sum(lane.pending for lane in self.lanes.values())


@dataclass(frozen=True, kw_only=True)
class _Group:
    """How far a lane's consumer group has come."""

    pending: int = 0
    last_id: str = "0-0"


async def queue_figures(redis: Redis) -> QueueFigures:
    """The queue as it is now; changes nothing.

    Raises:
        EngineUnavailableError: Redis did not answer in time.
    """
    async with in_time():
        lengths, groups, dead, now_s = await _counts(redis)
        async with redis.pipeline(transaction=False) as pipe:
            for lane in LANES:
                pipe.xrange(keys.jobs(lane), min=f"({groups[lane].last_id}", count=1)
            firsts = dict(zip(LANES, await pipe.execute(), strict=True))
    lanes = {
        lane: LaneFigures(
            # A job's entry goes when it ends, so what is there waits or is being written. The lag
            # that Redis keeps says the same, but is lost once an entry is deleted unread.
            depth=max(0, lengths[lane] - groups[lane].pending),
            pending=groups[lane].pending,
            oldest_s=_age_s(firsts[lane], now_s),
        )
        for lane in LANES
    }
    return QueueFigures(lanes=lanes, dead=dead)


async def _counts(redis: Redis) -> tuple[dict[Lane, int], dict[Lane, _Group], int, float]:
    """Of each lane how many entries it has and its group; those buried; Redis's time. At once."""
    async with redis.pipeline() as pipe:
        for lane in LANES:
            pipe.xlen(keys.jobs(lane))
        for lane in LANES:
            pipe.xinfo_groups(keys.jobs(lane))
        pipe.xlen(keys.DEAD)
        pipe.time()
        replies: list[Any] = await pipe.execute(raise_on_error=False)
    *per_lane, dead, (seconds, microseconds) = replies
    lengths, groups = per_lane[: len(LANES)], map(_group, per_lane[len(LANES) :])
    return (
        dict(zip(LANES, lengths, strict=True)),
        dict(zip(LANES, groups, strict=True)),
        dead,
        seconds + microseconds / 1e6,
    )


def _group(reply: Any) -> _Group:
    """The group of a lane; one that has none, or does not exist yet, has not come far."""
    if isinstance(reply, ResponseError) and "no such key" in str(reply):
        return _Group()
    if isinstance(reply, Exception):
        raise reply
    for group in reply:
        if group["name"].decode() == keys.GROUP:
            return _Group(pending=group["pending"], last_id=group["last-delivered-id"].decode())
    return _Group()


def _age_s(entries: list[Any], now_s: float) -> float:
    """How long ago the first of these was put."""
    if not entries:
        return 0.0
    return max(0.0, now_s - keys.came_ms(entries[0][0].decode()) / 1000)


class QueueCollector(Collector):
    """The queue's metrics, as Redis told them last; none where it did not answer."""

    def __init__(self, redis: Redis) -> None:
        """Nobody has asked yet."""
        self._redis = redis
        self._figures: QueueFigures | None = None

    async def refresh(self) -> None:
        """Ask."""
        self._figures = None
        with suppress(EngineUnavailableError):
            self._figures = await queue_figures(self._redis)

    def collect(self) -> Iterator[Metric]:
        """What is known."""
        depth = GaugeMetricFamily(
            "yuefu_queue_depth", "Jobs that nobody has taken.", labels=["lane"]
        )
        oldest = GaugeMetricFamily(
            "yuefu_queue_oldest_seconds",
            "How long the job waits that nobody has taken and that was put first; 0 without one.",
            labels=["lane"],
        )
        pending = GaugeMetricFamily(
            "yuefu_queue_pending", "Jobs that engines have taken and not finished."
        )
        dead = GaugeMetricFamily("yuefu_queue_dead", "Jobs that were buried and are there still.")
        if (figures := self._figures) is not None:
            for lane, its in figures.lanes.items():
                depth.add_metric([lane], its.depth)
                oldest.add_metric([lane], its.oldest_s)
            pending.add_metric([], figures.pending)
            dead.add_metric([], figures.dead)
        yield from (depth, oldest, pending, dead)
