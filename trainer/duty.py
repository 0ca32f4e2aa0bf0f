"""A night on duty: the lock, the ledger, the ratings and what chats are told, around `nightly`.

The night itself is plain, slow work in this thread; what speaks to Redis and the anthology runs in
an event loop in another one, so that the lock is kept while the processor is busy.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import structlog
import torch
from anyio.from_thread import start_blocking_portal
from redis.asyncio import Redis
from structlog.contextvars import bound_contextvars

from bot.settings import BotSettings
from engine.bulletin import Bulletin, publish
from engine.client import connect
from engine.embedded import EmbeddedError
from engine.errors import CheckpointError
from engine.jobs import Cell
from engine.registry import Registry
from engine.service import pick_device
from engine.settings import load_settings
from trainer import dataset, keys
from trainer.gauges import Gauges
from trainer.lock import LOCK_MS, Hold, LockLostError, NoLockError, holding
from trainer.nightly import Night, Plan, Progress
from trainer.readers import read_ratings
from trainer.record import NightRecord, Nights, RecordError, State
from trainer.schedule import due
from trainer.settings import TrainerSettings

ATTEMPTS = 10
"""How often a night is gone on with by itself; what kills it every time would kill it for ever."""
TELL_S = 5.0
"""How often chats are told how far a night is."""
LEDGER_S = 5.0
"""How long the ledger in Redis is waited for; the folder is one, too."""

_log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class _Desk:
    """What stands in the other thread."""

    redis: Redis
    hold: Hold
    bulletin: Bulletin | None = None
    """What chats are told, again and again; None for nothing."""

    async def tell(self) -> None:
        """Say it until cancelled."""
        while True:
            if self.bulletin is not None:
                await publish(self.redis, replace(self.bulletin, told_ms=_now_ms()))
            await asyncio.sleep(TELL_S)

    async def has_ended(self, night: str) -> bool:
        """Whether some trainer has run that night to its end."""
        return bool(await self.redis.exists(keys.ended(night)))

    async def close(self, record: NightRecord) -> None:
        """Let other trainers and chats know how a night ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LEDGER_S):
                await self.redis.set(keys.ended(record.name), record.state, ex=keys.ENDED_TTL_S)
                self.bulletin = _bulletin([record])
                await publish(self.redis, self.bulletin)


class Watch:
    """Looks whether a night is due, and runs it."""

    def __init__(
        self,
        settings: TrainerSettings,
        *,
        wanted: Collection[Cell] = (),
        pack: Path | None = None,
    ) -> None:
        """Teach the cells `wanted`, or all; read the dataset `pack` where one is given.

        Raises:
            SettingsError: a setting of the anthology or of signing is wrong, which shall not show
                at night only.
        """
        load_settings(BotSettings)
        settings.find_signer()
        self._settings, self._wanted, self._pack = settings, wanted, pack
        self._given_up: set[date] = set()
        self.gauges = Gauges()
        """What it does, and what its nights left behind."""

    def look(self) -> None:
        """Run the night that is due, if one is. What goes wrong is in the log: once for a date."""
        settings, nights, now = self._settings, Nights(self._settings.nights_folder), _now()
        day: date | None = None
        try:
            self.gauges.look(nights)
            ended = {one.day for one in nights.records() if one.state is not State.RUNNING}
            day = due(
                now,
                settings.nightly_at,
                settings.nightly_zone,
                since=nights.since(now),
                ended=ended | self._given_up,
            )
            if day is not None:
                hold_night(
                    settings,
                    day=day,
                    wanted=self._wanted,
                    pack=self._pack,
                    hear=self.gauges.hear,
                )
                self.gauges.look(nights)
        except NoLockError as error:
            _log.info("a night is under way", action="night.busy", why=str(error))
        except LockLostError as error:
            _log.warning("! lock lost", action="night.lost", why=str(error))
        except (CheckpointError, EmbeddedError, OSError, RecordError) as error:
            # Not even its folder could be written, or an older one not be read.
            self._given_up.add(day or now.astimezone(settings.nightly_zone).date())
            _log.error("! night failed", action="night.failed", night=str(day), why=str(error))
        finally:
            self.gauges.rest()


