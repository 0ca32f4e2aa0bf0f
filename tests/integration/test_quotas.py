"""Quotas against a real server: nobody slips through, and nobody is kept out for too long."""

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from engine import keys
from engine.client import Admission, Admitted, EngineClient, Limit, Quota, Rate, Whose
from engine.jobs import Lane
from engine.queue import Queue
from tests.fakes.jobs import a_job, a_poem
from tests.fakes.waiting import until

TWO_AT_A_TIME = Quota(whose=Whose.PERSON, name="p", in_flight=2)
A_SECOND = Rate(count=2, window_s=1.0)
TWO_A_SECOND = Quota(whose=Whose.PERSON, name="p", rates=(A_SECOND,))


@pytest.fixture
def client(redis: Redis) -> EngineClient:
    return EngineClient(redis)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(redis, worker="worker", lease_ms=60)


async def fill(client: EngineClient, *quotas: Quota) -> None:
    """Use up a quota of two."""
    for name in ("first", "second"):
        assert (await client.put(a_job(name), quotas)).status is Admitted.ACCEPTED


async def let_in(client: EngineClient, *quotas: Quota) -> Admission:
    """Ask again and again until a job is let in; the last refusal before."""
    refusals: list[Admission] = []

    async def accepted() -> bool:
        admission = await client.put(a_job("again"), quotas)
        refusals.append(admission)
        return admission.status is Admitted.ACCEPTED

    await until(accepted)
    return refusals[-2]


# At a time


async def test_beyond_so_many_at_a_time_a_job_is_refused_with_the_limit(client: EngineClient):
    await fill(client, TWO_AT_A_TIME)
    refused = await client.put(a_job("third", deadline_ms=None), [TWO_AT_A_TIME])
    assert refused.status is Admitted.LIMITED
    assert refused.limit == Limit(whose=Whose.PERSON, most=2)
    assert await client.depth() == {Lane.CHAT: 2, Lane.BULK: 0}


async def test_a_finished_job_frees_its_place(client: EngineClient, queue: Queue):
    await fill(client, TWO_AT_A_TIME)
    [lease] = await queue.take(1)
    assert (await client.put(a_job("third"), [TWO_AT_A_TIME])).status is Admitted.LIMITED
    await queue.finish(lease, a_poem(lease.job))
    assert (await client.put(a_job("third"), [TWO_AT_A_TIME])).status is Admitted.ACCEPTED
    assert (await client.put(a_job("fourth"), [TWO_AT_A_TIME])).status is Admitted.LIMITED


async def test_a_job_finished_twice_frees_one_place(client: EngineClient, queue: Queue):
    await fill(client, TWO_AT_A_TIME)
    [lease] = await queue.take(1)
    for _ in range(2):
        await queue.finish(lease, a_poem(lease.job))
    await client.put(a_job("third"), [TWO_AT_A_TIME])
    assert (await client.put(a_job("fourth"), [TWO_AT_A_TIME])).status is Admitted.LIMITED


async def test_a_buried_job_frees_its_place(client: EngineClient, queue: Queue):
    await fill(client, TWO_AT_A_TIME)
    [lease] = await queue.take(1)
    await queue.bury(lease, "a fault")
    assert (await client.put(a_job("third"), [TWO_AT_A_TIME])).status is Admitted.ACCEPTED


async def test_a_cancelled_job_frees_its_place(client: EngineClient, queue: Queue):
    await fill(client, TWO_AT_A_TIME)
    await client.cancel("first")
    await queue.take(1)
    assert (await client.put(a_job("third"), [TWO_AT_A_TIME])).status is Admitted.ACCEPTED


async def test_a_lost_job_frees_its_place_at_its_deadline(redis: Redis, client: EngineClient):
    deadline_ms = int(time.time() * 1000) + 500
    for name in ("first", "second"):
        await client.put(a_job(name, deadline_ms=deadline_ms), [TWO_AT_A_TIME])
    await redis.delete(keys.jobs(Lane.CHAT))
    last = await let_in(client, TWO_AT_A_TIME)
    assert int(time.time() * 1000) >= deadline_ms
    assert last.retry_after_s is not None
    assert 0 < last.retry_after_s <= 0.5


# Within windows


async def test_within_a_window_no_more_than_its_rate_is_let_in(client: EngineClient):
    await fill(client, TWO_A_SECOND)
    refused = await client.put(a_job("third"), [TWO_A_SECOND])
    assert refused.status is Admitted.LIMITED
    assert refused.limit == Limit(whose=Whose.PERSON, most=2, window_s=1.0)
    assert refused.retry_after_s is not None
    assert 0 < refused.retry_after_s <= 1


