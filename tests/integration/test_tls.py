"""Redis and PostgreSQL on other machines: nobody between may read, or pass for them."""

import asyncio
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bot.anthology.database import Database
from bot.errors import AnthologyError
from bot.pseudonyms import Pseudonyms
from engine.client import Admitted, EngineClient, connect
from engine.settings import EngineSettings
from tests.fakes.jobs import a_job
from tests.fakes.tls import HOST, Authority, greet_as_postgres, locked_door
from tests.fakes.waiting import until


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """An authority with what it issued to server and client, and another that nobody trusts."""
    folder = tmp_path_factory.mktemp("papers")
    ours = Authority(folder)
    return {
        "ca": ours,
        "server": ours.issue("server"),
        "elsewhere": ours.issue("elsewhere", host="127.0.0.2"),
        "client": ours.issue("client"),
        "stranger": Authority(folder, "stranger"),
    }


@pytest.fixture
def database(valkey_url):
    """The number of a database that no other test has."""
    return valkey_url.partition("db=")[2]


def address(port, authority=None, client=None, *, database="0"):
    """What a process is told about a Redis that speaks TLS."""
    words = [] if authority is None else [f"ssl_ca_certs={authority.file}"]
    if client is not None:
        words += [f"ssl_certfile={client.certificate}", f"ssl_keyfile={client.key}"]
    return f"rediss://{HOST}:{port}/{database}?{'&'.join(words)}"


async def put(url):
    """Whether a job can be put into the Redis there."""
    redis = connect(EngineSettings(redis_url=url))
    try:
        return (await EngineClient(redis).put(a_job("test:tls"))).status is Admitted.ACCEPTED
    finally:
        await redis.aclose()


async def complaint(url):
    """Why a Redis there is none for us, by the log."""
    with capture_logs() as logs:
        asking = asyncio.create_task(put(url))
        found: list[str] = []

        async def complained():
            found[:] = [line["error"] for line in logs if line.get("action") == "redis.retry"]
            return bool(found)

        try:
            await until(complained)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    return found[0]


@pytest.mark.parametrize("wants_papers", [False, True])
async def test_redis_is_spoken_to_by_tls(valkey_server, database, papers, wants_papers):
    authority, client = papers["ca"], papers["client"] if wants_papers else None
    clients = authority if wants_papers else None
    door = locked_door(valkey_server.unix_socket_path, papers["server"], clients=clients)
    async with door as port:
        assert await put(address(port, authority, client, database=database))


@pytest.mark.parametrize(
    ("server", "trusted", "why"),
    [
        ("server", None, "CERTIFICATE_VERIFY_FAILED"),
        ("server", "stranger", "CERTIFICATE_VERIFY_FAILED"),
        ("elsewhere", "ca", "IP address mismatch"),
    ],
)
async def test_who_only_says_to_be_redis_is_told_nothing(
    valkey_server, papers, server, trusted, why
):
    async with locked_door(valkey_server.unix_socket_path, papers[server]) as port:
        assert why in await complaint(address(port, papers.get(trusted)))


async def test_who_has_no_certificate_where_one_is_wanted_does_not_get_in(valkey_server, papers):
    door = locked_door(valkey_server.unix_socket_path, papers["server"], clients=papers["ca"])
    async with door as port:
        assert await complaint(address(port, papers["ca"]))


async def test_a_real_server_with_tls_of_its_own_serves(papers, tmp_path):
    with tls_server(papers, tmp_path) as port:
        assert await put(address(port, papers["ca"], papers["client"]))
        assert await complaint(address(port, papers["ca"]))


@contextmanager
def tls_server(papers, folder: Path):
    """A Redis or Valkey of this machine that was built with TLS."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        pytest.skip("install valkey or redis-server: the one of the lock has no TLS")
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    options = {
        "port": "0",
        "tls-port": f"{port}",
        "tls-cert-file": str(papers["server"].certificate),
        "tls-key-file": str(papers["server"].key),
        "tls-ca-cert-file": str(papers["ca"].file),
        "save": "",
        "dir": str(folder),
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


async def test_postgresql_is_spoken_to_by_tls_and_has_to_prove_who_it_is(
    postgres_server, papers, monkeypatch
):
    name = postgres_server.create()
    where = postgres_server.folder / ".s.PGSQL.5432"
    async with locked_door(where, papers["server"], greet=greet_as_postgres) as port:
        url = f"postgresql+asyncpg://yuefu@{HOST}:{port}/{name}?ssl=verify-full"

        async def opens(authority):
            monkeypatch.setenv("PGSSLROOTCERT", str(papers[authority].file))
            async with Database.open(url, Pseudonyms(b"key")) as database:
                await database.ping()

        await opens("ca")
        with pytest.raises(AnthologyError, match="CERTIFICATE_VERIFY_FAILED"):
            await opens("stranger")
    postgres_server.drop(name)
