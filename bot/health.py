"""How the bot fares, for whoever restarts it or sends it requests.

    /healthz    200 while the process answers at all
    /readyz     200 while Redis, an engine and the anthology answer too, else 503; and which do

Both tell nothing of people, and ask nothing of the platform.
"""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus

from redis.asyncio import Redis

from bot.anthology import Anthology
from bot.errors import AnthologyError
from engine.client import ANSWER_S, EngineClient, EngineUnavailableError
from engine.web import Answer, Request, Route

_READ = ("GET", "HEAD")


class Health:
    """Asks all that a chat stands on whether it is there."""

    def __init__(self, redis: Redis, anthology: Anthology) -> None:
        """Ask these; and by way of Redis, the engine."""
        self._engine = EngineClient(redis)
        self._anthology = anthology

    @property
    def routes(self) -> Mapping[str, Route]:
        """Where it is asked."""
        return {
            "/healthz": Route(methods=_READ, answer=self._live),
            "/readyz": Route(methods=_READ, answer=self._ready),
        }

    async def _live(self, _request: Request) -> Answer:
        return Answer()

    async def _ready(self, _request: Request) -> Answer:
        queue, anthology = await asyncio.gather(self._ask_queue(), self._ask_anthology())
        answers = queue | {"anthology": anthology}
        return Answer(
            status=HTTPStatus.OK if all(answers.values()) else HTTPStatus.SERVICE_UNAVAILABLE,
            body=json.dumps(answers).encode(),
            headers={b"content-type": b"application/json"},
        )

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
