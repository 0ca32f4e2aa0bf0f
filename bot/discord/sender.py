"""Messages go out through the library, and its errors become ours.

An answer takes the place of "Yuefu is thinking…", which is an edit: made twice it is made once. A
message of its own in a channel carries a nonce, by which Discord knows it again. So both are tried
again when nobody can tell whether they arrived. A follow-up has neither, and is not.
"""

import asyncio
from contextlib import suppress
from hashlib import blake2b
from typing import Final, cast

import discord
import structlog
from aiohttp import ClientConnectorError
from discord import HTTPException, NotFound, RateLimited, Webhook, WebhookType
from redis.asyncio import Redis

from bot import keys
from bot.cards.easel import Easel, excuse
from bot.discord.client import FAULTS, DiscordClient
from bot.discord.interactions import channel_of
from bot.discord.look import Look
from bot.discord.menu import PLATFORM
from bot.discord.ticket import Ticket, Tickets
from bot.errors import (
    BlockedError,
    CardError,
    MaybeShownError,
    NotShownError,
    SendError,
    UndeliverableError,
)
from bot.language import Language
from bot.mark import mark_once
from bot.message import Message

SEND_S = 60.0
"""How long one request may take, with what the library waits because Discord asks for it."""

_ORIGINAL = cast("int", "@original")
"""Discord's name for the message that answers an interaction, where a number could stand."""
_AGAIN_S = 1.0
_REFUSED_TOKEN_S = 5.0
_FLOODED_S = 5.0
_UNKNOWN_WEBHOOK: Final = 10015
_INVALID_WEBHOOK_TOKEN: Final = 50027
_TICKET_ENDED = frozenset({_UNKNOWN_WEBHOOK, _INVALID_WEBHOOK_TOKEN})
"""Discord's codes for an interaction that it no longer takes an answer to, or never knew we had."""
_ACCESS_REFUSED = frozenset({50001, 50007, 50013})
"""Its codes for a channel, or a person, that takes no messages from us."""
_UNKNOWN_CHANNEL: Final = 10003
"""Its code for a channel that is no more."""

log = structlog.get_logger(__name__)


class DiscordSender:
    """Shows messages on Discord, whose limits the library keeps."""

    def __init__(self, client: DiscordClient, tickets: Tickets, redis: Redis, easel: Easel) -> None:
        """Send as `client`, by `tickets` where there are; `redis` remembers what refuses us."""
        self._client = client
        self._easel = easel
        self._tickets = tickets
        self._redis = redis

    async def wait_turn(self, message: Message) -> None:
        """Wait until Discord has heard that we have what `message` answers."""
        await self._client.acknowledged(message.id.partition("/")[0])

    async def send(self, message: Message) -> int | None:
        """Show `message`; raises as `dispatch.Sender` says."""
        if message.answers is not None and not message.text:
            # That we have the tap is all there is to say, and it was said.
            return None
        ticket = await self._tickets.find(message)
        look = await self._look_of(message)
        try:
            async with asyncio.timeout(SEND_S):
                answer = None if ticket is None else await self._answer(message, look, ticket)
                return (answer or await self._post(message, look)).id
        except FAULTS as error:
            if getattr(error, "code", None) in _ACCESS_REFUSED:
                await self._note_refusal(message.address.chat)
            raise _send_error(error, repeatable=not _is_follow_up(message, ticket)) from error

    async def _look_of(self, message: Message) -> Look:
        """What `message` shows: a card as a picture, where it can be drawn."""
        if message.chart is not None:
            picture = await self._easel.draw_chart(message.chart)
            return Look(text=message.text, picture=picture, buttons=message.buttons)
        if message.card is None:
            return Look(text=message.text, attachment=message.attachment, buttons=message.buttons)
        try:
            picture = await self._easel.draw(message.card)
        except CardError as error:
            log.warning("! no card", action="card.draw", error=str(error))
            sorry = excuse(error, message.language or Language.EN)
            return Look(text=f"{message.text}\n\n{sorry}", buttons=message.buttons)
        return Look(picture=picture, description=message.text, buttons=message.buttons)

    async def _answer(self, message: Message, look: Look, ticket: Ticket) -> discord.Message | None:
        """Answer the interaction itself; None if Discord does not take that, or not any more."""
        webhook = Webhook.partial(ticket.application, ticket.token, client=self._client)
        # The library's word for those who answer interactions; else it allows no private answer.
        webhook.type = WebhookType.application
        try:
            if _is_follow_up(message, ticket):
                return await _follow_up(webhook, message, look, ticket)
            if message.edits in (None, ticket.message):
                return await webhook.edit_message(_ORIGINAL, **look.changes())
        except HTTPException as error:
            if error.code not in _TICKET_ENDED:
                raise
        return None

    async def _post(self, message: Message, look: Look) -> discord.Message:
        """Show `message` in its channel, where only those can who were let in."""
        if _is_private(message):
            raise UndeliverableError("nobody can be told alone any more")
        channel = self._client.get_partial_messageable(channel_of(message.address))
        if message.edits is not None:
            return await channel.get_partial_message(message.edits).edit(**look.changes())
        return await channel.send(nonce=_nonce(message), **look.new())

    async def _note_refusal(self, chat: str) -> None:
        """One line a day for a channel that we may not write in."""
        key = keys.refused(PLATFORM, chat)
        if await mark_once(self._redis, key, ttl_s=keys.REFUSED_TTL_S):
            # Which it is, whoever dispatches the message has told the log.
            log.warning("! the chat refuses us", action="send.forbidden")