async def test_a_window_slides_so_that_each_job_frees_its_own_place(client: EngineClient):
    quota = Quota(whose=Whose.PERSON, name="p", rates=(Rate(count=2, window_s=1.0),))
    times = [time.monotonic()]
    await client.put(a_job("first"), [quota])
    await asyncio.sleep(0.5)
    times.append(time.monotonic())
    await client.put(a_job("second"), [quota])
    times.append(time.monotonic())
    await let_in(client, quota)
    assert time.monotonic() - times[0] >= 1.0 - 0.01
    # The second is still within the window, though the first is not.
    asked = time.monotonic()
    refused = await client.put(a_job("third"), [quota])
    assert refused.status is Admitted.LIMITED
    assert refused.retry_after_s is not None
    assert asked + refused.retry_after_s <= times[2] + 1.0 + 0.01
    assert time.monotonic() + refused.retry_after_s >= times[1] + 1.0 - 0.01


async def test_a_finished_job_still_counts_in_its_window(client: EngineClient, queue: Queue):
    await fill(client, TWO_A_SECOND)
    for lease in await queue.take(2):
        await queue.finish(lease, a_poem(lease.job))
    assert (await client.put(a_job("third"), [TWO_A_SECOND])).status is Admitted.LIMITED


# Both


async def test_of_many_requests_at_once_no_more_than_the_quota_are_accepted(client: EngineClient):
    both = Quota(whose=Whose.CHAT, name="c", in_flight=7, rates=(Rate(count=5, window_s=60),))
    admissions = await asyncio.gather(*(client.put(a_job(f"{n}"), [both]) for n in range(60)))
    statuses = [admission.status for admission in admissions]
    assert statuses.count(Admitted.ACCEPTED) == 5
    assert statuses.count(Admitted.LIMITED) == 55


@pytest.mark.parametrize("quota", [TWO_AT_A_TIME, TWO_A_SECOND])
async def test_a_job_put_again_neither_counts_twice_nor_is_refused(
    client: EngineClient, quota: Quota
):
    for _ in range(3):
        assert (await client.put(a_job("first"), [quota])).status in {
            Admitted.ACCEPTED,
            Admitted.DUPLICATE,
        }
    assert (await client.put(a_job("second"), [quota])).status is Admitted.ACCEPTED
    assert (await client.put(a_job("third"), [quota])).status is Admitted.LIMITED
    assert (await client.put(a_job("first"), [quota])).status is Admitted.DUPLICATE


async def test_a_refused_job_counts_nowhere(redis: Redis, client: EngineClient):
    chat = Quota(whose=Whose.CHAT, name="c", in_flight=9, rates=(Rate(count=9, window_s=60),))
    await fill(client, TWO_AT_A_TIME, chat)
    for n in range(5):
        refused = await client.put(a_job(f"refused {n}"), [TWO_AT_A_TIME, chat])
        assert refused.status is Admitted.LIMITED
    assert await redis.zcard(keys.running(chat)) == await redis.zcard(keys.admitted(chat)) == 2


async def test_a_full_lane_costs_nobody_a_place(redis: Redis):
    client = EngineClient(redis, cap=2)
    await fill(client, Quota(whose=Whose.PERSON, name="other", in_flight=9))
    assert (await client.put(a_job("third"), [TWO_AT_A_TIME])).status is Admitted.FULL
    assert await redis.exists(keys.running(TWO_AT_A_TIME)) == 0


async def test_each_party_has_a_quota_of_its_own(client: EngineClient):
    await fill(client, TWO_AT_A_TIME)
    for other in (
        Quota(whose=Whose.PERSON, name="q", in_flight=2),
        Quota(whose=Whose.CHAT, name="p", in_flight=2),
    ):
        admission = await client.put(a_job(f"{other}"), [other])
        assert admission.status is Admitted.ACCEPTED


async def test_of_several_limits_the_one_that_lasts_longest_is_told(client: EngineClient):
    minute, day = Rate(count=2, window_s=60), Rate(count=2, window_s=86_400)
    person = Quota(whose=Whose.PERSON, name="p", in_flight=2, rates=(minute,))
    chat = Quota(whose=Whose.CHAT, name="c", rates=(minute, day))
    await fill(client, person, chat)
    refused = await client.put(a_job("third"), [person, chat])
    assert refused.limit == Limit(whose=Whose.CHAT, most=2, window_s=86_400)
    assert refused.retry_after_s == pytest.approx(86_400, abs=60)


