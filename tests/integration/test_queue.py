"""The queue's verbs against a real server: what is put is answered once, whoever dies."""

import asyncio
import json
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from engine import keys
from engine.client import EngineClient
from engine.jobs import Failure, Lane, Outcome, Poem, Reason
from engine.queue import LANES, Admitted, Lease, Queue
from engine.quotas import Quota, Whose
from tests.fakes.jobs import a_failure, a_job, a_poem
from tests.fakes.waiting import until

LEASE_MS = 60


@pytest.fixture(autouse=True)
def _look_for_the_dead_at_every_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.queue.RECOVER_EVERY_MS", 0)


@pytest.fixture
def client(redis: Redis) -> EngineClient:
    return EngineClient(redis)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(redis, worker="first", lease_ms=LEASE_MS)


def a_worker(redis: Redis, name: str) -> Queue:
    return Queue(redis, worker=name, lease_ms=LEASE_MS)


async def outcomes(client: EngineClient) -> list[Outcome]:
    return [delivery.outcome for delivery in await client.outcomes("bot", "test")]


async def taken_over(redis: Redis, worker: str) -> list[Lease]:
    """What a new worker takes over once the leases of the one before ran out."""
    queue = a_worker(redis, worker)
    return await until(lambda: queue.take(100))


async def entries_left(redis: Redis) -> int:
    return sum([await redis.xlen(keys.jobs(lane)) for lane in Lane])


async def dead_entry(redis: Redis) -> dict[bytes, bytes]:
    entries: Any = await redis.xrange(keys.DEAD)
    [(_, fields)] = entries
    return dict(fields)


# Admission


async def test_a_job_is_accepted_at_its_position(client: EngineClient):
    first, second = await client.put(a_job("a")), await client.put(a_job("b"))
    assert (first.status, first.position) == (Admitted.ACCEPTED, 1)
    assert (second.status, second.position) == (Admitted.ACCEPTED, 2)


async def test_the_same_cause_is_never_two_jobs(client: EngineClient, queue: Queue):
    await client.put(a_job("a"))
    assert (await client.put(a_job("a"))).status is Admitted.DUPLICATE
    [lease] = await queue.take(10)
    assert (await client.put(a_job("a"))).status is Admitted.DUPLICATE
    await queue.finish(lease, a_poem(lease.job))
    assert (await client.put(a_job("a"))).status is Admitted.DUPLICATE
    assert await queue.take(10) == []


async def test_of_many_requests_at_once_no_more_than_the_cap_are_accepted(redis: Redis):
    client = EngineClient(redis, cap=5)
    admissions = await asyncio.gather(*(client.put(a_job(f"{n}")) for n in range(40)))
    statuses = [admission.status for admission in admissions]
    assert statuses.count(Admitted.ACCEPTED) == 5
    assert statuses.count(Admitted.FULL) == 35


async def test_a_job_refused_by_a_full_lane_may_come_again(redis: Redis, queue: Queue):
    client = EngineClient(redis, cap=1)
    await client.put(a_job("a"))
    assert (await client.put(a_job("b"))).status is Admitted.FULL
    [lease] = await queue.take(1)
    await queue.finish(lease, a_poem(lease.job))
    assert (await client.put(a_job("b"))).status is Admitted.ACCEPTED


async def test_lanes_fill_apart(redis: Redis):
    client = EngineClient(redis, cap=1)
    assert (await client.put(a_job("a"))).status is Admitted.ACCEPTED
    assert (await client.put(a_job("b", lane=Lane.BULK))).status is Admitted.ACCEPTED
    assert await client.depth() == {Lane.CHAT: 1, Lane.BULK: 1}


# Taking


async def test_people_are_served_before_machines_and_each_lane_in_order(
    client: EngineClient, queue: Queue
):
    for name, lane in [("b1", Lane.BULK), ("c1", Lane.CHAT), ("b2", Lane.BULK), ("c2", Lane.CHAT)]:
        await client.put(a_job(name, lane=lane))
    assert [lease.job.id for lease in await queue.take(3)] == ["c1", "c2", "b1"]
    assert [lease.job.id for lease in await queue.take(3)] == ["b2"]


