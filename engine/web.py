"""What a process answers by HTTP: how it fares, and the calls of a platform that calls us.

A small ASGI application of our own, served by uvicorn. Of what it refuses it keeps nothing: a body
is read only once its sender is known, no further than `BODY_MAX`, and never written to a log.
Encryption, and patience with clients that dawdle, are the business of the proxy in front.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
import uvicorn

from engine.settings import SettingsError

BODY_MAX = 1 << 20
"""Bytes of a body that are read; the largest update that Telegram writes is a tenth of it."""
BODY_S = 10.0
"""How long a body may take to arrive."""
CONNECTIONS_MAX = 256
"""Connections beyond which a request is answered 503."""

_STOP_S = 5
"""How long requests under way may hold up the end."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

log = structlog.get_logger(__name__)


class RequestError(Exception):
    """A request that is refused, with `status` and, where asking again helps, the seconds until."""

    def __init__(self, status: HTTPStatus, *, retry_after_s: int | None = None) -> None:
        super().__init__(status.phrase)
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, its body not read yet."""

    headers: Mapping[bytes, bytes]
    """Its headers; names in lower case, and of one that comes twice the last."""
    receive: Receive
    """Where the body comes from."""

    async def body(self) -> bytes:
        """All of the body.

        Raises:
            RequestError: it is longer than `BODY_MAX`, slower than `BODY_S`, or breaks off.
        """
        if int(self.headers.get(b"content-length", 0)) > BODY_MAX:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            async with asyncio.timeout(BODY_S):
                return b"".join([part async for part in self._parts()])
        except TimeoutError:
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT) from None

    async def _parts(self) -> AsyncIterator[bytes]:
        size, more = 0, True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise RequestError(HTTPStatus.BAD_REQUEST)
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size > BODY_MAX:
                # A length need not be announced, nor the truth.
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            yield part


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a request gets."""

    status: HTTPStatus = HTTPStatus.OK
    """Whether it succeeded."""
    body: bytes = b""
    """What it is told."""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    """Headers beside those that every answer has."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """What is done at one path."""

    methods: tuple[str, ...]
    """The only methods that it knows."""
    answer: Callable[[Request], Awaitable[Answer]]
    """How it answers; may raise RequestError."""


class App:
    """An ASGI application of a few fixed paths."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        """Answer at the paths that `routes` names, and at no other."""
        self._routes = routes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        try:
            answer = await self._answer(scope, receive)
        except RequestError as error:
            log.debug("← refused", action="http.refuse", status=error.status)
            answer = _refusal(error)
        except Exception as error:
            # Only its name: an error's text may quote what a person wrote.
            log.error("! request failed", action="http.fail", error=type(error).__name__)
            answer = _refusal(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR))
        headers = {b"content-length": b"%d" % len(answer.body), **answer.headers}
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": list(headers.items()),
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        route = self._routes.get(scope["path"])
        if route is None:
            raise RequestError(HTTPStatus.NOT_FOUND)
        if scope["method"] not in route.methods:
            raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED)
        return await route.answer(Request(headers=dict(scope["headers"]), receive=receive))


def _refusal(error: RequestError) -> Answer:
    """The answer to what is refused; it ends the connection, so that no body need be read."""
    headers = {b"connection": b"close"}
    if error.retry_after_s is not None:
        headers[b"retry-after"] = b"%d" % error.retry_after_s
    return Answer(status=error.status, headers=headers)


class _Server(uvicorn.Server):
    """A server that leaves signals to the program that it is a part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def listening(address: str, app: App) -> AsyncIterator[None]:
    """Serve `app` at `address`, as `host:port`; in the end, requests under way are answered first.

    Raises:
        SettingsError: nobody can listen there.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=_STOP_S,
        )
    )
    with _listener(address) as listener:
        log.info("listens", action="http.listen", address=listener.getsockname())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


def _listener(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family)
    except OSError as error:
        raise SettingsError(f"YUEFU_LISTEN: {address}: {error.strerror}") from None
