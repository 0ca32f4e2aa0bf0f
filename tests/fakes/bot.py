"""The bot: within a test, or as a process of its own, to be watched and killed."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bot import keys
from bot.settings import BotSettings
from bot.telegram.service import serve
from tests.fakes import discord, telegram

Service = Callable[[BotSettings], Coroutine[Any, Any, None]]
"""Serves a platform until cancelled."""

ROOT = Path(__file__).parents[2]

_TOKENS = {
    "telegram": {"YUEFU_TELEGRAM_TOKEN": telegram.TOKEN},
    "discord": {"YUEFU_DISCORD_TOKEN": discord.TOKEN},
}


def environment(**ours: str) -> dict[str, str]:
    """This process's environment, and of Yuefu's settings only `ours`.

    The models stay: whoever runs the tests may want to try others than the bundled ones.
    """
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("YUEFU_") or name == "YUEFU_MODELS"
    }
    return kept | ours


@asynccontextmanager
async def serving(
    settings: BotSettings, service: Service = serve
) -> AsyncIterator[asyncio.Task[None]]:
    """The bot on Telegram, or whatever `service` serves, in this process."""
    task = asyncio.create_task(service(settings))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class BotProcess:
    """One bot process after another, all with the same environment, and what they logged."""

    def __init__(self, folder: Path, platform: str = "telegram", **settings: str) -> None:
        usual = {"YUEFU_DATA": str(folder), **_TOKENS[platform]}
        self._platform = platform
        self._environment = environment(**usual | settings)
        self._log = folder / "bot.log"
        self._process: Process | None = None

    async def start(self, *program: str, **changes: str) -> Process:
        """Start a process, with `changes` to the environment for it alone.

        `program` is what Python is to run instead of the bot as it is.
        """
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *(program or ("-m", "bot", self._platform))),
                cwd=ROOT,
                env=self._environment | changes,
                stdout=log,
                stderr=log,
            )
        return self._process

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Tell it to stop, and wait until it has; its exit code."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.terminate()
        return await self._process.wait()

    def log(self) -> str:
        """Everything that its processes wrote."""
        return self._log.read_text(encoding="utf-8")


@asynccontextmanager
async def bot_process(
    folder: Path, platform: str = "telegram", **settings: str
) -> AsyncIterator[BotProcess]:
    """A running bot, killed in the end."""
    bot = BotProcess(folder, platform, **settings)
    await bot.start()
    try:
        yield bot
    finally:
        await bot.kill()


async def sends_in_flight(redis: Redis, platform: str) -> int:
    """Messages that the ledger says were on their way, asked when the bot is dead."""
    marks = [mark async for mark in redis.scan_iter(match=keys.shown(platform, "*"), count=1000)]
    return (await redis.mget(marks)).count(b"sending") if marks else 0
