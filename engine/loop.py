"""The engine: take jobs from the queue, write their poems side by side, finish each when done.

take ──> writers (one a checkpoint): schedule, run, postprocess ──> finish

Which checkpoints serve may change at any time (`appoint`): jobs taken from then on go to the new
writers. A writer never changes, and those that are no longer appointed finish the poems that they
began, so each poem is written by one model.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

import structlog
from redis.exceptions import RedisError

from engine.checkpoint import Checkpoint
from engine.jobs import Cell, Job, Outcome, Poem, Reason
from engine.linear import Precision
from engine.queue import Lease, Queue
from engine.routes import Lineup
from engine.writer import Writer, failure

WAIT_MS = 500
"""How long an idle engine waits for a job before it looks around."""
RENEWALS_PER_LEASE = 4
"""Leases are renewed this often before they would run out."""

_log = structlog.get_logger(__name__)

FEWEST_CANDIDATES = 4
"""Where many jobs come at once, the rows are shared out, down to so many candidates a job."""


class Engine:
    """Serves a queue, once writers are appointed."""

    def __init__(
        self,
        queue: Queue,
        *,
        slots: int,
        candidates: int = 1,
        device: str = "cpu",
        precision: Precision = Precision.FP32,
    ) -> None:
        self.queue = queue
        self.slots = slots
        self.candidates = min(candidates, slots)
        self.device = device
        self.precision = precision
        self.lineups: Mapping[Cell, Lineup[Writer]] = {}
        """Who writes for each cell from now on."""
        self.writers: list[Writer] = []
        """They, and those who finish what they began before others were appointed."""
        self._leases: dict[str, Lease] = {}
        self._started: dict[str, float] = {}
        self._rows: dict[str, int] = {}
        self._assigned: deque[tuple[Writer, Job]] = deque()
        self._work = asyncio.Event()
        self._stopping = False

    def hire(self, checkpoint: Checkpoint) -> Writer:
        """A writer for this engine, who may then be appointed; takes a while, in any thread."""
        return Writer(
            checkpoint,
            slots=self.slots,
            candidates=self.candidates,
            device=self.device,
            precision=self.precision,
        )

    def appoint(self, lineups: Mapping[Cell, Lineup[Writer]]) -> None:
        """Have these writers write from now on; between two steps, the others leave once idle."""
        self.lineups = lineups
        appointed = [writer for lineup in lineups.values() for writer in lineup.all]
        self.writers += [writer for writer in appointed if writer not in self.writers]
        self._work.set()

    @property
    def cells(self) -> dict[Cell, str]:
        """The cells it writes with and the id of each champion."""
        return {cell: lineup.champion.checkpoint.id for cell, lineup in self.lineups.items()}

    @property
    def challengers(self) -> dict[Cell, str]:
        """The cells with a challenger on trial and its id."""
        return {
            cell: lineup.challenger.checkpoint.id
            for cell, lineup in self.lineups.items()
            if lineup.challenger is not None
        }

    async def serve(self) -> None:
        """Serve until `stop`; then finish what is running and return."""
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(self._forever(self.take))
            renewing = tasks.create_task(self._forever(self._renew))
            while not self._stopping or self._leases:
                await self.step()
            taking.cancel()
            renewing.cancel()

    def stop(self) -> None:
        """Take no more jobs."""
        self._stopping = True
        self._work.set()

    async def step(self) -> None:
        """Write one character of every running poem and finish those that are complete."""
        while self._assigned:
            writer, job = self._assigned.popleft()
            writer.add(job)
        self._let_leavers_go()
        busy = [writer for writer in self.writers if not writer.idle]
        if not busy:
            self._work.clear()
            await (asyncio.sleep(0) if self._stopping else self._work.wait())
            return
        for writer in busy:
            outcomes = await asyncio.to_thread(writer.step)
            await self.finish(outcomes)

    def _let_leavers_go(self) -> None:
        """Drop the writers that are no longer appointed and have finished, for their memory."""
        appointed = [writer for lineup in self.lineups.values() for writer in lineup.all]
        self.writers = [one for one in self.writers if one in appointed or not one.idle]

    async def take(self) -> None:
        """Take as many jobs as there are free slots and give each to the writer of its cell."""
        if self._stopping:
            await asyncio.sleep(WAIT_MS / 1000)
            return
        free = self._free()
        fewest = min(FEWEST_CANDIDATES, self.candidates)
        if free < fewest:
            # A slot frees itself within a poem's length; the queue keeps the order meanwhile.
            await asyncio.sleep(0.005)
            return
        leases = await self.queue.take(free // fewest, wait_ms=WAIT_MS)
        # More may have become free while we waited for jobs.
        free = self._free()
        for lease in leases:
            job = _with_candidates(
                lease.job, max(fewest, min(self.candidates, free // len(leases)))
            )
            self._leases[job.id] = lease
            self._started[job.id] = time.perf_counter()
            lineup = self.lineups.get(job.cell)
            if lineup is None:
                await self.finish([failure(job, Reason.NO_MODEL)])
            else:
                writer = lineup.choose(job.id)
                self._rows[job.id] = writer.rows_of(job)
                # Added between two steps: a step runs in a thread of its own.
                self._assigned.append((writer, job))
                self._work.set()

    def _free(self) -> int:
        return self.slots - sum(self._rows.values())

    async def finish(self, outcomes: Iterable[Outcome]) -> None:
        """Send outcomes to their clients and let their leases go."""
        for outcome in outcomes:
            lease = self._leases[outcome.job_id]
            first = await self.queue.finish(lease, outcome)
            del self._leases[outcome.job_id]
            self._rows.pop(outcome.job_id, None)
            took_ms = round(1000 * (time.perf_counter() - self._started.pop(outcome.job_id)))
            self._note(lease, outcome, first=first, took_ms=took_ms)

    def _note(self, lease: Lease, outcome: Outcome, *, first: bool, took_ms: int) -> None:
        """The one canonical line of a job."""
        wrote = isinstance(outcome, Poem)
        _log.info(
            "← poem" if wrote else "! no poem",
            action="job.finished",
            outcome="poem" if isinstance(outcome, Poem) else outcome.reason.value,
            detail="" if isinstance(outcome, Poem) else outcome.detail,
            first=first,
            took_ms=took_ms,
            attempt=lease.attempt,
            **lease.job.log_context(),
        )

    async def _renew(self) -> None:
        await self.queue.renew(list(self._leases.values()))
        await asyncio.sleep(self.queue.lease_ms / 1000 / RENEWALS_PER_LEASE)

    async def _forever(self, action: Callable[[], Awaitable[None]]) -> None:
        """Repeat `action`; where Redis is away, wait for it rather than die."""
        while True:
            try:
                await action()
            except RedisError as error:
                _log.warning("! redis", action="engine.redis", error=type(error).__name__)
                await asyncio.sleep(0.2)


def _with_candidates(job: Job, count: int) -> Job:
    """The job with so many candidates to choose from, unless it names a number itself."""
    return job if job.candidates is not None else replace(job, candidates=count)
