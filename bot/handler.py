"""Updates leave the inbox: each becomes a job, a message in the outbox, or nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from bot import texts
from bot.answering import Desk
from bot.anthology import Anthology
from bot.clerks import tap_answer
from bot.door import Door
from bot.inbox import Inbox, UnreadableUpdateError, raw_update
from bot.message import Arrival, Errand, Incoming, Message, Migration, Reaction, Reply, Tap
from bot.outbox import Outbox
from bot.stream import Entry
from engine.client import EngineUnavailableError

Hook = Callable[[Any], Awaitable[None]]
"""Deals with one kind of update, of the type under which it is listed, at once."""
Tell = Callable[[Incoming | Tap], Awaitable[None]]
"""Tells whoever asked that it takes a while, once."""

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
        read: Callable[[bytes], object],
        door: Door,
        hooks: Mapping[type, Hook],
        tell: Tell,
    ) -> None:
        """Answer at `desk` what `read` makes of updates, if the `door` admits who speaks.

        `read` raises `UnreadableUpdateError` for what it cannot read. `hooks` deal with all that is
        neither said nor tapped. `tell` is asked to, more than once, while Redis is away.
        """
        self._inbox = inbox
        self._outbox = outbox
        self._desk = desk
        self._anthology = anthology
        self._read = read
        self._door = door
        self._hooks = hooks
        self._tell = tell

    async def run(self) -> None:
        """Handle until cancelled."""
        async with asyncio.TaskGroup() as errands:
            while True:
                for entry in await self._inbox.take():
                    await self._handle(entry, errands)

    async def _handle(self, entry: Entry, errands: asyncio.TaskGroup) -> None:
        """Deal with one update, whatever is in it: a fault in one must not stop the others."""
        try:
            update = self._read(raw_update(entry))
        except UnreadableUpdateError as error:
            await self._inbox.bury(entry, str(error))
            return
        try:
            errand = await self._act(update)
        except Exception as error:
            await self._give_up(entry, update, error)
        else:
            if errand is None:
                await self._inbox.done(entry)
            else:
                errands.create_task(self._run(errand, entry, update))

    async def _run(self, errand: Errand, entry: Entry, update: object) -> None:
        """Do what takes long.

        Only then is the update dealt with: a process that dies meanwhile leaves it to the next.
        """
        try:
            for message in await errand():
                await self._outbox.put(message)
        except Exception as error:
            await self._give_up(entry, update, error)
        else:
            await self._inbox.done(entry)

    async def _give_up(self, entry: Entry, update: object, error: Exception) -> None:
        if isinstance(update, Incoming | Tap):
            await self._outbox.put(_apology(update))
        # Only its name: an error's text may quote what a person wrote.
        await self._inbox.bury(entry, type(error).__name__)

    async def _act(self, update: object) -> Errand | None:
        """Do what an update asks for; what is then left to be done beside others."""
        match update:
            case Incoming() | Tap() | Reaction() | Arrival() if not self._door.admits(update):
                await self._decline(update)
            case Migration():
                await self._anthology.chats.move(update.old, update.new)
            case Reaction():
                await self._desk.voting.react(update)
            case Incoming() | Tap():
                reply = await self._respond(update)
                for message in reply.messages:
                    await self._outbox.put(message)
                return reply.errand
            case _ if (hook := self._hooks.get(type(update))) is not None:
                await hook(update)
        return None

    async def _decline(self, knock: Incoming | Tap | Reaction | Arrival) -> None:
        message = self._door.decline(knock)
        if message is not None:
            await self._outbox.put(message)

    async def _respond(self, update: Incoming | Tap) -> Reply:
        """Respond, trying again for as long as Redis is away (decision 12)."""
        while True:
            try:
                return await self._respond_once(update)
            except EngineUnavailableError:
                log.warning("↻", action="update.again", cause=update.cause)
                await self._tell(update)
                await asyncio.sleep(_PAUSE_S)

    async def _respond_once(self, update: Incoming | Tap) -> Reply:
        if isinstance(update, Tap):
            return await self._desk.responder.respond_to_tap(update)
        return await self._desk.responder.respond(update)


def _apology(update: Incoming | Tap) -> Message:
    text = texts.FAILED_INTERNAL.say(update.language)
    if isinstance(update, Tap):
        return tap_answer(update, text)
    return Message(id=update.cause, address=update.address, text=text)
