"""Everything a chat stands on, in one command.

Where no Redis is named, the household is whole: an embedded Valkey, which `engine.client.connect`
starts, and an engine, which runs as a child of this process unless another one already lives.
Where one is named, Redis and engines are somebody else's care.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from redis.asyncio import Redis

from bot.errors import HouseholdError
from bot.settings import BotSettings
from engine.client import EngineClient, EngineUnavailableError, connect
from engine.embedded import EmbeddedError

START_S = 30.0
"""How long an engine may take until it is ready."""

ENGINE = (sys.executable, "-m", "engine", "serve")
"""The command that an engine is."""

_LOOK_S = 0.2
_WATCH_S = 2.0
_STOP_S = 10.0

log = structlog.get_logger(__name__)


@asynccontextmanager
async def household(settings: BotSettings) -> AsyncIterator[Redis]:
    """Redis, with a living engine behind it where the household is our own.

    Raises:
        HouseholdError: Valkey or the engine did not come up.
    """
    try:
        redis = connect(settings)
    except (EmbeddedError, OSError) as error:
        raise HouseholdError(f"the embedded Valkey does not start: {error}") from None
    try:
        if settings.redis_url is not None:
            yield redis
        else:
            async with _own_engine(settings, EngineClient(redis)):
                yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def _own_engine(settings: BotSettings, client: EngineClient) -> AsyncIterator[None]:
    keeper = EngineKeeper(settings, client)
    try:
        await keeper.start()
        watch = asyncio.create_task(keeper.watch())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    finally:
        await keeper.stop()


class EngineKeeper:
    """Sees to it that some engine lives: a child of ours where there is no other."""

    def __init__(self, settings: BotSettings, client: EngineClient) -> None:
        """Look for heartbeats through `client`."""
        self._client = client
        self._log_path = settings.data / "engine.log"
        self._child: Process | None = None

    async def start(self) -> None:
        """Wait until an engine lives.

        Raises:
            HouseholdError: none does after `START_S`, or our child ended.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                while not await self._lives():
                    if self._child is None:
                        await self._spawn()
                    elif self._child.returncode is not None:
                        raise HouseholdError(f"the engine stopped at once; see {self._log_path}")
                    await asyncio.sleep(_LOOK_S)
                return
        raise HouseholdError(f"the engine did not come up in {START_S:.0f} s; see {self._log_path}")

    async def watch(self) -> None:
        """Start an engine whenever none is left, until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_S)
            runs = self._child is not None and self._child.returncode is None
            if not runs and not await self._lives():
                log.warning("! no engine lives", action="engine.restart")
                await self._spawn()

    async def stop(self) -> None:
        """Stop our child, if there is one, and wait for its end."""
        child = self._child
        if child is None or child.returncode is not None:
            return
        child.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()

    async def _lives(self) -> bool:
        try:
            return bool(await self._client.cells())
        except EngineUnavailableError:
            return False

    async def _spawn(self) -> None:
        with self._log_path.open("ab") as output:
            self._child = await asyncio.create_subprocess_exec(
                *ENGINE,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                # A Ctrl-C in the terminal is ours: the child is told when we are done with it.
                start_new_session=True,
            )
