"""Updates leave the inbox: each becomes a job, a message in the outbox, or nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from bot import texts
from bot.answering import Desk
from bot.anthology import Anthology
from bot.clerks import tap_answer
from bot.door import Door
from bot.inbox import Inbox, UnreadableUpdateError, raw_update
from bot.message import (
    Arrival,
    Errand,
    Incoming,
    Message,
    Migration,
    Reaction,
    Reply,
    Tap,
    Update,
    UpdateKind,
)
from bot.metrics import Box, Metrics
from bot.outbox import Outbox
from bot.stream import Entry
from bot.trace import Trace
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
        read: Callable[[bytes], Update | None],
        door: Door,
        hooks: Mapping[type, Hook],
        tell: Tell,
        metrics: Metrics,
    ) -> None:
        """Answer at `desk` what `read` makes of updates, if the `door` admits who speaks.

        `read` raises `UnreadableUpdateError` for what it cannot read. `hooks` deal with all that is
        neither said nor tapped. `tell` is asked to, more than once, while Redis is away. `metrics`
        count what comes in.
        """
        self._inbox = inbox
        self._outbox = outbox
        self._desk = desk
        self._anthology = anthology
        self._read = read
        self._door = door
        self._hooks = hooks
        self._tell = tell
        self._metrics = metrics

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
            self._metrics.count_update(UpdateKind.UNREADABLE)
            await self._bury(entry, str(error))
            return
        self._metrics.count_update(UpdateKind.OTHER if update is None else update.kind)
        if update is None:
            await self._inbox.done(entry)
            return
        with bound_contextvars(cause=update.cause):
            await self._deal_with(_traced(update, entry), entry, errands)

    async def _deal_with(self, update: Update, entry: Entry, errands: asyncio.TaskGroup) -> None:
        try:
            reply = await self._act(update)
        except Exception as error:
            await self._give_up(entry, update, error)
        else:
            if reply.errand is None:
                await self._inbox.done(entry)
            else:
                errands.create_task(self._run(reply.errand, reply.trace, entry, update))

    async def _run(self, errand: Errand, trace: Trace | None, entry: Entry, update: Update) -> None:
        """Do what takes long.

        Only then is the update dealt with: a process that dies meanwhile leaves it to the next.
        """
        try:
            await self._put(await errand(), trace)
        except Exception as error:
            await self._give_up(entry, update, error)
        else:
            await self._inbox.done(entry)

    async def _give_up(self, entry: Entry, update: Update, error: Exception) -> None:
        if isinstance(update, Incoming | Tap):
            await self._outbox.put(_apology(update), update.trace)
        # Only its name: an error's text may quote what a person wrote.
        await self._bury(entry, type(error).__name__)

    async def _bury(self, entry: Entry, why: str) -> None:
        self._metrics.count_buried(Box.INBOX)
        await self._inbox.bury(entry, why)

    async def _act(self, update: Update) -> Reply:
        """Do what an update asks for; what follows, of which only an errand is yet to be done."""
        match update:
            case Incoming() | Tap() | Reaction() | Arrival() if not self._door.admits(update):
                await self._decline(update)
            case Migration():
                await self._anthology.chats.move(update.old, update.new)
            case Reaction():
                await self._desk.voting.react(update)
            case Incoming() | Tap():
                reply = await self._respond(update)
                if reply.trace is not None:
                    self._metrics.count_command(reply.trace.command)
                await self._put(reply.messages, None if reply.goes_on else reply.trace)
                return reply
            case _ if (hook := self._hooks.get(type(update))) is not None:
                await hook(update)
        return Reply()

    async def _put(self, messages: Sequence[Message], trace: Trace | None) -> None:
        """Have `messages` shown; with the last ends the answer to the update that `trace` knows."""
        for number, message in enumerate(messages, start=1):
            await self._outbox.put(message, trace if number == len(messages) else None)

    async def _decline(self, knock: Incoming | Tap | Reaction | Arrival) -> None:
        message = self._door.decline(knock)
        if message is not None:
            await self._outbox.put(message, None if isinstance(knock, Reaction) else knock.trace)

    async def _respond(self, update: Incoming | Tap) -> Reply:
        """Respond, trying again for as long as Redis is away (decision 12)."""
        while True:
            try:
                return await self._respond_once(update)
            except EngineUnavailableError:
                log.warning("↻", action="update.again")
                await self._tell(update)
                await asyncio.sleep(_PAUSE_S)

    async def _respond_once(self, update: Incoming | Tap) -> Reply:
        if isinstance(update, Tap):
            return await self._desk.responder.respond_to_tap(update)
        return await self._desk.responder.respond(update)


def _traced(update: Update, entry: Entry) -> Update:
    """`update`, with what its answer will be told by, if there may be one."""
    if not isinstance(update, Incoming | Tap | Arrival):
        return update
    return replace(update, trace=Trace(cause=update.cause, came_ms=entry.at_ms))


def _apology(update: Incoming | Tap) -> Message:
    text = texts.FAILED_INTERNAL.say(update.language)
    if isinstance(update, Tap):
        return tap_answer(update, text)
    return Message(id=update.cause, address=update.address, text=text)
