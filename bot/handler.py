"""Updates leave the inbox: each becomes a job, a message in the outbox, or nothing."""

import asyncio
from collections.abc import Callable

import structlog

from bot import texts
from bot.answering import Desk
from bot.anthology import Anthology
from bot.clerks import tap_answer
from bot.inbox import Inbox, UnreadableUpdateError, raw_update
from bot.message import Incoming, Message, Migration, Reaction, Reply, Tap
from bot.outbox import Outbox
from bot.stream import Entry
from engine.client import EngineUnavailableError

Update = Incoming | Tap | Reaction | Migration
"""What an update can mean."""

_TRIES = 5
_PAUSE_S = 0.5

log = structlog.get_logger(__name__)


class Handler:
    """Deals with the updates of one bot, in the order in which they came.

    It never waits for a poem or for the platform: what it decides goes to a queue or to the outbox.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        outbox: Outbox,
        desk: Desk,
        anthology: Anthology,
        read: Callable[[bytes], Update | None],
    ) -> None:
        """Answer at `desk` what `read` makes of updates.

        `read` raises `UnreadableUpdateError` for what it cannot read.
        """
        self._inbox = inbox
        self._outbox = outbox
        self._desk = desk
        self._anthology = anthology
        self._read = read

    async def run(self) -> None:
        """Handle until cancelled."""
        while True:
            for entry in await self._inbox.take():
                await self._handle(entry)

    async def _handle(self, entry: Entry) -> None:
        """Deal with one update, whatever is in it: a fault in one must not stop the others."""
        try:
            update = self._read(raw_update(entry))
        except UnreadableUpdateError as error:
            await self._inbox.bury(entry, str(error))
            return
        try:
            await self._act(update)
        except Exception as error:
            # Only its name: an error's text may quote what a person wrote.
            if isinstance(update, Incoming | Tap):
                await self._outbox.put(_apology(update))
            await self._inbox.bury(entry, type(error).__name__)
        else:
            await self._inbox.done(entry)

    async def _act(self, update: Update | None) -> None:
        if isinstance(update, Migration):
            await self._anthology.chats.move(update.old, update.new)
        elif isinstance(update, Reaction):
            await self._desk.voting.react(update)
        elif update is not None:
            for message in (await self._respond(update)).messages:
                await self._outbox.put(message)

    async def _respond(self, update: Incoming | Tap) -> Reply:
        """Respond, trying again for a while if Redis is away."""
        for attempt in range(1, _TRIES):
            try:
                return await self._respond_once(update)
            except EngineUnavailableError:
                log.warning("↻", action="update.again", cause=update.cause)
                await asyncio.sleep(_PAUSE_S * attempt)
        return await self._respond_once(update)

    async def _respond_once(self, update: Incoming | Tap) -> Reply:
        if isinstance(update, Tap):
            return await self._desk.responder.respond_to_tap(update)
        return await self._desk.responder.respond(update)


def _apology(update: Incoming | Tap) -> Message:
    text = texts.FAILED_INTERNAL.say(update.language)
    if isinstance(update, Tap):
        return tap_answer(update, text)
    return Message(id=update.cause, address=update.address, text=text)
