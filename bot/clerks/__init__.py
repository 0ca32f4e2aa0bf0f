"""Clerks act on what people ask for: each knows some kinds of requests and some buttons.

A clerk is told what was asked and what the chat chose, and says what follows. Doing it again with
the same cause does no harm.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from bot.anthology.chats import ChatSettings
from bot.buttons import Deed, Verb
from bot.message import Incoming, Message, Reply, Tap
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


def say(asked: Incoming, text: str, spans: tuple[Span, ...] = ()) -> Reply:
    """Answer a line with a line."""
    told = Message(id=asked.cause, address=asked.address, text=text, spans=spans)
    return Reply(messages=(told,))


def tell(tap: Tap, text: str = "", *more: Message, alert: bool = False) -> Reply:
    """Answer a tap, and show `more`."""
    return Reply(messages=(tap_answer(tap, text, alert=alert), *more))


def tap_answer(tap: Tap, text: str = "", *, alert: bool = False) -> Message:
    """The answer to a tap, which every tap needs: its id is not that of a job it may cause."""
    return Message(
        id=f"{tap.cause}/tap", address=tap.address, text=text, answers=tap.id, alert=alert
    )
