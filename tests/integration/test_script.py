"""Calls that come together share a run of the script, but no errors and no fates."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis

from engine import keys
from engine.client import EngineClient, EngineUnavailableError, connect
from engine.jobs import Lane
from engine.queue import Admitted, Queue
from engine.script import MOST, Call, Script
from engine.settings import EngineSettings
from tests.fakes.jobs import a_job, a_poem


@pytest.fixture
def client(redis: Redis) -> EngineClient:
    return EngineClient(redis)


@asynccontextmanager
async def runs(redis: Redis) -> AsyncIterator[list[int]]:
    """How often the script ran meanwhile, once the block is left."""
    before, found = await _runs(redis), list[int]()
    yield found
    found.append(await _runs(redis) - before)


async def _runs(redis: Redis) -> int:
    stats: dict[str, Any] = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def warm(client: EngineClient) -> None:
    """Have the script loaded, so that runs can be counted."""
    await client.put(a_job("warm"))


async def test_puts_that_come_together_share_runs_and_each_gets_its_own_answer(
    redis: Redis, client: EngineClient
):
    await warm(client)
    async with runs(redis) as made:
        admissions = await asyncio.gather(*(client.put(a_job(f"{n}")) for n in range(100)))
    assert [admission.position for admission in admissions] == list(range(2, 102))
    assert made[0] <= 4


async def test_what_is_forgotten_together_and_apart_is_gone_and_everybody_hears_of_it(
    redis: Redis, client: EngineClient
):
    queue = Queue(redis, worker="w")
    for name in "abc":
        await client.put(a_job(name))
    await queue.finish_all([(lease, a_poem(lease.job)) for lease in await queue.take(3)])
    deliveries = await client.outcomes("bot", "reader")
    assert len(deliveries) == 3
    replies = keys.replies("bot")
    script = Script(redis, makes_room=True)
    calls = [Call(verb="forget", keys=[replies], args=[one.entry]) for one in deliveries]
    look = Call(verb="collect", keys=[replies], args=["reader", 1, 60_000, 0])
    assert await script.run([*calls[:2], look, calls[2]]) == [None, None, [], None]
    assert await redis.xlen(replies) == 0


async def test_a_put_that_comes_alone_is_a_run_of_its_own(redis: Redis, client: EngineClient):
    await warm(client)
    for number in range(3):
        async with runs(redis) as made:
            await client.put(a_job(f"{number}"))
        assert made == [1]


async def test_what_comes_while_a_run_is_under_way_goes_in_the_next(
    redis: Redis, client: EngineClient
):
    await warm(client)
    async with runs(redis) as made:
        first = asyncio.create_task(client.put(a_job("first")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(client.put(a_job(f"{n}"))) for n in range(20)]
        admissions = await asyncio.gather(first, *others)
    assert [admission.position for admission in admissions] == list(range(2, 23))
    assert made == [2]


async def test_the_error_of_one_call_is_its_own_callers_alone(redis: Redis, client: EngineClient):
    await redis.set(keys.jobs(Lane.BULK), "no stream")
    good, bad, other = await asyncio.gather(
        client.put(a_job("good")),
        client.put(a_job("bad", lane=Lane.BULK)),
        client.put(a_job("other")),
        return_exceptions=True,
    )
    assert isinstance(bad, exceptions.ResponseError)
    assert not isinstance(good, BaseException)
    assert not isinstance(other, BaseException)
    assert (good.status, other.status) == (Admitted.ACCEPTED, Admitted.ACCEPTED)


async def test_a_job_that_is_not_json_is_its_own_callers_trouble(client: EngineClient):
    good, bad = await asyncio.gather(
        client.put(a_job("good")),
        client.put(a_job("bad", context={"chat": object()})),
        return_exceptions=True,
    )
    assert isinstance(bad, TypeError)
    assert not isinstance(good, BaseException)
    assert good.status is Admitted.ACCEPTED


async def test_a_caller_who_leaves_before_the_run_takes_the_call_back(
    redis: Redis, client: EngineClient
):
    await warm(client)
    first = asyncio.create_task(client.put(a_job("first")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaver = asyncio.create_task(client.put(a_job("leaver")))
    stayer = asyncio.create_task(client.put(a_job("stayer")))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(first, stayer)
    with pytest.raises(asyncio.CancelledError):
        await leaver
    leases = await Queue(redis, worker="worker").take(10)
    assert [lease.job.id for lease in leases] == ["warm", "first", "stayer"]


async def test_a_caller_who_leaves_during_the_run_spoils_it_for_nobody(
    redis: Redis, client: EngineClient
):
    await warm(client)
    tasks = [asyncio.create_task(client.put(a_job(f"{n}"))) for n in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    admissions = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in admissions] == [True] + [False] * 9


async def test_where_redis_is_away_all_who_wait_are_told_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path
):
    monkeypatch.setattr("engine.client.ANSWER_S", 0.2)
    nowhere = connect(EngineSettings(redis_url=f"unix://{tmp_path}/nowhere"))
    client = EngineClient(nowhere)
    began = time.monotonic()
    puts = [client.put(a_job(f"{n}")) for n in range(3 * MOST)]
    answers = await asyncio.gather(*puts, return_exceptions=True)
    assert time.monotonic() - began < 10
    assert all(isinstance(answer, EngineUnavailableError) for answer in answers)
    await nowhere.aclose()


async def test_more_calls_than_fit_in_a_run_keep_their_order(redis: Redis, client: EngineClient):
    count = 2 * MOST + 10
    await asyncio.gather(*(client.put(a_job(f"{n}")) for n in range(count)))
    queue = Queue(redis, worker="worker")
    leases = [lease for _ in range(3) for lease in await queue.take(count)]
    assert [lease.job.id for lease in leases] == [f"{n}" for n in range(count)]
    await queue.finish(leases[7], a_poem(leases[7].job))
    firsts = await queue.finish_all([(lease, a_poem(lease.job)) for lease in leases])
    assert [n for n, first in enumerate(firsts) if not first] == [7]


async def test_outcomes_that_are_done_together_share_runs(redis: Redis, client: EngineClient):
    await asyncio.gather(*(client.put(a_job(f"{n}")) for n in range(50)))
    queue = Queue(redis, worker="worker")
    leases = await queue.take(50)
    await queue.finish_all([(lease, a_poem(lease.job)) for lease in leases])
    deliveries = await client.outcomes("bot", "one")
    async with runs(redis) as made:
        await asyncio.gather(*(client.done(delivery) for delivery in deliveries))
    assert len(deliveries) == 50
    assert await redis.xlen(keys.replies("bot")) == 0
    assert (await redis.xpending(keys.replies("bot"), keys.GROUP))["pending"] == 0
    assert made[0] <= 2


async def test_a_run_without_calls_is_none(redis: Redis):
    async with runs(redis) as made:
        assert await Script(redis, makes_room=True).run([]) == []
    assert made == [0]


async def test_the_first_error_of_many_is_raised_and_the_other_calls_were_made(redis: Redis):
    await redis.set("text", "no stream")
    script = Script(redis, makes_room=True)
    collect = Call(verb="collect", keys=["replies"], args=["one", 1, 1000, 0])
    wrong = Call(verb="collect", keys=["text"], args=["one", 1, 1000, 0])
    with pytest.raises(exceptions.ResponseError, match="WRONGTYPE"):
        await script.run([wrong, collect])
    assert await redis.exists("replies")
