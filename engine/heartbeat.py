"""What a living engine says of itself, so that clients know what it can write with."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from redis.asyncio import Redis

from engine import keys
from engine.jobs import Cell
from engine.routes import Lineup
from engine.script import EVEN_IF_FULL

# An engine lives though Redis's memory is full. KEYS: engines, its heartbeat. ARGV: name, beat, ms.
_BEAT = f"""{EVEN_IF_FULL}
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
"""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """One worker's heartbeat."""

    worker: str
    """Its name in the queue."""
    cells: Mapping[Cell, str]
    """The cells it writes with, and the id of each one's champion."""
    slots: int
    """Candidates that it writes side by side."""
    since_ms: int
    """Unix time in milliseconds at which it started."""
    challengers: Mapping[Cell, str] = field(default_factory=dict)
    """The cells that have a challenger on trial, and its id."""
    trial_share: float = 0.0
    """Of all jobs of such a cell, the part from 0 to 1 that the challenger writes."""
    device: str = ""
    """Where its models run; empty where it does not say."""
    rows: int = 0
    """Candidates that it is writing now, of `slots`."""
    poems_per_s: float = 0.0
    """Poems that it wrote a second, over the last seconds."""
    step_ms: float = 0.0
    """What one step of one model took on average, over the last seconds; 0 where there was none."""

    def to_json(self) -> str:
        """This heartbeat as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote, here or in an engine of another version."""
        found = json.loads(text)
        known = {one.name: found[one.name] for one in fields(cls) if one.name in found}
        for name in ("cells", "challengers"):
            ids = known.get(name, {})
            known[name] = {Cell(cell): checkpoint for cell, checkpoint in ids.items()}
        return cls(**known)

    @property
    def lineups(self) -> dict[Cell, Lineup[str]]:
        """Who writes for each of its cells, by the ids of checkpoints."""
        return {
            cell: Lineup(
                champion=champion, challenger=self.challengers.get(cell), share=self.trial_share
            )
            for cell, champion in self.cells.items()
        }


async def beat(redis: Redis, heartbeat: Heartbeat) -> None:
    """Tell that the worker lives, for `keys.HEARTBEAT_TTL_MS`: beat about once a second."""
    await redis.register_script(_BEAT)(
        keys=[keys.ENGINES, keys.engine(heartbeat.worker)],
        args=[heartbeat.worker, heartbeat.to_json(), keys.HEARTBEAT_TTL_MS],
    )


async def living(redis: Redis) -> list[Heartbeat]:
    """The heartbeats of the workers that live, the longest running first; forgets the others."""
    found, dead = await _listen(redis)
    if dead:
        await redis.srem(keys.ENGINES, *dead)
    return found


async def heard(redis: Redis) -> list[Heartbeat]:
    """The same, for who may change nothing."""
    found, _ = await _listen(redis)
    return found


async def _listen(redis: Redis) -> tuple[list[Heartbeat], list[str]]:
    """The heartbeats that there are, the longest running first, and who has none any more."""
    members: Any = await redis.smembers(keys.ENGINES)
    workers = [worker.decode() for worker in members]
    if not workers:
        return [], []
    beats = await redis.mget([keys.engine(worker) for worker in workers])
    dead = [worker for worker, text in zip(workers, beats, strict=True) if text is None]
    found = [Heartbeat.from_json(text) for text in beats if text is not None]
    return sorted(found, key=lambda heartbeat: heartbeat.since_ms), dead
