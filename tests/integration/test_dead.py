"""What was buried can be looked at and put back, and nothing that a person wrote is shown."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner, Result

from engine import dead, keys
from engine.__main__ import app
from engine.client import Admitted, EngineClient, EngineUnavailableError, connect
from engine.dead import Dead, DeadError, LaneFullError
from engine.jobs import Failure, Lane, Poem, Reason
from engine.queue import Queue
from engine.settings import EngineSettings
from tests.fakes.jobs import a_job, a_poem

T = TypeVar("T")
WRITTEN = "月落烏啼"
"""What a person wrote."""


async def buried(redis: Redis, *job_ids: str, **fields: Any) -> list[Dead]:
    """Put jobs and have a worker bury each."""
    client, queue = EngineClient(redis), Queue(redis, worker="first")
    for job_id in job_ids:
        await client.put(a_job(job_id, **fields))
    for lease in await queue.take(len(job_ids)):
        await queue.bury(lease, "a row of NaN")
    return [entry async for entry in dead.listed(redis)]


async def outcomes(redis: Redis) -> list[Any]:
    """What the client is told, and is done with."""
    client = EngineClient(redis)
    deliveries = await client.outcomes("bot", "test")
    for delivery in deliveries:
        await client.done(delivery)
    return [delivery.outcome for delivery in deliveries]


async def test_the_list_tells_when_where_why_and_how_often(redis: Redis):
    began = time.time()
    [entry] = await buried(redis, "tg:1", lane=Lane.BULK)
    assert (entry.job_id, entry.lane, entry.attempts, entry.why) == (
        "tg:1",
        "bulk",
        1,
        "a row of NaN",
    )
    assert began - 1 <= entry.when.timestamp() <= time.time() + 1


async def test_the_list_goes_on_past_a_page(redis: Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.dead._PAGE", 2)
    names = [f"{number}" for number in range(5)]
    assert [entry.job_id for entry in await buried(redis, *names)] == names


async def test_a_retried_job_is_written_and_its_client_told_once_more(redis: Redis):
    [entry] = await buried(redis, "a")
    [failure] = await outcomes(redis)
    assert failure.reason is Reason.BURIED
    await dead.retry(redis, entry)
    assert [entry async for entry in dead.listed(redis)] == []
    queue = Queue(redis, worker="second")
    [lease] = await queue.take(10)
    assert (lease.job, lease.attempt) == (a_job("a"), 1)
    assert await queue.finish(lease, a_poem(lease.job))
    assert not await queue.finish(lease, a_poem(lease.job))
    assert [type(outcome) for outcome in await outcomes(redis)] == [Poem]


async def test_while_a_job_is_retried_its_cause_still_counts_once(redis: Redis):
    [entry] = await buried(redis, "a")
    await dead.retry(redis, entry)
    assert (await EngineClient(redis).put(a_job("a"))).status is Admitted.DUPLICATE


async def test_two_who_retry_the_same_entry_put_one_job_back(redis: Redis):
    [entry] = await buried(redis, "a")
    answers = await asyncio.gather(
        *(dead.retry(redis, entry) for _ in range(5)), return_exceptions=True
    )
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, DeadError) for answer in answers) == 4
    assert await redis.xlen(keys.jobs(Lane.CHAT)) == 1


async def test_a_retried_job_expires_no_more_and_is_not_cancelled(redis: Redis):
    [entry] = await buried(redis, "a", deadline_ms=int(time.time() * 1000) + 60_000)
    await EngineClient(redis).cancel("a")
    await outcomes(redis)
    await dead.retry(redis, entry)
    [lease] = await Queue(redis, worker="second").take(10)
    assert lease.job.deadline_ms is None
    assert await outcomes(redis) == []


async def test_a_retried_job_that_is_buried_again_can_be_retried_again(redis: Redis):
    [entry] = await buried(redis, "a")
    for _ in range(3):
        await dead.retry(redis, entry)
        queue = Queue(redis, worker="second")
        [lease] = await queue.take(1)
        assert await queue.bury(lease, "again")
        [entry] = [entry async for entry in dead.listed(redis)]
        assert entry.why == "again"
    assert [type(outcome) for outcome in await outcomes(redis)] == [Failure] * 4


async def test_a_full_lane_takes_none_back_and_nothing_is_lost(redis: Redis):
    entries = await buried(redis, "a", "b")
    await dead.retry(redis, entries[0], cap=1)
    with pytest.raises(LaneFullError, match="chat lane is full"):
        await dead.retry(redis, entries[1], cap=1)
    assert [entry async for entry in dead.listed(redis)] == [entries[1]]
    assert await redis.get(keys.job("b")) == b"done"


async def test_a_full_memory_takes_none_back_and_nothing_is_lost(redis: Redis):
    [entry] = await buried(redis, "a")
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(LaneFullError, match="memory is full"):
            await dead.retry(redis, entry)
    finally:
        await redis.config_set("maxmemory", 0)
    assert [entry async for entry in dead.listed(redis)] == [entry]


async def test_a_job_that_waits_already_is_not_put_beside_itself(redis: Redis):
    [entry] = await buried(redis, "a")
    await redis.delete(keys.job("a"))
    await EngineClient(redis).put(a_job("a"))
    with pytest.raises(DeadError, match="waits in its lane already"):
        await dead.retry(redis, entry)
    assert await redis.xlen(keys.jobs(Lane.CHAT)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"job": "{", "lane": "chat", "why": "unreadable", "attempts": "1"},
        {"job": b"\xff\xfe", "attempts": b"\xff"},
        {"job": json.dumps(json.loads(a_job("a", opening=WRITTEN).to_json()) | {"version": 99})},
        {"job": json.dumps(json.loads(a_job("a").to_json()) | {"form": WRITTEN})},
        {"client": "bot", "outcome": json.dumps({"job_id": "a", "lines": WRITTEN}), "why": "?"},
        {"nonsense": "1"},
    ],
)
async def test_what_cannot_be_read_is_listed_and_refused_in_one_line(
    redis: Redis, fields: dict[Any, Any]
):
    await redis.xadd(keys.DEAD, fields)
    [entry] = [entry async for entry in dead.listed(redis)]
    with pytest.raises(DeadError, match=entry.id) as refusal:
        await dead.retry(redis, entry)
    assert "\n" not in str(refusal.value)
    assert WRITTEN not in f"{refusal.value} {entry!r}"
    assert await redis.xlen(keys.DEAD) == 1


@pytest.mark.parametrize("entry_id", ["1-1", "nonsense", "-", "+", "1", ""])
async def test_an_id_that_is_not_there_is_said(redis: Redis, entry_id: str):
    await buried(redis, "a")
    with pytest.raises(DeadError, match="dead list"):
        await dead.find(redis, entry_id)


async def test_a_redis_that_is_away_is_said_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr("engine.client.ANSWER_S", 0.1)
    nowhere = connect(EngineSettings(redis_url=f"unix://{tmp_path}/nowhere"))
    with pytest.raises(EngineUnavailableError):
        _ = [entry async for entry in dead.listed(nowhere)]
    await nowhere.aclose()


# The commands


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> Callable[..., Result]:
    """`python -m engine dead …` on this test's Redis."""
    monkeypatch.setenv("YUEFU_REDIS_URL", valkey_url)
    monkeypatch.setattr("engine.logs.configure", lambda **_: None)
    return lambda *words: CliRunner().invoke(app, ["dead", *words])


