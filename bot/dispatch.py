"""Messages leave the outbox, each shown once, by whatever platform there is."""

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

import structlog
from structlog.contextvars import bind_contextvars

from bot.anthology import Anthology
from bot.anthology.schedules import Pause
from bot.budget import Halt
from bot.errors import (
    AnthologyError,
    BlockedError,
    ChatMovedError,
    MaybeShownError,
    NotShownError,
    UndeliverableError,
)
from bot.message import Address, Message
from bot.metrics import Fate, Kind, Metrics, PostResult
from bot.outbox import Letter, Outbox
from bot.pseudonyms import Pseudonyms

IN_FLIGHT_MAX = 16
"""Messages on their way at once: what can be shown twice if the process is killed."""
IN_HAND_MAX = 1024
"""Messages taken out of the outbox at once, most of them waiting for their chat's turn."""
IN_LINE_MAX = 8
"""Messages that nobody asked for and that wait for their turn at once, so that an answer which
somebody waits for stands behind few of them."""
FAREWELL_S = 4.0
"""How long a process that is told to stop waits for them: less than another waits for its lease."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Sender(Protocol):
    """A platform, as far as it shows messages."""

    async def wait_turn(self, message: Message) -> None:
        """Wait until the platform's limits leave room for `message`."""
        ...

    async def send(self, message: Message) -> int | None:
        """Show `message`; the platform's number of the message that shows it, if it has one.

        Raises:
            NotShownError: it was surely not shown; it may be tried again.
            MaybeShownError: nobody can tell whether it was.
            UndeliverableError: it never will be; BlockedError: nor will others to its address.
            ChatMovedError: its chat has a new id.
        """
        ...


class Dispatcher:
    """Shows the messages of one outbox: those of one chat in turn, those of many side by side."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        sender: Sender,
        anthology: Anthology,
        halt: Halt,
        metrics: Metrics,
        pseudonyms: Pseudonyms,
    ) -> None:
        """Show by `sender`, except during a `halt`; the `anthology` learns which poems were.

        The log knows chats by `pseudonyms`.
        """
        self._outbox = outbox
        self._sender = sender
        self._anthology = anthology
        self._halt = halt
        self._metrics = metrics
        self._pseudonyms = pseudonyms
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._in_hand = asyncio.Semaphore(IN_HAND_MAX)
        self._in_line = asyncio.Semaphore(IN_LINE_MAX)
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def run(self) -> None:
        """Dispatch until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for letter in await self._outbox.take(IN_FLIGHT_MAX):
                    await self._in_hand.acquire()
                    group.create_task(self._dispatch(letter))

    async def _dispatch(self, letter: Letter) -> None:
        chat = letter.message.address.chat
        # For this task alone, which shows this one letter.
        bind_contextvars(cause=letter.cause, chat=self._pseudonyms.of(chat))
        # The lock is held by this frame only: it is gone once nobody of the chat waits.
        turn = self._turns.setdefault(chat, asyncio.Lock())
        try:
            async with turn:
                await self._show(letter)
        finally:
            self._in_hand.release()

    async def _show(self, letter: Letter) -> None:
        """Send a letter's message until the platform has taken it, or never will."""
        message: Message | None = letter.message
        while message is not None:
            # A chat that has to wait keeps nobody else from setting out.
            await self._halt.over()
            async with nullcontext() if message.until_ms is None else self._in_line:
                await self._sender.wait_turn(message)
            async with self._in_flight:
                # Where a halt came in between, turns are taken anew: or all would set out at its
                # end, and earn the next one.
                if not await self._halt.left_s():
                    message = await _to_its_end(self._set_out(letter, message))

    async def _set_out(self, letter: Letter, message: Message) -> Message | None:
        """Send `message` if it may be; what is to be sent next, if anything."""
        # Only now: what is marked as being sent may be shown twice if the process is killed.
        if _is_late(message):
            await self._end(letter, message, Fate.LATE)
        elif await self._outbox.begin(letter):
            return await self._attempt(letter, message)
        else:
            await self._outbox.finish(letter)
        return None

    async def _attempt(self, letter: Letter, message: Message) -> Message | None:
        """Send `message` once and book what came of it; what is to be sent next, if anything."""
        number, fate = None, Fate.SHOWN
        try:
            number = await self._sender.send(message)
        except NotShownError as error:
            log.warning("↻", action="send.again", error=str(error))
            self._metrics.count_retry()
            await self._outbox.withdraw(letter)
            await self._halt.hold(error.retry_after_s)
            return message
        except ChatMovedError as error:
            await self._outbox.withdraw(letter)
            await self._note("moved", self._anthology.chats.move(message.address.chat, error.chat))
            # Topics and message ids of the old chat mean nothing in the new one.
            return replace(message, address=Address(chat=error.chat), edits=None)
        except MaybeShownError as error:
            # Sending it again could show it twice, and nobody asked for two.
            log.warning("? perhaps shown", action="send.unsure", error=str(error))
            fate = Fate.UNSURE
        except UndeliverableError as error:
            log.info("! undeliverable", action="send.refused", error=str(error))
            await self._end(letter, message, Fate.REFUSED)
            if isinstance(error, BlockedError):
                pausing = self._anthology.schedules.pause(
                    message.address, Pause.REFUSED, datetime.now(UTC)
                )
                await self._note("blocked", pausing)
            return None
        await self._end(letter, message, fate)
        if message.poem_id is not None:
            poems, chat = self._anthology.poems, message.address.chat
            await self._note("shown", poems.mark_shown(message.poem_id, chat=chat, message=number))
        return None

    async def _end(self, letter: Letter, message: Message, fate: Fate) -> None:
        """Nothing more is to be done about `message`; the one canonical line of an update says so.

        Of messages that come before the one that ends an answer, or that answer nothing, only a
        log that tells everything has a line.
        """
        await self._outbox.finish(letter)
        if letter.trace is None:
            log.debug("←", action="send", fate=fate)
            return
        now_ms, kind = round(time.time() * 1000), _kind_of(message)
        stages = letter.trace.stages(put_ms=letter.entry.at_ms, now_ms=now_ms)
        log.info(
            "←" if fate is Fate.SHOWN else "!",
            action="update.answered",
            platform=self._metrics.platform,
            command=letter.trace.command,
            kind=kind,
            fate=fate,
            **stages,
        )
        if message.until_ms is not None:
            self._metrics.count_post(PostResult(fate))
        elif fate is Fate.SHOWN:
            self._metrics.count_answer(kind, stages["took_ms"] / 1000)

    async def _note(self, what: str, noting: Awaitable[None]) -> None:
        """Tell the anthology, which costs nobody an answer where it is away."""
        try:
            await noting
        except AnthologyError as error:
            log.error("! not noted", action=f"send.{what}", error=str(error))


def _is_late(message: Message) -> bool:
    """Whether nobody would want to see `message` any more."""
    return message.until_ms is not None and message.until_ms < time.time() * 1000


def _kind_of(message: Message) -> Kind:
    """What `message` is to whoever waits for it."""
    if message.card is not None:
        return Kind.CARD
    return Kind.REPLY if message.poem_id is None else Kind.POEM


async def _to_its_end(attempt: Coroutine[Any, Any, T]) -> T:
    """Await `attempt`; being cancelled meanwhile lets it finish first, within `FAREWELL_S`.

    A message that has set out will be shown. Whoever is told to stop should still book it, or the
    next process shows it again.
    """
    task = asyncio.create_task(attempt)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=FAREWELL_S)
        task.cancel()
        raise
