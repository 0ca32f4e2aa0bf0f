"""Faults 10 and 11: rows that cannot be written, and a device whose memory is full.

The engine is a real process with small models; each test ends by printing its figure.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from torch import OutOfMemoryError

from engine.checkpoint import Checkpoint, load
from engine.client import EngineClient
from engine.jobs import Cell, Failure, Job, Outcome, Poem, Reason
from engine.runner import Runner
from engine.theme import ThemeEncoder
from engine.verse.forms import FormName
from engine.vocabulary import Vocabulary
from engine.writer import Writer
from tests.fakes import troubled
from tests.fakes.models import job, write_model
from tests.fakes.serving import ENGINE, engine_process, small_registry

GOOD = 56
STRAY, BARE = "月", "尤"
"""A glyph that has an index which the model has not, and a group in which nothing rhymes."""
BAD: dict[str, dict[str, Any]] = {
    "NaN": {"theme": "風"},
    "nothing admitted": {"rhyme": BARE},
    "an index beyond the vocabulary": {"opening": STRAY},
}
"""What makes a row fail, and how a job meets it (`troubled.bad_model`)."""
UNREADABLE = (math.nan, math.inf, 0.0, -1.0)
"""Temperatures that are none."""


def beside(bad: dict[str, Any] | None) -> list[Job]:
    """Jobs in all forms, among which are two like `bad`, or two more like the others."""
    jobs = [
        job(number, form=list(FormName)[number % 4], candidates=1, rhyme="東")
        for number in range(GOOD)
    ]
    for number, at in enumerate((5, GOOD // 2)):
        twin = job(1000 + number, form=FormName.QILU, candidates=1, rhyme="東")
        jobs.insert(at, replace(twin, **(bad or {})))
    return jobs


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load(write_model(tmp_path_factory.mktemp("models")))


@pytest.fixture
def bad_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in (
        (Vocabulary, "index_as_typed"),
        (Vocabulary, "rhyme_table"),
        (ThemeEncoder, "begin"),
    ):
        monkeypatch.setattr(owner, name, vars(owner)[name])
    troubled.bad_model(STRAY, BARE)


# Fault 10


def written(checkpoint: Checkpoint, jobs: list[Job]) -> dict[str, Outcome]:
    return Writer(checkpoint, slots=GOOD + 2).write(jobs)


def good(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """The outcomes of all but the two jobs in question."""
    return {id_: one for id_, one in outcomes.items() if id_ not in {"test:1000", "test:1001"}}


def failures(outcomes: dict[str, Outcome]) -> dict[str, Reason]:
    return {one.job_id: one.reason for one in outcomes.values() if isinstance(one, Failure)}


@pytest.mark.usefixtures("bad_model")
def test_fault_10_a_row_that_cannot_be_written_changes_no_bit_of_the_others(small: Checkpoint):
    usual = good(written(small, beside(None)))
    assert all(isinstance(outcome, Poem) for outcome in usual.values())
    changed = 0
    for bad in BAD.values():
        outcomes = written(small, beside(bad))
        changed += sum(good(outcomes)[id_] != poem for id_, poem in usual.items())
        assert failures(outcomes) == dict.fromkeys(("test:1000", "test:1001"), Reason.INTERNAL)
    print(
        f"\nfault 10: two of {GOOD + 2} rows with {', '.join(BAD)}: these jobs failed, others "
        f"changed in any bit {changed}"
    )
    assert changed == 0


@pytest.mark.usefixtures("bad_model")
@pytest.mark.parametrize("where", [{"theme": STRAY}, {"unlike": STRAY * 20}])
def test_fault_10_no_index_beyond_the_vocabulary_reaches_the_model(small: Checkpoint, where: Any):
    outcomes = written(small, [job(1, rhyme="東"), job(2, rhyme="東", **where)])
    assert failures(outcomes) == {"test:2": Reason.INTERNAL}


@dataclass(kw_only=True)
class Served:
    """What a real engine made of jobs."""

    outcomes: dict[str, Outcome]
    doubled: int
    log: str
    alive: bool


@asynccontextmanager
async def serving(
    redis: Redis, url: str, folder: Path, program: tuple[str, ...] = ENGINE, **settings: str
) -> AsyncIterator[Served]:
    """All that waits in the queue is served by one engine; what came of it, afterwards."""
    registry, _ = small_registry(folder / "models", gru=1)
    client = EngineClient(redis)
    served = Served(outcomes={}, doubled=0, log="", alive=True)
    async with engine_process(registry, url, client, program=program, **settings) as process:
        yield served
        is_over = False
        while not is_over:
            # In this order: what ends in between is still collected.
            left = sum((await client.depth()).values())
            deliveries = await client.outcomes("test", "reader", wait_ms=200)
            for delivery in deliveries:
                served.doubled += delivery.outcome.job_id in served.outcomes
                served.outcomes[delivery.outcome.job_id] = delivery.outcome
                await client.done(delivery)
            is_over = not left and not deliveries
        served.alive = process.returncode is None
    served.log = (folder / "engine.log").read_text()


async def put_all(redis: Redis, jobs: list[Job]) -> None:
    client = EngineClient(redis)
    for one in jobs:
        await client.put(one)


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(240)
async def test_fault_10_an_engine_lives_through_rows_that_cannot_be_written(
    redis: Redis, valkey_url: str, tmp_path: Path
):
    bad = [
        job(2000 + number, candidates=1, **fields)
        for number, fields in enumerate([*BAD.values()] * 5)
    ]
    unreadable = [
        job(3000 + number, temperature=temperature) for number, temperature in enumerate(UNREADABLE)
    ]
    jobs = beside(None)
    await put_all(redis, [*jobs[:30], *bad, *unreadable, *jobs[30:]])
    program = ("-m", "tests.fakes.troubled", "bad-model", STRAY, BARE)
    async with serving(redis, valkey_url, tmp_path, program, YUEFU_SLOTS="64") as served:
        pass
    failed = failures(served.outcomes)
    poems = sum(isinstance(served.outcomes[one.id], Poem) for one in jobs)
    print(
        f"\nfault 10: jobs {len(jobs)}, poems {poems}, beside them rows that cannot be written "
        f"{len(bad)} and jobs that cannot be read {len(unreadable)}, of these failed "
        f"{len(failed)}, answered twice {served.doubled}, processes ended "
        f"{0 if served.alive else 1}"
    )
    wanted = {one.id: Reason.INTERNAL for one in bad}
    assert failed == wanted | {one.id: Reason.BURIED for one in unreadable}
    assert (poems, served.doubled, served.alive) == (len(jobs), 0, True)
    assert "Traceback" not in served.log


# Fault 11

ROWS = 32
AFTER_STEPS = 40


def ordinary(count: int) -> list[Job]:
    return [
        job(number, form=list(FormName)[number % 4], cell=Cell.GRU, candidates=2)
        for number in range(count)
    ]


def lines(outcomes: dict[str, Outcome]) -> dict[str, tuple[str, ...]]:
    return {id_: one.lines for id_, one in outcomes.items() if isinstance(one, Poem)}


def scarce(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Let there be memory for no more than so many rows."""
    step = Runner.step

    def step_if_it_fits(runner: Runner) -> None:
        if runner.count > rows:
            raise OutOfMemoryError("CUDA out of memory")
        step(runner)

    monkeypatch.setattr(Runner, "step", step_if_it_fits)


