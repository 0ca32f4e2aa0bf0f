"""Poems written for nobody in particular: a few for each thing that was asked for, and for hours.

What was asked for is kept as a digest only; the poems speak for themselves.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from bot import keys
from engine.jobs import JobError, Poem, outcome_from_json

KEPT_MAX = 4
"""Poems kept for one wish; the oldest make room."""
WISHES_MAX = 2000
"""Wishes for which there are poems; beyond them, those longest untouched make room."""


def wish_of(text: str) -> str:
    """What `text` asks for, as the shelf knows it."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _poem(text: bytes) -> Poem | None:
    """A poem that was kept; None if another version of the bot did."""
    try:
        outcome = outcome_from_json(text)
    except JobError:
        return None
    return outcome if isinstance(outcome, Poem) else None


class Shelf:
    """The shelf of one platform. Calls wait for Redis if it is away."""

    def __init__(self, redis: Redis, platform: str) -> None:
        """Keep poems in `redis`."""
        self._redis = redis
        self._platform = platform

    async def poems(self, wish: str) -> Sequence[Poem]:
        """The poems for `wish`, newest first."""
        found: Any = await self._redis.lrange(keys.shelf(self._platform, wish), 0, -1)
        return [poem for poem in map(_poem, found) if poem is not None]

    async def add(self, wish: str, poem: Poem) -> None:
        """Keep one more poem for `wish`."""
        shelf, wishes, now_s = keys.shelf(self._platform, wish), self._wishes, time.time()
        async with self._redis.pipeline() as pipe:
            pipe.lpush(shelf, replace(poem, context={}).to_json())
            pipe.ltrim(shelf, 0, KEPT_MAX - 1)
            pipe.expire(shelf, keys.SHELF_TTL_S)
            pipe.zadd(wishes, {wish: now_s})
            pipe.zremrangebyscore(wishes, "-inf", now_s - keys.SHELF_TTL_S)
            pipe.expire(wishes, keys.SHELF_TTL_S)
            pipe.zcard(wishes)
            *_, count = await pipe.execute()
        if count > WISHES_MAX:
            await self._make_room(count - WISHES_MAX)

    @property
    def _wishes(self) -> str:
        return keys.wishes(self._platform)

    async def _make_room(self, count: int) -> None:
        oldest: Any = await self._redis.zpopmin(self._wishes, count)
        await self._redis.delete(*(keys.shelf(self._platform, wish.decode()) for wish, _ in oldest))
