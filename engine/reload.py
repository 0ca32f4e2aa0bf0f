"""Keeps the writers of an engine those that the registry names, while it serves.

About once a second the aliases are read. What they name and the engine lacks is loaded and verified
in a thread, and appointed when it is ready; nobody waits for it. A checkpoint that cannot be loaded
is refused once, and the next in the order of trust serves, at worst the one that did before. On the
same occasion orders from chats to go back are carried out (`engine.orders`).
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis

from engine import orders
from engine.checkpoint import Checkpoint
from engine.depot import DepotError
from engine.errors import CheckpointError
from engine.jobs import Cell
from engine.loop import Engine
from engine.orders import Obstacle, Order
from engine.registry import NoModelError, Registry, StaleAliasError
from engine.routes import Lineup
from engine.writer import Writer

LOOK_EVERY_S = 1.0

_log = structlog.get_logger(__name__)


class Casting:
    """Finds the writers for what a registry names."""

    def __init__(
        self,
        registry: Registry,
        hire: Callable[[Checkpoint], Writer],
        *,
        trial_share: float,
        reloads: Counter,
    ) -> None:
        """Make writers by `hire`; a challenger shall have `trial_share` of the jobs, 0 to 1.

        What is refused is counted among `reloads`.
        """
        self._registry = registry
        self._hire = hire
        self._reloads = reloads
        self._trial_share = trial_share
        self._refused: set[str] = set()

    def cast(self, serving: Mapping[Cell, Lineup[Writer]]) -> dict[Cell, Lineup[Writer]]:
        """Who shall write, where `serving` do now; takes as long as it takes to load the new."""
        found = {cell: self._lineup(cell, serving.get(cell)) for cell in Cell}
        return {cell: lineup for cell, lineup in found.items() if lineup is not None}

    def forgive(self) -> None:
        """Try again what was refused."""
        self._refused.clear()

    def _lineup(self, cell: Cell, serving: Lineup[Writer] | None) -> Lineup[Writer] | None:
        """Champion and challenger of one cell; None if it has no model that can be loaded."""
        try:
            trusted, tried = self._registry.in_order_of_trust(cell), self._registry.challenger(cell)
        except (CheckpointError, OSError) as error:
            self._refuse(cell, error)
            return serving
        self._refused.discard(cell)
        here = {writer.checkpoint.id: writer for writer in (serving.all if serving else ())}
        writers = (self._writer(path, here) for path in trusted)
        champion = next((writer for writer in writers if writer is not None), None)
        if champion is None and serving is not None:
            champion = serving.champion
        if champion is None:
            return None
        challenger = self._writer(tried, here) if tried is not None else None
        return Lineup(
            champion=champion,
            challenger=None if challenger is champion else challenger,
            share=self._trial_share,
        )

    def _writer(self, path: Path, here: dict[str, Writer]) -> Writer | None:
        """The writer with the checkpoint at `path`: of those that are `here`, or a new one.

        None where it cannot be loaded. A checkpoint never changes, so it is tried once.
        """
        if path.name not in here and path.name not in self._refused:
            try:
                here[path.name] = self._hire(self._registry.load(path))
            # A RuntimeError is also what torch says where the device's memory is full.
            except (RuntimeError, MemoryError) as error:
                self._refuse(path.name, error)
        return here.get(path.name)

    def _refuse(self, name: str, error: Exception) -> None:
        if name not in self._refused:
            self._refused.add(name)
            self._reloads.labels("failed").inc()
            _log.error(
                "! checkpoint refused", action="checkpoint.refused", name=name, why=str(error)
            )


class Watch:
    """Watches a registry for an engine."""

    def __init__(
        self, engine: Engine, registry: Registry, redis: Redis, *, trial_share: float
    ) -> None:
        """Look for orders in `redis`; a challenger shall have `trial_share` of the jobs."""
        self._engine = engine
        self._registry = registry
        self._redis = redis
        self._reloads = engine.account.gauges.reloads
        self._casting = Casting(
            registry, engine.hire, trial_share=trial_share, reloads=self._reloads
        )
        self._dealt_with: dict[Cell, str] = {}
        # Two at once would load the same checkpoint twice.
        self._looking = asyncio.Lock()
        self._call = asyncio.Event()
        self.news = asyncio.Event()
        """Set when others serve than before."""

    def wake(self) -> None:
        """Look at once, and try again what was refused."""
        self._casting.forgive()
        self._call.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._obey()
                await self.look()
            except Exception as error:
                # Whatever it is must stop neither the engine nor the next look.
                _log.exception("! not looked", action="engine.watch", error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._call.wait()
            self._call.clear()

    async def look(self) -> None:
        """Have those serve whom the registry names, once they are loaded."""
        async with self._looking:
            lineups = await asyncio.to_thread(self._casting.cast, self._engine.lineups)
            if lineups == self._engine.lineups:
                return
            self._engine.appoint(lineups)
        self.news.set()
        self._reloads.labels("ok").inc()
        _log.info(
            "↻ writers",
            action="engine.appointed",
            cells=self._engine.cells,
            challengers=self._engine.challengers,
        )

    async def _obey(self) -> None:
        """Carry out the orders that concern a champion of this engine, each once."""
        for order in await orders.standing(self._redis):
            concerns = self._engine.cells.get(order.cell) == order.expected
            if not concerns or self._dealt_with.get(order.cell) == order.id:
                continue
            self._dealt_with[order.cell] = order.id
            obstacle = await asyncio.to_thread(self._go_back, order)
            if obstacle is not None:
                await orders.refuse(self._redis, order, obstacle)

    def _go_back(self, order: Order) -> Obstacle | None:
        """Put the previous champion back, if it is sound; why that cannot be."""
        try:
            self._registry.load(self._registry.previous(order.cell))
            back = self._registry.rollback(order.cell, expected=order.expected)
        except StaleAliasError:
            # Another engine with this registry was faster. Whoever ordered it sees by the
            # heartbeats that it is done.
            return None
        except (CheckpointError, OSError) as error:
            _log.warning(
                "! no way back", action="registry.refused", cell=order.cell, why=str(error)
            )
            return _obstacle(error)
        _log.warning(
            "↶ rolled back",
            action="registry.rollback",
            cell=order.cell,
            was=order.expected,
            now=back,
        )
        return None


def _obstacle(error: CheckpointError | OSError) -> Obstacle:
    if isinstance(error, OSError | DepotError):
        return Obstacle.UNWRITABLE
    return Obstacle.NOTHING if isinstance(error, NoModelError) else Obstacle.DAMAGED
