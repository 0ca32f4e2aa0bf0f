"""What was buried, for a person to look at, and the way back for it.

A job that is retried goes back into its lane as a new entry: its deaths are counted anew, nothing
remembers that it was cancelled, and it has no deadline any more, for whoever retries it by hand
waits as long as it takes. Its client was told that it was buried, and now gets a second outcome:
the first of the retried job, and no other.
"""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from engine import keys
from engine.client import in_time
from engine.jobs import Job, JobError
from engine.queue import CAP
from engine.script import Call, Script

_PAGE = 500
_ENTRY_ID = re.compile(r"\d{1,20}-\d{1,20}")


class DeadError(ValueError):
    """An entry cannot be put back; the message says why, and never what a person wrote."""


class LaneFullError(DeadError):
    """There is no room for it now, nor for others."""


@dataclass(frozen=True, kw_only=True)
class Dead:
    """One entry of the dead stream."""

    id: str
    """The entry's id."""
    lane: str
    """The lane it was taken from; empty for an outcome that its client could not read."""
    job_id: str
    """The job's id; empty where nobody can tell."""
    attempts: int
    """How many workers had it; 0 for an outcome."""
    why: str
    """Why it was buried."""
    job: bytes | None = field(repr=False)
    """The job as JSON, if all is well; None for an outcome."""

    @property
    def when(self) -> datetime:
        """When it was buried."""
        return datetime.fromtimestamp(keys.came_ms(self.id) / 1000, tz=UTC)


async def listed(redis: Redis) -> AsyncIterator[Dead]:
    """Every entry, oldest first.

    Raises:
        EngineUnavailableError: Redis did not answer in time; so do the functions below.
    """
    after = "-"
    while page := await _page(redis, after, "+", _PAGE):
        for entry in page:
            yield entry
        after = f"({page[-1].id}"


async def find(redis: Redis, entry_id: str) -> Dead:
    """The entry of that id.

    Raises:
        DeadError: there is none.
    """
    found = []
    if _ENTRY_ID.fullmatch(entry_id):
        found = await _page(redis, entry_id, entry_id, 1)
    if not found:
        raise DeadError(f"nothing is buried as {entry_id}: see «python -m engine dead list»")
    return found[0]


async def retry(redis: Redis, entry: Dead, *, cap: int = CAP) -> None:
    """Put a job back into its lane, which holds `cap` jobs, and take it out of the dead stream.

    Raises:
        LaneFullError: there is no room now; it stays buried.
        DeadError: it cannot be put back at all, or somebody else has done so.
    """
    job = replace(_readable(entry), deadline_ms=None)
    call = Call(
        verb="revive",
        keys=[keys.DEAD, keys.jobs(job.lane), keys.job(job.id), keys.cancel(job.id)],
        args=[entry.id, job.id, job.client, job.to_json(), cap],
    )
    try:
        async with in_time():
            [reply] = await Script(redis, makes_room=False).run([call])
    except OutOfMemoryError:
        raise LaneFullError("Redis's memory is full: try again later") from None
    match reply.decode():
        case "full":
            raise LaneFullError(f"the {job.lane} lane is full: try again later")
        case "waiting":
            raise DeadError(f"{entry.id}: job {job.id} waits in its lane already")
        case "gone":
            raise DeadError(f"{entry.id} is not buried any more")


def _readable(entry: Dead) -> Job:
    """The job of an entry.

    Raises:
        DeadError: it has none that can be read.
    """
    if entry.job is None:
        raise DeadError(f"{entry.id} is an outcome that could not be read, no job: nothing to do")
    try:
        return Job.from_json(entry.job)
    except JobError as error:
        raise DeadError(f"{entry.id} cannot be read as a job: {error}") from None


async def _page(redis: Redis, first: str, last: str, count: int) -> list[Dead]:
    # The reply's type in redis-py covers both protocols; the client's is pinned to RESP2.
    async with in_time():
        entries: Any = await redis.xrange(keys.DEAD, min=first, max=last, count=count)
    return [_dead(entry_id.decode(), fields) for entry_id, fields in entries]


def _dead(entry_id: str, fields: dict[bytes, bytes]) -> Dead:
    text = {name: value.decode(errors="replace") for name, value in fields.items()}
    job = fields.get(b"job")
    attempts = text.get(b"attempts", "")
    return Dead(
        id=entry_id,
        lane=text.get(b"lane", ""),
        job_id=text.get(b"id") or _id_in(job if job is not None else fields.get(b"outcome", b"")),
        attempts=int(attempts) if attempts.isascii() and attempts.isdigit() else 0,
        why=text.get(b"why", ""),
        job=job,
    )


def _id_in(text: bytes) -> str:
    """The id of the job in a JSON that may be of another version, or none at all."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    return str(fields.get("id") or fields.get("job_id") or "")
