"""What an engine tells of itself and of the queue, to whoever asks by HTTP or looks into Redis."""

import asyncio
import json
import threading
import time
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

import httpx
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from engine import keys
from engine.__main__ import app
from engine.checkpoint import load
from engine.client import EngineClient, connect
from engine.figures import queue_figures
from engine.health import Health
from engine.heartbeat import Heartbeat, beat, heard
from engine.jobs import Cell, Lane, Outcome
from engine.loop import HUNG_S, Engine
from engine.queue import LEASE_MS, Queue
from engine.routes import Lineup
from engine.runner import Runner
from engine.settings import EngineSettings
from engine.top import NOTHING, look
from engine.web import App, listening
from tests.fakes.deployed import deployed_valkey
from tests.fakes.models import job, write_model
from tests.fakes.ports import free_port
from tests.fakes.scrape import scrape
from tests.fakes.valkey import OwnValkey
from tests.fakes.waiting import until

MS = 1000
BEAT = Heartbeat(
    worker="w\x1b[2J",
    cells={Cell.GRU: "gru-1"},
    challengers={Cell.GRU: "gru-2"},
    slots=64,
    since_ms=0,
    device="cuda",
    rows=48,
    poems_per_s=12.5,
    step_ms=3.25,
)


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    return load(write_model(tmp_path_factory.mktemp("models")))


class Asked:
    """An engine's three addresses."""

    def __init__(self, http, engine):
        self.http, self.engine = http, engine

    async def status(self, path):
        answer = await self.http.get(path)
        return answer.status_code, answer.json()

    async def figures(self):
        return await scrape(self.http)


@asynccontextmanager
async def observed(redis, champion, *, serve=True, lease_ms=LEASE_MS):
    engine = Engine(Queue(redis, worker="w", lease_ms=lease_ms), slots=8, candidates=2)
    if champion is not None:
        engine.appoint({Cell.GRU: Lineup(champion=engine.hire(champion))})
    address = f"127.0.0.1:{free_port()}"
    async with (
        listening(address, App(Health(redis, engine).routes)),
        httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as http,
    ):
        serving = asyncio.create_task(engine.serve()) if serve else None
        try:
            yield Asked(http, engine)
        finally:
            engine.stop()
            if serving is not None:
                await serving


async def told(client, count):
    """How the next `count` jobs ended."""
    found: list[Outcome] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            for delivery in await client.outcomes("test", "reader", wait_ms=500):
                found.append(delivery.outcome)
                await client.done(delivery)
    return found


async def die_with_it(redis, times):
    """Workers die, one after the other, with whatever waits."""
    for number in range(times):
        mortal = Queue(redis, worker=f"mortal-{number}", lease_ms=1)
        await until(partial(mortal.take, 8), within_s=20)


async def test_what_became_of_jobs_is_counted_once_and_has_one_line_each(redis, champion):
    client = EngineClient(redis)
    now_ms = time.time_ns() // 1_000_000
    with capture_logs() as logs:
        async with observed(redis, champion) as asked:
            await client.put(job(0, deadline_ms=now_ms - 1))
            await client.put(job(1, cell=Cell.LSTM))
            for number in (2, 3, 4):
                await client.put(job(number, lane=Lane.BULK))
            await told(client, 5)
            # Redis knew, and told us, before the engine heard of it.
            await until(lambda: is_true(not asked.engine._jobs))
            figures = await asked.figures()
    ended = {
        labels: value
        for (name, labels), value in figures.figures.items()
        if name == "yuefu_jobs_total" and value
    }
    assert ended == {
        frozenset({"gru", "expired"}): 1,
        frozenset({"lstm", "no_model"}): 1,
        frozenset({"gru", "poem"}): 3,
    }
    assert figures("yuefu_job_seconds_count", "bulk") == 3
    assert figures("yuefu_job_wait_seconds_count", "chat") == 2
    assert figures("yuefu_engine_step_seconds_count") == figures("yuefu_engine_batch_rows_count")
    # Three poems of twenty characters, two candidates each.
    assert figures("yuefu_engine_batch_rows_sum") >= 3 * 20 * 2
    assert figures("yuefu_engine_slots") == 8
    assert figures("yuefu_engine_checkpoint_info", "gru", champion.id, "champion") == 1
    assert figures("yuefu_jobs_buried_total") == figures("yuefu_job_retries_total") == 0
    lines = [line for line in logs if line["action"] == "job.finished"]
    assert sorted(line["cause"] for line in lines) == [f"test:{number}" for number in range(5)]


