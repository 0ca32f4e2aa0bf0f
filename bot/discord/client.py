"""The library's client: the gateway, and interactions as they come in.

An interaction is in the durable inbox before Discord hears that we have it, and Discord hears it
within the three seconds that it waits, whatever else goes on. All else is done from the inbox.
"""

import asyncio
import logging
import time
from typing import Any, cast

import aiohttp
import discord
import structlog
from discord import AppCommandType, Interaction, InteractionType
from discord.gateway import DiscordWebSocket
from discord.http import Route
from discord.ui import Modal
from yarl import URL

from bot.discord.interactions import cause_of, keep, target_text
from bot.discord.menu import COMMAND_BY_MENU, form_for
from bot.discord.ticket import Tickets
from bot.inbox import Inbox
from bot.language import language_of
from bot.metrics import Metrics

STORE_S = 1.0
"""How long Redis may take before an interaction is acknowledged all the same."""
ACKNOWLEDGE_S = 3.0
"""How long Discord waits to hear that we have an interaction."""
LONGEST_WAIT_S = 30.0
"""Longer than this the library does not wait by itself where Discord asks it to."""

_FAREWELL_S = 2.0
ALREADY_ACKNOWLEDGED = 40060
"""Discord's code for an interaction that it has heard about before."""
FAULTS = (discord.DiscordException, aiohttp.ClientError, OSError)
"""All that a request to Discord raises."""

log = structlog.get_logger(__name__)


def prepare_library(api: str, gateway: str) -> None:
    """Have the library talk to Discord at these addresses, and log what is lost in one line."""
    Route.BASE = api
    DiscordWebSocket.DEFAULT_GATEWAY = URL(gateway)
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    logging.getLogger("discord.client").addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    """A lost connection is no fault of ours that a traceback would help to find."""
    if record.exc_info and record.exc_info[0] is not None:
        record.msg = f"{record.getMessage()}: {record.exc_info[0].__name__}"
        record.args = record.exc_info = None
    return True


class DiscordClient(discord.Client):
    """A client without intents: interactions come to every bot, and nothing else is our business.

    The library acknowledges interactions and shows forms for us; it does not read them.
    """

    def __init__(self, *, inbox: Inbox, tickets: Tickets, metrics: Metrics) -> None:
        """Keep what comes in `inbox`, and what it takes to answer it in `tickets`."""
        super().__init__(
            intents=discord.Intents.none(),
            # Without this, an @everyone in a poem's opening would ring in the whole server.
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            max_ratelimit_timeout=LONGEST_WAIT_S,
            http_trace=_counting(metrics),
        )
        self._inbox = inbox
        self._tickets = tickets
        self._pending: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    async def setup_hook(self) -> None:
        """Read interactions ourselves: one that the library cannot read would end the client."""
        self._connection.parsers["INTERACTION_CREATE"] = self._take

    async def acknowledged(self, cause: str) -> None:
        """Wait until Discord has heard of an interaction that came to this process."""
        if (pending := self._pending.get(cause)) is not None:
            await asyncio.wait([pending])

    async def close(self) -> None:
        """Finish what is being acknowledged, then leave."""
        if self._pending:
            await asyncio.wait(self._pending.values(), timeout=_FAREWELL_S)
        await super().close()

    def _take(self, raw: dict[str, Any]) -> None:
        try:
            cause = cause_of(raw)
        except (KeyError, TypeError, ValueError) as error:
            log.error("! no interaction", action="interaction.drop", error=type(error).__name__)
            return
        task = asyncio.create_task(self._receive(cause, raw))
        self._pending[cause] = task
        task.add_done_callback(lambda _task: self._pending.pop(cause, None))

    async def _receive(self, cause: str, raw: dict[str, Any]) -> None:
        """Take one interaction in; a form that we ask with is forgotten until it comes back."""
        began_s = time.monotonic()
        form = _form_for(raw)
        storing = asyncio.create_task(self._store(raw)) if form is None else None
        if storing is not None:
            await asyncio.wait([storing], timeout=STORE_S)
        heard = await self._acknowledge(raw, form)
        waited_ms = round(1000 * (time.monotonic() - began_s))
        log.info("→", action="interaction", cause=cause, heard=heard, ms=waited_ms)
        if storing is not None:
            await storing

    async def _store(self, raw: dict[str, Any]) -> None:
        # In the order in which they came: a style is set before the poem that shall have it.
        async with self._turn:
            try:
                await self._tickets.keep(raw)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("! no ticket", action="interaction.ticket", error=type(error).__name__)
            await self._inbox.store({int(raw["id"]): keep(raw)})

    async def _acknowledge(self, raw: dict[str, Any], form: Modal | None) -> str:
        """Tell Discord that we have it, or ask what is to be done; what came of it."""
        try:
            async with asyncio.timeout(ACKNOWLEDGE_S):
                interaction = Interaction(data=cast("Any", raw), state=self._connection)
                if form is not None:
                    await interaction.response.send_modal(form)
                else:
                    answers = interaction.type is not InteractionType.component
                    await interaction.response.defer(thinking=answers)
        except discord.HTTPException as error:
            return "again" if error.code == ALREADY_ACKNOWLEDGED else f"refused: {error.code}"
        except Exception as error:
            # The library's readers promise nothing about what they raise, and say what they read.
            return f"unsure: {type(error).__name__}"
        return "asked" if form is not None else "yes"


def _counting(metrics: Metrics) -> aiohttp.TraceConfig:
    """Counts each request that the library makes, also those that it makes again by itself."""

    async def answered(
        _session: object, _context: object, ended: aiohttp.TraceRequestEndParams
    ) -> None:
        metrics.count_request(ended.response.status)

    async def failed(_session: object, _context: object, _error: object) -> None:
        metrics.count_request(None)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(answered)
    trace.on_request_exception.append(failed)
    return trace


def _form_for(raw: dict[str, Any]) -> Modal | None:
    """The form to ask with, where a command of a message's menu has to be told more."""
    try:
        data = raw["data"]
        if data["type"] != AppCommandType.message.value:
            return None
        command = COMMAND_BY_MENU[data["name"]]
        return form_for(command, target_text(data), language_of(raw.get("locale")))
    except (AttributeError, KeyError, TypeError):
        return None
