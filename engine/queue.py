"""The engine's side of the queue: put, take, renew, finish, bury.

A job is an entry of its lane's stream from the moment it is put until it is finished or buried.
Taking it leases it to one worker, which renews the lease while it works; so an entry that idles
belongs to a worker that died, and another takes it. Every verb is one script (`queue.lua`), hence
atomic: whatever is killed, a job is neither lost nor answered twice.

A job that was there when its worker died is not to blame, yet one that is must not go round for
ever. So after two deaths a job is a suspect and runs alone, and with the third it is buried.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from redis.asyncio import Redis

from engine import keys
from engine.account import Account, Ended
from engine.jobs import Failure, Job, JobError, Lane, Outcome, Reason
from engine.quotas import Limit, Quota
from engine.script import MOST, Call, Key, Script

LANES = (Lane.CHAT, Lane.BULK)
"""The lanes in the order in which they are served."""
CAP = 4096
"""Jobs that a lane holds: some megabytes, far below any maxmemory, so that results always fit."""
LEASE_MS = 5_000
"""How long a worker may be silent before its jobs are given to another."""
MAX_BLOCK_MS = 1_000
"""Longest blocking read: well under the socket's timeout, and short enough to notice deaths."""
RECOVER_EVERY_MS = 500
"""How often a worker looks for the jobs of dead ones."""
DEATHS_OF_A_SUSPECT = 2
"""A job that this many workers died with runs alone (`SUSPECT_DEATHS` in queue.lua)."""
NO_DEADLINE_MS = 3_600_000
"""After this a job without a deadline that has not ended is lost, as far as quotas go."""

_PAUSE_MS = 20
_LANE_KEYS = [keys.jobs(lane) for lane in LANES]


class Admitted(StrEnum):
    """What became of a job that was put."""

    ACCEPTED = "accepted"
    """It waits in its lane."""
    DUPLICATE = "duplicate"
    """The same cause was admitted before; its one outcome comes, or came."""
    LIMITED = "limited"
    """A quota is used up: try again later."""
    FULL = "full"
    """The lane is full, or Redis's memory is: try again later."""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The answer to putting a job."""

    status: Admitted
    """Whether it was let in."""
    position: int = 0
    """Its place among the lane's jobs that are not finished, from 1: the one that it has, or that
    it would have had where the lane is full; else 0, as where it is Redis's memory that is full."""
    limit: Limit | None = None
    """The limit that kept it out, if one did; of several that which does so longest."""
    retry_after_s: float | None = None
    """In how many seconds `limit` leaves room, at the latest where it is one of jobs at a time; or
    about how long the jobs of a full lane take. None where it was let in or nobody knows."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One job in the hands of one worker."""

    entry: str
    """The stream entry's id."""
    lane: Lane
    """The lane it came from."""
    job: Job
    """The job to do."""
    attempt: int
    """1 the first time, and one more for each worker that died with it."""
    running: tuple[bytes, ...] = ()
    """The keys under which quotas count it."""

    @property
    def suspect(self) -> bool:
        """Whether two workers died with it, so that it must run alone."""
        return self.attempt > DEATHS_OF_A_SUSPECT


class _Entry(NamedTuple):
    """One entry of a job stream as it was read, which may be nonsense."""

    id: str
    lane: Lane
    attempt: int
    job_id: str
    client: str
    """Empty where the entry names none."""
    job: bytes
    """JSON, if all is well."""
    running: tuple[bytes, ...]
    """The keys under which quotas count it."""


class _Hold(NamedTuple):
    """What the queue remembers of a lease that it gave out."""

    suspect: bool
    ends_ms: float
    """When the lease runs out, on the monotonic clock."""


