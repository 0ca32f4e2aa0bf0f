"""Messages go out through the library, and its errors become ours.

Telegram knows no idempotency key, so what went wrong decides whether to try again: a connection
that was never made, and "too many requests", are safe; a timeout may mean delivered.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import structlog
from redis.asyncio import Redis
from telegram import (
    Bot,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputFile,
    LinkPreviewOptions,
    ReplyParameters,
)
from telegram.constants import ChatAction
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)

from bot import keys
from bot.budget import Allowance, Budget, Pace
from bot.cards.card import Card
from bot.cards.chart import Chart
from bot.cards.easel import Easel, excuse
from bot.errors import (
    BlockedError,
    CardError,
    ChatMovedError,
    MaybeShownError,
    NotShownError,
    SendError,
    UndeliverableError,
)
from bot.language import Language
from bot.mark import mark, mark_once
from bot.message import Address, Attachment, Button, Message
from bot.telegram.shape import entities_of
from bot.telegram.updates import PLATFORM, chat_id_of, chat_name

ALLOWANCE = Allowance(
    everywhere=Pace(every_ms=40, burst=5),
    chat=Pace(every_ms=1000, burst=3),
    group=Pace(every_ms=5000, burst=8),
)
"""Telegram's limits: about 30 messages a second, 1 a second in a chat but for short bursts, 20 a
minute in a group. Paces are a little slower, so that a burst and what follows it keep them too."""

_ROW_MAX = 8
_RECONNECT_S = 1.0
_REFUSED_TOKEN_S = 5.0
# Nobody misses a sign that comes too late, but others wait for theirs.
_TYPING_TIMEOUT_S = 2.0
_NOT_MODIFIED = "message is not modified"
"""Said of an edit that was made before."""
_TAKES_NONE = (
    "chat not found",
    "chat_write_forbidden",
    "group chat was deactivated",
    "have no rights to send",
    "message thread not found",
    "need administrator rights",
    "not enough rights to send",
    "topic_closed",
)
"""In refusals of a message: its chat or topic would refuse any other."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

log = structlog.get_logger(__name__)


