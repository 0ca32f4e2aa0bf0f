"""The benchmark of waiting under load measures what it says."""

from collections import deque

import pytest

from benchmarks import load, traffic
from benchmarks.load import alone, capacity, serve, shares, ways
from engine.jobs import Cell
from engine.linear import Precision
from engine.verse.forms import FORMS, FormName
from tests.fakes.models import job, small_checkpoint


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    checkpoint = small_checkpoint(tmp_path_factory.mktemp("model"))
    found = ways(checkpoint, slots=8, candidates=1, precision=Precision.FP32)
    return {way.name: way for way in found}


def test_requests_are_mixed_as_they_are_said_to_be_and_the_same_each_time():
    first, again = ([next(asked) for _ in range(2000)] for asked in (requests(), requests()))
    assert first == again
    lengths = [FORMS[asked.form].length for asked in first]
    assert sum(lengths) / len(lengths) == pytest.approx(traffic.MEAN_LENGTH, rel=0.05)


def requests():
    return traffic.jobs(Cell.GRU, seed=5)


def test_a_static_batch_ends_with_its_longest_poem_and_nobody_joins_it(served):
    way = served["static"]
    waiting = deque([(0.0, job(1)), (0.001, job(2))])
    assert way.admit(waiting, 0.019) == []
    batch = way.admit(waiting, 0.021)
    assert len(batch) == 2
    for asked in (*batch[:1], job(2, form=FormName.QILU)):
        way.writer.add(asked)
    ended = [len(way.writer.step()) for _ in range(FORMS[FormName.QILU].length)]
    assert ended == [0] * 55 + [2]
    assert way.writer.idle


def test_one_at_a_time_is_one_at_a_time(served):
    way = served["one at a time"]
    waiting = deque([(0.0, job(1)), (0.0, job(2))])
    way.writer.add(*way.admit(waiting, 0.0))
    assert way.admit(waiting, 9.0) == []
    while not way.writer.idle:
        way.writer.step()
    assert len(way.admit(waiting, 9.0)) == 1


def test_more_is_written_side_by_side_and_the_wait_is_counted_from_the_request(served):
    rates = {name: capacity(way, seconds=0.3) for name, way in served.items()}
    assert rates["continuous"] > rates["one at a time"]
    way = served["continuous"]
    empty_ms = alone(way, poems=6)
    light = serve(way, rate=0.05 * rates[way.name], seconds=0.3, give_up_s=60.0)
    heavy = serve(way, rate=0.9 * rates[way.name], seconds=0.3, give_up_s=60.0)
    assert light is not None
    assert heavy is not None
    assert 0.2 * empty_ms < light.p50_ms <= light.p99_ms
    assert light.rows < heavy.rows <= 8


def test_a_queue_that_grows_without_end_is_given_up(served):
    way = served["one at a time"]
    most = capacity(way, seconds=0.3)
    assert serve(way, rate=20 * most, seconds=1.0, give_up_s=0.1) is None
    assert way.writer.idle


def test_time_is_that_of_the_process_and_waits_are_skipped():
    clock = load.Clock()
    clock.skip_to(1000.0)
    assert 1000.0 <= clock.now_s < 1001.0
    clock.skip_to(10.0)
    assert clock.now_s >= 1000.0


def test_the_parts_of_a_step_are_told_apart(served):
    found = shares(served["continuous"].writer, seconds=0.3)
    assert {*found} == {*load._PARTS, "bookkeeping"}
    assert all(microseconds > 0 for microseconds in found.values())