async def test_a_job_that_engines_die_with_is_counted_as_tried_again_and_then_as_buried(
    redis, champion
):
    await EngineClient(redis).put(job(1))
    await die_with_it(redis, 3)
    with capture_logs() as logs:
        async with observed(redis, champion, lease_ms=100) as asked:
            await told(EngineClient(redis), 1)
            figures = await until_counted(asked, "yuefu_jobs_buried_total")
    assert figures("yuefu_job_retries_total") == 1
    assert figures("yuefu_jobs_total", "unknown", "buried") == 1
    assert figures("yuefu_queue_dead") == 1
    [line] = [line for line in logs if line["action"] == "job.finished"]
    assert (line["outcome"], line["cause"], line["attempt"]) == ("buried", "test:1", 4)
    assert line["log_level"] == "warning"


async def test_a_job_that_nobody_wants_any_more_is_no_failure(redis, champion, monkeypatch):
    step = Runner.step

    def slowly(runner):
        time.sleep(0.02)
        step(runner)

    monkeypatch.setattr(Runner, "step", slowly)
    client = EngineClient(redis)
    with capture_logs() as logs:
        async with observed(redis, champion) as asked:
            await client.put(job(1))
            await until(lambda: is_true(asked.engine.rows))
            await client.cancel("test:1")
            figures = await until_counted(asked, "yuefu_jobs_total", "gru", "cancelled")
    assert figures("yuefu_job_seconds_count", "chat") == 0
    assert [line["outcome"] for line in logs if line["action"] == "job.finished"] == ["cancelled"]


async def is_true(value):
    return value


async def until_counted(asked, *figure):
    async def counted():
        figures = await asked.figures()
        return figures if figures(*figure) else None

    return await until(counted, within_s=30)


# --- the queue ---


async def test_the_queue_s_figures_are_redis_own(redis, champion):
    client = EngineClient(redis)
    async with observed(redis, champion, serve=False) as asked:
        empty = await asked.figures()
        for number in range(5):
            await client.put(job(number))
        await client.put(job(9, lane=Lane.BULK))
        # Whoever deletes what was not read spoils the lag that Redis keeps.
        [_, (second, _), *_] = await redis.xrange(keys.jobs(Lane.CHAT))
        await redis.xdel(keys.jobs(Lane.CHAT), second)
        await Queue(redis, worker="other").take(2)
        figures = await asked.figures()
    assert [empty("yuefu_queue_depth", lane) for lane in Lane] == [0, 0]
    assert [figures("yuefu_queue_depth", lane) for lane in Lane] == [2, 1]
    assert figures("yuefu_queue_pending") == 2
    assert empty("yuefu_queue_oldest_seconds", "chat") == 0
    assert 0 < figures("yuefu_queue_oldest_seconds", "chat") < 30


async def test_the_oldest_is_the_one_that_nobody_has_taken(redis):
    client = EngineClient(redis)
    await client.put(job(1))
    await Queue(redis, worker="other").take(1)
    seconds, _ = await redis.time()
    await redis.xadd(keys.jobs(Lane.CHAT), {"job": "{}"}, id=f"{(seconds + 100) * MS}-0")
    lane = (await queue_figures(redis)).lanes[Lane.CHAT]
    assert (lane.depth, lane.pending, lane.oldest_s) == (1, 1, 0)


# --- health ---


async def test_an_engine_is_ready_once_it_has_a_model(redis, champion):
    async with observed(redis, None) as asked:
        before = await asked.status("/readyz")
        asked.engine.appoint({Cell.GRU: Lineup(champion=asked.engine.hire(champion))})
        after = await asked.status("/readyz")
        lives = await asked.status("/healthz")
    assert before == (503, {"steps": True, "models": False, "redis": True})
    assert after == (200, {"steps": True, "models": True, "redis": True})
    assert lives == (200, {"steps": True})


