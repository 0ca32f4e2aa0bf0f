"""What tests of the bot on Telegram share: a platform, settings, an engine, and the bot itself."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bot.anthology import Anthology
from bot.settings import BotSettings
from tests.fakes.bot import serving
from tests.fakes.engine import FakeEngine, fake_engine
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.fakes.threads import outlives_no_loop  # noqa: F401  # a fixture of all tests here


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