def put_call(job: Job, quotas: Sequence[Quota] = (), *, cap: int = CAP) -> Call:
    """The call that admits `job`; its reply is for `admission`. Memory may be too full for it.

    It is not admitted if it was before, a quota is used up, its lane holds `cap` jobs, or what is
    ahead takes longer, at the pace of the last ones, than it may wait. Putting the same job again
    is safe at any time: it counts once in each quota, and a job that was admitted is not refused
    afterwards.
    """
    names = [keys.jobs(job.lane), keys.job(job.id), keys.pace(job.lane)]
    names += [key for quota in quotas for key in (keys.running(quota), keys.admitted(quota))]
    args = (
        cap,
        job.id,
        job.client,
        job.to_json(),
        job.deadline_ms or time.time_ns() // 1_000_000 + NO_DEADLINE_MS,
        json.dumps([_limits(quota) for quota in quotas]) if quotas else "[]",
    )
    return Call(verb="put", keys=names, args=args)


def _limits(quota: Quota) -> dict[str, Any]:
    """A quota as the script reads it."""
    rates = [
        {"count": rate.count, "window_ms": round(rate.window_s * 1000)} for rate in quota.rates
    ]
    return {"in_flight": quota.in_flight, "rates": rates}


def admission(reply: int | list[Any], quotas: Sequence[Quota] = ()) -> Admission:
    """What the script replied to a `put_call` with these quotas."""
    if isinstance(reply, int):
        return Admission(status=Admitted.ACCEPTED, position=reply)
    status, numbers = Admitted(reply[0].decode()), reply[1:]
    if status is Admitted.LIMITED:
        which, rate, wait_ms = numbers
        limit = _limit(quotas[which - 1], rate)
        return Admission(status=status, limit=limit, retry_after_s=wait_ms / 1000)
    if status is Admitted.FULL:
        position, wait_ms = numbers
        retry_after_s = wait_ms / 1000 if wait_ms >= 0 else None
        return Admission(status=status, position=position, retry_after_s=retry_after_s)
    return Admission(status=status)


def _limit(quota: Quota, rate: int) -> Limit:
    """The limit of a quota by its number: 0 is that of jobs at a time, the others are its rates."""
    if rate == 0:
        return Limit(whose=quota.whose, most=quota.in_flight)
    hit = quota.rates[rate - 1]
    return Limit(whose=quota.whose, most=hit.count, window_s=hit.window_s)


