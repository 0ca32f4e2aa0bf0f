"""How an engine fares, for whoever restarts it or waits until it serves.

/healthz fails where a step hangs: the leases of its jobs are kept, so nobody else would write them.
An engine that only waits for Redis lives: to start it again would not help.
"""

from collections.abc import Mapping

from redis.asyncio import Redis

from engine.client import answers
from engine.figures import QueueCollector
from engine.loop import Engine
from engine.probes import routes
from engine.web import Route


class Health:
    """Asks all that an engine stands on whether it is there."""

    def __init__(self, redis: Redis, engine: Engine) -> None:
        """Ask these, and tell of the queue in that Redis, too."""
        self._redis, self._engine = redis, engine
        gauges, queue = engine.account.gauges, QueueCollector(redis)
        gauges.show(engine)
        gauges.registry.register(queue)
        self.routes: Mapping[str, Route] = routes(
            registry=gauges.registry, lives=self._lives, ready=self._ready, refresh=queue.refresh
        )
        """Where it is asked."""

    async def _lives(self) -> Mapping[str, bool]:
        return {"steps": not self._engine.hangs}

    async def _ready(self) -> Mapping[str, bool]:
        return {
            **await self._lives(),
            "models": bool(self._engine.cells),
            "redis": await answers(self._redis),
        }
