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
    quoted: str | None = None
    """The text that it replies to, if any."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One tap on a button of a message that was shown."""

    cause: str
    """What makes it unique (`tg:<update_id>`): the id of its answer."""
    address: Address
    """Where the message is."""
    language: Language
    """The language of whoever tapped."""
    id: str
    """The platform's name for it, under which it is answered."""
    data: str
    """What the button holds; anybody may send anything."""
    message: int | None
    """The message that the button belongs to; None where the platform does not say."""


@dataclass(frozen=True, kw_only=True)
class Button:
    """One button below a message."""

    label: str
    """What it shows."""
    data: str
    """What a tap on it brings back: at most 64 bytes, which is all that Telegram carries."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message to show, once.

    It stands alone, or takes the place of another (`edits`), or is shown for a moment to whoever
    tapped a button (`answers`).
    """

    id: str
    """The cause that it answers, under which the ledger knows it."""
    address: Address
    """Where to show it."""
    text: str
    """Plain text; an answer to a tap may be empty."""
    poem_id: str | None = None
    """The job whose poem, or poems, it shows, if any."""
    buttons: tuple[Button, ...] = ()
    """The buttons below it."""
    edits: int | None = None
    """The message whose place it takes."""
    answers: str | None = None
    """The tap that it answers."""

    def to_json(self) -> str:
        """This message as JSON; what it does not use is left out, so that old readers can."""
        used = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return json.dumps(used, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, KeyError: it is no message.
        """
        fields = json.loads(text)
        buttons = tuple(Button(**button) for button in fields.get("buttons", ()))
        address = Address(**fields["address"])
        return cls(**{**fields, "address": address, "buttons": buttons})
