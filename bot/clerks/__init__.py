"""Clerks act on what people ask for: each knows some kinds of requests and some buttons.

A clerk is told what was asked and what the chat chose, and says what follows. Doing it again with
the same cause does no harm.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from bot.anthology.chats import ChatSettings
from bot.anthology.poems import Poems
from bot.anthology.tables import PoemRow
from bot.buttons import Deed, Verb
from bot.cards.chart import Chart
from bot.message import Attachment, Button, Incoming, Message, Reply, Tap
from bot.styled import Span

Act = Callable[[Any, Incoming, ChatSettings], Awaitable[Reply]]
"""Grants a request (`bot.requests`), of the type under which it is listed."""
TapAct = Callable[[Deed, Tap, ChatSettings], Awaitable[Reply]]
"""Does what a button says."""


class Clerk(Protocol):
    """One who acts."""

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        ...

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """What it does, by button."""
        ...


async def last_poem_of(incoming: Incoming, poems: Poems) -> Sequence[PoemRow]:
    """What was shown last to whoever said `incoming`; in company, of what they asked for."""
    chat = incoming.address.chat
    if incoming.direct:
        return await poems.last_shown(chat)
    return () if incoming.person is None else await poems.last_shown(chat, incoming.person)


def picked_or_all(rows: Sequence[PoemRow]) -> Sequence[PoemRow]:
    """Of poems to choose from the one that was picked, or all where none is yet."""
    return [row for row in rows if row.picked_at is not None] or rows


def say(asked: Incoming, text: str, spans: tuple[Span, ...] = ()) -> Reply:
    """Answer a line with a line."""
    told = Message(id=asked.cause, address=asked.address, text=text, spans=spans)
    return Reply(messages=(told,))


def whisper(
    asked: Incoming,
    text: str,
    *,
    buttons: tuple[Button, ...] = (),
    attachment: Attachment | None = None,
    chart: Chart | None = None,
) -> Reply:
    """Answer a line so that nobody but whoever asked sees it, on platforms that can."""
    answer = Message(
        id=asked.cause,
        address=asked.address,
        text=text,
        buttons=buttons,
        attachment=attachment,
        chart=chart,
        private=True,
    )
    return Reply(messages=(answer,))


def instead(tap: Tap, text: str, buttons: tuple[Button, ...] = ()) -> Message:
    """What the message that was tapped shall show from now on, to whom it was shown."""
    return Message(
        id=f"{tap.cause}/edit",
        address=tap.address,
        text=text,
        edits=tap.message,
        buttons=buttons,
        private=True,
    )


def person_of(asked: Incoming) -> str:
    """Whoever asks, with the platform; a chat that speaks as such is a person of its own."""
    return asked.person or asked.address.chat


def tell(tap: Tap, text: str = "", *more: Message, alert: bool = False) -> Reply:
    """Answer a tap, and show `more`."""
    return Reply(messages=(tap_answer(tap, text, alert=alert), *more))


def tap_answer(tap: Tap, text: str = "", *, alert: bool = False) -> Message:
    """The answer to a tap, which every tap needs: its id is not that of a job it may cause."""
    return Message(
        id=f"{tap.cause}/tap", address=tap.address, text=text, answers=tap.id, alert=alert
    )
