"""A raw update becomes an incoming line or a tap, by the library's own reading of it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from telegram import (
    Bot,
    CallbackQuery,
    ChatMember,
    ChatMemberUpdated,
    InlineQuery,
    MaybeInaccessibleMessage,
    Message,
    MessageReactionUpdated,
    ReactionType,
    ReactionTypeEmoji,
    Update,
)
from telegram.constants import ChatMemberStatus, ChatType

from bot.inbox import UnreadableUpdateError
from bot.language import Language, language_of
from bot.message import Address, Arrival, Departure, Incoming, Migration, Reaction, Tap, UpdateKind
from engine.verse.script import is_han

PLATFORM = "telegram"

VOTES = {
    1: frozenset({"👍", "❤", "🔥", "🥰", "👏", "🎉", "🤩", "🙏", "💯", "🏆", "😍", "🤗"}),
    -1: frozenset({"👎", "💩", "🤮", "😴", "🤡", "🥱"}),
}
"""The reactions that say that a poem is liked, or that it is not."""

_GONE = frozenset({ChatMemberStatus.LEFT, ChatMemberStatus.BANNED})
_ADMINS = frozenset({ChatMemberStatus.OWNER, ChatMemberStatus.ADMINISTRATOR})


@dataclass(frozen=True, kw_only=True)
class AdminsChanged:
    """Somebody began or ceased to run a chat."""

    kind: ClassVar = UpdateKind.MEMBERSHIP
    cause: str
    """What makes it unique."""
    chat: str
    """The chat."""


@dataclass(frozen=True, kw_only=True)
class InlineQuestion:
    """What somebody typed after the bot's name, in a chat that the bot need not be in."""

    kind: ClassVar = UpdateKind.QUERY
    cause: str
    """What makes it unique."""
    id: str
    """Telegram's name for it, under which it is answered."""
    text: str
    """What they typed so far, without halves of surrogate pairs; it may hold anything else."""
    person: str
    """Who typed, with the platform."""
    language: Language
    """Their language."""


Event = Incoming | Tap | Reaction | Migration | Arrival | Departure | AdminsChanged | InlineQuestion
"""All that an update can mean."""


def cause_of(update_id: int) -> str:
    """What follows from an update is known under this."""
    return f"tg:{update_id}"


def chat_name(chat_id: int) -> str:
    """A Telegram chat as the rest of the bot names it."""
    return f"{PLATFORM}:{chat_id}"


def person_name(user_id: int) -> str:
    """A Telegram user as the rest of the bot names them; alone with the bot, also their chat."""
    return chat_name(user_id)


def chat_id_of(chat: str) -> int:
    """The inverse of `chat_name`."""
    return int(chat.removeprefix(f"{PLATFORM}:"))


def read_update(raw: bytes, bot: Bot) -> Event | None:
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
    for name, read in _READERS.items():
        part = getattr(update, name)
        if part is not None:
            return read(update.update_id, part)
    return None


def _message(update_id: int, message: Message) -> Incoming | Migration | None:
    if message.migrate_to_chat_id is not None:
        return Migration(
            cause=cause_of(update_id),
            old=chat_name(message.chat_id),
            new=chat_name(message.migrate_to_chat_id),
        )
    # What an inline bot wrote, be it this one, is said to nobody; and what Telegram copies from a
    # channel to its discussion group was answered in the channel.
    if message.text is None or message.via_bot is not None or message.is_automatic_forward:
        return None
    return _incoming(update_id, message, message.text)