async def test_no_more_is_taken_than_asked_for(client: EngineClient, queue: Queue):
    for lane in Lane:
        await client.put(a_job(f"{lane}", lane=lane))
    assert await queue.take(0) == []
    assert len(await queue.take(1)) == 1


@pytest.mark.parametrize("lane", list(Lane))
async def test_a_waiting_worker_gets_a_job_when_it_comes(
    client: EngineClient, queue: Queue, lane: Lane
):
    waiting = asyncio.create_task(queue.take(4, wait_ms=10_000))
    await asyncio.sleep(0)
    await client.put(a_job("a", lane=lane))
    began = time.monotonic()
    [lease] = await waiting
    assert lease.job.id == "a"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("recover_every_ms", [0, 60_000])
async def test_jobs_behind_cancelled_ones_are_not_waited_for(
    client: EngineClient, queue: Queue, monkeypatch: pytest.MonkeyPatch, recover_every_ms: int
):
    monkeypatch.setattr("engine.queue.RECOVER_EVERY_MS", recover_every_ms)
    assert await queue.take(2) == []
    for number in range(5):
        await client.put(a_job(f"{number}"))
        await client.cancel(f"{number}")
    await client.put(a_job("wanted"))
    began = time.monotonic()
    [lease] = await queue.take(2, wait_ms=10_000)
    assert lease.job.id == "wanted"
    assert time.monotonic() - began < 5