def _is_follow_up(message: Message, ticket: Ticket | None) -> bool:
    """Whether `message` comes after the one answer that every interaction has."""
    if ticket is None or message.edits is not None:
        return False
    return _is_private(message) or ticket.message is not None or "/" in message.id


def _is_private(message: Message) -> bool:
    """Whether nobody else may see it."""
    return message.private or message.answers is not None


async def _follow_up(
    webhook: Webhook, message: Message, look: Look, ticket: Ticket
) -> discord.Message:
    """Show `message` after the one answer, or instead of it where that is for everybody."""
    private = _is_private(message)
    if private and ticket.message is None and "/" not in message.id:
        with suppress(NotFound):
            await webhook.delete_message(_ORIGINAL)
    sent: discord.Message = await webhook.send(ephemeral=private, **look.new())
    return sent


def _nonce(message: Message) -> str:
    """The same for the same message; Discord admits 25 characters."""
    return blake2b(message.id.encode(), digest_size=12).hexdigest()


def _send_error(error: Exception, *, repeatable: bool) -> SendError:
    """What the library's `error` means for a message that may be sent twice, or may not."""
    match error:
        case RateLimited():
            return NotShownError("too many requests", retry_after_s=error.retry_after)
        case HTTPException(status=429):
            return NotShownError("too many requests", retry_after_s=_wait_asked(error))
        case HTTPException(status=401):
            # The gateway meets this too, and ends the bot; the message waits for the next one.
            return NotShownError("token refused", retry_after_s=_REFUSED_TOKEN_S)
        case HTTPException() if error.status < 500:
            blocked = error.code in {*_ACCESS_REFUSED, _UNKNOWN_CHANNEL}
            refusal = BlockedError if blocked else UndeliverableError
            return refusal(f"HTTP {error.status}, code {error.code}")
        case _ if repeatable or isinstance(error, ClientConnectorError):
            return NotShownError(type(error).__name__, retry_after_s=_AGAIN_S)
        case _:
            return MaybeShownError(type(error).__name__)


def _wait_asked(error: HTTPException) -> float:
    """The seconds that Discord, or whoever guards it, asks us to wait."""
    try:
        return float(error.response.headers["Retry-After"])
    except (KeyError, ValueError):
        return _FLOODED_S
