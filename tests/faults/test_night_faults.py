"""Faults 25, 26 and 28 for nights: killed at every phase, a full disk, two trainers, a lost lock.

Real processes, a real anthology and a real Valkey; each test ends by printing its figure.
"""

import os
import shutil
import signal
import time
from random import Random

import pytest

from engine import checkpoint
from engine.bulletin import Phase
from engine.jobs import Cell
from engine.registry import Registry
from tests.fakes.mortal import BUSY, DONE, FAILED, LOST, NOTHING, UNWRITABLE, Midwife
from tests.fakes.nights import make_household, rate_now
from trainer import keys
from trainer.record import Nights, State

KILLS = 50


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A household whose next night trains weights."""
    folder = tmp_path_factory.mktemp("household")
    settings = make_household(folder)
    rate_now(settings, registry(folder).champion(Cell.GRU).name, poems=90, seed=2)
    return folder


@pytest.fixture
def household(template, tmp_path):
    return shutil.copytree(template, tmp_path / "data")


@pytest.fixture
def midwife(valkey_url):
    found = Midwife(valkey_url)
    yield found
    found.close()


def registry(data):
    return Registry(data / "models", bundled=data / "none")


def readable(data):
    """Whether the champion can be loaded."""
    return checkpoint.load(registry(data).champion(Cell.GRU)).id.startswith("gru-")


def contents(data):
    """The files of the checkpoint that was made, by name."""
    made = registry(data).aliases(Cell.GRU).challenger or registry(data).champion(Cell.GRU).name
    return {path.name: path.read_bytes() for path in (data / "models" / made).iterdir()}


def record_of(data):
    return Nights(data / "nights").records()[-1]


def uninterrupted(template, midwife, tmp_path):
    """What the night comes to if nobody disturbs it."""
    data = shutil.copytree(template, tmp_path / "reference")
    pid = midwife.live(data)
    assert midwife.wait(pid) == DONE
    return contents(data)


def alerts(data):
    return (data / "night.log").read_text().count('"action": "night.failed"')


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "moment",
    # What is made and not yet on record is the harder case.
    ["made", pytest.param("begun", marks=pytest.mark.only_by_make_faults)],
)
def test_a_night_killed_at_every_phase_makes_the_same_challenger(
    template, household, midwife, tmp_path, moment
):
    wanted = uninterrupted(template, midwife, tmp_path)
    points = [(phase, moment) for phase in Phase]
    intact = 0
    for point in points:
        pid = midwife.live(household, at=point, then=signal.SIGKILL)
        assert midwife.wait(pid) == -signal.SIGKILL, point
        intact += readable(household)
    pid = midwife.live(household)
    assert midwife.wait(pid) == DONE
    equal = contents(household) == wanted
    print(
        f"fault 25: killed at each of {len(points)} phases, when it had {moment}: champion "
        f"readable {intact}/{len(points)}, challenger equal to the bit: {equal}"
    )
    assert intact == len(points)
    assert equal
    assert record_of(household).attempts == len(points) + 1


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(1200)
def test_nights_killed_at_any_moment_make_the_same_challenger(template, midwife, tmp_path):
    wanted = uninterrupted(template, midwife, tmp_path)
    random, kills, intact, nights, equal = Random(25), 0, 0, 0, 0
    while kills < KILLS:
        data = shutil.copytree(template, tmp_path / f"night-{nights}")
        nights += 1
        code, longest_s = -signal.SIGKILL, 1.0
        while code == -signal.SIGKILL:
            pid = midwife.live(data)
            # Not a wait for a condition: the moment of the kill is what the test draws. Lives grow
            # longer, or on a busy machine none would see the end of a long phase.
            time.sleep(random.uniform(0.2, longest_s))
            longest_s += 0.5
            os.kill(pid, signal.SIGKILL)  # which its parent has not waited for: it is still there
            code = midwife.wait(pid)
            kills += code == -signal.SIGKILL
            intact += code == -signal.SIGKILL and readable(data)
        assert code == DONE
        equal += contents(data) == wanted
    print(
        f"fault 25: {kills} kills at any moment in {nights} nights: champion readable "
        f"{intact}/{kills}, challengers equal to the bit {equal}/{nights}"
    )
    assert (intact, equal) == (kills, nights)


def test_two_trainers_at_once_run_one_night(household, midwife):
    pids = [midwife.live(household, again=False, wait_s=0) for _ in range(2)]
    codes = sorted(map(midwife.wait, pids))
    assert codes in ([DONE, BUSY], [DONE, NOTHING])
    again = midwife.live(household, again=False)
    assert midwife.wait(again) == NOTHING
    [record] = Nights(household / "nights").records()
    print(f"two trainers at once: {len(pids)} began, runs 1, attempts {record.attempts}")
    assert (record.state, record.attempts) == (State.DONE, 1)


async def test_a_trainer_that_slept_while_another_took_over_promotes_nothing(
    household, midwife, redis
):
    before = registry(household).champion(Cell.GRU).name
    sleeper = midwife.live(household, at=(Phase.OUTCOME, "begun"), then=signal.SIGSTOP, fitted=True)
    assert midwife.wait(sleeper) == -signal.SIGSTOP
    other = midwife.live(household, at=(Phase.OUTCOME, "begun"), then=signal.SIGKILL, fitted=True)
    assert midwife.wait(other) == -signal.SIGKILL
    await redis.set(keys.LOCK, "a third", px=60_000)
    os.kill(sleeper, signal.SIGCONT)
    assert midwife.wait(sleeper) == LOST
    assert registry(household).champion(Cell.GRU).name == before
    assert record_of(household).state is State.RUNNING
    await redis.delete(keys.LOCK)
    last = midwife.live(household, fitted=True)
    assert midwife.wait(last) == DONE
    assert registry(household).champion(Cell.GRU).name != before
    print("lost lock: promotions by the one that slept 0, by the one that went on 1")


@pytest.mark.parametrize("limit", [100, 3_000, 20_000, 60_000, 150_000])
def test_a_full_disk_fails_the_night_and_leaves_the_champion_intact(household, midwife, limit):
    before = registry(household).champion(Cell.GRU).name
    starved = midwife.live(household, file_limit=limit, fitted=True)
    code = midwife.wait(starved)
    assert code in (FAILED, UNWRITABLE)
    assert readable(household)
    assert registry(household).champion(Cell.GRU).name == before
    assert registry(household).aliases(Cell.GRU).challenger is None
    drafts = list((household / "models").rglob(".gru-*"))
    assert drafts == []
    fed = midwife.live(household, fitted=True)
    assert midwife.wait(fed) == DONE
    assert registry(household).champion(Cell.GRU).name != before
    print(f"fault 26: no file above {limit} bytes: champion intact, promotions 0, then 1")
