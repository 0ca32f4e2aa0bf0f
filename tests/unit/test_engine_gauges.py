"""What an engine counts, and what it costs."""

import time

import pytest
from prometheus_client import generate_latest

from engine import VERSION
from engine.account import Account, Ended
from engine.gauges import WINDOW, Gauges, Rates
from engine.jobs import Cell, Lane, cause_of
from engine.metrics import REDIS_ERRORS, new_registry
from tests.fakes.jobs import a_failure, a_job, a_poem


def ended(number, outcome, **fields):
    job = a_job(f"test:{number}")
    return Ended(job_id=job.id, job=job, lane=Lane.CHAT, attempt=1, outcome=outcome(job), **fields)


def write_poems(account, count):
    for number in range(count):
        account.ended(ended(number, a_poem, took_s=0.1))


def test_each_registry_tells_of_its_own_engine_and_all_of_the_process():
    first, second = Account(), Account()
    write_poems(first, 2)
    found = [
        one.gauges.registry.get_sample_value(
            "yuefu_jobs_total", {"cell": Cell.GRU, "outcome": "poem"}
        )
        for one in (first, second)
    ]
    assert found == [2, 0]
    before = new_registry().get_sample_value("yuefu_redis_errors_total") or 0
    REDIS_ERRORS.inc()
    assert first.gauges.registry.get_sample_value("yuefu_redis_errors_total") == before + 1


def test_a_process_tells_its_version_its_memory_and_no_dates_of_birth():
    text = generate_latest(new_registry()).decode()
    assert f'yuefu_build_info{{version="{VERSION}"}} 1.0' in text
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text
    assert "_created" not in text


def test_a_failure_takes_time_and_a_job_that_was_not_begun_takes_none():
    account = Account()
    account.ended(ended(1, a_failure, took_s=0.1))
    account.ended(ended(2, a_failure))
    value = account.gauges.registry.get_sample_value
    assert value("yuefu_jobs_total", {"cell": Cell.GRU, "outcome": "internal"}) == 2
    assert value("yuefu_job_seconds_count", {"lane": Lane.CHAT}) == 1


def test_a_clock_that_is_behind_that_of_redis_makes_no_wait_negative():
    account = Account()
    ahead_ms = round(1000 * (time.time() + 60))
    account.taken(entry=f"{ahead_ms}-0", lane=Lane.CHAT, attempt=1)
    value = account.gauges.registry.get_sample_value
    assert value("yuefu_job_wait_seconds_sum", {"lane": "chat"}) == 0


def test_rates_are_those_of_the_last_seconds():
    account, now = Account(), [100.0]
    rates = Rates(account.gauges, lambda: now[0])
    assert rates.look() == (0, 0)
    write_poems(account, 30)
    for seconds in (0.002, 0.004):
        account.gauges.stepped(8, seconds)
    now[0] += 10
    assert rates.look() == pytest.approx((3, 3))
    for _ in range(WINDOW):
        now[0] += 1
        rates.look()
    assert rates.look() == (0, 0)


@pytest.mark.parametrize("name", ["tg:7", "tg:7~2", "tg:7~2/tap", "tg:7/edit"])
def test_whatever_follows_from_an_update_has_its_cause(name):
    assert cause_of(name) == "tg:7"
    assert a_job(name).log_context()["cause"] == "tg:7"


def test_counting_a_step_costs_less_than_a_hundredth_of_the_shortest():
    """3 ms is a step of few rows on a CPU; what is counted costs microseconds."""
    gauges, steps = Gauges(), 2000
    best_s = min(_time_steps(gauges, steps) for _ in range(5))
    print(f"\na step is counted in {1e6 * best_s:.1f} µs")
    assert best_s < 0.003 / 100


def _time_steps(gauges, steps):
    began = time.perf_counter()
    for _ in range(steps):
        gauges.stepped(64, 0.008)
    return (time.perf_counter() - began) / steps
