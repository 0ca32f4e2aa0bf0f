"""`python -m bot telegram`: start up, serve for as long as the lease is ours, shut down."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import structlog
from redis.asyncio import Redis
from telegram import Bot
from telegram.error import InvalidToken, NetworkError, RetryAfter

from bot.answering import make_desk
from bot.anthology import Anthology
from bot.budget import Halt
from bot.cards.easel import Easel
from bot.commands import load_tables
from bot.door import Door
from bot.errors import LeaseLostError, PollerConflictError, TokenRefusedError
from bot.handler import Handler
from bot.health import Health
from bot.household import household
from bot.inbox import Inbox, UnreadableUpdateError
from bot.lease import Lease
from bot.leftovers import Leftovers
from bot.limits import Limits
from bot.message import Departure
from bot.metrics import Box, Metrics
from bot.moderation import Filter, open_filter
from bot.outbox import Outbox
from bot.porter import Porter
from bot.presence import AttendedEngine, Typing
from bot.pseudonyms import Pseudonyms
from bot.settings import BotSettings
from bot.shelf import Shelf
from bot.tallies import Tallies
from bot.telegram.company import TelegramCompany
from bot.telegram.inbox import POLL_S, Poller
from bot.telegram.inline import InlineDesk
from bot.telegram.menus import publish
from bot.telegram.sender import TelegramSender
from bot.telegram.shape import fit
from bot.telegram.transport import CountedClient, CountedRequest
from bot.telegram.updates import PLATFORM, AdminsChanged, InlineQuestion, read_update
from bot.telegram.webhook import Registration, Webhook
from bot.together import together
from bot.way_out import carry_out
from engine.settings import SettingsError
from engine.web import App, listening

HOW_TO_BEGIN = (
    "YUEFU_TELEGRAM_TOKEN is not set: open https://t.me/BotFather, send /newbot, "
    "and put the token it gives you into that variable"
)

# A slow answer to a message is better waited for than wondered about.
_READ_TIMEOUT_S = 20.0
_CONNECTIONS = 32
_START_AGAIN_S = 2.0
_CONFLICT_PAUSE_S = 30.0

log = structlog.get_logger(__name__)


async def serve(settings: BotSettings) -> None:
    """Serve Telegram until cancelled.

    Raises:
        SettingsError: there is no token, or the file of words cannot be used.
        TokenRefusedError: Telegram does not know the token.
        HouseholdError, AnthologyError: what it stands on did not come up.
    """
    if settings.telegram_token is None:
        raise SettingsError(HOW_TO_BEGIN)
    token = settings.telegram_token.get_secret_value()
    words = open_filter(settings)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(household(settings))
        pseudonyms = settings.pseudonyms
        anthology = await stack.enter_async_context(
            Anthology.open(settings.anthology_url, pseudonyms)
        )
        metrics = Metrics(PLATFORM)
        if settings.listen_address is not None:
            health = Health(redis=redis, anthology=anthology, metrics=metrics)
            app = _app(settings, redis, health)
            await stack.enter_async_context(listening(settings.listen_address, app))
        bot = await stack.enter_async_context(_open_bot(token, settings.telegram_api, metrics))
        http = await stack.enter_async_context(_open_http(token, settings.telegram_api, metrics))
        await publish(bot, redis, settings.curator_names)
        await asyncio.to_thread(load_tables)
        log.info("serving", action="start", bot=bot.username)
        service = _Service(
            settings=settings,
            redis=redis,
            anthology=anthology,
            pseudonyms=pseudonyms,
            limits=Limits(settings, pseudonyms),
            words=words,
            bot=bot,
            http=http,
            metrics=metrics,
            easel=stack.enter_context(Easel(settings.card_font)),
        )
        await service.run()


def _app(settings: BotSettings, redis: Redis, health: Health) -> App:
    """What is answered whether or not this process leads."""
    routes = dict(health.routes)
    if settings.webhook_url is not None:
        secret = settings.webhook_secret.get_secret_value()
        routes |= Webhook(Inbox(redis, PLATFORM), secret).routes
    return App(routes)


@dataclass(frozen=True, kw_only=True)
class _Service:
    """All that serving needs, open."""

    settings: BotSettings
    redis: Redis
    anthology: Anthology
    pseudonyms: Pseudonyms
    limits: Limits
    words: Filter
    bot: Bot
    http: httpx.AsyncClient
    metrics: Metrics
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
            except PollerConflictError as error:
                # Not one of ours, for those wait for the lease. To fight would stop both.
                log.error(str(error), action="poll.conflict", pause_s=_CONFLICT_PAUSE_S)
                await lease.release()
                await asyncio.sleep(_CONFLICT_PAUSE_S)
            finally:
                await lease.release()

    async def _lead(self, lease: Lease) -> None:
        """Run the tasks that carry an update to its answer, until one of them ends."""
        anthology, bot, metrics = self.anthology, self.bot, self.metrics
        inbox, halt = Inbox(self.redis, PLATFORM), Halt(self.redis, PLATFORM)
        dropped = partial(metrics.count_buried, Box.OUTBOX)
        outbox = Outbox(self.redis, PLATFORM, fit=fit, on_drop=dropped)
        sender = TelegramSender(bot, self.redis, self.easel)
        typing = Typing(sender, halt)
        engine = AttendedEngine(self.redis, typing)
        tallies = Tallies(redis=self.redis, platform=PLATFORM, anthology=anthology, outbox=outbox)
        company = TelegramCompany(bot)
        desk = make_desk(
            engine=engine,
            anthology=anthology,
            limits=self.limits,
            company=company,
            counters=tallies,
            traces=Leftovers(self.redis, PLATFORM),
            client=PLATFORM,
            words=self.words,
            zone=self.settings.zone,
            metrics=metrics,
            curators=self.settings.curator_names,
            card_label=self.settings.card_label,
            bot_name=bot.username,
            private_link=f"{bot.link}?start=",
        )
        door = Door(self.settings.served)
        porter = Porter(voice=sender, anthology=anthology, door=door)
        inline = InlineDesk(
            bot=bot,
            engine=engine,
            shelf=Shelf(self.redis, PLATFORM),
            halt=halt,
            words=self.words,
            door=door,
            pseudonyms=self.pseudonyms,
        )
        handler = Handler(
            inbox=inbox,
            outbox=outbox,
            desk=desk,
            anthology=anthology,
            read=partial(read_update, bot=bot),
            door=door,
            hooks={
                AdminsChanged: company.forget,
                Departure: self._note_departure,
                InlineQuestion: inline.note,
            },
            tell=porter.tell,
            metrics=metrics,
        )
        await together(
            lease.keep(),
            engine.watch(),
            self._fetch(inbox, porter),
            handler.run(),
            carry_out(
                platform=PLATFORM,
                engine=engine,
                anthology=anthology,
                outbox=outbox,
                sender=sender,
                halt=halt,
                words=self.words,
                metrics=metrics,
                pseudonyms=self.pseudonyms,
            ),
            tallies.run(),
            inline.run(),
            typing.run(),
        )

    async def _fetch(self, inbox: Inbox, porter: Porter) -> None:
        """Have updates come into `inbox`, in one of the two ways that exclude each other."""
        url = self.settings.webhook_url
        if url is None:
            await _insist(self.bot.delete_webhook)
            tell = partial(_tell, porter, self.bot)
            await Poller(inbox, self.http, tell=tell).run()
        else:
            secret = self.settings.webhook_secret.get_secret_value()
            await Registration(self.bot, url=url, secret=secret).run()

    async def _note_departure(self, departure: Departure) -> None:
        log.info("← left", action="chat.left", chat=self.pseudonyms.of(departure.chat))


async def _tell(porter: Porter, bot: Bot, update: dict[str, Any]) -> None:
    """Have the sender of a raw update told that the poet rests; what cannot be read is nobody's."""
    with suppress(UnreadableUpdateError):
        await porter.tell(read_update(json.dumps(update).encode(), bot))