def test_fault_11_where_memory_ends_all_begin_again_with_half_the_rows(
    small: Checkpoint, monkeypatch: pytest.MonkeyPatch
):
    jobs = ordinary(40)
    usual = Writer(small, slots=ROWS).write(jobs)
    scarce(monkeypatch, ROWS // 2)
    writer = Writer(small, slots=ROWS)
    outcomes = writer.write(jobs)
    others = sum(lines(usual)[id_] != one for id_, one in lines(outcomes).items())
    print(
        f"\nfault 11: out of memory with {ROWS} rows, {writer.scheduler.slots} left, jobs "
        f"{len(jobs)}, lost {len(jobs) - len(outcomes)}, failed {len(failures(outcomes))}, other "
        f"poems than with memory enough {others}"
    )
    assert writer.scheduler.slots == ROWS // 2
    assert lines(outcomes) == lines(usual)
    assert len(lines(outcomes)) == len(jobs)


def test_fault_11_what_does_not_fit_into_one_row_ends_the_process(
    small: Checkpoint, monkeypatch: pytest.MonkeyPatch
):
    scarce(monkeypatch, 0)
    with pytest.raises(OutOfMemoryError):
        Writer(small, slots=8).write(ordinary(2))


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(240)
async def test_fault_11_an_engine_out_of_memory_loses_no_job(
    redis: Redis, valkey_url: str, tmp_path: Path
):
    jobs = ordinary(300)
    await put_all(redis, jobs)
    program = ("-m", "tests.fakes.troubled", "out-of-memory", str(AFTER_STEPS), str(ROWS // 2))
    async with serving(redis, valkey_url, tmp_path, program, YUEFU_SLOTS=str(ROWS)) as served:
        pass
    halved = served.log.count("engine.memory")
    print(
        f"\nfault 11: out of memory from step {AFTER_STEPS} on, slots halved {halved} times, jobs "
        f"{len(jobs)}, lost {len(jobs) - len(served.outcomes)}, failed "
        f"{len(failures(served.outcomes))}, answered twice {served.doubled}, processes ended "
        f"{0 if served.alive else 1}"
    )
    assert halved == 1
    assert (len(lines(served.outcomes)), served.doubled, served.alive) == (len(jobs), 0, True)