def hold_night(
    settings: TrainerSettings,
    *,
    day: date,
    wanted: Collection[Cell] = (),
    again: bool = False,
    wait_s: float = 0.0,
    pack: Path | None = None,
    plan: Plan | None = None,
    lock_ms: int = LOCK_MS,
    hear: Callable[[Progress], None] = lambda _progress: None,
) -> NightRecord | None:
    """Run the night of a local date, or go on with it where it was cut off.

    Args:
        settings: The trainer's.
        day: The date.
        wanted: The cells to teach; none for all that have a champion.
        again: Whether to run another one where that date had its night.
        wait_s: How long to wait for a lock that is another's.
        pack: A dataset to read instead of the corpus.
        plan: How much to do; by default what the settings say.
        lock_ms: How long the lock outlives this process.
        hear: Hears how far it is.

    Returns:
        The record of the night as it ended; None where the date had its night already.

    Raises:
        NoLockError: another trainer runs a night, or Redis is away.
        LockLostError: another trainer took over meanwhile.
        SettingsError: a setting of the anthology or of signing is wrong.
        RecordError: the record of an earlier night cannot be read.
        OSError: the night's folder cannot be written.
    """
    torch.set_num_threads(settings.nightly_threads)
    bot, signer = load_settings(BotSettings), settings.find_signer()
    nights, registry = Nights(settings.nights_folder), Registry.at(settings)
    fence = 1 + max(registry.aliases(cell).fence for cell in Cell)
    at_desk = _at_desk(settings, at_least=fence, wait_s=wait_s, lock_ms=lock_ms)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(at_desk) as desk:
        if not again and portal.call(desk.has_ended, day.isoformat()):
            return None

        def check() -> None:
            portal.call(desk.hold.check)

        book = nights.open(day, wanted=wanted, again=again, guard=check, clock=_now)
        if book is None:
            return None
        last = _bulletin([one for one in nights.records() if one.state is not State.RUNNING])

        def tell(progress: Progress) -> None:
            hear(progress)
            desk.bulletin = replace(
                last, phase=progress.phase, cell=progress.cell, share=progress.share
            )

        night = Night(
            book,
            nights,
            registry,
            ratings=lambda: portal.call(read_ratings, bot),
            corpus=lambda: dataset.find(settings.corpus_folder, pack),
            plan=plan or plan_of(settings),
            fence=desk.hold.fence,
            check=check,
            lost=desk.hold.lost.is_set,
            tell=tell,
            sign=None if signer is None else signer.sign,
        )
        with bound_contextvars(night=book.record.name):
            if book.record.attempts > ATTEMPTS and not again:
                record = night.fail(f"it was cut off {ATTEMPTS} times")
            else:
                record = night.run()
        portal.call(desk.close, record)
        _note(record)
        return record


def _note(record: NightRecord) -> None:
    """The one canonical line of a night."""
    cells = record.cells.items()
    _log.info(
        "← night",
        action="night.finished",
        night=record.name,
        state=record.state,
        seconds=round(record.spent_s, 1),
        attempts=record.attempts,
        ratings=record.ratings,
        fresh=record.fresh,
        outcomes={cell: its.outcome for cell, its in cells},
        challengers={cell: its.challenger for cell, its in cells if its.challenger is not None},
        error=record.error,
    )


def plan_of(settings: TrainerSettings) -> Plan:
    """How much a night does by the settings."""
    return Plan(
        hours=settings.nightly_hours,
        trial_share=settings.trial_share,
        device=pick_device(settings),
    )


@asynccontextmanager
async def _at_desk(
    settings: TrainerSettings, *, at_least: int, wait_s: float, lock_ms: int
) -> AsyncIterator[_Desk]:
    async with (
        at_redis(settings) as redis,
        holding(redis, at_least=at_least, wait_s=wait_s, lock_ms=lock_ms) as hold,
    ):
        desk = _Desk(redis=redis, hold=hold)
        telling = asyncio.create_task(desk.tell())
        try:
            yield desk
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


@asynccontextmanager
async def at_redis(settings: TrainerSettings) -> AsyncIterator[Redis]:
    """A client of the Redis of the settings, for this event loop.

    Raises:
        SettingsError: their address is none.
    """
    redis = connect(settings)
    try:
        yield redis
    finally:
        await redis.aclose()


def _bulletin(ended: list[NightRecord]) -> Bulletin:
    """What is told of the last of some nights."""
    if not ended:
        return Bulletin(told_ms=_now_ms())
    record = ended[-1]
    outcomes = {cell: its.outcome for cell, its in record.cells.items() if its.outcome is not None}
    return Bulletin(
        told_ms=_now_ms(),
        last=record.name,
        failed=record.state is State.FAILED,
        outcomes=outcomes,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