@asynccontextmanager
async def _open_bot(token: str, api: str, metrics: Metrics) -> AsyncIterator[Bot]:
    """The library's bot, known to Telegram."""
    # Without it the library warns about every wait that Telegram asks for.
    os.environ.setdefault("PTB_TIMEDELTA", "1")
    bot = Bot(
        token,
        base_url=f"{api}/bot",
        request=CountedRequest(
            metrics, connection_pool_size=_CONNECTIONS, read_timeout=_READ_TIMEOUT_S
        ),
    )
    try:
        await _insist(bot.initialize)
        yield bot
    finally:
        await bot.shutdown()


async def _insist(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask Telegram for something, for as long as it takes.

    Raises:
        TokenRefusedError: it does not know the token.
    """
    while True:
        try:
            await ask()
        except InvalidToken:
            # Its own text quotes the token.
            raise TokenRefusedError from None
        except (NetworkError, RetryAfter) as error:
            log.warning("↻ Telegram is away", action="start.again", error=type(error).__name__)
            await asyncio.sleep(_START_AGAIN_S)
        else:
            return


@asynccontextmanager
async def _open_http(token: str, api: str, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    """A client for updates alone: a long poll must not hold up what we send."""
    async with CountedClient(
        metrics,
        base_url=f"{api}/bot{token}/",
        timeout=httpx.Timeout(_READ_TIMEOUT_S, read=POLL_S + _READ_TIMEOUT_S),
    ) as http:
        yield http
