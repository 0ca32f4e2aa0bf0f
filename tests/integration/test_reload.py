"""An engine in service that takes on other models, and goes back when it is told to."""

import asyncio
import gc
import threading
import weakref
from contextlib import asynccontextmanager

import pytest

from engine import keys
from engine.checkpoint import load
from engine.client import (
    ChampionChangedError,
    EngineClient,
    Lineup,
    Obstacle,
    ObstacleError,
    RollbackLateError,
)
from engine.heartbeat import Heartbeat, beat
from engine.jobs import Cell, Poem
from engine.loop import Engine
from engine.queue import Queue
from engine.registry import Registry
from engine.reload import Watch
from engine.verse.forms import FormName
from engine.writer import Writer
from tests.fakes.models import job, small_dataset, write_model
from tests.fakes.waiting import until

SHARE = 0.3


@pytest.fixture
def registry(tmp_path):
    """A registry with three gru checkpoints, of which the first serves, and nothing behind it."""
    found, data = Registry(tmp_path / "models", bundled=tmp_path / "none"), small_dataset()
    for seed in range(3):
        write_model(found.folder, seed=seed, dataset=data)
    found.promote(ids(found)[0])
    return found


def ids(registry):
    return [path.name for path in registry.checkpoints()]


@pytest.fixture
def client(redis):
    return EngineClient(redis)


class Serving:
    """An engine in this process, with all that `serve` puts beside it."""

    def __init__(self, redis, registry, worker):
        self.engine = Engine(Queue(redis, worker=worker), slots=8)
        self.watch = Watch(self.engine, registry, redis, trial_share=SHARE)
        self._redis, self._worker = redis, worker

    async def beat(self):
        while True:
            heartbeat = Heartbeat(
                worker=self._worker,
                cells=self.engine.cells,
                slots=8,
                since_ms=0,
                challengers=self.engine.challengers,
                trial_share=SHARE,
            )
            await beat(self._redis, heartbeat)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(redis, registry, worker="w"):
    served = Serving(redis, registry, worker)
    await served.watch.look()
    beside = [asyncio.create_task(run()) for run in (served.beat, served.watch.run)]
    engine = asyncio.create_task(served.engine.serve())
    try:
        yield served
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        served.engine.stop()
        async with asyncio.timeout(10):
            await engine


async def collect(client, count):
    poems: list[Poem] = []
    async with asyncio.timeout(30):
        while len(poems) < count:
            for delivery in await client.outcomes("test", "reader", wait_ms=500):
                assert isinstance(delivery.outcome, Poem)
                poems.append(delivery.outcome)
                await client.done(delivery)
    return poems


async def test_a_writer_that_leaves_finishes_its_poems_and_is_then_forgotten(
    redis, client, registry, monkeypatch
):
    first, second, _ = ids(registry)
    may_go_on = threading.Event()
    async with serving(redis, registry) as served:
        leaver = weakref.ref(served.engine.lineups[Cell.GRU].champion)
        writer: Writer | None = leaver()
        assert writer is not None
        step = writer.runner.step
        monkeypatch.setattr(writer.runner, "step", lambda: may_go_on.wait(30) and step())
        for number in range(6):
            await client.put(job(number, form=FormName.QILU))
        while len(served.engine._jobs) < 6:
            await asyncio.sleep(0)
        del writer
        registry.promote(second)
        await served.watch.look()
        assert served.engine.cells == {Cell.GRU: second}
        assert len(served.engine.writers) == 2
        may_go_on.set()
        await client.put(job(99))
        poems = {poem.job_id: poem.checkpoint for poem in await collect(client, 7)}
        began = {f"test:{number}" for number in range(6)}
        assert {id_ for id_, checkpoint in poems.items() if checkpoint == first} == began
        assert poems["test:99"] == second

        async def forgotten():
            gc.collect()
            return leaver() is None

        await until(forgotten)
        assert len(served.engine.writers) == 1


async def test_an_idle_engine_forgets_a_writer_that_leaves_too(redis, registry):
    async with serving(redis, registry) as served:
        leaver = weakref.ref(served.engine.lineups[Cell.GRU].champion)
        registry.promote(ids(registry)[1])
        await served.watch.look()

        async def forgotten():
            gc.collect()
            return leaver() is None

        await until(forgotten)


async def test_a_challenger_writes_the_jobs_that_are_its_own(redis, client, registry):
    first, second, _ = ids(registry)
    registry.challenge(second)
    async with serving(redis, registry):
        lineup = Lineup(champion=first, challenger=second, share=SHARE)
        await until(client.lineups)
        assert await client.lineups() == {Cell.GRU: lineup}
        for number in range(40):
            await client.put(job(number))
        poems = await collect(client, 40)
    assert [poem.checkpoint for poem in poems] == [lineup.choose(poem.job_id) for poem in poems]
    assert {poem.checkpoint for poem in poems} == {first, second}


async def test_a_damaged_challenger_costs_no_job(redis, client, registry):
    first, second, _ = ids(registry)
    weights = registry.folder / second / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    async with serving(redis, registry) as served:
        registry.challenge(second)
        await served.watch.look()
        assert served.engine.challengers == {}
        registry.promote(second)
        await served.watch.look()
        assert served.engine.cells == {Cell.GRU: first}
        for number in range(20):
            await client.put(job(number))
        assert {poem.checkpoint for poem in await collect(client, 20)} == {first}


