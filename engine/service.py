"""`serve` as a process: load the models, beat, serve, and end in order when told to."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog
import torch
from redis.asyncio import Redis
from redis.exceptions import RedisError

from engine.client import connect
from engine.gauges import Rates
from engine.health import Health
from engine.heartbeat import Heartbeat, beat
from engine.linear import pick
from engine.loop import Engine
from engine.queue import Queue
from engine.registry import NoModelError, Registry
from engine.reload import Watch
from engine.settings import EngineSettings
from engine.web import App, listening

BEAT_EVERY_S = 1.0

_log = structlog.get_logger(__name__)


def pick_device(settings: EngineSettings) -> str:
    """The device that the settings name; `auto` takes a GPU if there is one."""
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


async def serve(settings: EngineSettings) -> None:
    """Serve until SIGTERM or SIGINT; the poems then running are finished first.

    Raises:
        NoModelError: there is nothing to write with.
    """
    torch.set_num_threads(settings.threads)
    registry = Registry.at(settings)
    redis = connect(settings)
    worker = f"{socket.gethostname()}-{os.getpid()}"
    device = pick_device(settings)
    engine = Engine(
        Queue(redis, worker=worker),
        slots=settings.slots_on(device),
        candidates=settings.candidates,
        device=device,
        precision=pick(settings.precision, device),
    )
    watch = Watch(engine, registry, redis, trial_share=settings.trial_share)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        if settings.listen is not None:
            # Before the models are loaded: that takes a while, and is no reason to restart it.
            app = App(Health(redis, engine).routes)
            await stack.enter_async_context(listening(settings.listen, app))
        await watch.look()
        if not engine.cells:
            raise NoModelError(
                f"no model can be loaded from {registry.depot}: train one with "
                "«python -m trainer train gru», or reinstall to get the bundled ones back"
            )
        _listen_to_signals(engine, watch)
        beside = [_beat(redis, worker, engine, watch, settings), watch.run()]
        await stack.enter_async_context(_beside(beside))
        _log.info("→ serving", action="engine.started", worker=worker, cells=engine.cells)
        await engine.serve()
    _log.info("← stopped", action="engine.stopped", worker=worker)


@asynccontextmanager
async def _beside(doings: Iterable[Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Do these meanwhile."""
    tasks = [asyncio.create_task(doing) for doing in doings]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _listen_to_signals(engine: Engine, watch: Watch) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.stop)
    # At a terminal it means that the terminal was closed, and nobody is there any more.
    if not sys.stderr.isatty():
        loop.add_signal_handler(signal.SIGHUP, watch.wake)


async def _beat(
    redis: Redis, worker: str, engine: Engine, watch: Watch, settings: EngineSettings
) -> None:
    """Tell of the engine for as long as it lives, and at once where others write than before."""
    since_ms = time.time_ns() // 1_000_000
    rates = Rates(engine.account.gauges)
    while True:
        watch.news.clear()
        poems_per_s, step_ms = rates.look()
        heartbeat = Heartbeat(
            worker=worker,
            cells=engine.cells,
            slots=engine.slots,
            since_ms=since_ms,
            challengers=engine.challengers,
            trial_share=settings.trial_share,
            device=engine.device,
            rows=engine.rows,
            poems_per_s=round(poems_per_s, 2),
            step_ms=round(step_ms, 2),
        )
        try:
            await beat(redis, heartbeat)
        except RedisError as error:
            _log.warning("! redis", action="engine.redis", error=type(error).__name__)
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_EVERY_S):
                await watch.news.wait()
