"""What was asked of the engine and has not come, asked for again should Redis forget it.

Redis may be emptied. It may lose its last writes, with a failover, or killed while its disk is
slow: in spite of `appendfsync everysec` it then answers up to two seconds before it writes. Whoever
asked for a poem still knows what they asked for, and asking for the same again is always safe. What
was lost may also be that a job has ended: then it comes again, and is known, too.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from engine import keys
from engine.client import (
    Admission,
    Admitted,
    Delivery,
    EngineClient,
    EngineUnavailableError,
    Quota,
)
from engine.jobs import Job

LOOK_S = 1.0
"""How often Redis is asked whether it still knows what is awaited."""
DEALT_S = 600.0
"""How long it is remembered that an outcome was dealt with."""
_GRACE_MS = 60_000
_BEFORE = (Admitted.ACCEPTED, Admitted.DUPLICATE)

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class _Wish:
    """One job whose outcome has not come."""

    job: Job
    quotas: Sequence[Quota]
    known: bool = False
    """Whether Redis said that it has the job."""

    def is_over(self, now_ms: float) -> bool:
        """Whether its outcome would have come by now, were there one to come."""
        deadline_ms = self.job.deadline_ms
        return deadline_ms is not None and deadline_ms + _GRACE_MS < now_ms


class WatchfulEngine(EngineClient):
    """The engine, for a process that remembers what it asked for. It forgets with the process."""

    def __init__(self, redis: Redis) -> None:
        """Speak to the engine through `redis`."""
        super().__init__(redis)
        self._marks = redis
        self._wishes: dict[str, _Wish] = {}
        self._dealt: dict[str, float] = {}

    async def put(self, job: Job, quotas: Sequence[Quota] = ()) -> Admission:
        """Ask for a poem, which is awaited from now on."""
        # Before it is put, for its outcome may be here before the answer to putting it.
        wish = self._wishes[job.id] = _Wish(job=job, quotas=quotas)
        admission = None
        try:
            admission = await super().put(job, quotas)
        finally:
            wish.known = admission is not None and admission.status in _BEFORE
            if not wish.known:
                self._wishes.pop(job.id, None)
        return admission

    async def outcomes(
        self, client: str, consumer: str, *, count: int = 64, wait_ms: int = 0
    ) -> list[Delivery]:
        """Outcomes, which are awaited no longer, but for those that were dealt with before."""
        deliveries = await super().outcomes(client, consumer, count=count, wait_ms=wait_ms)
        for delivery in deliveries:
            self._wishes.pop(delivery.outcome.job_id, None)
        stale = [one for one in deliveries if one.outcome.job_id in self._dealt]
        for delivery in stale:
            await super().done(delivery)
        return [one for one in deliveries if one not in stale]

    async def done(self, delivery: Delivery) -> None:
        """The client has dealt with this outcome, and with any other of the same job."""
        self._dealt[delivery.outcome.job_id] = time.monotonic()
        await super().done(delivery)

    async def watch(self) -> None:
        """Look after what is awaited until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(EngineUnavailableError):
                await self.look()

    def _forget(self) -> None:
        now_ms, long_ago = time.time() * 1000, time.monotonic() - DEALT_S
        self._wishes = {id_: wish for id_, wish in self._wishes.items() if not wish.is_over(now_ms)}
        self._dealt = {id_: at_s for id_, at_s in self._dealt.items() if at_s > long_ago}

    async def look(self) -> None:
        """Put again what is awaited and Redis does not know of; waits for Redis to tell.

        Raises:
            EngineUnavailableError: Redis told, and then was away.
        """
        self._forget()
        asked = [id_ for id_, wish in self._wishes.items() if wish.known]
        if not asked:
            return
        marks = await self._marks.mget([keys.job(id_) for id_ in asked])
        lost = [id_ for id_, mark in zip(asked, marks, strict=True) if mark is None]
        if lost:
            log.warning("↻ Redis forgot jobs", action="engine.again", count=len(lost))
        for id_ in lost:
            # Its outcome may have come meanwhile.
            if (wish := self._wishes.get(id_)) is not None:
                await super().put(wish.job, wish.quotas)
