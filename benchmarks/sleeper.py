"""An engine whose model sleeps: all that is around the model is real, and the model costs nothing.

    python -m benchmarks.sleeper URL SLOTS STEP_MS

So many of them fit on a machine that what they share comes to its limits: Valkey, the client.
"""

import asyncio
import os
import sys
import time
from heapq import heapify, heappop, heappush

from benchmarks.queue_ours import made_up
from engine import logs
from engine.client import connect
from engine.heartbeat import Heartbeat, beat
from engine.jobs import Cell, Job, Outcome
from engine.loop import Engine
from engine.queue import Queue
from engine.routes import Lineup
from engine.scheduler import Scheduler
from engine.service import BEAT_EVERY_S
from engine.settings import EngineSettings
from engine.verse.forms import FORMS
from engine.writer import Writer

CHECKPOINT = "lstm-asleep"
NAP = 4
"""Steps that are slept through at once: waking up is all that a step costs here."""


class Sleeper(Writer):
    """Writes nothing, and takes a step for each character of it."""

    def __init__(self, *, slots: int, step_s: float) -> None:
        self.scheduler = Scheduler(slots)  # in which nothing runs: rows are owed to nobody
        self.rows = 0
        self._step_s = step_s
        self._step = 0
        self._asleep: list[tuple[int, str, Job]] = []
        """By the step at which each is over."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to sleep over."""
        return not self._asleep

    def rows_of(self, job: Job) -> int:
        """One candidate each."""
        return 1

    def add(self, job: Job) -> None:
        """From the next step on."""
        heappush(self._asleep, (self._step + FORMS[job.form].length, job.id, job))

    def drop(self, job_id: str) -> bool:
        """Whether it was there."""
        left = [one for one in self._asleep if one[1] != job_id]
        found, self._asleep = len(left) < len(self._asleep), left
        heapify(self._asleep)
        return found

    def step(self, *, spare: int | None = None) -> list[Outcome]:
        """Sleep for a few steps; what is over then."""
        self.rows = len(self._asleep)
        time.sleep(NAP * self._step_s)
        self._step += NAP
        over: list[Outcome] = []
        while self._asleep and self._asleep[0][0] <= self._step:
            over.append(made_up(heappop(self._asleep)[2]))
        return over


async def serve(url: str, *, slots: int, step_ms: float) -> None:
    """Serve until killed."""
    redis, worker = connect(EngineSettings(redis_url=url)), f"asleep-{os.getpid()}"
    engine = Engine(Queue(redis, worker=worker), slots=slots)
    writer = Sleeper(slots=slots, step_s=step_ms / 1000)
    engine.appoint({cell: Lineup(champion=writer) for cell in Cell})
    cells = dict.fromkeys(Cell, CHECKPOINT)
    pulse = Heartbeat(worker=worker, cells=cells, slots=slots, since_ms=round(time.time() * 1000))

    async def live() -> None:
        while True:
            await beat(redis, pulse)
            await asyncio.sleep(BEAT_EVERY_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        tasks.create_task(engine.serve())


if __name__ == "__main__":
    logs.configure(level="INFO", secrets=[])
    asyncio.run(serve(sys.argv[1], slots=int(sys.argv[2]), step_ms=float(sys.argv[3])))
