"""Worker processes under a supervisor that starts another whenever one dies."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Crew:
    """Some `tests.fakes.worker` processes on one queue."""

    def __init__(self, url: str, *, size: int, lease_ms: int, slots: int, work_ms: int) -> None:
        self.deaths = 0
        self._numbers = itertools.count()
        self._url = url
        self._options = [f"--lease-ms={lease_ms}", f"--slots={slots}", f"--work-ms={work_ms}"]
        self._workers = dict(self._start() for _ in range(size))

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

    def _start(self) -> tuple[str, subprocess.Popen[bytes]]:
        name = f"worker-{next(self._numbers)}"
        command = [sys.executable, "-m", "tests.fakes.worker", self._url, name, *self._options]
        return name, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


@asynccontextmanager
async def crew(
    url: str, *, size: int = 2, lease_ms: int = 500, slots: int = 8, work_ms: int = 30
) -> AsyncIterator[Crew]:
    """A crew that is tended while the block runs."""
    workers = Crew(url, size=size, lease_ms=lease_ms, slots=slots, work_ms=work_ms)
    tending = asyncio.create_task(workers.tend())
    try:
        yield workers
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        workers.dismiss()
