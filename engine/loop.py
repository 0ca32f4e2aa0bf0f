"""The engine: take jobs from the queue, write their poems side by side, finish each when done.

    this event loop                          the stepper's thread
    take ──── job, writer ─────────────────> schedule ─> run ─> postprocess ──┐
    finish <─ outcomes ───────────────────────────────────────────────────────┘
    renew, drop what nobody wants any more

Neither side waits for the other: while Redis is asked, the poems are written, and while they are
written, Redis is asked. A job's lease is kept until Redis has confirmed its outcome, so whatever
dies, a job comes back; an error in the thread ends the engine.

Which checkpoints serve may change at any time (`appoint`): jobs taken from then on go to the new
writers. A writer never changes, and those that are no longer appointed finish the poems that they
began, so each poem is written by one model.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import structlog
from redis.exceptions import RedisError

from engine import logs
from engine.account import Ended
from engine.checkpoint import Checkpoint
from engine.jobs import Cell, Outcome, Reason
from engine.linear import Precision
from engine.queue import Lease, Queue
from engine.routes import Lineup
from engine.stepper import Stepper
from engine.writer import Writer, failure

WAIT_MS = 500
"""How long an idle engine waits for a job before it looks around."""
RENEWALS_PER_LEASE = 4
"""Leases are renewed this often before they would run out."""
LOOK_S = 0.25
"""How often is asked which of the running jobs nobody wants any more."""
RETRY_S = 0.2
"""How long Redis is left alone after it did not answer."""
FEWEST_CANDIDATES = 4
"""Where many jobs come at once, the rows are shared out, down to so many candidates a job."""
AHEAD = 4
"""Jobs for one in so many of the rows are taken before there is room: they are there when a row
is free, and the step need not wait for Redis to fill it. Half of them are taken at a time."""

HUNG_S = 60.0
"""A step takes milliseconds, also where others are compiled beside it: this one never ends."""
FAREWELL_S = 20.0
"""How long an engine that is told to stop has to write and tell what it took. Supervisors give it
30 s and more (`deploy/`)."""

_log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class _Held:
    """A job in this engine's hands."""

    lease: Lease
    """What lets it be here."""
    since_s: float
    """When it was taken, on the monotonic clock."""
    rows: int = 0
    """Rows that are kept for it."""
    outcome: Outcome | None = None
    """What became of it; None until it is written, and where it was dropped."""
    over: bool = False
    """Whether Redis is to be told that it has ended."""
    unwanted: bool = False
    """Whether its client wants no outcome any more."""


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
        self.account = queue.account
        self.slots = slots
        self.candidates = min(candidates, slots)
        self.fewest = min(FEWEST_CANDIDATES, self.candidates)
        self.device = device
        self.precision = precision
        self.lineups: Mapping[Cell, Lineup[Writer]] = {}
        """Who writes for each cell from now on."""
        self._stepper = Stepper(
            slots=slots,
            ended=self._receive,
            dropped=self._end,
            stepped=self.account.gauges.stepped,
        )
        self._jobs: dict[str, _Held] = {}
        self._free = slots + slots // AHEAD
        self._enough = max(self.fewest, slots // AHEAD // 2)
        self._leaving = asyncio.Event()
        self._room = asyncio.Event()
        self._ready = asyncio.Event()
        self._empty = asyncio.Event()

    def hire(self, checkpoint: Checkpoint) -> Writer:
        """A writer for this engine, who may then be appointed; takes a while, in any thread."""
        return Writer(
            checkpoint,
            slots=self.slots,
            candidates=self.candidates,
            fewest=self.fewest,
            device=self.device,
            precision=self.precision,
        )

    def appoint(self, lineups: Mapping[Cell, Lineup[Writer]]) -> None:
        """Have these writers write what is taken from now on."""
        self.lineups = lineups

    @property
    def writers(self) -> list[Writer]:
        """Those who are appointed, and those who finish what they began before."""
        appointed = [writer for lineup in self.lineups.values() for writer in lineup.all]
        return appointed + [one for one in self._stepper.busy if one not in appointed]

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

    @property
    def rows(self) -> int:
        """Candidates that are being written."""
        return sum(len(writer.scheduler.running) for writer in self._stepper.busy)

    @property
    def hangs(self) -> bool:
        """Whether a step has begun that does not end: what it writes, nobody will get."""
        return self._stepper.stepping_s > HUNG_S

    async def serve(self) -> None:
        """Serve until `stop`; then finish what is running and return.

        Raises:
            ExceptionGroup: with what a step raised; the leases run out and others do the jobs.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stepper.run())
            beside = [
                tasks.create_task(self._forever(action))
                for action in (self._finish, self._renew, self._look_for_unwanted)
            ]
            taking = tasks.create_task(self._take_until_told())
            await self._leaving.wait()
            await self._end_in_order(taking)
            self._stepper.stop()
            for task in (taking, *beside):
                task.cancel()

    def stop(self) -> None:
        """Take no more jobs."""
        self._leaving.set()
        self._room.set()

    async def _take_until_told(self) -> None:
        while not self._leaving.is_set():
            await self._patiently(self._take)

    async def _end_in_order(self, taking: "asyncio.Task[None]") -> None:
        """Wait until what was taken is written and told; with Redis away, not longer than it may.

        What is left then comes back, to another engine, when its lease runs out.
        """
        try:
            async with asyncio.timeout(FAREWELL_S):
                await asyncio.wait([taking])
                while self._jobs:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            _log.warning("! left in haste", action="engine.left", jobs=len(self._jobs))

    async def _take(self) -> None:
        """Take the jobs for which there is room and give each to the writer of its cell."""
        if self._free < self._enough:
            self._room.clear()
            await self._room.wait()
            return
        for lease in await self.queue.take(self._free // self.fewest, wait_ms=WAIT_MS):
            if lease.job.id in self._jobs:
                # The lease ran out while Redis was away, and now it is ours again.
                self._jobs[lease.job.id].lease = lease
            else:
                self._begin(lease)

    def _begin(self, lease: Lease) -> None:
        """Give a job to the writer of its cell."""
        job = lease.job
        held = self._jobs[job.id] = _Held(lease=lease, since_s=time.monotonic())
        if (lineup := self.lineups.get(job.cell)) is None:
            self._receive([failure(job, Reason.NO_MODEL)])
            return
        writer = lineup.choose(job.id)
        held.rows = writer.rows_of(job)
        self._free -= held.rows
        self._stepper.begin(job, writer)

    def _receive(self, outcomes: list[Outcome]) -> None:
        """Take jobs that are written from the stepper."""
        for outcome in outcomes:
            self._jobs[outcome.job_id].outcome = outcome
            self._end(outcome.job_id)

    def _end(self, job_id: str) -> None:
        """Free the rows of a job at once; it stays ours until Redis knows."""
        held = self._jobs[job_id]
        self._free += held.rows
        held.rows, held.over = 0, True
        self._room.set()
        self._ready.set()

    async def _finish(self) -> None:
        """Tell Redis of all jobs that have ended; what ends meanwhile is the next to go."""
        ended = [held for held in self._jobs.values() if held.over]
        if not ended:
            self._ready.clear()
            await self._ready.wait()
            return
        # One that is found unwanted while it is answered stays answered.
        unwanted = [held for held in ended if held.unwanted]
        await self._answer([held for held in ended if not held.unwanted])
        for held in unwanted:
            await self.queue.drop(held.lease)
            self._note(replace(held, outcome=None))
            self._forget(held)

    async def _answer(self, ended: list[_Held]) -> None:
        """Send outcomes to their clients, in one round trip."""
        done = [(held.lease, held.outcome) for held in ended if held.outcome is not None]
        firsts = await self.queue.finish_all(done)
        with logs.together():
            for held, first in zip(ended, firsts, strict=True):
                self._note(held, first=first)
                self._forget(held)

    def _forget(self, held: _Held) -> None:
        del self._jobs[held.lease.job.id]
        if not self._jobs:
            self._empty.set()

    def _note(self, held: _Held, *, first: bool = True) -> None:
        """Give account of a job."""
        lease = held.lease
        self.account.ended(
            Ended(
                job_id=lease.job.id,
                job=lease.job,
                lane=lease.lane,
                attempt=lease.attempt,
                outcome=held.outcome,
                took_s=time.monotonic() - held.since_s,
                first=first,
            )
        )

    async def _renew(self) -> None:
        """Keep the leases, also of those that have ended: Redis does not know yet."""
        await self.queue.renew([held.lease for held in self._jobs.values()])
        await asyncio.sleep(self.queue.lease_ms / 1000 / RENEWALS_PER_LEASE)

    async def _look_for_unwanted(self) -> None:
        """Stop writing what nobody wants any more."""
        await asyncio.sleep(LOOK_S)
        asked = [held.lease for held in self._jobs.values() if not held.unwanted]
        for job_id in await self.queue.cancelled(asked):
            if (held := self._jobs.get(job_id)) is not None:
                held.unwanted = True
                self._stepper.drop(job_id)

    async def _forever(self, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._patiently(action)

    async def _patiently(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do `action`; where Redis is away, wait a moment rather than die."""
        try:
            await action()
        except RedisError as error:
            _log.warning("! redis", action="engine.redis", error=type(error).__name__)
            await asyncio.sleep(RETRY_S)
