"""What a bot stands on, for whoever asks how it fares (`engine.probes`).

    /readyz     200 while Redis, an engine and the anthology answer, else 503; and which do
    /metrics    what `bot.metrics` counted, and how things are at that moment

Nothing is told of people, and nothing asked of the platform.
"""

import asyncio
from collections.abc import Mapping

from redis.asyncio import Redis

from bot.anthology import Anthology
from bot.budget import Halt
from bot.errors import AnthologyError
from bot.inbox import Inbox
from bot.metrics import Metrics, Standing
from bot.outbox import Outbox
from engine.client import ANSWER_S, EngineClient, EngineUnavailableError, in_time
from engine.probes import routes
from engine.web import Route


class Health:
    """Asks all that a chat stands on whether it is there."""

    def __init__(self, *, redis: Redis, anthology: Anthology, metrics: Metrics) -> None:
        """Ask these; and by way of Redis, the engine."""
        self._engine = EngineClient(redis)
        self._anthology = anthology
        self._metrics = metrics
        self._inbox = Inbox(redis, metrics.platform)
        self._outbox = Outbox(redis, metrics.platform)
        self._halt = Halt(redis, metrics.platform)

    @property
    def routes(self) -> Mapping[str, Route]:
        """Where it is asked."""
        return routes(registry=self._metrics.registry, ready=self._parts, refresh=self._look)

    async def _parts(self) -> Mapping[str, bool]:
        queue, anthology = await asyncio.gather(self._ask_queue(), self._ask_anthology())
        return queue | {"anthology": anthology}

    async def _look(self) -> None:
        """Have the metrics tell how things are now."""
        try:
            async with in_time():
                standing = Standing(
                    inbox=await self._inbox.backlog(),
                    outbox=await self._outbox.backlog(),
                    halt_s=await self._halt.left_s(),
                    engines=await self._engine.engines(),
                )
        except EngineUnavailableError:
            standing = Standing()
        self._metrics.note_standing(standing)

    async def _ask_queue(self) -> dict[str, bool]:
        try:
            return {"redis": True, "engine": bool(await self._engine.cells())}
        except EngineUnavailableError:
            return {"redis": False, "engine": False}

    async def _ask_anthology(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._anthology.ping()
        except (AnthologyError, TimeoutError):
            return False
        return True
