"""Updates reach a durable inbox before Telegram forgets them.

The library's own polling confirms updates while they wait in memory, so that a killed process
loses them. Here a raw update is in Redis before the offset moves past it, and stays there until it
was dealt with. After a quiet week, ids may start anew anywhere.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import httpx
import structlog
from redis.exceptions import RedisError

from bot.errors import InboxError, PollerConflictError, PollFailedError, TokenRefusedError
from bot.inbox import Inbox
from bot.telegram.updates import KINDS

POLL_S = 25
"""How long Telegram holds a request open while nothing comes."""
BACKLOG_MAX = 10_000
"""Updates in the inbox beyond which Telegram, which has more room, keeps what is new."""
REST_AFTER_S = 0.5
"""How long Redis may take to store updates before those who sent them are told."""

_LOOK_S = 0.25
_BATCH = 100
_BACKOFF_S = (1.0, 30.0)

Tell = Callable[[dict[str, Any]], Awaitable[None]]
"""Tells whoever sent an update that it has to wait."""

log = structlog.get_logger(__name__)


async def _tell_nobody(_update: dict[str, Any]) -> None:
    pass


class Poller:
    """Fetches updates into the inbox, for as long as nobody else does."""

    def __init__(
        self,
        inbox: Inbox,
        http: httpx.AsyncClient,
        *,
        tell: Tell = _tell_nobody,
        poll_s: int = POLL_S,
    ) -> None:
        """`http` has the bot's own address, with the token in it, as its base.

        While Redis is away, `tell` hears of every update, and of one that waits long many times.
        """
        self._inbox = inbox
        self._http = http
        self._tell = tell
        self._poll_s = poll_s
        self._offset: int | None = None

    async def run(self) -> None:
        """Fetch until cancelled.

        Raises:
            PollerConflictError: another program polls with this token.
            TokenRefusedError: Telegram does not know the token.
        """
        pause_s = _BACKOFF_S[0]
        while True:
            try:
                await self.poll()
                pause_s = _BACKOFF_S[0]
            except PollFailedError as error:
                log.warning("↻ poll failed", action="poll.again", error=str(error))
                await asyncio.sleep(error.retry_after_s or pause_s)
                pause_s = min(pause_s * 2, _BACKOFF_S[1])

    async def poll(self) -> None:
        """Fetch once.

        The offset confirms what has been stored. It is dropped once Telegram has nothing more,
        which is as good, and leaves ids free to start anew anywhere.
        """
        updates = await self._fetch()
        if not updates:
            self._offset = None
            return
        backlog = await self._store(updates)
        self._offset = max(update["update_id"] for update in updates) + 1
        log.debug("updates", action="poll", count=len(updates), backlog=backlog)
        if backlog > BACKLOG_MAX:
            raise PollFailedError("the inbox is full", retry_after_s=_BACKOFF_S[0])

    async def _store(self, updates: list[dict[str, Any]]) -> int:
        """Store updates, however long it takes; how many the inbox holds then.

        Meanwhile Telegram is asked for more, but only to tell those who sent them: nothing that is
        not stored may be confirmed.
        """
        storing = asyncio.create_task(
            self._inbox.store({update["update_id"]: update for update in updates})
        )
        try:
            await asyncio.wait([storing], timeout=REST_AFTER_S)
            while not storing.done():
                await self._tell_all(updates)
                await asyncio.wait([storing], timeout=_LOOK_S)
                updates = await self._fetch()
            return storing.result()
        except RedisError as error:
            await self._tell_all(updates)
            raise PollFailedError(f"no inbox: {type(error).__name__}") from error
        finally:
            storing.cancel()

    async def _tell_all(self, updates: list[dict[str, Any]]) -> None:
        for update in updates:
            await self._tell(update)

    async def _fetch(self) -> list[dict[str, Any]]:
        parameters = {
            "timeout": self._poll_s,
            "limit": _BATCH,
            "allowed_updates": list(KINDS),
        } | ({} if self._offset is None else {"offset": self._offset})
        try:
            answer = await self._http.post("getUpdates", json=parameters)
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            # Without its text, which names the address: the token is part of that.
            raise PollFailedError(type(error).__name__) from None
        if answer.status_code != HTTPStatus.OK or not isinstance(body, dict):
            raise _poll_error(answer.status_code, body)
        return [
            update
            for update in body.get("result", ())
            if isinstance(update, dict) and isinstance(update.get("update_id"), int)
        ]


def _poll_error(status: int, body: object) -> InboxError:
    if status == HTTPStatus.CONFLICT:
        return PollerConflictError()
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND):
        return TokenRefusedError()
    parameters = body.get("parameters") if isinstance(body, dict) else None
    retry_after_s = parameters.get("retry_after") if isinstance(parameters, dict) else None
    return PollFailedError(f"HTTP {status}", retry_after_s=retry_after_s)
