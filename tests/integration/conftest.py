"""What tests of the bot on Telegram share: a platform, settings, an engine, and the bot itself."""

import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bot.anthology import Anthology
from bot.settings import BotSettings
from tests.fakes.bot import serving
from tests.fakes.engine import FakeEngine, fake_engine
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.fakes.waiting import until


@pytest.fixture(autouse=True)
async def no_database_speaks_to_a_closed_loop() -> AsyncIterator[None]:
    """SQLite works in threads, which go on where a test cancels whoever waits for one."""
    before = {*threading.enumerate()}
    yield

    async def all_ended() -> bool:
        since = {*threading.enumerate()} - before
        return not any("_connection_worker_thread" in thread.name for thread in since)

    with suppress(TimeoutError):
        await until(all_ended, within_s=5)


@pytest.fixture
async def fake() -> AsyncIterator[FakeTelegram]:
    """A Telegram of this test's own."""
    async with FakeTelegram().serve() as telegram:
        yield telegram


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path, fake: FakeTelegram) -> BotSettings:
    """Those of a bot on that Telegram, with an anthology in SQLite."""
    return BotSettings(
        redis_url=valkey_url, data=tmp_path, telegram_token=TOKEN, telegram_api=fake.url
    )


@pytest.fixture
async def anthology(settings: BotSettings) -> AsyncIterator[Anthology]:
    """The anthology of those settings."""
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as opened:
        yield opened


@pytest.fixture
async def engine(redis: Redis) -> AsyncIterator[FakeEngine]:
    """An engine that needs no model."""
    async with fake_engine(redis) as running:
        yield running


@pytest.fixture
async def bot(settings: BotSettings, engine: FakeEngine) -> AsyncIterator[object]:
    """The bot, with somebody to write for it; the task that serves."""
    async with serving(settings) as task:
        yield task
