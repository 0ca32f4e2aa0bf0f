"""A bad line between a client and a server on loopback: answers come late, in half, or never."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp import ClientSession, web


class Trouble(StrEnum):
    """What befalls a request."""

    SLOW = "slow"
    """The answer comes late."""
    LOST = "lost"
    """The connection breaks before the server hears of it."""
    CUT = "cut"
    """The server does as it is asked, and the connection breaks before it can say so."""
    HALF = "half"
    """The server does as it is asked, and the answer breaks off in the middle."""


@dataclass(kw_only=True)
class BadLine:
    """The line; one in so many requests gets into trouble."""

    server: str
    """The address behind it."""
    chance: random.Random
    """Decides what befalls whom."""
    share: float = 0.5
    """Of requests that get into trouble."""
    slow_s: float = 0.5
    """How late an answer comes."""
    url: str = ""
    """Where clients connect."""
    met: Counter[Trouble] = field(default_factory=Counter)
    """What befell how many."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["BadLine"]:
        """Listen on a free port of loopback."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._carry)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ClientSession() as self._session:
            try:
                yield self
            finally:
                await runner.cleanup()

    async def _carry(self, request: web.Request) -> web.StreamResponse:
        trouble = self._befalls()
        if trouble is Trouble.LOST:
            return _break_off(request)
        headers = {"Content-Type": request.headers.get("Content-Type", "")}
        async with self._session.request(
            request.method,
            f"{self.server}{request.rel_url}",
            data=await request.read(),
            headers=headers,
        ) as answer:
            body, status = await answer.read(), answer.status
        if trouble is Trouble.CUT:
            return _break_off(request)
        if trouble is Trouble.SLOW:
            await asyncio.sleep(self.slow_s)
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        if trouble is Trouble.HALF:
            await response.write(body[: len(body) // 2])
            return _break_off(request, response)
        await response.write(body)
        await response.write_eof()
        return response

    def _befalls(self) -> Trouble | None:
        if self.chance.random() >= self.share:
            return None
        trouble = self.chance.choice(list(Trouble))
        self.met[trouble] += 1
        return trouble


def _break_off(
    request: web.Request, response: web.StreamResponse | None = None
) -> web.StreamResponse:
    """Break the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()