async def test_a_worker_that_knows_its_lanes_ends_misses_nothing(
    client: EngineClient, queue: Queue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.queue.RECOVER_EVERY_MS", 60_000)
    assert await queue.take(2) == []
    for round_ in range(3):
        names = [f"{round_}:{lane}:{n}" for lane in LANES for n in range(3)]
        for name in names:
            await client.put(a_job(name, lane=Lane(name.split(":")[1])))
        began = time.monotonic()
        taken = [lease.job.id for _ in range(3) for lease in await queue.take(2, wait_ms=10_000)]
        assert taken == names
        assert time.monotonic() - began < 9


async def test_after_a_suspect_the_others_come_at_once(client: EngineClient, redis: Redis):
    await client.put(a_job("suspect"))
    await kill_workers_with(redis, "suspect", 2)
    await client.put(a_job("next"))
    worker = a_worker(redis, "survivor")
    await until_the_lease_of(redis, Lane.CHAT)
    [suspect] = await worker.take(5)
    assert suspect.suspect
    await worker.finish(suspect, a_poem(suspect.job))
    began = time.monotonic()
    assert [lease.job.id for lease in await worker.take(5, wait_ms=10_000)] == ["next"]
    assert time.monotonic() - began < 5


async def test_waiting_ends_when_nothing_comes(queue: Queue):
    began = time.monotonic()
    assert await queue.take(4, wait_ms=50) == []
    assert time.monotonic() - began < 5


async def test_two_workers_never_get_the_same_job(redis: Redis, client: EngineClient):
    await asyncio.gather(*(client.put(a_job(f"{n}")) for n in range(60)))
    workers = [a_worker(redis, f"{n}") for n in range(3)]
    taken = await asyncio.gather(*(worker.take(7) for worker in workers for _ in range(3)))
    ids = [lease.job.id for leases in taken for lease in leases]
    assert len(ids) == len(set(ids)) == 60


async def test_an_expired_job_is_answered_without_being_given_out(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("late", deadline_ms=int(time.time() * 1000) - 1))
    await client.put(a_job("in time", deadline_ms=int(time.time() * 1000) + 60_000))
    assert [lease.job.id for lease in await queue.take(10)] == ["in time"]
    [failure] = await outcomes(client)
    assert failure == Failure(job_id="late", reason=Reason.EXPIRED, context={"chat": 7})
    assert await entries_left(redis) == 1


async def test_a_cancelled_job_is_dropped_without_an_outcome(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("unwanted"))
    await client.cancel("unwanted")
    assert await queue.take(10) == []
    assert await outcomes(client) == []
    assert await entries_left(redis) == 0


async def test_a_worker_learns_which_of_its_jobs_were_cancelled_meanwhile(
    client: EngineClient, queue: Queue
):
    for name in ("kept", "unwanted", "kept too"):
        await client.put(a_job(name))
    leases = await queue.take(10)
    assert await queue.cancelled(leases) == set()
    await client.cancel("unwanted")
    assert await queue.cancelled(leases) == {"unwanted"}
    assert await queue.cancelled([]) == set()


async def test_a_dropped_job_leaves_its_place_and_no_outcome(
    client: EngineClient, queue: Queue, redis: Redis
):
    quota = Quota(whose=Whose.PERSON, name="ann", in_flight=1)
    await client.put(a_job("unwanted"), (quota,))
    [lease] = await queue.take(1)
    await queue.drop(lease)
    assert await entries_left(redis) == 0
    assert (await redis.xpending(keys.jobs(Lane.CHAT), keys.GROUP))["pending"] == 0
    assert (await client.put(a_job("next"), (quota,))).status is Admitted.ACCEPTED
    assert (await client.put(a_job("unwanted"), (quota,))).status is Admitted.DUPLICATE
    assert await outcomes(client) == []


async def test_no_other_worker_answers_a_job_that_was_dropped(client: EngineClient, redis: Redis):
    await client.put(a_job("a"))
    [slow] = await a_worker(redis, "slow").take(1)
    [lease] = await taken_over(redis, "second")
    await a_worker(redis, "second").drop(lease)
    assert not await a_worker(redis, "slow").finish(slow, a_poem(slow.job))
    assert await outcomes(client) == []


async def test_a_worker_that_dropped_a_suspect_takes_others_again(
    client: EngineClient, redis: Redis
):
    await client.put(a_job("suspect"))
    await kill_workers_with(redis, "suspect", 2)
    worker = Queue(redis, worker="survivor", lease_ms=LEASE_MS)
    [suspect] = await until(lambda: worker.take(5))
    await client.put(a_job("next"))
    await worker.drop(suspect)
    assert [lease.job.id for lease in await worker.take(5)] == ["next"]


# Finishing


async def test_many_are_finished_at_once_and_each_is_told_whether_it_was_first(
    client: EngineClient, queue: Queue, redis: Redis
):
    for name in "abc":
        await client.put(a_job(name))
    leases = await queue.take(10)
    await queue.finish(leases[1], a_failure(leases[1].job))
    done = [(lease, a_poem(lease.job)) for lease in leases]
    assert await queue.finish_all(done) == [True, False, True]
    told = {outcome.job_id: outcome for outcome in await outcomes(client)}
    assert told == {
        "a": a_poem(leases[0].job),
        "b": a_failure(leases[1].job),
        "c": a_poem(leases[2].job),
    }
    assert await entries_left(redis) == 0
    assert await queue.finish_all([]) == []


async def test_the_first_outcome_wins_and_only_it_is_sent(client: EngineClient, queue: Queue):
    await client.put(a_job("a"))
    [lease] = await queue.take(1)
    assert await queue.finish(lease, a_poem(lease.job))
    assert not await queue.finish(lease, a_failure(lease.job))
    assert await outcomes(client) == [a_poem(lease.job)]


async def test_a_finished_job_leaves_nothing_but_its_marker(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("a"))
    [lease] = await queue.take(1)
    await queue.finish(lease, a_poem(lease.job))
    assert await entries_left(redis) == 0
    assert (await redis.xpending(keys.jobs(Lane.CHAT), keys.GROUP))["pending"] == 0
    assert await redis.get(keys.job("a")) == b"done"
    assert 0 < await redis.ttl(keys.job("a")) <= keys.JOB_TTL_S
    assert 0 < await redis.ttl(keys.replies("bot")) <= keys.REPLIES_TTL_S


async def test_outcomes_go_to_the_client_that_asked(client: EngineClient, queue: Queue):
    await client.put(a_job("a", client="bot"))
    await client.put(a_job("b", client="trainer"))
    for lease in await queue.take(2):
        await queue.finish(lease, a_poem(lease.job))
    assert [outcome.job_id for outcome in await outcomes(client)] == ["a"]


# Leases


async def test_a_renewed_lease_is_not_taken_over(client: EngineClient, queue: Queue, redis: Redis):
    await client.put(a_job("a"))
    leases = await queue.take(1)
    other = a_worker(redis, "second")
    deadline = time.monotonic() + 4 * LEASE_MS / 1000
    while time.monotonic() < deadline:
        await queue.renew(leases)
        assert await other.take(1) == []


async def test_renewing_does_not_count_as_a_death(client: EngineClient, queue: Queue, redis: Redis):
    await client.put(a_job("a"))
    leases = await queue.take(1)
    for _ in range(5):
        await queue.renew(leases)
    [lease] = await taken_over(redis, "second")
    assert lease.attempt == 2


async def test_a_worker_back_from_the_dead_does_not_take_its_job_from_its_heir(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("a"))
    leases = await queue.take(1)
    [heirs] = await taken_over(redis, "second")
    await queue.renew(leases)
    [pending] = await redis.xpending_range(keys.jobs(Lane.CHAT), keys.GROUP, "-", "+", 10)
    assert pending["consumer"] == b"second"
    assert await queue.finish(leases[0], a_poem(heirs.job))


async def test_a_dead_workers_jobs_come_before_new_ones(client: EngineClient, redis: Redis):
    await client.put(a_job("old"))
    await a_worker(redis, "dead").take(1)
    await client.put(a_job("new"))
    await asyncio.sleep(2 * LEASE_MS / 1000)
    leases = await a_worker(redis, "second").take(2)
    assert [(lease.job.id, lease.attempt) for lease in leases] == [("old", 2), ("new", 1)]


async def kill_workers_with(redis: Redis, job_id: str, deaths: int) -> None:
    for number in range(deaths):
        [lease] = await taken_over(redis, f"victim {number}")
        assert (lease.job.id, lease.attempt) == (job_id, number + 1)


async def until_the_lease_of(redis: Redis, lane: Lane) -> None:
    async def ran_out() -> bool:
        rows = await redis.xpending_range(keys.jobs(lane), keys.GROUP, "-", "+", 10, idle=LEASE_MS)
        return bool(rows)

    await until(ran_out)


async def test_a_suspect_comes_alone_and_only_to_an_idle_worker(client: EngineClient, redis: Redis):
    await client.put(a_job("suspect"))
    await kill_workers_with(redis, "suspect", 2)
    await client.put(a_job("one"))
    await client.put(a_job("two"))
    worker = Queue(redis, worker="survivor", lease_ms=LEASE_MS)
    [one] = await worker.take(1)
    await until_the_lease_of(redis, Lane.CHAT)
    await worker.renew([one])
    assert await worker.take(5) == [], "a worker at work must first run empty"
    await worker.finish(one, a_poem(one.job))
    [suspect] = await worker.take(5)
    assert (suspect.job.id, suspect.suspect) == ("suspect", True)
    assert await worker.take(5) == [], "a suspect has the worker for itself"
    await worker.finish(suspect, a_poem(suspect.job))
    assert [lease.job.id for lease in await worker.take(5)] == ["two"]


async def test_the_third_death_buries_a_job_and_its_person_is_told(
    client: EngineClient, redis: Redis
):
    await client.put(a_job("poison"))
    await kill_workers_with(redis, "poison", 3)
    survivor = a_worker(redis, "survivor")
    await until_the_lease_of(redis, Lane.CHAT)
    assert await survivor.take(5) == []
    [failure] = await outcomes(client)
    assert isinstance(failure, Failure)
    assert (failure.job_id, failure.reason) == ("poison", Reason.BURIED)
    assert failure.context == {"chat": 7}
    dead = await dead_entry(redis)
    assert b"3 workers died" in dead[b"why"]
    assert json.loads(dead[b"job"])["id"] == "poison"
    assert await entries_left(redis) == 0


async def test_a_worker_that_lost_its_leases_is_not_busy_for_ever(
    client: EngineClient, redis: Redis
):
    await client.put(a_job("suspect"))
    await kill_workers_with(redis, "suspect", 2)
    await client.put(a_job("forgotten"))
    worker = a_worker(redis, "survivor")
    assert len(await worker.take(1)) == 1
    [lease] = await until(lambda: worker.take(5))
    assert lease.job.id in {"suspect", "forgotten"}


# Burying


async def test_a_buried_job_is_set_aside_with_the_reason(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("a"))
    [lease] = await queue.take(1)
    assert await queue.bury(lease, "a row of NaN")
    assert (await dead_entry(redis))[b"why"] == b"a row of NaN"
    assert [outcome.job_id for outcome in await outcomes(client)] == ["a"]
    assert await entries_left(redis) == 0


async def test_a_job_that_was_answered_is_not_buried_as_well(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("a"))
    [lease] = await queue.take(1)
    await queue.finish(lease, a_poem(lease.job))
    assert not await queue.bury(lease, "too late")
    assert await redis.xlen(keys.DEAD) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"nonsense": "1"},
        {"id": "bad", "client": "bot", "job": "{"},
        {"id": "bad", "client": "bot", "job": b"\xff\xfe"},
        {"id": "bad", "client": "bot"},
        {"job": "[1, 2]", "client": b"\xff"},
    ],
)
async def test_an_unreadable_entry_is_buried_and_does_not_stop_the_others(
    client: EngineClient, queue: Queue, redis: Redis, fields: dict[Any, Any]
):
    await redis.xadd(keys.jobs(Lane.CHAT), fields)
    await client.put(a_job("good"))
    assert [lease.job.id for lease in await queue.take(10)] == ["good"]
    assert b"unreadable" in (await dead_entry(redis))[b"why"]