def on(url: str, do: Callable[[Redis], Awaitable[T]]) -> T:
    """Do something with the Redis there, from a test that has no loop."""

    async def run() -> T:
        redis = connect(EngineSettings(redis_url=url))
        try:
            return await do(redis)
        finally:
            await redis.aclose()

    return asyncio.run(run())


def test_the_commands_list_and_retry_and_say_no_word_of_a_person(command, valkey_url):
    assert command("list").stdout == "nothing is buried\n"
    assert command("list", "--json").stdout == ""
    entries = on(
        valkey_url, lambda redis: buried(redis, "a", "b", "c", opening=WRITTEN, theme=WRITTEN)
    )
    shown = command("list")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == [one.id for one in entries]
    objects = [json.loads(line) for line in command("list", "--json").stdout.splitlines()]
    assert list(objects[0]) == ["when", "id", "lane", "attempts", "job_id", "why"]
    one = command("retry", entries[1].id)
    assert (one.exit_code, one.stdout) == (0, f"{entries[1].id}  job b is back in its lane\n")
    everything = command("retry", "--all")
    assert everything.exit_code == 0
    assert len(everything.stdout.splitlines()) == 2
    assert on(valkey_url, lambda redis: redis.xlen(keys.jobs(Lane.CHAT))) == 3
    for result in (shown, one, everything, command("list", "--json")):
        assert WRITTEN not in result.output


def test_retrying_goes_on_past_what_is_refused_and_says_so(command, valkey_url):
    async def bury(redis: Redis) -> None:
        await redis.xadd(keys.DEAD, {"job": "{", "why": "\x1b[31munreadable"})
        await buried(redis, "good")

    on(valkey_url, bury)
    assert "\x1b" not in command("list").output
    result = command("retry", "--all")
    assert result.exit_code == 2
    assert "job good is back" in result.stdout
    assert result.stderr.count("\n") == 1
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize("words", [(), ("1-1", "--all")])
def test_what_to_retry_must_be_said_one_way(command, words):
    result = command("retry", *words)
    assert (result.exit_code, result.stderr) == (
        2,
        "error: name the ids of entries, or else --all\n",
    )
