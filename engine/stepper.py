"""The thread that writes: one step of every writer who has something to write, again and again.

It shares nothing with those who give it work. What they want reaches it between two steps, through
a queue on which it sleeps while there is nothing to write; what ends is called back in their event
loop. So a step waits for nobody, and pays for no hop from thread to thread.

Whatever the event loop does costs the steps time: they share an interpreter, and the caches that
the weights go through. So where all rows are taken, what ends is called back together.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from engine.jobs import Job, Outcome
from engine.writer import Writer

GATHER_S = 0.02
"""Where all rows are taken, outcomes gather for so long, a few steps, to share a waking of the
event loop and its round trips."""
GRACE_S = 5.0
"""How long one that is told to stop has for its last step."""


@dataclass(frozen=True, kw_only=True)
class _Begin:
    """Have a job written."""

    job: Job
    writer: Writer


@dataclass(frozen=True, kw_only=True)
class _Drop:
    """Write no further at a job."""

    job_id: str


class Stepper:
    """Steps writers who share `slots` rows."""

    def __init__(
        self,
        *,
        slots: int,
        ended: Callable[[list[Outcome]], None],
        dropped: Callable[[str], None],
        stepped: Callable[[int, float], None],
    ) -> None:
        """Call `ended` with outcomes, `dropped` with the id of a job that was dropped before.

        And in the stepper's thread, with the rows and seconds of each writer's step, `stepped`.
        """
        self.slots = slots
        self.busy: list[Writer] = []
        """Those who have something to write."""
        self._ended = ended
        self._dropped = dropped
        self._stepped = stepped
        self._outcomes: list[Outcome] = []
        self._told_s = 0.0
        self._since_s: float | None = None
        self._wishes: SimpleQueue[_Begin | _Drop | None] = SimpleQueue()
        self._stopping = False

    @property
    def stepping_s(self) -> float:
        """How long the step has taken that is under way; 0 where none is."""
        since_s = self._since_s
        return 0.0 if since_s is None else time.perf_counter() - since_s

    def begin(self, job: Job, writer: Writer) -> None:
        """Have a job written from the next step on."""
        self._wishes.put(_Begin(job=job, writer=writer))

    def drop(self, job_id: str) -> None:
        """Free the rows of a job at the next step; one that has ended is left as it is."""
        self._wishes.put(_Drop(job_id=job_id))

    def stop(self) -> None:
        """End after this step, whatever is still to be written."""
        self._wishes.put(None)

    async def run(self) -> None:
        """Step in a thread until `stop`; raises what a step raised."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        Thread(target=self._work, args=(loop, over), name="stepper", daemon=True).start()
        try:
            await asyncio.wait([over])
            over.result()
        finally:
            self.stop()
            await asyncio.wait([over], timeout=GRACE_S)

    def _work(self, loop: asyncio.AbstractEventLoop, over: asyncio.Future[None]) -> None:
        try:
            while not self._stopping:
                self._listen(loop)
                self._step(loop)
        # Whatever it is, it must end the process, not a thread that nobody looks at.
        except BaseException as error:
            loop.call_soon_threadsafe(over.set_exception, error)
        else:
            loop.call_soon_threadsafe(over.set_result, None)

    def _step(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write one character of every running poem, and tell of those that are complete."""
        spare = self._unowed
        for writer in self.busy:
            self._since_s = began_s = time.perf_counter()
            outcomes = writer.step(spare=spare)
            self._since_s = None
            if writer.rows:
                self._stepped(writer.rows, time.perf_counter() - began_s)
            self._outcomes += outcomes
            spare -= writer.scheduler.lent
        self.busy = [writer for writer in self.busy if not writer.idle]
        self._tell(loop)

    @property
    def _unowed(self) -> int:
        """Rows that nobody has or waits for, those that are lent left out."""
        return self.slots - sum(writer.scheduler.owed for writer in self.busy)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call back what has ended; where all rows are taken, only if that is some time ago."""
        now_s = time.perf_counter()
        if self._outcomes and (self._unowed > 0 or now_s >= self._told_s + GATHER_S):
            loop.call_soon_threadsafe(self._ended, self._outcomes)
            self._outcomes, self._told_s = [], now_s

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what was wished for meanwhile; where there is nothing to write, wait for a wish."""
        try:
            while True:
                self._obey(self._wishes.get(block=not self.busy and not self._stopping), loop)
        except Empty:
            pass

    def _obey(self, wish: _Begin | _Drop | None, loop: asyncio.AbstractEventLoop) -> None:
        if wish is None:
            self._stopping = True
        elif isinstance(wish, _Begin):
            wish.writer.add(wish.job)
            if wish.writer not in self.busy:
                self.busy.append(wish.writer)
        elif any(writer.drop(wish.job_id) for writer in self.busy):
            loop.call_soon_threadsafe(self._dropped, wish.job_id)
