"""Worker processes under a supervisor that starts another whenever one dies."""

import asyncio
import itertools
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from engine.registry import Registry
from tests.fakes.bot import ROOT, environment

Start = Callable[[], tuple[str, "subprocess.Popen[bytes]"]]
"""Starts one more worker: its name in the queue, and its process."""


class Crew:
    """Some workers on one queue."""

    def __init__(self, start: Start, *, size: int) -> None:
        self.deaths = 0
        self._start = start
        self._workers = dict(start() for _ in range(size))

    @property
    def names(self) -> list[str]:
        """The workers that should be alive."""
        return list(self._workers)

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is dead."""
        self._workers[name].kill()
        self._workers[name].wait()

    async def tend(self) -> None:
        """Replace the dead, for ever."""
        while True:
            for name, process in list(self._workers.items()):
                if process.poll() is not None:
                    self.deaths += 1
                    del self._workers[name]
                    self._workers.update([self._start()])
            await asyncio.sleep(0.02)

    def dismiss(self) -> None:
        """End them all."""
        for process in self._workers.values():
            process.kill()
            process.wait()


@asynccontextmanager
async def tended(start: Start, *, size: int) -> AsyncIterator[Crew]:
    """A crew that is tended while the block runs."""
    workers = Crew(start, size=size)
    tending = asyncio.create_task(workers.tend())
    try:
        yield workers
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        workers.dismiss()


@asynccontextmanager
async def crew(
    url: str, *, size: int = 2, lease_ms: int = 500, slots: int = 8, work_ms: int = 30
) -> AsyncIterator[Crew]:
    """A crew of `tests.fakes.worker`."""
    numbers = itertools.count()
    options = [f"--lease-ms={lease_ms}", f"--slots={slots}", f"--work-ms={work_ms}"]

    def start() -> tuple[str, "subprocess.Popen[bytes]"]:
        name = f"worker-{next(numbers)}"
        command = [sys.executable, "-m", "tests.fakes.worker", url, name, *options]
        return name, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)

    async with tended(start, size=size) as workers:
        yield workers


@asynccontextmanager
async def engine_crew(
    registry: Registry, url: str, *program: str, size: int = 2, **settings: str
) -> AsyncIterator[Crew]:
    """A crew of real engines; `program` is what Python runs as one."""
    folder = registry.folder.parent
    usual = {
        "YUEFU_REDIS_URL": url,
        "YUEFU_DATA": str(folder),
        "YUEFU_MODELS": str(registry.folder),
        "YUEFU_THREADS": "1",
    }

    def start() -> tuple[str, "subprocess.Popen[bytes]"]:
        with (folder / "engine.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *program],
                cwd=ROOT,
                env=environment(**usual | settings),
                stdout=log,
                stderr=log,
            )
        return f"{socket.gethostname()}-{process.pid}", process

    async with tended(start, size=size) as workers:
        yield workers