class TelegramSender:
    """Shows messages on Telegram, and that we type."""

    def __init__(self, bot: Bot, redis: Redis, easel: Easel) -> None:
        """Send as `bot`; `redis` remembers what was sent, cards too, and which chats refuse us."""
        self._bot = bot
        self._redis = redis
        self._easel = easel
        self._budget = Budget(redis, PLATFORM, ALLOWANCE)

    async def wait_turn(self, message: Message) -> None:
        """Wait until `message` is within Telegram's limits."""
        if message.answers is not None:
            # It shows no message; and whoever tapped sees a button that waits.
            return
        chat = message.address.chat
        await self._budget.wait(chat, group=_is_group(chat))

    async def send(self, message: Message) -> int | None:
        """Show `message`; raises as `dispatch.Sender` says."""
        chat_id = chat_id_of(message.address.chat)
        try:
            if message.answers is not None:
                await self._bot.answer_callback_query(
                    message.answers, text=message.text or None, show_alert=message.alert
                )
                return None
            if message.edits is not None:
                await self._edit(chat_id, message, message.edits)
                return message.edits
            if message.card is not None:
                return await self._send_card(chat_id, message, message.card)
            if message.chart is not None:
                return await self._send_chart(chat_id, message, message.chart)
            return await self._send(chat_id, message)
        except TelegramError as error:
            if isinstance(error, Forbidden):
                await self._note_refusal(message.address.chat)
            raise _send_error(error) from error

    async def type(self, address: Address) -> None:
        """Show that we type; raises as `presence.Typist` says."""
        if not await self._budget.spare(address.chat, group=_is_group(address.chat)):
            return
        try:
            await self._bot.send_chat_action(
                chat_id=chat_id_of(address.chat),
                action=ChatAction.TYPING,
                message_thread_id=address.thread,
                read_timeout=_TYPING_TIMEOUT_S,
            )
        except TelegramError as error:
            raise _send_error(error) from error

    async def _send(self, chat_id: int, message: Message) -> int:
        if message.attachment is not None:
            return await self._send_file(chat_id, message, message.attachment)
        sent = await self._bot.send_message(
            chat_id=chat_id,
            text=message.text,
            entities=entities_of(message.text, message.spans),
            message_thread_id=message.address.thread,
            link_preview_options=LinkPreviewOptions(is_disabled=True),
            reply_parameters=_reply_to(message.address.reply_to),
            reply_markup=_keyboard(message.buttons),
        )
        return sent.message_id

    async def _send_file(self, chat_id: int, message: Message, file: Attachment) -> int:
        sent = await self._bot.send_document(
            chat_id=chat_id,
            document=InputFile(file.text.encode(), filename=file.name),
            caption=message.text,
            message_thread_id=message.address.thread,
            reply_parameters=_reply_to(message.address.reply_to),
            reply_markup=_keyboard(message.buttons),
        )
        return sent.message_id

    async def _send_card(self, chat_id: int, message: Message, card: Card) -> int:
        """Show a card; as a file that Telegram has already, where it was sent before."""
        key = keys.card(PLATFORM, card.key)
        known: Any = await self._redis.get(key)
        if known:
            try:
                return await self._send_photo(chat_id, message, known.decode(), key)
            except BadRequest as error:
                # The file was another bot's, or is gone; what else is wrong will be again.
                log.info("↻ card", action="card.again", error=error.message)
        try:
            return await self._send_photo(chat_id, message, await self._easel.draw(card), key)
        except CardError as error:
            log.warning("! no card", action="card.draw", error=str(error))
            sorry = excuse(error, message.language or Language.EN)
            return await self._send(chat_id, replace(message, text=f"{message.text}\n\n{sorry}"))
        except BadRequest as error:
            # A group may let nobody send pictures.
            log.info("! no card", action="card.refused", error=error.message)
            return await self._send(chat_id, message)

    async def _send_photo(
        self, chat_id: int, message: Message, photo: str | bytes, key: str
    ) -> int:
        """Show a picture, and remember under `key` under which name Telegram has it."""
        sent = await self._bot.send_photo(
            chat_id=chat_id,
            photo=photo,
            message_thread_id=message.address.thread,
            reply_parameters=_reply_to(message.address.reply_to),
            reply_markup=_keyboard(message.buttons),
        )
        await mark(self._redis, key, sent.photo[-1].file_id, ttl_s=keys.CARD_TTL_S)
        return sent.message_id

    async def _send_chart(self, chat_id: int, message: Message, chart: Chart) -> int:
        sent = await self._bot.send_photo(
            chat_id=chat_id,
            photo=await self._easel.draw_chart(chart),
            caption=message.text,
            message_thread_id=message.address.thread,
            reply_parameters=_reply_to(message.address.reply_to),
        )
        return sent.message_id

    async def _edit(self, chat_id: int, message: Message, edits: int) -> None:
        keyboard = _keyboard(message.buttons)
        try:
            if message.text:
                await self._bot.edit_message_text(
                    chat_id=chat_id,
                    message_id=edits,
                    text=message.text,
                    entities=entities_of(message.text, message.spans),
                    link_preview_options=LinkPreviewOptions(is_disabled=True),
                    reply_markup=keyboard,
                )
            else:
                await self._bot.edit_message_reply_markup(
                    chat_id=chat_id, message_id=edits, reply_markup=keyboard
                )
        except BadRequest as error:
            if _NOT_MODIFIED not in error.message.casefold():
                raise

    async def _note_refusal(self, chat: str) -> None:
        """One line a day for a chat that blocked us or threw us out."""
        key = keys.refused(PLATFORM, chat)
        if await mark_once(self._redis, key, ttl_s=keys.REFUSED_TTL_S):
            # Which it is, whoever dispatches the message has told the log.
            log.warning("! the chat refuses us", action="send.forbidden")


def _reply_to(message: int | None) -> ReplyParameters | None:
    """The message to answer, which may be gone by now."""
    if message is None:
        return None
    return ReplyParameters(message_id=message, allow_sending_without_reply=True)


def _is_group(chat: str) -> bool:
    """Whether Telegram's limits of groups hold: for channels, which look the same, they do too."""
    return chat_id_of(chat) < 0


def _keyboard(buttons: Sequence[Button]) -> InlineKeyboardMarkup | None:
    """The buttons, as many in a row as Telegram shows."""
    keys = [InlineKeyboardButton(button.label, callback_data=button.data) for button in buttons]
    rows = [keys[start : start + _ROW_MAX] for start in range(0, len(keys), _ROW_MAX)]
    return InlineKeyboardMarkup(rows) if rows else None


def _send_error(error: TelegramError) -> SendError:
    """What the library's `error` means for a message."""
    match error:
        case RetryAfter():
            return NotShownError("too many requests", retry_after_s=seconds_of(error))
        case ChatMigrated():
            return ChatMovedError(chat_name(error.new_chat_id))
        case InvalidToken():
            # The poller meets this too, and ends the bot; the message waits for the next one.
            return NotShownError("token refused", retry_after_s=_REFUSED_TOKEN_S)
        case BadRequest() | Forbidden():
            return _refusal(error)
        case NetworkError() if isinstance(error.__cause__, _NEVER_SENT):
            return NotShownError(type(error.__cause__).__name__, retry_after_s=_RECONNECT_S)
        case _:
            return MaybeShownError(type(error.__cause__ or error).__name__)


def _refusal(error: BadRequest | Forbidden) -> UndeliverableError:
    text = error.message.casefold()
    if isinstance(error, Forbidden) or any(words in text for words in _TAKES_NONE):
        return BlockedError(error.message)
    return UndeliverableError(error.message)


def seconds_of(error: RetryAfter) -> float:
    """How long Telegram asks us to wait."""
    wait = error.retry_after
    return float(wait) if isinstance(wait, int) else wait.total_seconds()
