"""Fault 30: models are promoted and rolled back while poems are being written.

The engine is a real process on a real queue. That no poem is of two models is proven by writing
each again, with the checkpoint that it names and nothing else.
"""

import asyncio
import itertools
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from engine.checkpoint import load
from engine.client import EngineClient
from engine.jobs import Cell, Poem
from engine.verse.forms import FormName
from engine.writer import Writer
from tests.fakes.models import job
from tests.fakes.serving import engine_process, small_registry
from tests.fakes.waiting import until

OUTSTANDING = 16
"""Jobs that wait or run at any time; twice as many candidates as the engine has rows."""
FORMS = tuple(FormName)


class Load:
    """Asks for poems without a pause, and notes what comes back."""

    def __init__(self, client):
        self.jobs, self.outcomes = {}, {}
        self.stopped = False
        self._client = client
        self._numbers = itertools.count()

    async def run(self):
        while not self.stopped or len(self.outcomes) < len(self.jobs):
            while not self.stopped and len(self.jobs) - len(self.outcomes) < OUTSTANDING:
                number = next(self._numbers)
                asked = job(number, form=FORMS[number % 4], candidates=1 + number % 2)
                self.jobs[asked.id] = asked
                await self._client.put(asked)
            for delivery in await self._client.outcomes("test", "reader", wait_ms=200):
                self.outcomes[delivery.outcome.job_id] = delivery.outcome
                await self._client.done(delivery)

    @property
    def failed(self):
        return [outcome for outcome in self.outcomes.values() if not isinstance(outcome, Poem)]


@asynccontextmanager
async def under_load(client):
    load_ = Load(client)
    running = asyncio.create_task(load_.run())
    try:
        yield load_
        load_.stopped = True
        async with asyncio.timeout(30):
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def mixed(registry, load_):
    """The poems that the checkpoint which they name does not write."""
    poems = {(poem.checkpoint, id_): poem.lines for id_, poem in load_.outcomes.items()}
    again: dict[tuple[str, str], tuple[str, ...]] = {}
    for name in {checkpoint for checkpoint, _ in poems}:
        writer = Writer(load(registry.find(name)), slots=OUTSTANDING)
        for checkpoint, id_ in poems:
            if checkpoint == name:
                writer.add(load_.jobs[id_])
        while not writer.idle:
            again |= {(name, poem.job_id): poem.lines for poem in map(as_poem, writer.step())}
    return [key for key, lines in poems.items() if again[key] != lines]


def as_poem(outcome):
    assert isinstance(outcome, Poem)
    return outcome


async def promote_and_roll_back(redis, valkey_url, folder, *, rounds):
    registry, (first, second, third) = small_registry(folder / "models", gru=3)
    registry.challenge(third)
    client = EngineClient(redis)
    promotions, rollbacks = [], []

    async def serves(name):
        return (await client.cells())[Cell.GRU] == name

    async with engine_process(
        registry,
        valkey_url,
        client,
        YUEFU_SLOTS="12",
        YUEFU_TRIAL_SHARE="0.2",
        # In which a poem depends on its seed, and not in its last bit on its neighbours.
        YUEFU_PRECISION="fp32",
    ) as process:
        async with under_load(client) as load_:
            for _ in range(rounds):
                began = time.monotonic()
                registry.promote(second, expected=first)
                process.send_signal(signal.SIGHUP)
                await until(lambda: serves(second))
                promotions.append(time.monotonic() - began)
                began = time.monotonic()
                assert await client.rollback(Cell.GRU, expected=second) == first
                rollbacks.append(time.monotonic() - began)
        process.terminate()
        assert await process.wait() == 0
    strangers = mixed(registry, load_)
    written = Counter(outcome.checkpoint for outcome in load_.outcomes.values())
    print(
        f"\nfault 30: promoted and rolled back {rounds} times, jobs {len(load_.jobs)}, "
        f"failed {len(load_.failed)}, lost {len(load_.jobs) - len(load_.outcomes)}, "
        f"by champion {written[first]}, promoted {written[second]}, challenger {written[third]}, "
        f"of mixed weights {len(strangers)}, slowest promotion {max(promotions):.2f} s, "
        f"slowest rollback {max(rollbacks):.2f} s"
    )
    assert (load_.failed, strangers) == ([], [])
    assert all(written[name] for name in (first, second, third))
    assert max(rollbacks) <= 10
    log = (folder / "engine.log").read_text()
    assert "checkpoint.refused" not in log
    assert "Traceback" not in log


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(300)
async def test_fifty_promotions_and_rollbacks_cost_no_job_and_mix_no_poem(
    redis, valkey_url, tmp_path
):
    await promote_and_roll_back(redis, valkey_url, tmp_path, rounds=50)


async def test_promotions_and_rollbacks_cost_no_job_and_mix_no_poem(redis, valkey_url, tmp_path):
    await promote_and_roll_back(redis, valkey_url, tmp_path, rounds=4)
