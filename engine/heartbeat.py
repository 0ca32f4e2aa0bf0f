"""What a living engine says of itself, so that clients know what it can write with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from redis.asyncio import Redis

from engine import keys
from engine.jobs import Cell


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """One worker's heartbeat."""

    worker: str
    """Its name in the queue."""
    cells: Mapping[Cell, str]
    """The cells it writes with, and the id of each one's checkpoint."""
    slots: int
    """Poems that it writes side by side."""
    since_ms: int
    """Unix time in milliseconds at which it started."""

    def to_json(self) -> str:
        """This heartbeat as JSON."""
        return json.dumps({**vars(self), "cells": dict(self.cells)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        cells = {Cell(cell): checkpoint for cell, checkpoint in fields.pop("cells").items()}
        return cls(cells=cells, **fields)


async def beat(redis: Redis, heartbeat: Heartbeat) -> None:
    """Tell that the worker lives, for `keys.HEARTBEAT_TTL_MS`: beat about once a second."""
    async with redis.pipeline() as pipe:
        pipe.sadd(keys.ENGINES, heartbeat.worker)
        pipe.set(keys.engine(heartbeat.worker), heartbeat.to_json(), px=keys.HEARTBEAT_TTL_MS)
        await pipe.execute()


async def living(redis: Redis) -> list[Heartbeat]:
    """The heartbeats of the workers that live, the longest running first."""
    members: Any = await redis.smembers(keys.ENGINES)
    workers = [worker.decode() for worker in members]
    if not workers:
        return []
    beats = await redis.mget([keys.engine(worker) for worker in workers])
    if dead := [worker for worker, text in zip(workers, beats, strict=True) if text is None]:
        await redis.srem(keys.ENGINES, *dead)
    found = [Heartbeat.from_json(text) for text in beats if text is not None]
    return sorted(found, key=lambda heartbeat: heartbeat.since_ms)
