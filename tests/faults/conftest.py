"""A Redis for one test alone, which may be killed, emptied, frozen and starved."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from engine.client import connect
from engine.settings import EngineSettings
from tests.fakes.threads import outlives_no_loop  # noqa: F401  # a fixture of all tests here
from tests.fakes.valkey import OwnValkey


@pytest.fixture
def own_server() -> Iterator[OwnValkey]:
    """A Valkey for this test alone, with an append-only file."""
    # Not pytest's folder: a socket's path has a hundred bytes.
    folder = Path(tempfile.mkdtemp(prefix="yuefu-fault-"))
    server = OwnValkey(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)


@pytest.fixture
async def own_redis(own_server: OwnValkey) -> AsyncIterator[Redis]:
    """A client of it, as the project makes them."""
    client = connect(EngineSettings(redis_url=own_server.url))
    yield client
    await client.aclose()
