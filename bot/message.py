"""What comes in and what goes out, in no platform's words."""

import json
from dataclasses import asdict, dataclass
from typing import Self

from bot.language import Language


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where in a chat something was said, and so where the answer belongs."""

    chat: str
    """The chat, with its platform: `telegram:<id>`, `console`."""
    thread: int | None = None
    """The topic inside the chat, where the platform has topics."""
    reply_to: int | None = None
    """The message to answer, where many people speak at once."""


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """One line that a person said."""

    cause: str
    """What makes it unique (`tg:<update_id>`): the id of its job and of its answer."""
    address: Address
    """Where it was said."""
    text: str
    """The line itself; it may hold anything."""
    language: Language
    """The person's language."""
    direct: bool
    """Whether the person speaks to the bot alone, so that every line is meant for it."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message to show, once."""

    id: str
    """The cause that it answers, under which the ledger knows it."""
    address: Address
    """Where to show it."""
    text: str
    """Plain text."""
    poem_id: str | None = None
    """The poem in it, if it shows one."""

    def to_json(self) -> str:
        """This message as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: it is no message.
        """
        fields = json.loads(text)
        return cls(**{**fields, "address": Address(**fields["address"])})
