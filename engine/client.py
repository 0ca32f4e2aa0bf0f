"""What bot and trainer call: put a job, collect outcomes, ask what the engine can do.

Imports no torch. What it raises:

    EngineError
    ├── EngineUnavailableError
    └── RollbackError                nothing was put back
        ├── ObstacleError            an engine says why
        ├── ChampionChangedError     the champion to go back from no longer is one
        └── RollbackLateError        no engine did it in time
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import hiredis
import structlog
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from engine import embedded, keys, orders
from engine.arrivals import Entry, wait_for
from engine.bulletin import Bulletin, latest
from engine.heartbeat import living
from engine.jobs import Cell, Job, JobError, Lane, Outcome, outcome_from_json
from engine.metrics import REDIS_ERRORS
from engine.orders import Obstacle, Order
from engine.queue import (
    CAP,
    LANES,
    MAX_BLOCK_MS,
    Admission,
    Admitted,
    admission,
    put_call,
)
from engine.quotas import Limit, Quota, Rate, Whose
from engine.routes import Lineup
from engine.script import Call, Script
from engine.settings import PREFIX, EngineSettings, SettingsError

__all__ = [
    "ANSWER_S",
    "MAX_BLOCK_MS",
    "ROLLBACK_S",
    "Admission",
    "Admitted",
    "ChampionChangedError",
    "Delivery",
    "EngineClient",
    "EngineError",
    "EngineUnavailableError",
    "Limit",
    "Lineup",
    "Obstacle",
    "ObstacleError",
    "Quota",
    "Rate",
    "RollbackError",
    "RollbackLateError",
    "Whose",
    "answers",
    "connect",
    "in_time",
]

ANSWER_S = 2.0
"""How long a call that a person waits on may wait for Redis."""
CONNECTIONS = 32
"""Connections that one process opens at most; a call beyond them waits for a free one."""
ROLLBACK_S = 10.0
"""How long a rollback may take until every living engine writes with another champion."""
DELIVERY_LEASE_MS = 5_000
"""How long a client may be silent before its outcomes are given to another of its consumers."""
LOOKS_PER_LEASE = 4
"""How often in that time it says what it still has in hand, and looks for what others left."""

# One line in the log for so many failed attempts of one call: about ten seconds.
_RETRIES_A_LINE = 20
_LOOK_S = 0.1
_DISK_FULL = "MISCONF "
_REFUSALS = (exceptions.AuthenticationError, exceptions.AuthorizationError)

_log = structlog.get_logger(__name__)


class EngineError(Exception):
    """The engine cannot be used."""


class EngineUnavailableError(EngineError):
    """Redis did not answer in time; what was asked for may or may not have happened."""


class RollbackError(EngineError):
    """The previous champion was not put back in service."""


class ObstacleError(RollbackError):
    """An engine cannot go back, and says why."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle.value)
        self.obstacle = obstacle


class ChampionChangedError(RollbackError):
    """What was to be replaced no longer is the champion: somebody was faster."""


class RollbackLateError(RollbackError):
    """No engine went back in time; one that was merely slow may do so yet."""


class _Patience(Retry):
    """Tries again for as long as Redis is away, and says so; a refused password it gives up on.

    A Redis that may not write, for its disk is full, is as good as away.
    """

    def __init__(self) -> None:
        super().__init__(
            ExponentialWithJitterBackoff(base=0.02, cap=0.5),
            retries=-1,
            supported_errors=(
                exceptions.ConnectionError,
                exceptions.TimeoutError,
                exceptions.ResponseError,
            ),
        )

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[Any]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        failures = itertools.count()

        def may_pass(error: Exception) -> bool:
            if isinstance(error, exceptions.ResponseError) and _DISK_FULL not in str(error):
                return False
            REDIS_ERRORS.inc()
            if next(failures) % _RETRIES_A_LINE == 0:
                _log.warning("! redis is away", action="redis.retry", error=str(error))
            # redis-py wraps what the handshake on a unix socket raises.
            return not isinstance(error.__cause__ or error, _REFUSALS)

        return await super().call_with_retry(do, fail, may_pass, with_failure_count)


