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
from bot.message import Arrival, Incoming, Message, Migration, Reaction, Reply, Tap
from bot.outbox import Outbox
from bot.stream import Entry
from engine.client import EngineUnavailableError

Hook = Callable[[Any], Awaitable[None]]
"""Deals with one kind of update, of the type under which it is listed, at once."""

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
        read: Callable[[bytes], object],
        door: Door,
        hooks: Mapping[type, Hook],
    ) -> None:
        """Answer at `desk` what `read` makes of updates, if the `door` admits who speaks.

        `read` raises `UnreadableUpdateError` for what it cannot read. `hooks` deal with all that is
        neither said nor tapped.
        """
        self._inbox = inbox
        self._outbox = outbox
        self._desk = desk
        self._anthology = anthology
        self._read = read
        self._door = door
        self._hooks = hooks

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

    async def _act(self, update: object) -> None:
        match update:
            case Incoming() | Tap() | Reaction() | Arrival() if not self._door.admits(
                update.address.chat
            ):
                await self._decline(update)
            case Migration():
                await self._anthology.chats.move(update.old, update.new)
            case Reaction():
                await self._desk.voting.react(update)
            case Incoming() | Tap():
                for message in (await self._respond(update)).messages:
                    await self._outbox.put(message)
            case _ if (hook := self._hooks.get(type(update))) is not None:
                await hook(update)

    async def _decline(self, knock: Incoming | Tap | Reaction | Arrival) -> None:
        message = self._door.decline(knock)
        if message is not None:
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
