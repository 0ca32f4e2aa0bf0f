"""Telegram calls us: each call is in the durable inbox before it is answered.

What is not answered with success Telegram repeats, in the order of each chat, until it succeeds or
a day has passed; what comes twice the inbox knows. So a call is refused whenever it cannot be kept.
"""

import asyncio
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import structlog
from redis.exceptions import RedisError
from telegram import Bot
from telegram.error import InvalidToken, TelegramError

from bot.errors import TokenRefusedError
from bot.inbox import Inbox
from bot.telegram.inbox import BACKLOG_MAX
from bot.telegram.updates import KINDS
from engine.client import ANSWER_S
from engine.web import Answer, Request, RequestError, Route

PATH = "/telegram"
"""Where Telegram calls, below the public address."""
MAX_CONNECTIONS = 20
"""Calls that Telegram makes at once; those of one chat it makes one after the other."""
LOOK_S = 60.0
"""How often Telegram is asked how its calls fare."""

_RETRY_AFTER_S = 5
_AGAIN_S = 5.0

log = structlog.get_logger(__name__)


class Webhook:
    """Takes Telegram's calls. It knows no lease: any process may take what one of them handles."""

    def __init__(self, inbox: Inbox, secret: str) -> None:
        """Keep in `inbox` what comes with `secret`."""
        self._inbox = inbox
        self._secret = secret.encode()

    @property
    def routes(self) -> Mapping[str, Route]:
        """Where it is called."""
        return {PATH: Route(methods=("POST",), answer=self._take)}

    async def _take(self, request: Request) -> Answer:
        given = request.headers.get(b"x-telegram-bot-api-secret-token", b"")
        if not (given and hmac.compare_digest(given, self._secret)):
            raise RequestError(HTTPStatus.FORBIDDEN)
        kind = request.headers.get(b"content-type", b"").partition(b";")[0]
        if kind.strip().lower() != b"application/json":
            raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        await self._keep(_update(await request.body()))
        # Without a body: Telegram would take one for a request of ours.
        return Answer()

    async def _keep(self, update: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                backlog = await self._inbox.backlog()
                if backlog < BACKLOG_MAX:
                    await self._inbox.store({update["update_id"]: update})
        except (TimeoutError, RedisError) as error:
            log.warning("! no inbox", action="webhook.away", error=type(error).__name__)
            raise _later() from None
        if backlog >= BACKLOG_MAX:
            log.warning("! the inbox is full", action="webhook.full", backlog=backlog)
            raise _later()


def _later() -> RequestError:
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=_RETRY_AFTER_S)


def _update(body: bytes) -> dict[str, Any]:
    """The update in a call."""
    try:
        update = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(HTTPStatus.BAD_REQUEST) from None
    if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
        raise RequestError(HTTPStatus.BAD_REQUEST)
    return update


class Registration:
    """Sees to it that Telegram calls us, and hears from it why a call failed."""

    def __init__(self, bot: Bot, *, url: str, secret: str) -> None:
        """Have Telegram call at `url`, the public address, and bring `secret`."""
        self._bot = bot
        self._url = f"{url}{PATH}"
        self._secret = secret
        self._heard = datetime.now(UTC)

    async def run(self) -> None:
        """Register, and look after it until cancelled.

        Raises:
            TokenRefusedError: Telegram does not know the token.
        """
        step = self._register
        while True:
            pause_s = LOOK_S
            try:
                await step()
                step = self._look
            except InvalidToken:
                # Its own text quotes the token.
                raise TokenRefusedError from None
            except TelegramError as error:
                # Also what it does not like about the address: the proxy may yet come up.
                log.error("↻ no webhook", action="webhook.again", why=error.message)
                pause_s = _AGAIN_S
            await asyncio.sleep(pause_s)

    async def _register(self) -> None:
        await self._bot.set_webhook(
            self._url,
            secret_token=self._secret,
            allowed_updates=KINDS,
            max_connections=MAX_CONNECTIONS,
            drop_pending_updates=False,
        )
        log.info("Telegram calls us", action="webhook.set", url=self._url)

    async def _look(self) -> None:
        """Register anew if another program took our place; log what Telegram complains about."""
        info = await self._bot.get_webhook_info()
        if info.url != self._url:
            log.error("! another program uses this token", action="webhook.lost")
            await self._register()
        elif info.last_error_date is not None and info.last_error_date > self._heard:
            self._heard = info.last_error_date
            log.warning(
                "! Telegram's calls fail",
                action="webhook.complaint",
                why=info.last_error_message,
                pending=info.pending_update_count,
            )