class _Link(AbstractConnection):
    """Sends within the socket's timeout, can be cancelled meanwhile, and packs commands fast.

    redis-py sends in `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that
    comes as the sending ends (python/cpython#86296): the task would go on for ever. It also makes a
    task for each command, which costs more than the sending. And it parses with hiredis, but packs
    in Python where a connection is asynchronous.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        """A command, or one of several words as its first argument, as it is sent."""
        name, *rest = args
        return [hiredis.pack_command((*name.split(), *rest))]

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]  # redis-py forgot its -> None
        if isinstance(command, list) and (writer := self._writer) is not None:
            writer.writelines(command)
            if writer.transport.get_write_buffer_size() == 0:
                return
            command = []  # What is left is waited for below.
        timeout_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(timeout_s):
                await super().send_packed_command(command, check_health=False)
        except TimeoutError as error:
            raise exceptions.TimeoutError("Timeout writing to socket") from error
        finally:
            self.socket_timeout = timeout_s


class _Pool(BlockingConnectionPool):
    """Lends an idle connection that is well without the ado of making one.

    redis-py's own pool spends more on lending than a command takes.
    """

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection to send commands on."""
        idle = self._available_connections
        with suppress(exceptions.ConnectionError):
            # Nobody comes between: what this awaits does not wait.
            if idle and idle[-1].is_connected and not await idle[-1].can_read():
                link = idle.pop()
                self._in_use_connections.add(link)
                return link
        # It has ended, or there is none: redis-py looks for a better one.
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back."""
        self._in_use_connections.remove(connection)
        if connection.should_reconnect():  # type: ignore[no-untyped-call]
            await connection.disconnect()
        self._available_connections.append(connection)
        async with self._condition:
            self._condition.notify()


def connect(settings: EngineSettings) -> Redis:
    """A client of the Redis that the settings name, or else of the embedded one, started if needed.

    The one place that builds clients. Calls wait for a Redis that is away and go on within a second
    of its return; put `asyncio.timeout` around those that must not wait. The protocol is pinned,
    for the shapes of replies depend on it.

    Raises:
        embedded.EmbeddedError: there is no `redis_url` and no embedded server could be started.
        SettingsError: `redis_url` is no address.
    """
    url = settings.redis_url
    address = embedded.ensure(settings.data) if url is None else url.get_secret_value()
    try:
        pool = _Pool.from_url(
            address,
            max_connections=CONNECTIONS,
            timeout=None,
            protocol=2,
            # Longer than any blocking read (`MAX_BLOCK_MS`), or each of those would be an error.
            socket_timeout=5.0,
            socket_connect_timeout=2.0,
            health_check_interval=15,
            retry=_Patience(),
        )
    except ValueError:
        # Its own words may quote the address, and the address a password.
        raise SettingsError(f"{PREFIX}REDIS_URL is not the address of a Redis") from None
    pool.connection_class = type("Connection", (_Link, pool.connection_class), {})
    return Redis.from_pool(pool)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One outcome in the hands of one client."""

    client: str
    """The client it is for."""
    entry: str
    """The id of its entry in the reply stream."""
    outcome: Outcome
    """The poem, or why there is none."""