async def test_a_job_of_a_later_version_is_buried_and_its_person_is_told(
    client: EngineClient, queue: Queue, redis: Redis
):
    job = json.dumps(json.loads(a_job("a").to_json()) | {"version": 99})
    await redis.xadd(keys.jobs(Lane.CHAT), {"id": "a", "client": "bot", "job": job})
    assert await queue.take(10) == []
    [failure] = await outcomes(client)
    assert isinstance(failure, Failure)
    assert (failure.job_id, failure.reason, failure.context) == ("a", Reason.BURIED, {"chat": 7})


# Redis loses everything


async def forget_everything(redis: Redis) -> None:
    """Empty this test's own database, as a Redis that came back without its file would be."""
    await redis.delete(*await redis.keys())


async def test_an_emptied_redis_serves_again_at_once(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("before"))
    [lease] = await queue.take(1)
    await forget_everything(redis)
    await queue.renew([lease])
    await client.put(a_job("after"))
    assert [lease.job.id for lease in await queue.take(5)] == ["after"]


async def test_a_poem_written_while_redis_was_emptied_still_reaches_its_person(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("a"))
    [lease] = await queue.take(1)
    await forget_everything(redis)
    assert await queue.finish(lease, a_poem(lease.job))
    [outcome] = await outcomes(client)
    assert isinstance(outcome, Poem)


async def test_a_worker_that_waits_survives_the_emptying(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("before"))
    [lease] = await queue.take(1)
    await queue.finish(lease, a_poem(lease.job))
    waiting = asyncio.create_task(queue.take(1, wait_ms=10_000))
    await asyncio.sleep(0.05)
    await forget_everything(redis)
    await client.put(a_job("after"))
    assert [lease.job.id for lease in await waiting] == ["after"]


async def test_with_memory_full_jobs_are_refused_but_results_still_fit(
    client: EngineClient, queue: Queue, redis: Redis
):
    await client.put(a_job("a"))
    await redis.config_set("maxmemory", 1)
    try:
        assert (await client.put(a_job("b"))).status is Admitted.FULL
        [lease] = await queue.take(5)
        assert await queue.finish(lease, a_poem(lease.job))
    finally:
        await redis.config_set("maxmemory", 0)
    assert [outcome.job_id for outcome in await outcomes(client)] == ["a"]
