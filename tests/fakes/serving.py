"""`python -m engine serve` as a process of its own, on a registry of small models."""

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from engine.client import EngineClient
from engine.jobs import Cell
from engine.registry import Registry
from tests.fakes.bot import ROOT, environment
from tests.fakes.models import small_dataset, write_model
from tests.fakes.waiting import until


def small_registry(folder: Path, *, gru: int = 2) -> tuple[Registry, list[str]]:
    """A registry with so many gru checkpoints, whose ids come with it, of which the first serves.

    A small lstm serves too, for the bundled one takes a while to load.
    """
    registry, data = Registry(folder), small_dataset()
    ids = [write_model(folder, seed=seed, dataset=data).name for seed in range(gru)]
    registry.promote(ids[0])
    registry.promote(write_model(folder, Cell.LSTM, dataset=data).name)
    return registry, ids


ENGINE = ("-m", "engine", "serve")


@asynccontextmanager
async def engine_process(
    registry: Registry,
    url: str,
    client: EngineClient,
    *,
    program: tuple[str, ...] = ENGINE,
    **settings: str,
) -> AsyncIterator[Process]:
    """An engine that lives, and is told to stop in the end; its log is beside the registry.

    `program` is what Python is to run instead of the engine as it is.
    """
    usual = {
        "YUEFU_REDIS_URL": url,
        "YUEFU_DATA": str(registry.folder.parent),
        "YUEFU_MODELS": str(registry.folder),
        "YUEFU_THREADS": "1",
    }
    with (registry.folder.parent / "engine.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *program),
            cwd=ROOT,
            env=environment(**usual | settings),
            stdout=log,
            stderr=log,
        )
    try:
        await until(client.cells, within_s=90)
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
