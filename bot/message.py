"""What comes in and what goes out, in no platform's words."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, Self

from bot.cards.card import Card
from bot.cards.chart import Chart
from bot.language import Language
from bot.styled import Span, SpanKind
from bot.trace import Trace
from engine.jobs import Job


class UpdateKind(StrEnum):
    """What kind of thing came in, for those who count."""

    MESSAGE = "message"
    """Somebody said something."""
    TAP = "tap"
    """Somebody tapped a button."""
    REACTION = "reaction"
    """Somebody reacted to a message."""
    QUERY = "query"
    """Somebody typed after the bot's name, in whatever chat."""
    MEMBERSHIP = "membership"
    """Who is where, and who runs it, changed."""
    OTHER = "other"
    """It means nothing to us."""
    UNREADABLE = "unreadable"
    """Nobody can tell."""


class Update(Protocol):
    """Anything that comes in from a platform and means something to us."""

    kind: ClassVar[UpdateKind]
    """What kind of thing it is."""

    @property
    def cause(self) -> str:
        """What makes it unique; every line of the log about it has this."""
        ...


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

    kind: ClassVar = UpdateKind.MESSAGE
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
    person: str | None = None
    """Who said it, with the platform: `telegram:42`; None for a channel or a chat as such."""
    admin: bool | None = None
    """Whether they are an admin of the chat; None where the platform has to be asked."""
    quoted: str | None = None
    """The text that it replies to, if any."""
    quoted_id: int | None = None
    """The message of the same chat that it replies to, if any."""
    trace: Trace | None = None
    """What its answer will be told by; None where nobody keeps a log of answers."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One tap on a button of a message that was shown."""

    kind: ClassVar = UpdateKind.TAP
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
    person: str
    """Who tapped, with the platform."""
    direct: bool
    """Whether the message is in a chat of that person and the bot alone."""
    admin: bool | None = None
    """Whether they are an admin of the chat; None where the platform has to be asked."""
    trace: Trace | None = None
    """What its answer will be told by; None where nobody keeps a log of answers."""


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What one person's reactions to a message say now."""

    kind: ClassVar = UpdateKind.REACTION
    cause: str
    """What makes it unique."""
    address: Address
    """Where the message is."""
    message: int
    """The message."""
    person: str
    """Who reacted, with the platform."""
    vote: int | None
    """1 for 👍 and its like, -1 for 👎 and its like; None where they say neither."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """The bot was added to a chat, or is no longer blocked by a person."""

    kind: ClassVar = UpdateKind.MEMBERSHIP
    cause: str
    """What makes it unique."""
    address: Address
    """The chat."""
    language: Language
    """The language of whoever let it in."""
    trace: Trace | None = None
    """What its answer will be told by; None where nobody keeps a log of answers."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """The bot was thrown out of a chat, or blocked by a person: it can send nothing there now."""

    kind: ClassVar = UpdateKind.MEMBERSHIP
    cause: str
    """What makes it unique."""
    chat: str
    """The chat, with its platform."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The votes on one poem."""

    up: int = 0
    """How many like it."""
    down: int = 0
    """How many do not."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A chat has a new id."""

    kind: ClassVar = UpdateKind.MEMBERSHIP
    cause: str
    """What makes it unique."""
    old: str
    """The chat as it was known."""
    new: str
    """The chat as it is known now."""


@dataclass(frozen=True, kw_only=True)
class Button:
    """One button below a message."""

    label: str
    """What it shows."""
    data: str
    """What a tap on it brings back: at most 64 bytes, which is all that Telegram carries."""


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A text file that goes with a message."""

    name: str
    """What it is called, with its ending."""
    text: str
    """What is in it."""


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
    """Without any markup. Empty in an answer to a tap: it says nothing; in an edit: only buttons
    change."""
    spans: tuple[Span, ...] = ()
    """The parts of it that are shown in a style, on platforms that can."""
    poem_id: str | None = None
    """The job whose poem, or poems, it shows, if any."""
    buttons: tuple[Button, ...] = ()
    """The buttons below it."""
    edits: int | None = None
    """The message whose place it takes."""
    answers: str | None = None
    """The tap that it answers."""
    alert: bool = False
    """Whether an answer to a tap stays until the person closes it."""
    private: bool = False
    """Whether only the person who asked shall see it, on platforms that can."""
    card: Card | None = None
    """The picture to show instead of the text; the text is shown where it cannot be drawn."""
    language: Language | None = None
    """Of whoever asked for a card, for what then has to be said."""
    chart: Chart | None = None
    """The picture above the text, on platforms that show it; the text says the same."""
    attachment: Attachment | None = None
    """The file that it brings; `text` then says what it is."""
    until_ms: int | None = None
    """Of a message that nobody asked for: the Unix time in ms until which it is worth showing. Not
    to show it at all is better than to show it late or twice."""

    def to_json(self) -> str:
        """This message as JSON; what it does not use is left out, so that old readers can."""
        unused: tuple[object, ...] = (None, (), False)
        used = {name: value for name, value in asdict(self).items() if value not in unused}
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
        spans = tuple(
            Span(**{**span, "kind": SpanKind(span["kind"])}) for span in fields.get("spans", ())
        )
        card = Card.from_fields(fields["card"]) if "card" in fields else None
        file = Attachment(**fields["attachment"]) if "attachment" in fields else None
        chart = Chart.from_fields(fields["chart"]) if "chart" in fields else None
        pictures = {"card": card, "chart": chart, "attachment": file}
        read = {"address": address, "buttons": buttons, "spans": spans}
        return cls(**fields | read | pictures)


Errand = Callable[[], Awaitable[Sequence[Message]]]
"""Does something, and returns what to show then."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What follows from something that a person did."""

    messages: tuple[Message, ...] = ()
    """What to show at once."""
    job: Job | None = None
    """The job whose outcome will follow."""
    errand: Errand | None = None
    """What is left to be done, where it takes longer than others may be kept waiting. Doing it
    again with the same cause does no harm."""
    trace: Trace | None = None
    """What is known of the update, where it was meant for us."""

    @property
    def goes_on(self) -> bool:
        """Whether more follows than is to be shown at once."""
        return self.job is not None or self.errand is not None
