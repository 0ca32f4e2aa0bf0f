"""The engine's loop against a real Valkey, with small random models."""

import asyncio
import contextlib

import pytest

from engine import keys
from engine.checkpoint import load
from engine.client import EngineClient
from engine.jobs import Cell, Failure, Job, Outcome, Poem, Reason
from engine.loop import Engine
from engine.queue import Queue
from engine.routes import Lineup
from engine.verse.checker import check
from engine.verse.forms import FormName
from engine.writer import Writer
from tests.fakes.models import job, write_model


@pytest.fixture(scope="module")
def champions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {cell: load(write_model(folder, cell)) for cell in (Cell.GRU, Cell.LSTM)}


@contextlib.asynccontextmanager
async def serving(redis, champions, *, slots=8, candidates=1):
    engine = Engine(Queue(redis, worker="w"), slots=slots, candidates=candidates)
    engine.appoint(
        {cell: Lineup(champion=engine.hire(loaded)) for cell, loaded in champions.items()}
    )
    task = asyncio.create_task(engine.serve())
    try:
        yield engine
    finally:
        engine.stop()
        async with asyncio.timeout(10):
            await task


async def collect(client, count):
    """The next `count` outcomes by job id."""
    outcomes: dict[str, Outcome] = {}
    async with asyncio.timeout(30):
        while len(outcomes) < count:
            for delivery in await client.outcomes("test", "reader", wait_ms=500):
                outcomes[delivery.outcome.job_id] = delivery.outcome
                await client.done(delivery)
    return outcomes


async def test_jobs_of_all_forms_and_cells_become_poems(redis, champions):
    client = EngineClient(redis)
    jobs: list[Job] = [
        job(number, form=form, cell=cell, opening="月", context={"n": number})
        for number, (form, cell) in enumerate((f, c) for f in FormName for c in champions)
    ]
    async with serving(redis, champions, slots=3):
        for each in jobs:
            await client.put(each)
        outcomes = await collect(client, len(jobs))
    for each in jobs:
        poem = outcomes[each.id]
        assert isinstance(poem, Poem)
        assert check(poem.lines, opening="月").ok
        assert (poem.form, poem.cell, poem.context) == (each.form, each.cell, each.context)


async def test_a_cell_without_a_model_fails_in_a_word(redis, champions):
    client = EngineClient(redis)
    async with serving(redis, champions):
        await client.put(job(1, cell=Cell.RNN))
        outcome = (await collect(client, 1))["test:1"]
    assert isinstance(outcome, Failure)
    assert outcome.reason is Reason.NO_MODEL


async def test_what_runs_when_it_is_told_to_stop_is_finished(redis, champions):
    client = EngineClient(redis)
    async with serving(redis, champions) as engine:
        await client.put(job(1, form=FormName.QILU))
        while not engine._leases:
            await asyncio.sleep(0.001)
    outcomes = await collect(client, 1)
    assert isinstance(outcomes["test:1"], Poem)


async def test_a_finished_job_leaves_nothing_in_its_lane(redis, champions):
    client = EngineClient(redis)
    async with serving(redis, champions):
        await client.put(job(1))
        await collect(client, 1)
    assert await redis.xlen(keys.jobs(job(1).lane)) == 0


async def test_a_job_alone_has_all_its_candidates_and_many_share_the_rows(
    redis, champions, monkeypatch
):
    given = []
    add = Writer.add

    def spy(writer, job):
        given.append(job.candidates)
        add(writer, job)

    monkeypatch.setattr(Writer, "add", spy)
    client = EngineClient(redis)
    for number in range(4):
        await client.put(job(number))
    async with serving(redis, champions, slots=16, candidates=8):
        await collect(client, 4)
        await client.put(job(9))
        await collect(client, 1)
        await client.put(job(10, candidates=2))
        await collect(client, 1)
    assert given == [4, 4, 4, 4, 8, 2]
