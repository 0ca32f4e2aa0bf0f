"""All engines and what waits for them, at one moment; read from Redis alone, changing nothing."""

import json
import time
from dataclasses import asdict, dataclass

from redis.asyncio import Redis
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.client import in_time
from engine.figures import QueueFigures, queue_figures
from engine.heartbeat import Heartbeat, heard
from engine.printing import printable

NOTHING = "nothing here: no engine serves this Redis, and no job waits in it"

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is to be seen at one moment."""

    engines: list[Heartbeat]
    """Those that live, the longest running first."""
    queue: QueueFigures
    """What waits."""
    now_ms: int
    """Unix time in milliseconds."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be seen."""
        waiting = sum(lane.depth for lane in self.queue.lanes.values())
        return not (self.engines or waiting or self.queue.pending or self.queue.dead)

    def to_json(self) -> str:
        """This picture as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


async def look(redis: Redis) -> Picture:
    """What is to be seen now.

    Raises:
        EngineUnavailableError: Redis did not answer in time.
    """
    queue = await queue_figures(redis)
    async with in_time():
        engines = await heard(redis)
    return Picture(engines=engines, queue=queue, now_ms=time.time_ns() // 1_000_000)


def draw(picture: Picture) -> RenderableType:
    """The picture for a terminal."""
    if picture.is_empty:
        return Text(NOTHING)
    parts: list[RenderableType] = [_lanes(picture.queue), Text(_sum(picture))]
    return Group(*parts, _engines(picture)) if picture.engines else Group(*parts)


def _lanes(queue: QueueFigures) -> Table:
    table = _table("lane", "waiting", "oldest", "being written")
    for lane, its in queue.lanes.items():
        oldest = f"{its.oldest_s:.1f} s" if its.depth else "-"
        table.add_row(lane, str(its.depth), oldest, str(its.pending))
    return table


def _engines(picture: Picture) -> Table:
    table = _table("engine", "on", "rows", "poems/s", "ms a step", "up", "models")
    table.columns[-1].justify = "left"
    for one in picture.engines:
        table.add_row(
            Text(printable(one.worker)),
            Text(printable(one.device)),
            f"{one.rows}/{one.slots}",
            f"{one.poems_per_s:.1f}",
            f"{one.step_ms:.1f}" if one.step_ms else "-",
            _span(picture.now_ms / 1000 - one.since_ms / 1000),
            Text(printable(_models(one))),
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=None, pad_edge=False)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _models(engine: Heartbeat) -> str:
    """The cells that it writes with, those marked that have a challenger on trial."""
    return " ".join(f"{cell}+" if cell in engine.challengers else cell for cell in engine.cells)


def _sum(picture: Picture) -> str:
    engines, queue = picture.engines, picture.queue
    if not engines:
        return f"none alive · {queue.dead} buried"
    rows, slots = sum(one.rows for one in engines), sum(one.slots for one in engines)
    poems_per_s = sum(one.poems_per_s for one in engines)
    return (
        f"{len(engines)} alive · rows {rows}/{slots} · {poems_per_s:.1f} poems/s · "
        f"{queue.dead} buried"
    )


def _span(seconds: float) -> str:
    """A time in its largest unit."""
    for unit, size in (("d", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
