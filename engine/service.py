"""`serve` as a process: load the champions, beat, serve, and end in order when told to."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping

import structlog
import torch
from redis.asyncio import Redis

from engine.checkpoint import Checkpoint, CheckpointError, load
from engine.client import connect
from engine.heartbeat import Heartbeat, beat
from engine.jobs import Cell
from engine.loop import Engine
from engine.queue import Queue
from engine.registry import NoModelError, Registry
from engine.settings import EngineSettings

BEAT_EVERY_S = 1.0

_log = structlog.get_logger(__name__)


def load_champions(registry: Registry) -> dict[Cell, Checkpoint]:
    """The checkpoint to serve of each cell: the champion, or if it is damaged the next best.

    Raises:
        NoModelError: no cell has a checkpoint that can be loaded.
    """
    found: dict[Cell, Checkpoint] = {}
    for cell in Cell:
        for path in registry.in_order_of_trust(cell):
            try:
                found[cell] = load(path)
            except CheckpointError as error:
                _log.error("! checkpoint refused", action="checkpoint.refused", why=str(error))
            else:
                break
    if not found:
        raise NoModelError(
            f"no model can be loaded from {registry.folder}: train one with "
            "«python -m trainer train gru», or reinstall to get the bundled ones back"
        )
    return found


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
    champions = await asyncio.to_thread(load_champions, Registry(settings.models_folder))
    redis = connect(settings)
    worker = f"{socket.gethostname()}-{os.getpid()}"
    engine = Engine(
        Queue(redis, worker=worker),
        champions,
        slots=settings.slots,
        candidates=settings.candidates,
        device=pick_device(settings),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.stop)
    beating = asyncio.create_task(_beat(redis, worker, engine.cells, settings.slots))
    _log.info("→ serving", action="engine.started", worker=worker, cells=dict(engine.cells))
    try:
        await engine.serve()
    finally:
        beating.cancel()
        await redis.aclose()
    _log.info("← stopped", action="engine.stopped", worker=worker)


async def _beat(redis: Redis, worker: str, cells: Mapping[Cell, str], slots: int) -> None:
    since_ms = time.time_ns() // 1_000_000
    while True:
        heartbeat = Heartbeat(worker=worker, cells=cells, slots=slots, since_ms=since_ms)
        await beat(redis, heartbeat)
        await asyncio.sleep(BEAT_EVERY_S)
