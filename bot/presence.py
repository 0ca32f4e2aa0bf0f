"""Who waits for a poem sees that it is being written: "typing …", where the platform has it."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Protocol

import structlog
from redis.asyncio import Redis

from bot.budget import Halt
from bot.errors import NotShownError, SendError
from bot.message import Address
from bot.submit import PATIENCE_MS, Context
from bot.vigil import WatchfulEngine
from engine.client import Admission, Admitted, Delivery, Quota
from engine.jobs import Job, Lane

FIRST_AFTER_S = 0.8
"""A poem that comes sooner needs no announcing: the sign would only flicker."""
AGAIN_AFTER_S = 5.0
"""As long as Telegram shows the sign."""

log = structlog.get_logger(__name__)


class Typist(Protocol):
    """A platform, as far as it shows that somebody types."""

    async def type(self, address: Address) -> None:
        """Show for a few seconds that we type, unless that would hold up a message.

        Raises:
            NotShownError: the platform wants us to wait.
            SendError: the platform does not take it.
        """
        ...


@dataclass(kw_only=True)
class _Place:
    """A chat, or a topic in it, where somebody waits."""

    jobs: dict[str, float] = field(default_factory=dict)
    """When each job is given up, whatever became of its outcome."""


class Typing:
    """Shows that we type wherever a poem is long in coming. It is forgotten with the process."""

    def __init__(self, typist: Typist, halt: Halt) -> None:
        """Show by `typist`; what the platform then asks us to wait goes into `halt`."""
        self._typist = typist
        self._halt = halt
        self._addresses: dict[str, Address] = {}
        self._places: dict[Address, _Place] = {}
        self._due: list[tuple[float, int, Address, _Place]] = []
        self._numbers = itertools.count()
        self._news = asyncio.Event()

    def __len__(self) -> int:
        """How many jobs are waited for."""
        return len(self._addresses)

    def begin(self, job_id: str, address: Address) -> None:
        """Somebody at `address` waits for a job from now on, for `PATIENCE_MS` at most."""
        self.end(job_id)
        now_s = _now_s()
        where = replace(address, reply_to=None)
        place = self._places.get(where)
        if place is None:
            place = self._places[where] = _Place()
            self._see_to(where, place, now_s + FIRST_AFTER_S)
            self._news.set()
        place.jobs[job_id] = now_s + PATIENCE_MS / 1000
        self._addresses[job_id] = where

    def end(self, job_id: str) -> None:
        """Nobody waits for this job any longer, if anybody did."""
        where = self._addresses.pop(job_id, None)
        if where is None:
            return
        del self._places[where].jobs[job_id]
        if not self._places[where].jobs:
            del self._places[where]

    async def run(self) -> None:
        """Type until cancelled."""
        while True:
            self._news.clear()
            while self._due and self._due[0][0] <= _now_s():
                _, _, where, place = heappop(self._due)
                await self._keep_up(where, place)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._due[0][0] - _now_s() if self._due else None):
                    await self._news.wait()

    def _see_to(self, where: Address, place: _Place, at_s: float) -> None:
        heappush(self._due, (at_s, next(self._numbers), where, place))

    async def _keep_up(self, where: Address, place: _Place) -> None:
        """Type once where somebody still waits, and see to it again after a while."""
        for job_id in [job_id for job_id, ends_s in place.jobs.items() if ends_s <= _now_s()]:
            self.end(job_id)
        if not place.jobs:
            return
        if await self._type(where, place):
            self._see_to(where, place, _now_s() + AGAIN_AFTER_S)
        else:
            for job_id in list(place.jobs):
                self.end(job_id)

    async def _type(self, where: Address, place: _Place) -> bool:
        """Whether it is worth trying there again."""
        try:
            await self._typist.type(where)
        except NotShownError as error:
            await self._halt.hold(error.retry_after_s)
        except SendError as error:
            causes = list(place.jobs)
            log.info(
                "! no typing", action="type.refused", causes=causes, error=type(error).__name__
            )
            return False
        return True


class AttendedEngine(WatchfulEngine):
    """The engine, for a platform whose people see that a poem of theirs is being written."""

    def __init__(self, redis: Redis, typing: Typing) -> None:
        """Let `typing` know who waits."""
        super().__init__(redis)
        self._typing = typing

    async def put(self, job: Job, quotas: Sequence[Quota] = ()) -> Admission:
        """Ask for a poem; the person who did waits from now on."""
        # Before it is put, for its outcome may be here before the answer to putting it.
        if job.lane is Lane.CHAT:
            self._typing.begin(job.id, Context.from_fields(job.context).address)
        admission = None
        try:
            admission = await super().put(job, quotas)
        finally:
            if admission is None or admission.status is not Admitted.ACCEPTED:
                self._typing.end(job.id)
        return admission

    async def outcomes(
        self, client: str, consumer: str, *, count: int = 64, wait_ms: int = 0
    ) -> list[Delivery]:
        """Outcomes, for which nobody waits any longer."""
        deliveries = await super().outcomes(client, consumer, count=count, wait_ms=wait_ms)
        for delivery in deliveries:
            self._typing.end(delivery.outcome.job_id)
        return deliveries


def _now_s() -> float:
    return asyncio.get_running_loop().time()