class EngineClient:
    """The engine as its clients see it."""

    def __init__(self, redis: Redis, *, cap: int = CAP) -> None:
        """Speak to the engine through `redis`; `cap` is how many jobs a lane may hold."""
        self._redis = redis
        self._cap = cap
        self._admit = Script(redis, makes_room=False, around=in_time)
        self._settle = Script(redis, makes_room=True)
        self._in_hand: defaultdict[str, set[str]] = defaultdict(set)
        self._look_at: defaultdict[str, float] = defaultdict(float)

    async def put(self, job: Job, quotas: Sequence[Quota] = ()) -> Admission:
        """Ask for a poem on account of `quotas`. Putting the same job again is safe at any time.

        Raises:
            EngineUnavailableError: Redis did not answer in time; the job may be queued or not.
        """
        try:
            reply = await self._admit.share(put_call(job, quotas, cap=self._cap))
        except exceptions.OutOfMemoryError:
            return Admission(status=Admitted.FULL)
        return admission(reply, quotas)

    async def cancel(self, job_id: str) -> None:
        """Drop a job that nobody waits for: as it is taken, or soon if a worker is at it.

        Nothing comes back, unless it is done before the worker notices.

        Raises:
            EngineUnavailableError: Redis did not answer in time.
        """
        async with in_time():
            await self._redis.set(keys.cancel(job_id), 1, ex=keys.CANCEL_TTL_S)

    async def outcomes(
        self, client: str, consumer: str, *, count: int = 64, wait_ms: int = 0
    ) -> list[Delivery]:
        """Up to `count` outcomes for `client`, each given to one of its consumers.

        Waits up to `wait_ms`, at most `MAX_BLOCK_MS`, if there are none. What was collected and is
        not `done` stays in this object's hands for as long as this is called often; what a dead
        consumer had in its hands is given out again after `DELIVERY_LEASE_MS`.
        """
        entries: list[Entry] = []
        if wait_ms == 0 or self._looks(client):
            entries = await self._collect(client, consumer, count)
        if not entries and wait_ms > 0:
            entries = await self._wait(client, consumer, count, min(wait_ms, MAX_BLOCK_MS))
        deliveries: list[Delivery] = []
        for entry, (_, text) in entries:
            try:
                outcome = outcome_from_json(text)
            except JobError as error:
                await self._bury(client, entry, text, str(error))
            else:
                deliveries.append(Delivery(client=client, entry=entry.decode(), outcome=outcome))
        self._in_hand[client].update(delivery.entry for delivery in deliveries)
        return deliveries

    async def done(self, delivery: Delivery) -> None:
        """The client has dealt with this outcome: forget it."""
        call = Call(verb="forget", keys=[keys.replies(delivery.client)], args=[delivery.entry])
        await self._settle.share(call)
        self._in_hand[delivery.client].discard(delivery.entry)

    async def cells(self) -> dict[Cell, str]:
        """The cells that living engines write with, and the champion of each.

        Raises:
            EngineUnavailableError: Redis did not answer in time.
        """
        return {cell: lineup.champion for cell, lineup in (await self.lineups()).items()}

    async def lineups(self) -> dict[Cell, Lineup[str]]:
        """The models that living engines write with, by cell and by the ids of checkpoints.

        Raises:
            EngineUnavailableError: Redis did not answer in time.
        """
        async with in_time():
            beats = await living(self._redis)
        return {cell: lineup for beat in beats for cell, lineup in beat.lineups.items()}

    async def engines(self) -> int:
        """How many engines live.

        Raises:
            EngineUnavailableError: Redis did not answer in time.
        """
        async with in_time():
            return len(await living(self._redis))

    async def rollback(self, cell: Cell, *, expected: str) -> str:
        """Have engines put the champion before `expected` back in service, and return its id.

        Returns once every living engine of the cell says so.

        Raises:
            EngineUnavailableError: Redis did not answer in time.
            ObstacleError: an engine says why it cannot.
            ChampionChangedError: `expected` is not the champion.
            RollbackLateError: it did not happen within `ROLLBACK_S`.
        """
        champions = await self._champions(cell)
        if champions and expected not in champions:
            raise ChampionChangedError(f"{expected} is not the {cell} champion")
        order = Order(cell=cell, expected=expected)
        async with in_time():
            await orders.give(self._redis, order)
        try:
            async with asyncio.timeout(ROLLBACK_S):
                return await self._replaced(order)
        except TimeoutError:
            raise RollbackLateError(
                f"{expected} still is the {cell} champion after {ROLLBACK_S:.0f} s"
            ) from None
        finally:
            async with in_time():
                await orders.withdraw(self._redis, order)

    async def _replaced(self, order: Order) -> str:
        """Wait until `order` is carried out; the champion of then."""
        while True:
            if (obstacle := await orders.refusal(self._redis, order)) is not None:
                raise ObstacleError(obstacle)
            champions = await self._champions(order.cell)
            if champions and order.expected not in champions:
                return champions[-1]
            await asyncio.sleep(_LOOK_S)

    async def _champions(self, cell: Cell) -> list[str]:
        """The champions that living engines of a cell have; one on each, as a rule the same."""
        async with in_time():
            beats = await living(self._redis)
        return [beat.cells[cell] for beat in beats if cell in beat.cells]

    async def night(self) -> Bulletin | None:
        """What the trainer told last; None where it never did, or a week ago.

        Raises:
            EngineUnavailableError: Redis did not answer in time.
        """
        async with in_time():
            return await latest(self._redis)

    async def depth(self) -> dict[Lane, int]:
        """Jobs in each lane that are not finished.

        Raises:
            EngineUnavailableError: Redis did not answer in time.
        """
        async with in_time(), self._redis.pipeline(transaction=False) as pipe:
            for lane in LANES:
                pipe.xlen(keys.jobs(lane))
            return dict(zip(LANES, await pipe.execute(), strict=True))

    def _looks(self, client: str) -> bool:
        """Whether it is time to say what is in hand, and to look for what others left."""
        return time.monotonic() >= self._look_at[client]

    async def _collect(self, client: str, consumer: str, count: int) -> list[Entry]:
        """What is there; at times also what others left, and word of what is in hand."""
        looks = self._looks(client)
        args: list[str | int] = [consumer, count, DELIVERY_LEASE_MS, int(looks)]
        if looks:
            self._look_at[client] = time.monotonic() + DELIVERY_LEASE_MS / 1000 / LOOKS_PER_LEASE
            args += self._in_hand[client]
        call = Call(verb="collect", keys=[keys.replies(client)], args=args)
        entries: list[Entry] = await self._settle.share(call)
        return entries

    async def _wait(self, client: str, consumer: str, count: int, wait_ms: int) -> list[Entry]:
        """What comes within `wait_ms`."""
        stream = keys.replies(client)
        found = await wait_for(self._redis, consumer, stream, count=count, wait_ms=wait_ms)
        # Where there is no stream, collecting makes one to wait at.
        return await self._collect(client, consumer, count) if found is None else found

    async def _bury(self, client: str, entry: bytes, text: bytes, why: str) -> None:
        """Set aside an outcome that cannot be read, for a person to look at."""
        _log.warning("! buried", action="outcome.bury", client=client, why=why)
        fields: dict[Any, Any] = {"client": client, "outcome": text, "why": why}
        async with self._redis.pipeline() as pipe:
            pipe.xadd(keys.DEAD, fields, maxlen=keys.DEAD_LENGTH)
            pipe.xack(keys.replies(client), keys.GROUP, entry)
            pipe.xdel(keys.replies(client), entry)
            await pipe.execute()


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Give Redis `ANSWER_S` seconds for what is done inside.

    Raises:
        EngineUnavailableError: that was not enough, or it cannot be spoken to at all.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            yield
    except (TimeoutError, exceptions.ConnectionError) as error:
        REDIS_ERRORS.inc()
        raise EngineUnavailableError(f"no answer from Redis in {ANSWER_S} s") from error


async def answers(redis: Redis) -> bool:
    """Whether Redis answers in time."""
    try:
        async with in_time():
            await redis.ping()
    except EngineUnavailableError:
        return False
    return True