async def test_an_engine_whose_step_hangs_asks_to_be_started_again(redis, champion, monkeypatch):
    go_on, step = threading.Event(), Runner.step

    def hang(runner):
        go_on.wait(timeout=30)
        step(runner)

    monkeypatch.setattr(Runner, "step", hang)
    monkeypatch.setattr("engine.loop.HUNG_S", 0.2)
    async with observed(redis, champion) as asked:
        await EngineClient(redis).put(job(1))

        async def failing():
            return (await asked.http.get("/healthz")).status_code == HTTPStatus.SERVICE_UNAVAILABLE

        await until(failing, within_s=20)
        ready = await asked.status("/readyz")
        go_on.set()
        await told(EngineClient(redis), 1)
        assert await asked.status("/healthz") == (200, {"steps": True})
    assert ready == (503, {"steps": False, "models": True, "redis": True})
    assert HUNG_S > 10


async def test_an_engine_without_redis_lives_is_not_ready_and_tells_nothing_of_the_queue(
    tmp_path, champion, monkeypatch
):
    monkeypatch.setattr("engine.client.ANSWER_S", 0.3)
    server = OwnValkey(tmp_path)
    server.start()
    redis = connect(EngineSettings(redis_url=server.url))
    try:
        async with observed(redis, champion, serve=False) as asked:
            before = await asked.figures()
            server.kill()
            after = await asked.figures()
            ready, lives = await asked.status("/readyz"), await asked.status("/healthz")
    finally:
        server.kill()
        await redis.aclose()
    assert ready == (503, {"steps": True, "models": True, "redis": False})
    assert lives == (200, {"steps": True})
    assert before("yuefu_queue_pending") == 0
    assert not any(name.startswith("yuefu_queue_") for name, _ in after.figures)
    assert after("yuefu_redis_errors_total") > before("yuefu_redis_errors_total")


# --- from Redis alone ---


@pytest.fixture
def top(valkey_url, monkeypatch):
    """`python -m engine top --once`, in this process, whose logs stay as they are."""
    monkeypatch.setattr("engine.__main__.logs.configure", lambda **_: None)
    environment = {"YUEFU_REDIS_URL": valkey_url, "COLUMNS": "100"}
    return lambda *words: CliRunner().invoke(app, ["top", "--once", *words], env=environment)


def test_where_there_is_nothing_top_says_so_in_a_line(top):
    done = top()
    assert (done.exit_code, done.output) == (0, NOTHING + "\n")


async def test_top_shows_engines_lanes_and_what_was_buried(redis, top):
    await beat(redis, BEAT)
    for number in range(3):
        await EngineClient(redis).put(job(number))
    await redis.xadd(keys.DEAD, {"why": "a test"})
    done = await asyncio.to_thread(top)
    lines = [line.split() for line in done.output.splitlines()]
    assert done.exit_code == 0
    assert lines[1][:2] == ["chat", "3"]
    assert "1 alive · rows 48/64 · 12.5 poems/s · 1 buried" in done.output
    assert lines[-1][:5] == ["w?[2J", "cuda", "48/64", "12.5", "3.2"]
    assert lines[-1][-1] == "gru+"
    assert "\x1b" not in done.output


async def test_top_speaks_to_machines_in_json(redis, top):
    await beat(redis, BEAT)
    done = await asyncio.to_thread(top, "--json")
    picture = json.loads(done.output)
    assert picture["engines"][0]["poems_per_s"] == BEAT.poems_per_s
    assert picture["queue"]["lanes"]["chat"] == {"depth": 0, "pending": 0, "oldest_s": 0}


async def test_a_heartbeat_of_an_engine_before_these_figures_is_read(redis):
    old = {"worker": "old", "cells": {"gru": "gru-1"}, "slots": 8, "since_ms": 0}
    await redis.sadd(keys.ENGINES, "old", "gone")
    await redis.set(keys.engine("old"), json.dumps(old))
    [engine] = (await look(redis)).engines
    assert (engine.worker, engine.poems_per_s, engine.device) == ("old", 0, "")
    # Who looks changes nothing.
    assert await redis.scard(keys.ENGINES) == 2


async def test_the_shipped_users_may_ask_what_these_figures_need():
    with deployed_valkey() as server:
        async with server.login("engine") as engine, server.login("operator") as operator:
            await beat(engine, BEAT)
            await engine.sadd(keys.ENGINES, "gone")
            assert (await queue_figures(engine)).pending == 0
            assert await queue_figures(operator) == await queue_figures(engine)
            assert await heard(operator) == [BEAT]
            assert await engine.ping()
