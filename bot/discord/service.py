"""`python -m bot discord`: start up, serve for as long as the lease is ours, shut down."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from discord import ConnectionClosed, LoginFailure
from redis.asyncio import Redis

from bot.answering import make_desk
from bot.anthology import Anthology
from bot.budget import Halt
from bot.cards.easel import Easel
from bot.commands import load_tables
from bot.discord.client import FAULTS, DiscordClient, prepare_library
from bot.discord.interactions import ADDRESSEE, read_interaction
from bot.discord.menu import PLATFORM, publish_commands
from bot.discord.sender import DiscordSender
from bot.discord.ticket import Tickets
from bot.door import Door
from bot.errors import GatewayClosedError, LeaseLostError, TokenRefusedError
from bot.handler import Handler
from bot.health import Health
from bot.household import household
from bot.inbox import Inbox
from bot.lease import Lease
from bot.leftovers import Leftovers
from bot.limits import Limits
from bot.message import Incoming, Tap
from bot.metrics import Box, Metrics
from bot.moderation import Filter, open_filter
from bot.outbox import Outbox
from bot.pseudonyms import Pseudonyms
from bot.settings import BotSettings
from bot.tallies import Tallies
from bot.together import together
from bot.vigil import WatchfulEngine
from bot.way_out import carry_out
from engine.settings import SettingsError
from engine.web import App, listening

HOW_TO_BEGIN = (
    "YUEFU_DISCORD_TOKEN is not set: open https://discord.com/developers/applications, make an "
    "application, reset the token on its Bot page, and put it into that variable"
)
TOKEN_REFUSED = "Discord does not know this token; reset it on the Bot page of the application"  # noqa: S105

_START_AGAIN_S = 2.0
_CANCEL_AGAIN_S = 0.1
_AUTHENTICATION_FAILED = 4004

log = structlog.get_logger(__name__)


async def serve(settings: BotSettings) -> None:
    """Serve Discord until cancelled.

    Raises:
        SettingsError: there is no token, or the file of words cannot be used.
        TokenRefusedError: Discord does not know the token.
        GatewayClosedError: Discord will not have us.
        HouseholdError, AnthologyError: what it stands on did not come up.
    """
    if settings.discord_token is None:
        raise SettingsError(HOW_TO_BEGIN)
    prepare_library(settings.discord_api, settings.discord_gateway)
    words = open_filter(settings)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(household(settings))
        pseudonyms = settings.pseudonyms
        anthology = await stack.enter_async_context(
            Anthology.open(settings.anthology_url, pseudonyms)
        )
        metrics = Metrics(PLATFORM)
        if settings.listen is not None:
            app = App(Health(redis=redis, anthology=anthology, metrics=metrics).routes)
            await stack.enter_async_context(listening(settings.listen, app))
        await asyncio.to_thread(load_tables)
        service = _Service(
            settings=settings,
            redis=redis,
            anthology=anthology,
            pseudonyms=pseudonyms,
            limits=Limits(settings, pseudonyms),
            metrics=metrics,
            words=words,
            token=settings.discord_token.get_secret_value(),
            easel=stack.enter_context(Easel(settings.card_font)),
        )
        await service.run()


@dataclass(frozen=True, kw_only=True)
class _Service:
    """All that serving needs, open."""

    settings: BotSettings
    redis: Redis
    anthology: Anthology
    pseudonyms: Pseudonyms
    limits: Limits
    metrics: Metrics
    words: Filter
    token: str
    easel: Easel

    async def run(self) -> None:
        """Serve whenever no other process does, until cancelled."""
        lease = Lease(self.redis, self.metrics)
        while True:
            await lease.take()
            try:
                await self._lead(lease)
            except LeaseLostError:
                log.warning("another process took over", action="lease.lost")
            finally:
                await lease.release()

    async def _lead(self, lease: Lease) -> None:
        """Keep the lease and serve, until either ends."""
        await together(lease.keep(), self._serve())

    async def _serve(self) -> None:
        """Run what carries an interaction to its answer."""
        anthology, metrics, tickets = self.anthology, self.metrics, Tickets(self.redis)
        inbox, engine = Inbox(self.redis, PLATFORM), WatchfulEngine(self.redis)
        dropped = partial(metrics.count_buried, Box.OUTBOX)
        outbox = Outbox(self.redis, PLATFORM, on_drop=dropped)
        tallies = Tallies(redis=self.redis, platform=PLATFORM, anthology=anthology, outbox=outbox)
        desk = make_desk(
            engine=engine,
            anthology=anthology,
            limits=self.limits,
            company=DiscordCompany(),
            counters=tallies,
            traces=Leftovers(self.redis, PLATFORM),
            client=PLATFORM,
            words=self.words,
            zone=self.settings.zone,
            metrics=metrics,
            curators=self.settings.curator_names,
            card_label=self.settings.card_label,
            bot_name=ADDRESSEE,
            whispers=True,
        )
        handler = Handler(
            inbox=inbox,
            outbox=outbox,
            desk=desk,
            anthology=anthology,
            read=read_interaction,
            door=Door(self.settings.served, answers_each=True),
            hooks={},
            tell=_show_thinking,
            metrics=metrics,
        )
        new_client = partial(DiscordClient, inbox=inbox, tickets=tickets, metrics=metrics)
        async with _open_client(self.token, new_client) as client:
            sender = DiscordSender(client, tickets, self.redis, self.easel)
            log.info("serving", action="start", bot=str(client.user))
            await together(
                _connect(client),
                engine.watch(),
                publish_commands(client, self.redis),
                handler.run(),
                carry_out(
                    platform=PLATFORM,
                    engine=engine,
                    anthology=anthology,
                    outbox=outbox,
                    sender=sender,
                    halt=Halt(self.redis, PLATFORM),
                    words=self.words,
                    metrics=metrics,
                    pseudonyms=self.pseudonyms,
                ),
                tallies.run(),
            )


class DiscordCompany:
    """The people of channels: what Discord says of them, it says with every interaction."""

    async def is_admin(self, _chat: str, _person: str) -> bool:
        """Nobody is known to be one who was not said to be."""
        return False


async def _show_thinking(_asked: Incoming | Tap) -> None:
    """Nothing more than Discord itself shows from the acknowledgement on: that we think."""


async def _connect(client: DiscordClient) -> None:
    """Stay connected to the gateway until cancelled; raises as `_stay_connected`."""
    connected = asyncio.create_task(_stay_connected(client))
    try:
        await asyncio.shield(connected)
    finally:
        # Once may not be enough: the library connects within `wait_for`, which in Python 3.11 loses
        # a cancellation that comes when it is done.
        while not connected.done():
            connected.cancel()
            await asyncio.wait([connected], timeout=_CANCEL_AGAIN_S)


async def _stay_connected(client: DiscordClient) -> None:
    """Connect; the library comes back by itself after most mishaps.

    Raises:
        TokenRefusedError: Discord does not know the token any more.
        GatewayClosedError: it will not have us, and says why by a number.
    """
    while not client.is_closed():
        try:
            await client.connect()
        except ConnectionClosed as error:
            if error.code == _AUTHENTICATION_FAILED:
                raise TokenRefusedError(TOKEN_REFUSED) from None
            raise GatewayClosedError(f"Discord closed the gateway: {error.code}") from None
        except AttributeError:
            # Where the very first connection fails, the library stumbles over having none yet.
            if getattr(client, "ws", None) is not None:
                raise
            log.warning("↻ the gateway is away", action="start.again")
            await asyncio.sleep(_START_AGAIN_S)


@asynccontextmanager
async def _open_client(
    token: str, new_client: Callable[[], DiscordClient]
) -> AsyncIterator[DiscordClient]:
    """The library's client, known to Discord, however long that takes.

    Raises:
        TokenRefusedError: it is known to nobody.
    """
    client = new_client()
    while not await _log_in(client, token):
        await client.close()
        await asyncio.sleep(_START_AGAIN_S)
        client = new_client()
    try:
        yield client
    finally:
        await client.close()


async def _log_in(client: DiscordClient, token: str) -> bool:
    """Ask Discord who we are; False if it does not say."""
    try:
        await client.login(token)
    except LoginFailure:
        await client.close()
        raise TokenRefusedError(TOKEN_REFUSED) from None
    except FAULTS as error:
        log.warning("↻ Discord is away", action="start.again", error=type(error).__name__)
        return False
    return True
