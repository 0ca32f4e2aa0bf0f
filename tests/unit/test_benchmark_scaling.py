"""The benchmark of many engines measures what it says."""

import asyncio
import time
from typing import Any

from redis.asyncio import Redis

from benchmarks.chart import draw_scaling
from benchmarks.scaling import ask_by_chance, crowd_of, keep_asking
from benchmarks.sleeper import NAP, Sleeper
from engine.client import Admission, Admitted, Delivery, EngineClient, EngineUnavailableError
from engine.jobs import Cell
from engine.loop import Engine
from engine.queue import Queue
from engine.routes import Lineup
from engine.verse.forms import FORMS, FormName
from tests.fakes.jobs import a_failure, a_job, a_poem


def test_who_sleeps_takes_a_step_for_each_character_of_each_poem():
    writer = Sleeper(slots=4, step_s=0.0)
    for form in (FormName.QILU, FormName.WUJUE):
        writer.add(a_job(f"{form}", form=form))
    ended = {
        outcome.job_id: NAP * nap
        for nap in range(1, FORMS[FormName.QILU].length // NAP + 1)
        for outcome in writer.step()
    }
    assert ended == {form: FORMS[form].length for form in (FormName.QILU, FormName.WUJUE)}
    assert writer.idle


def test_what_is_dropped_is_not_slept_over():
    writer = Sleeper(slots=4, step_s=0.0)
    for name in "abc":
        writer.add(a_job(name))
    assert (writer.drop("b"), writer.drop("b")) == (True, False)
    ended = [one.job_id for _ in range(FORMS[FormName.WUJUE].length) for one in writer.step()]
    assert (ended, writer.idle) == (["a", "c"], True)


async def test_an_engine_asleep_serves_the_queue_as_a_real_one_does(redis: Redis):
    engine = Engine(Queue(redis, worker="asleep"), slots=8)
    writer = Sleeper(slots=8, step_s=0.0002)
    engine.appoint({cell: Lineup(champion=writer) for cell in Cell})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(engine.serve())
        async with crowd_of(EngineClient(redis), Cell.LSTM) as asking:
            await keep_asking(asking, in_flight=12, seconds=0.2)
            asked = await ask_by_chance(asking, rate=200, seconds=0.2)
        engine.stop()
    assert asked > 10
    assert len(asking.outcomes) == len(asking.took) >= asked + 12
    assert (asking.doubled, asking.failed) == (0, 0)
    assert all(took_s >= 20 * 0.0002 for _, took_s in asking.took.values())


class Unsure(EngineClient):
    """Away at first; then it answers a job twice, and another with a failure."""

    def __init__(self) -> None:
        self.puts: list[str] = []
        self._told: list[Delivery] = []

    async def put(self, job: Any, quotas: Any = ()) -> Admission:
        self.puts.append(job.id)
        if len(self.puts) == 1:
            raise EngineUnavailableError
        answers = [a_poem(job)] * 2 if len(self.puts) == 2 else [a_failure(job)]
        self._told += [Delivery(client="", entry="", outcome=answer) for answer in answers]
        return Admission(status=Admitted.ACCEPTED)

    async def outcomes(self, *_: Any, **__: Any) -> list[Delivery]:
        await asyncio.sleep(0)
        told, self._told = self._told, []
        return told

    async def done(self, delivery: Delivery) -> None:
        pass


async def test_what_comes_twice_or_fails_is_counted_and_who_is_not_heard_asks_again():
    client = Unsure()
    async with crowd_of(client, Cell.LSTM) as asking:
        began_s = time.perf_counter()
        await asking.ask()
        await asking.ask()
    assert (len(client.puts), len(set(client.puts))) == (3, 2)
    assert (len(asking.outcomes), asking.doubled, asking.failed) == (2, 1, 1)
    assert all(began_s <= asked_s for asked_s, _ in asking.took.values())


def test_the_picture_shows_both_kinds_and_when_engines_were_killed(tmp_path):
    levels = [
        {"kind": kind, "engines": engines, "rate": 400.0 * engines, "p50_ms": 9.0, "p99_ms": 30.0}
        for kind in ("asleep", "real")
        for engines in (1, 2)
    ]
    trial = {"kind": "real", "engines": 2, "waits": [(0.0, 9.0), (0.5, 20.0)], "kills": [0.4]}
    draw_scaling(levels, [trial], picture := tmp_path / "scaling.svg")
    drawn = picture.read_text()
    assert "asleep, p99" in drawn
    assert "2 real" in drawn