def _incoming(update_id: int, message: Message, text: str) -> Incoming:
    direct = message.chat.type == ChatType.PRIVATE
    return Incoming(
        cause=cause_of(update_id),
        address=Address(
            chat=chat_name(message.chat_id),
            # Outside forums the field names a thread of replies, in which nobody can send.
            thread=_topic(message),
            reply_to=None if direct else message.message_id,
        ),
        text=text,
        language=_language(message, text),
        direct=direct,
        # Whoever speaks as a chat has, for Telegram, a sender that all such people share.
        person=None
        if message.from_user is None or message.sender_chat is not None
        else person_name(message.from_user.id),
        # Whoever speaks as the chat itself runs it: an anonymous admin, or a channel.
        admin=True if message.sender_chat == message.chat else None,
        quoted=_quoted(message),
        quoted_id=message.reply_to_message.message_id if message.reply_to_message else None,
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
        cause=cause_of(update_id),
        address=Address(
            chat=chat_name(message.chat.id if message else query.from_user.id),
            thread=_topic(message),
        ),
        language=language_of(query.from_user.language_code),
        id=query.id,
        data=query.data or "",
        message=message.message_id if message else None,
        person=person_name(query.from_user.id),
        direct=message is not None and message.chat.type == ChatType.PRIVATE,
    )


def _topic(message: MaybeInaccessibleMessage | None) -> int | None:
    """The topic of a forum in which `message` is."""
    if not isinstance(message, Message) or not message.is_topic_message:
        return None
    return message.message_thread_id


def _reaction(update_id: int, reaction: MessageReactionUpdated) -> Reaction | None:
    """What a person's reactions to a message say now; anonymous ones count for nobody."""
    if reaction.user is None:
        return None
    return Reaction(
        cause=cause_of(update_id),
        address=Address(chat=chat_name(reaction.chat.id)),
        message=reaction.message_id,
        person=person_name(reaction.user.id),
        vote=_vote(reaction.new_reaction),
    )


def _vote(reactions: Iterable[ReactionType]) -> int | None:
    """1 or -1 by the emoji, None where they are neither good nor bad, or both."""
    emoji = {reaction.emoji for reaction in reactions if isinstance(reaction, ReactionTypeEmoji)}
    votes = {vote for vote, meant in VOTES.items() if meant & emoji}
    return votes.pop() if len(votes) == 1 else None


def _inline(update_id: int, query: InlineQuery) -> InlineQuestion:
    return InlineQuestion(
        cause=cause_of(update_id),
        id=query.id,
        text=query.query.encode(errors="ignore").decode(),
        person=person_name(query.from_user.id),
        language=language_of(query.from_user.language_code),
    )


def _own_membership(
    update_id: int, changed: ChatMemberUpdated
) -> Arrival | Departure | AdminsChanged | None:
    """What became of the bot itself in a chat."""
    was, is_now = _is_there(changed.old_chat_member), _is_there(changed.new_chat_member)
    if was and not is_now:
        return Departure(cause=cause_of(update_id), chat=chat_name(changed.chat.id))
    if is_now and not was:
        return Arrival(
            cause=cause_of(update_id),
            address=Address(chat=chat_name(changed.chat.id)),
            language=language_of(changed.from_user.language_code),
        )
    return _membership(update_id, changed)


def _membership(update_id: int, changed: ChatMemberUpdated) -> AdminsChanged | None:
    """What became of a member of a chat; Telegram says it where the bot is an admin."""
    if _ADMINS.isdisjoint({changed.old_chat_member.status, changed.new_chat_member.status}):
        return None
    return AdminsChanged(cause=cause_of(update_id), chat=chat_name(changed.chat.id))


def _is_there(member: ChatMember) -> bool:
    """Whether a member is in the chat; who is restricted may be in it or not."""
    return member.status not in _GONE and getattr(member, "is_member", True)


def _language(message: Message, text: str) -> Language:
    """The person's language; of channels and anonymous admins only the text can tell."""
    if message.from_user is not None and message.from_user.language_code is not None:
        return language_of(message.from_user.language_code)
    return Language.ZH if any(map(is_han, text)) else Language.EN


_READERS: dict[str, Callable[[int, Any], Event | None]] = {
    "message": _message,
    "channel_post": _message,
    "callback_query": _tap,
    "message_reaction": _reaction,
    "inline_query": _inline,
    "my_chat_member": _own_membership,
    "chat_member": _membership,
}
"""What each kind of update means to us; Telegram is asked for no other."""

KINDS = tuple(_READERS)
"""The kinds of updates that we read."""
