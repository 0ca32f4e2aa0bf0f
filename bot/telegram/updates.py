"""A raw update becomes an incoming line or a tap, by the library's own reading of it."""

import json
from dataclasses import dataclass

from telegram import Bot, CallbackQuery, Message, Update
from telegram.constants import ChatType

from bot.language import Language, language_of
from bot.message import Address, Incoming, Tap
from engine.verse.script import is_han

PLATFORM = "telegram"


class UnreadableUpdateError(ValueError):
    """An update that cannot be read; its text says why and nothing of the update."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A group became a supergroup, and so has a new id."""

    old: str
    """The chat as it was known."""
    new: str
    """The chat as it is known now."""


def chat_name(chat_id: int) -> str:
    """A Telegram chat as the rest of the bot names it."""
    return f"{PLATFORM}:{chat_id}"


def chat_id_of(chat: str) -> int:
    """The inverse of `chat_name`."""
    return int(chat.removeprefix(f"{PLATFORM}:"))


def read_update(raw: bytes, bot: Bot) -> Incoming | Tap | Migration | None:
    """What a raw update means; None where it means nothing to us.

    Each update is read by itself, so that one that cannot be does not take others with it.

    Raises:
        UnreadableUpdateError: it is not JSON, or no update that the library knows.
    """
    try:
        update = Update.de_json(json.loads(raw), bot)
    except Exception as error:
        # The library's readers promise nothing about what they raise, and say what they read.
        raise UnreadableUpdateError(type(error).__name__) from None
    if update.callback_query is not None:
        return _tap(update.update_id, update.callback_query)
    message = update.message or update.channel_post
    if message is None:
        return None
    if message.migrate_to_chat_id is not None:
        return Migration(old=chat_name(message.chat_id), new=chat_name(message.migrate_to_chat_id))
    return None if message.text is None else _incoming(update.update_id, message, message.text)


def _incoming(update_id: int, message: Message, text: str) -> Incoming:
    direct = message.chat.type == ChatType.PRIVATE
    return Incoming(
        cause=f"tg:{update_id}",
        address=Address(
            chat=chat_name(message.chat_id),
            # Outside forums the field names a thread of replies, in which nobody can send.
            thread=message.message_thread_id if message.is_topic_message else None,
            reply_to=None if direct else message.message_id,
        ),
        text=text,
        language=_language(message, text),
        direct=direct,
        quoted=_quoted(message),
    )


def _quoted(message: Message) -> str | None:
    """What `message` replies to; of a message in another chat only the part that was quoted."""
    if message.reply_to_message is not None:
        return message.reply_to_message.text or message.reply_to_message.caption
    return message.quote.text if message.quote is not None else None


def _tap(update_id: int, query: CallbackQuery) -> Tap:
    # Of a message that is too old Telegram still tells chat and number. Only of one that was sent
    # by way of another bot's keyboard it tells neither.
    message = query.message
    return Tap(
        cause=f"tg:{update_id}",
        address=Address(chat=chat_name(message.chat.id if message else query.from_user.id)),
        language=language_of(query.from_user.language_code),
        id=query.id,
        data=query.data or "",
        message=message.message_id if message else None,
    )


def _language(message: Message, text: str) -> Language:
    """The person's language; of channels and anonymous admins only the text can tell."""
    if message.from_user is not None and message.from_user.language_code is not None:
        return language_of(message.from_user.language_code)
    return Language.ZH if any(map(is_han, text)) else Language.EN
