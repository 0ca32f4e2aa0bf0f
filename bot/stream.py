"""A durable list of things to do, read by one process at a time.

An entry stays until it is forgotten. A reader begins at the very beginning, so it meets first what
a reader before it left undone. One reader needs no consumer group, and so has none to lose.
"""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from engine.client import MAX_BLOCK_MS
from engine.keys import came_ms


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing to do."""

    id: str
    """Its id in the stream."""
    fields: dict[bytes, bytes]
    """What it holds."""

    @property
    def at_ms(self) -> int:
        """When it came into the stream, by the clock of Redis: Unix time in milliseconds."""
        return came_ms(self.id)


class Stream:
    """A Redis stream, and how far it has been read. Calls wait for Redis if it is away."""

    def __init__(self, redis: Redis, key: str) -> None:
        """Read the stream at `key` from its beginning."""
        self.key = key
        self._redis = redis
        self._read_to = "0"

    async def take(self, count: int) -> list[Entry]:
        """Up to `count` entries not taken before, oldest first; waits a moment if there are none.

        What is taken stays in the stream.
        """
        streams: dict[Any, Any] = {self.key: self._read_to}
        # The reply's type in redis-py covers both protocols; the client's is pinned to RESP2.
        reply: Any = await self._redis.xread(streams, count=count, block=MAX_BLOCK_MS)
        rows = reply[0][1] if reply else []
        entries = [Entry(id=entry.decode(), fields=fields) for entry, fields in rows]
        if entries:
            self._read_to = entries[-1].id
        return entries

    async def forget(self, entry_id: str) -> None:
        """The entry was dealt with."""
        await self._redis.xdel(self.key, entry_id)
