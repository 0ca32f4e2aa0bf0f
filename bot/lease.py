"""One process at a time serves a platform: whoever holds its lease."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import structlog
from redis.asyncio import Redis

from bot import keys
from bot.errors import LeaseLostError
from bot.metrics import Metrics
from engine.script import EVEN_IF_FULL, RELEASE

LEASE_MS = 5_000
"""How long a dead holder keeps others out."""

_RELEASE_S = 1.0

# KEYS: lease. ARGV: holder, lease in ms. True if the lease is the holder's, now or still.
_HOLD = f"""{EVEN_IF_FULL}
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

log = structlog.get_logger(__name__)


class Lease:
    """The lease on one platform, as one process sees it."""

    def __init__(self, redis: Redis, metrics: Metrics, *, lease_ms: int = LEASE_MS) -> None:
        """Nothing is held yet, as `metrics` tell."""
        self._metrics = metrics
        self._platform = metrics.platform
        self._lease_ms = lease_ms
        self._holder = uuid4().hex
        self._hold = redis.register_script(_HOLD)
        self._release = redis.register_script(RELEASE)

    async def take(self) -> None:
        """Wait until the lease is ours."""
        if not await self._try():
            log.info("waits for the lease", action="lease.wait", platform=self._platform)
            while not await self._try():  # noqa: ASYNC110 - what it waits for is in Redis
                await asyncio.sleep(self._lease_ms / 10_000)
        log.info("holds the lease", action="lease.take", platform=self._platform)
        self._metrics.note_lease(held=True)

    async def keep(self) -> None:
        """Renew the lease until cancelled.

        Raises:
            LeaseLostError: it ran out and another process took it.
        """
        while await self._try():  # noqa: ASYNC110 - it is the asking that renews
            await asyncio.sleep(self._lease_ms / 4_000)
        self._metrics.note_lease(held=False)
        raise LeaseLostError

    async def release(self) -> None:
        """Let another process take over at once; where Redis is away, it waits the lease out."""
        self._metrics.note_lease(held=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._release(keys=[keys.lease(self._platform)], args=[self._holder])

    async def _try(self) -> bool:
        key = keys.lease(self._platform)
        return bool(await self._hold(keys=[key], args=[self._holder, self._lease_ms]))