async def test_a_quota_leaves_nothing_behind_for_ever(redis: Redis, client: EngineClient):
    minute, day = Rate(count=9, window_s=60), Rate(count=9, window_s=86_400)
    quota = Quota(whose=Whose.PERSON, name="p", in_flight=9, rates=(day, minute))
    now_ms = int(time.time() * 1000)
    await client.put(a_job("first", deadline_ms=now_ms + 60_000), [quota])
    await client.put(a_job("second", deadline_ms=now_ms + 30_000), [quota])
    assert 50_000 < await redis.pttl(keys.running(quota)) <= 60_000
    assert 86_000_000 < await redis.pttl(keys.admitted(quota)) <= 86_400_000


# A full lane


async def test_where_a_lane_is_full_one_learns_how_many_are_ahead_and_how_long_they_take(
    redis: Redis, queue: Queue
):
    client = EngineClient(redis, cap=2)
    await client.put(a_job("measured"))
    await asyncio.sleep(0.1)
    [lease] = await queue.take(1)
    await queue.finish(lease, a_poem(lease.job))
    await fill(client)
    full = await client.put(a_job("third"))
    assert (full.status, full.position) == (Admitted.FULL, 3)
    assert full.retry_after_s is not None
    # One job took a tenth of a second, and two are ahead.
    assert 0.19 <= full.retry_after_s < 20


async def test_a_lane_that_never_worked_makes_no_promise(redis: Redis):
    client = EngineClient(redis, cap=2)
    await fill(client)
    full = await client.put(a_job("third"))
    assert (full.position, full.retry_after_s) == (3, None)


async def test_idle_time_is_not_mistaken_for_a_slow_lane(redis: Redis, queue: Queue):
    client = EngineClient(redis, cap=2)
    a_minute_ago_ms = int(time.time() * 1000) - 60_000
    await redis.hset(keys.pace(Lane.CHAT), "last", str(a_minute_ago_ms))
    await client.put(a_job("measured"))
    [lease] = await queue.take(1)
    await queue.finish(lease, a_poem(lease.job))
    await fill(client)
    full = await client.put(a_job("third"))
    assert full.retry_after_s is not None
    assert full.retry_after_s < 30


# A slow lane


async def fill_slowly(redis: Redis, client: EngineClient, jobs: int) -> None:
    """A lane with so many jobs that takes two seconds for each."""
    await redis.hset(keys.pace(Lane.CHAT), mapping={"ms": "2000", "last": "0"})
    for number in range(jobs):
        await client.put(a_job(f"ahead-{number}"))


def in_a_minute() -> int:
    return int(time.time() * 1000) + 60_000


async def test_who_would_wait_in_vain_is_told_at_once(redis: Redis):
    client = EngineClient(redis)
    await fill_slowly(redis, client, 64)
    late = await client.put(a_job("late", deadline_ms=in_a_minute()))
    assert (late.status, late.position, late.retry_after_s) == (Admitted.FULL, 65, 128.0)
    assert (await client.put(a_job("patient"))).status is Admitted.ACCEPTED
    again = await client.put(a_job("ahead-3", deadline_ms=in_a_minute()))
    assert again.status is Admitted.DUPLICATE


async def test_a_few_jobs_say_too_little_of_how_long_they_take(redis: Redis):
    client = EngineClient(redis)
    await fill_slowly(redis, client, 63)
    hopeful = await client.put(a_job("hopeful", deadline_ms=in_a_minute()))
    assert hopeful.status is Admitted.ACCEPTED


async def test_a_job_whose_time_is_over_is_not_the_lane_s_fault(redis: Redis):
    over = await EngineClient(redis).put(a_job("over", deadline_ms=1))
    assert over.status is Admitted.ACCEPTED


async def test_nobody_being_there_is_not_mistaken_for_a_slow_lane(redis: Redis, queue: Queue):
    pace, ten_minutes_ago_ms = keys.pace(Lane.CHAT), int(time.time() * 1000) - 600_000
    await redis.hset(pace, mapping={"ms": "10", "last": str(ten_minutes_ago_ms)})
    job = a_job("from before")
    fields: dict[Any, Any] = {"id": job.id, "client": job.client, "job": job.to_json()}
    await redis.xadd(keys.jobs(Lane.CHAT), fields, id=f"{ten_minutes_ago_ms}-0")
    [lease] = await queue.take(1)
    await queue.finish(lease, a_poem(lease.job))
    # A sixty-fourth of a second at most, and not of ten minutes.
    assert 10 < float(await redis.hget(pace, "ms") or 0) < 26