class Queue:
    """The queue as one worker sees it. Its verbs wait for Redis where it is away."""

    def __init__(self, redis: Redis, *, worker: str, lease_ms: int = LEASE_MS) -> None:
        """Serve as `worker`, a name that no other living process has."""
        self.account = Account()
        """Of this worker's jobs; of those that end in here, and are given to nobody, it is told."""
        self.worker = worker
        self.lease_ms = lease_ms
        self._redis = redis
        self._script = Script(redis, makes_room=True)
        self._holds: dict[str, _Hold] = {}
        self._suspect_waits = False
        self._recover_at_ms = 0.0
        self._last_ids: list[bytes] | None = None

    async def take(self, count: int, *, wait_ms: int = 0) -> list[Lease]:
        """Lease up to `count` jobs: those of dead workers first, then chat, then bulk.

        Waits up to `wait_ms`, at most `MAX_BLOCK_MS`, if there are none. A suspect comes alone,
        once this worker holds no other job, and until it is finished no other comes. Jobs that
        expired, were cancelled, cannot be read or died thrice are dealt with here and not given.
        """
        self._forget_lapsed()
        if count < 1:
            return []
        if any(hold.suspect for hold in self._holds.values()):
            await _pause(wait_ms)
            return []
        entries: list[_Entry] = []
        # Where the lanes' ends are known, nothing was there: waiting there looks for more as well.
        if wait_ms == 0 or self._last_ids is None or self._recovers():
            entries = await self._take(count)
        if not entries and wait_ms > 0:
            await self._wait(min(wait_ms, MAX_BLOCK_MS))
            entries = await self._take(count)
        for entry in entries:
            self.account.taken(entry=entry.id, lane=entry.lane, attempt=entry.attempt)
        leases = [lease for entry in entries if (lease := await self._accept(entry))]
        self._hold(leases)
        return leases

    async def renew(self, leases: Iterable[Lease]) -> None:
        """Keep `leases` from running out; call it a few times within each `lease_ms`."""
        if not (leases := list(leases)):
            return
        pairs = [part for lease in leases for part in (LANES.index(lease.lane) + 1, lease.entry)]
        await self._call("renew", _LANE_KEYS, self.worker, *pairs)
        self._hold(leases)

    async def finish(self, lease: Lease, outcome: Outcome) -> bool:
        """Send `outcome` to the job's client and end the job; False if it was answered before."""
        [first] = await self.finish_all([(lease, outcome)])
        return first

    async def finish_all(self, done: Sequence[tuple[Lease, Outcome]]) -> list[bool]:
        """`finish` for many jobs in one round trip; in their order, whether each was the first.

        Raises:
            redis.exceptions.RedisError: one was not finished, or who knows; doing it again is safe.
        """
        replies = await self._script.run([_finish(*one) for one in done])
        for lease, _ in done:
            self._holds.pop(lease.entry, None)
        return [bool(first) for first in replies]

    async def cancelled(self, leases: Iterable[Lease]) -> set[str]:
        """The ids of those jobs that nobody wants any more, in one round trip."""
        if not (ids := [lease.job.id for lease in leases]):
            return set()
        flags = await self._redis.mget([keys.cancel(job_id) for job_id in ids])
        return {job_id for job_id, flag in zip(ids, flags, strict=True) if flag is not None}

    async def drop(self, lease: Lease) -> None:
        """End a job that nobody wants any more: no outcome comes of it, from any worker."""
        names: list[Key] = [keys.jobs(lease.lane), keys.job(lease.job.id), *lease.running]
        await self._call("drop", names, lease.entry, lease.job.id)
        self._holds.pop(lease.entry, None)

    async def bury(self, lease: Lease, why: str) -> bool:
        """Set the job aside in the dead stream and tell its client; False if it was answered."""
        job = lease.job
        entry = _Entry(
            id=lease.entry,
            lane=lease.lane,
            attempt=lease.attempt,
            job_id=job.id,
            client=job.client,
            job=job.to_json().encode(),
            running=lease.running,
        )
        first = await self._bury(entry, why, job.context)
        self._holds.pop(lease.entry, None)
        return first

    def _recovers(self) -> bool:
        """Whether it is time to look for the jobs of dead workers."""
        return self._suspect_waits or _now_ms() >= self._recover_at_ms

    async def _take(self, count: int) -> list[_Entry]:
        """One run of the script; notes where the lanes end, if there was nothing in them."""
        recover = self._recovers()
        taken, suspect_waits, last_ids = await self._call(
            "take",
            _LANE_KEYS,
            self.worker,
            min(count, MOST),
            self.lease_ms,
            int(bool(self._holds)),
            int(recover),
            keys.cancel(""),
        )
        entries = [_entry(*row) for row in taken]
        self._suspect_waits = bool(suspect_waits)
        # Where a dead worker left one job there may be more.
        if recover and not any(entry.attempt > 1 for entry in entries):
            self._recover_at_ms = _now_ms() + RECOVER_EVERY_MS
        self._last_ids = last_ids or None
        return entries

    async def _wait(self, wait_ms: int) -> None:
        """Wait until a job comes that `_take` has not seen. It is not taken: only `_take` takes."""
        if self._suspect_waits or self._last_ids is None:
            await _pause(wait_ms)
            return
        streams: dict[Any, Any] = dict(zip(_LANE_KEYS, self._last_ids, strict=True))
        await self._redis.xread(streams, count=1, block=wait_ms)

    async def _accept(self, entry: _Entry) -> Lease | None:
        """The lease on an entry, or None where it was a job for nobody and is dealt with."""
        if entry.attempt > DEATHS_OF_A_SUSPECT + 1:
            # Before anything else is done with it: whatever killed the others may be in here.
            why = f"{entry.attempt - 1} workers died with it"
            await self._bury(entry, why, _context(entry.job))
            return None
        try:
            job = Job.from_json(entry.job)
        except JobError as error:
            await self._bury(entry, f"unreadable: {error}", _context(entry.job))
            return None
        lease = Lease(
            entry=entry.id,
            lane=entry.lane,
            job=job,
            attempt=entry.attempt,
            running=entry.running,
        )
        if job.deadline_ms is None or job.deadline_ms > time.time() * 1000:
            return lease
        expired = Failure(job_id=job.id, reason=Reason.EXPIRED, context=job.context)
        first = await self.finish(lease, expired)
        self._note(entry, expired, job=job, first=first)
        return None

    async def _bury(self, entry: _Entry, why: str, context: dict[str, Any]) -> bool:
        failure = Failure(job_id=entry.job_id, reason=Reason.BURIED, detail=why, context=context)
        names: list[Key] = [
            keys.jobs(entry.lane),
            keys.job(entry.job_id),
            keys.replies(entry.client),
            keys.DEAD,
            *entry.running,
        ]
        first = await self._call(
            "bury",
            names,
            entry.id,
            entry.job_id,
            failure.to_json() if entry.client else "",
            *("lane", entry.lane, "id", entry.job_id, "job", entry.job),
            *("why", why, "attempts", entry.attempt),
        )
        self._note(entry, failure, first=bool(first))
        return bool(first)

    def _note(
        self, entry: _Entry, outcome: Failure, *, job: Job | None = None, first: bool
    ) -> None:
        """Give account of a job that ends in here."""
        self.account.ended(
            Ended(
                job_id=entry.job_id,
                job=job,
                lane=entry.lane,
                attempt=entry.attempt,
                outcome=outcome,
                first=first,
            )
        )

    async def _call(self, verb: str, names: Sequence[Key], *args: str | bytes | int) -> Any:
        [reply] = await self._script.run([Call(verb=verb, keys=names, args=args)])
        return reply

    def _hold(self, leases: Iterable[Lease]) -> None:
        ends_ms = _now_ms() + self.lease_ms
        for lease in leases:
            self._holds[lease.entry] = _Hold(suspect=lease.suspect, ends_ms=ends_ms)

    def _forget_lapsed(self) -> None:
        """A lease that was not renewed in time is no longer this worker's."""
        now_ms = _now_ms()
        self._holds = {id_: hold for id_, hold in self._holds.items() if hold.ends_ms > now_ms}


