"""One night at a time over any number of trainers: a lock with a heartbeat and a fencing number.

The lock is a key that expires: of a trainer that was killed nobody needs to know. One that was only
stopped, and wakes when another has the lock, must not change anything any more: it asks before
every change whether the lock is still its own (`Hold.check`), and hands its fencing number to the
registry, which refuses a number lower than one that it has seen. (Kleppmann, «How to do distributed
locking», 2016.)
"""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import structlog
from redis import exceptions
from redis.asyncio import Redis

from engine.script import RELEASE
from trainer import keys

LOCK_MS = 30_000
"""How long a dead trainer keeps the others out."""
ANSWER_S = 20.0
"""How long a check waits for a Redis that is away before it takes the lock for lost."""

_BEATS = 6
"""Heartbeats in the time that the lock lives."""
_RELEASE_S = 1.0

# KEYS: lock, fence. ARGV: holder, lock in ms, the lowest number to give. The fencing number, or 0
# where the lock is somebody's. Of a Redis that was emptied the numbers would begin anew.
_TAKE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local fence = redis.call('INCR', KEYS[2])
if fence < tonumber(ARGV[3]) then
  fence = tonumber(ARGV[3])
  redis.call('SET', KEYS[2], fence)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return fence
"""
# KEYS: lock, fence. ARGV: holder, lock in ms, fencing number. True if the lock is the holder's: an
# expired one is, as long as nobody has taken it since.
_KEEP = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if not holder and redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_log = structlog.get_logger(__name__)


class NoLockError(RuntimeError):
    """The lock cannot be had: another trainer runs a night, or Redis is away."""


class LockLostError(RuntimeError):
    """The lock is another trainer's by now, or nobody can tell: nothing may be changed any more."""


class Hold:
    """The lock, as the trainer sees it that has taken it."""

    def __init__(self, redis: Redis, *, holder: str, fence: int, lock_ms: int) -> None:
        """What `holding` yields."""
        self.fence = fence
        self.lost = threading.Event()
        self._holder, self._lock_ms = holder, lock_ms
        self._keep = redis.register_script(_KEEP)
        self._release = redis.register_script(RELEASE)

    async def check(self) -> None:
        """Return if the lock is still ours, with its whole time before it.

        Raises:
            LockLostError: it is not, or Redis does not say so within `ANSWER_S`.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                args: list[str | int] = [self._holder, self._lock_ms, self.fence]
                kept = await self._keep(keys=[keys.LOCK, keys.FENCE], args=args)
        except (TimeoutError, exceptions.RedisError) as error:
            why = str(error) or f"Redis has not answered for {ANSWER_S:.0f} s"
            raise LockLostError(why) from None
        if not kept:
            self.lost.set()
        if self.lost.is_set():
            raise LockLostError("another trainer has taken over")

    async def keep(self) -> None:
        """Beat until cancelled, or until the lock is lost."""
        while not self.lost.is_set():
            await asyncio.sleep(self._lock_ms / 1000 / _BEATS)
            try:
                await self.check()
            except LockLostError as error:
                # Redis may only be away: whoever wants to change something will ask again.
                _log.warning("! lock not renewed", action="lock.late", why=str(error))

    async def release(self) -> None:
        """Let another trainer take over at once; where Redis is away, it waits the lock out."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._release(keys=[keys.LOCK], args=[self._holder])


@asynccontextmanager
async def holding(
    redis: Redis, *, at_least: int = 1, lock_ms: int = LOCK_MS, wait_s: float = 0.0
) -> AsyncIterator[Hold]:
    """Hold the lock, kept by a task of this event loop.

    Args:
        redis: Where the lock is.
        at_least: The lowest fencing number to get.
        lock_ms: How long the lock outlives its holder.
        wait_s: How long to wait for a lock that is somebody's: of one who was killed it expires.

    Raises:
        NoLockError: it is somebody's still, or Redis does not answer.
    """
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
    fence = await _take(redis, holder, at_least=at_least, lock_ms=lock_ms, wait_s=wait_s)
    hold = Hold(redis, holder=holder, fence=fence, lock_ms=lock_ms)
    beating = asyncio.create_task(hold.keep())
    try:
        yield hold
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await hold.release()


async def _take(redis: Redis, holder: str, *, at_least: int, lock_ms: int, wait_s: float) -> int:
    take = redis.register_script(_TAKE)
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            async with asyncio.timeout(ANSWER_S):
                fence = await take(keys=[keys.LOCK, keys.FENCE], args=[holder, lock_ms, at_least])
                busy: Any = await redis.get(keys.LOCK)
        except TimeoutError:
            raise NoLockError(f"Redis has not answered for {ANSWER_S:.0f} s") from None
        except exceptions.RedisError as error:
            raise NoLockError(f"Redis refuses: {error}") from None
        if fence:
            return int(fence)
        if asyncio.get_running_loop().time() >= deadline:
            whose = busy.decode() if busy else "another trainer"
            raise NoLockError(f"a night is under way already, by {whose}")
        await asyncio.sleep(min(1.0, lock_ms / 5000))
