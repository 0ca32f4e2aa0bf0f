"""The shape in which Telegram takes a message: so long, and styled by entities.

It counts as UTF-16 does: characters beyond the first plane are two.
"""

from collections.abc import Sequence
from dataclasses import replace

from telegram import MessageEntity

from bot.cutting import cut, shorten
from bot.message import Message
from bot.styled import Span

TEXT_MAX = 4096
"""UTF-16 units of a message."""
TAP_ANSWER_MAX = 200
"""UTF-16 units of what is shown to whoever tapped a button."""


def fit(message: Message) -> tuple[Message, ...]:
    """`message`, as one or several that Telegram takes."""
    if message.answers is not None:
        return (replace(message, text=shorten(message.text, size=_units, most=TAP_ANSWER_MAX)),)
    return cut(message, size=_units, most=TEXT_MAX)


def entities_of(text: str, spans: Sequence[Span]) -> Sequence[MessageEntity]:
    """The entities that style `spans` of `text`."""
    entities = [MessageEntity(span.kind.value, span.offset, span.length) for span in spans]
    return MessageEntity.adjust_message_entities_to_utf_16(text, entities)


def _units(char: str) -> int:
    return 2 if ord(char) > 0xFFFF else 1
