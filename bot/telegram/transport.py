"""Requests to Telegram, each of them counted by how it was answered."""

from typing import Any

import httpx
from telegram.error import NetworkError
from telegram.request import HTTPXRequest

from bot.metrics import Metrics


class CountedRequest(HTTPXRequest):
    """The library's way to Telegram."""

    def __init__(self, metrics: Metrics, **how: Any) -> None:
        """Count in `metrics`; `how` is what the library's own takes."""
        super().__init__(**how)
        self._metrics = metrics

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        """Make one request; raises as the library's own."""
        try:
            status, body = await super().do_request(*args, **kwargs)
        except NetworkError:
            self._metrics.count_request(None)
            raise
        self._metrics.count_request(status)
        return status, body


class CountedClient(httpx.AsyncClient):
    """Our own way, by which updates come."""

    def __init__(self, metrics: Metrics, **how: Any) -> None:
        """Count in `metrics`; `how` is what httpx's own takes."""
        super().__init__(**how)
        self._metrics = metrics

    async def send(self, *args: Any, **kwargs: Any) -> httpx.Response:
        """Make one request; raises as httpx's own."""
        try:
            answer = await super().send(*args, **kwargs)
        except httpx.HTTPError:
            self._metrics.count_request(None)
            raise
        self._metrics.count_request(answer.status_code)
        return answer
