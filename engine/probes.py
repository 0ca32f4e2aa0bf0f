"""How a process fares, for whoever restarts it, sends it requests, or draws its curves.

    /healthz    200 while the process does its work, else 503
    /readyz     200 while all that it stands on is there, too, else 503; and which part is
    /metrics    its figures, as Prometheus reads them

All three tell nothing of people.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from engine.web import Answer, Request, Route

Parts = Callable[[], Awaitable[Mapping[str, bool]]]
"""Asks each part that a process is made of or stands on whether it is there."""

_READ = ("GET", "HEAD")


async def _itself() -> Mapping[str, bool]:
    """No part but the process, which lives if it answers at all."""
    return {}


async def _nothing() -> None:
    """What is told is up to date already."""


def routes(
    *,
    registry: CollectorRegistry,
    ready: Parts,
    lives: Parts = _itself,
    refresh: Callable[[], Awaitable[None]] = _nothing,
) -> dict[str, Route]:
    """Where a process is asked how it fares.

    Args:
        registry: Its metrics.
        ready: The parts without which it is not to be sent requests.
        lives: The parts without which it is to be restarted.
        refresh: Brings up to date what `registry` tells, and raises nothing.
    """

    async def metrics(request: Request) -> Answer:
        await refresh()
        encode, kind = choose_encoder(request.headers.get(b"accept", b"").decode("latin-1"))
        return Answer(body=encode(registry), headers={b"content-type": kind.encode()})

    return {
        "/healthz": _probe(lives),
        "/readyz": _probe(ready),
        "/metrics": Route(methods=_READ, answer=metrics),
    }


def _probe(parts: Parts) -> Route:
    async def answer(_request: Request) -> Answer:
        found = await parts()
        return Answer(
            status=HTTPStatus.OK if all(found.values()) else HTTPStatus.SERVICE_UNAVAILABLE,
            body=json.dumps(found).encode(),
            headers={b"content-type": b"application/json"},
        )

    return Route(methods=_READ, answer=answer)
