"""For all tests of a folder whose conftest imports it."""

import threading
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.fakes.waiting import until


@pytest.fixture(autouse=True)
async def outlives_no_loop() -> AsyncIterator[None]:
    """SQLite works in threads, which go on where a test cancels whoever waits for one."""
    before = {*threading.enumerate()}
    yield

    async def all_ended() -> bool:
        since = {*threading.enumerate()} - before
        return not any("_connection_worker_thread" in thread.name for thread in since)

    with suppress(TimeoutError):
        await until(all_ended, within_s=5)
