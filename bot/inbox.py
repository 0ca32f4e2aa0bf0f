"""What happened on a platform, kept until it was dealt with.

An update is in Redis before the platform hears that we have it, and stays there until it was
handled or buried: a process that is killed loses none. What comes twice is known by its id, kept
for 48 hours: ids may jump backwards, so "greater than the last one" would not do.
"""

import json
from collections.abc import Mapping
from typing import Any

import structlog
from redis.asyncio import Redis

from bot import keys
from bot.stream import Entry, Stream
from engine.script import EVEN_IF_FULL

# KEYS: inbox. ARGV: prefix of the marks, their TTL in s, then id and JSON of each update.
# Marks and entries are written together, so no crash parts them. Returns the inbox's length.
_STORE = f"""{EVEN_IF_FULL}
for i = 3, #ARGV, 2 do
  if redis.call('SET', ARGV[1] .. ARGV[i], 1, 'NX', 'EX', ARGV[2]) then
    redis.call('XADD', KEYS[1], '*', 'update', ARGV[i + 1])
  end
end
return redis.call('XLEN', KEYS[1])
"""
# KEYS: inbox, dead. ARGV: entry, most dead, their TTL in s, update, why.
_BURY = f"""{EVEN_IF_FULL}
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'update', ARGV[4], 'why', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[1])
"""

log = structlog.get_logger(__name__)


class UnreadableUpdateError(ValueError):
    """An update that cannot be read; its text says why and nothing of the update."""


def raw_update(entry: Entry) -> bytes:
    """The update in an entry of the inbox, as JSON."""
    return entry.fields[b"update"]


class Inbox:
    """The durable inbox of one bot. Calls wait for Redis if it is away."""

    def __init__(self, redis: Redis, platform: str) -> None:
        """Read from the very beginning: what a process before this one left comes first."""
        self._redis = redis
        self._platform = platform
        self._stream = Stream(redis, keys.inbox(platform))
        self._store = redis.register_script(_STORE)
        self._bury = redis.register_script(_BURY)

    async def store(self, updates: Mapping[int, dict[str, Any]]) -> int:
        """Keep those of `updates`, by their ids, that are new; how many the inbox holds now."""
        args: list[Any] = [keys.seen(self._platform), keys.SEEN_TTL_S]
        for update_id, update in updates.items():
            # ASCII: JSON from outside may carry lone surrogates, which UTF-8 cannot.
            args += [update_id, json.dumps(update)]
        return int(await self._store(keys=[self._stream.key], args=args))

    async def backlog(self) -> int:
        """How many updates the inbox holds."""
        return int(await self._redis.xlen(self._stream.key))

    async def take(self, count: int = 64) -> list[Entry]:
        """Updates not taken before, oldest first; waits a moment if there are none."""
        return await self._stream.take(count)

    async def done(self, entry: Entry) -> None:
        """The update was dealt with: forget it."""
        await self._stream.forget(entry.id)

    async def bury(self, entry: Entry, why: str) -> None:
        """Set the update aside for an operator; the log says `why`, and nothing of its content."""
        await self._bury(
            keys=[self._stream.key, keys.dead(self._platform)],
            args=[entry.id, keys.DEAD_MAX, keys.DEAD_TTL_S, raw_update(entry), why],
        )
        log.error("! buried", action="update.bury", entry=entry.id, why=why)