def _finish(lease: Lease, outcome: Outcome) -> Call:
    job = lease.job
    names: list[Key] = [
        keys.jobs(lease.lane),
        keys.job(job.id),
        keys.replies(job.client),
        keys.pace(lease.lane),
        *lease.running,
    ]
    return Call(verb="finish", keys=names, args=(lease.entry, job.id, outcome.to_json()))


def _entry(lane: int, entry_id: bytes, attempt: int, flat: list[bytes]) -> _Entry:
    """What the script returns for an entry: `lane` counts from 1, `flat` is name, value, name."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    pairs = zip(flat[6::2], flat[7::2], strict=True)
    return _Entry(
        id=entry_id.decode(),
        lane=LANES[lane - 1],
        attempt=attempt,
        job_id=fields.get(b"id", b"entry:" + entry_id).decode(errors="replace"),
        client=fields.get(b"client", b"").decode(errors="replace"),
        job=fields.get(b"job", b""),
        running=tuple(key for name, key in pairs if name == b"running"),
    )


def _context(job: bytes) -> dict[str, Any]:
    """The context of a job of another version, so that its person can still be told."""
    try:
        context = json.loads(job)["context"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return context if isinstance(context, dict) else {}


async def _pause(wait_ms: int) -> None:
    """Let the worker get on with what it holds: only when that is done can more be taken."""
    await asyncio.sleep(min(wait_ms, _PAUSE_MS) / 1000)


def _now_ms() -> float:
    return time.monotonic() * 1000