async def test_a_new_champion_is_noticed_by_itself(redis, client, registry):
    second = ids(registry)[1]
    async with serving(redis, registry):
        registry.promote(second)

        async def serves():
            return await client.cells() == {Cell.GRU: second}

        await until(serves)


# --- going back ---


async def test_a_rollback_is_ordered_and_done_once_by_however_many_engines(redis, client, registry):
    first, second, _ = ids(registry)
    registry.promote(second)
    async with serving(redis, registry, "a"), serving(redis, registry, "b"):
        await until(client.cells)
        assert await client.rollback(Cell.GRU, expected=second) == first
        assert registry.aliases(Cell.GRU).champion == first
        assert await redis.exists(keys.rollback(Cell.GRU)) == 0
        # Who comes later with the same wish learns that it is so already.
        with pytest.raises(ChampionChangedError):
            await client.rollback(Cell.GRU, expected=second)


async def test_two_who_order_the_same_have_it_done_once(redis, client, registry):
    first, second, _ = ids(registry)
    registry.promote(second)
    async with serving(redis, registry):
        await until(client.cells)
        wishes = (client.rollback(Cell.GRU, expected=second) for _ in range(2))
        assert await asyncio.gather(*wishes) == [first, first]
    assert registry.aliases(Cell.GRU).champion == first


async def refused(client, champion):
    async def in_service():  # An engine that ended is still heard for a while.
        return champion in (await client.cells()).values()

    await until(in_service)
    with pytest.raises(ObstacleError) as caught:
        await client.rollback(Cell.GRU, expected=champion)
    return caught.value.obstacle


async def test_an_engine_that_cannot_go_back_says_why(redis, client, registry):
    first, second, _ = ids(registry)
    async with serving(redis, registry):
        assert await refused(client, first) is Obstacle.NOTHING
    registry.promote(second)
    lock = registry.folder / ".gru.lock"
    lock.unlink()
    lock.mkdir()
    async with serving(redis, registry):
        assert await refused(client, second) is Obstacle.UNWRITABLE
    lock.rmdir()
    (registry.folder / first / "config.json").write_text("{}")
    async with serving(redis, registry):
        assert await refused(client, second) is Obstacle.DAMAGED
    assert registry.aliases(Cell.GRU).champion == second


async def test_where_no_engine_obeys_that_is_said_in_time(redis, client, monkeypatch):
    monkeypatch.setattr("engine.client.ROLLBACK_S", 0.3)
    await beat(redis, Heartbeat(worker="deaf", cells={Cell.GRU: "gru-1"}, slots=1, since_ms=1))
    with pytest.raises(RollbackLateError, match="gru-1"):
        await client.rollback(Cell.GRU, expected="gru-1")
    assert await redis.exists(keys.rollback(Cell.GRU)) == 0


async def test_a_rollback_is_over_when_every_engine_serves_another(redis, client):
    beats = [
        Heartbeat(worker=name, cells={Cell.GRU: "gru-2"}, slots=1, since_ms=number)
        for number, name in enumerate("ab")
    ]
    for one in beats:
        await beat(redis, one)
    ordered = asyncio.create_task(client.rollback(Cell.GRU, expected="gru-2"))
    await until(lambda: redis.exists(keys.rollback(Cell.GRU)))
    await beat(redis, Heartbeat(worker="a", cells={Cell.GRU: "gru-1"}, slots=1, since_ms=0))
    # Three looks of the client: it must not be content with one of two.
    await asyncio.sleep(0.3)
    assert not ordered.done()
    await beat(redis, Heartbeat(worker="b", cells={Cell.GRU: "gru-1"}, slots=1, since_ms=1))
    assert await ordered == "gru-1"


async def test_an_order_that_is_nonsense_stops_nothing(redis, client, registry):
    await redis.set(keys.rollback(Cell.GRU), "nonsense")
    second = ids(registry)[1]
    async with serving(redis, registry) as served:
        await redis.delete(keys.rollback(Cell.GRU))
        registry.promote(second)
        served.watch.wake()

        async def serves():
            return await client.cells() == {Cell.GRU: second}

        await until(serves)


def test_heartbeats_of_other_versions_are_read():
    old = Heartbeat.from_json('{"worker": "a", "cells": {"gru": "g"}, "slots": 1, "since_ms": 1}')
    assert old.lineups == {Cell.GRU: Lineup(champion="g")}
    later = Heartbeat(worker="a", cells={}, slots=1, since_ms=1).to_json()[:-1] + ', "new": 1}'
    assert Heartbeat.from_json(later).cells == {}


def test_the_checkpoints_of_this_test_write_differently(registry):
    """Or a poem of one could not be told from a poem of another."""
    lines = set()
    for name in ids(registry):
        writer = Writer(load(registry.find(name)), slots=1)
        writer.add(job(1))
        while not writer.idle:
            lines |= {getattr(outcome, "lines", None) for outcome in writer.step()}
    assert len(lines) == 3
