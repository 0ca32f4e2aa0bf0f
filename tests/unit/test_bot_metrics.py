"""What a bot tells Prometheus, and what travels with an update for the log."""

import pytest

from bot.message import UpdateKind
from bot.metrics import ANSWER_S, Fate, Kind, Metrics, PostResult
from bot.trace import Trace

OWN = "yuefu_"


def told(metrics, *, beginning=OWN):
    """Every figure of ours, by its name and the values of its labels."""
    samples = (sample for family in metrics.registry.collect() for sample in family.samples)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for sample in samples
        if sample.name.startswith(beginning)
    }


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, "ok"),
        (204, "ok"),
        (101, "ok"),
        (429, "flood"),
        (400, "refused"),
        (401, "refused"),
        (403, "refused"),
        (500, "unsure"),
        (502, "unsure"),
        (None, "unsure"),
    ],
)
def test_a_request_counts_by_how_it_was_answered(status, result):
    metrics = Metrics("test")
    metrics.count_request(status)
    counted = told(metrics, beginning="yuefu_platform_requests")
    assert {labels: number for (_, labels), number in counted.items() if number} == {
        ("test", result): 1
    }


def test_whatever_can_be_counted_is_there_before_it_happens():
    """Or nobody would see that the first of a kind is one more than none."""
    figures = told(Metrics("test"))
    for name, label in [
        ("updates", "unreadable"),
        ("commands", "poem"),
        ("commands", "star"),
        ("commands", "unknown"),
        ("answers", "card"),
        ("platform_requests", "flood"),
        ("buried", "outbox"),
        ("ratings", "stars"),
        ("daily_posts", "skipped"),
    ]:
        assert figures[f"yuefu_{name}_total", ("test", label)] == 0
    assert figures["yuefu_send_retries_total", ("test",)] == 0
    assert figures["yuefu_answer_seconds_count", ("test", "poem")] == 0
    assert figures["yuefu_lease_held", ("test",)] == 0


def test_counting_what_is_known_adds_no_figure():
    metrics = Metrics("test")
    before = told(metrics).keys()
    metrics.count_update(UpdateKind.TAP)
    metrics.count_command("poem")
    metrics.count_answer(Kind.POEM, 0.3)
    metrics.note_lease(held=True)
    assert told(metrics).keys() == before


def test_one_bot_tells_nothing_of_another():
    one, other = Metrics("test"), Metrics("test")
    one.count_update(UpdateKind.TAP)
    key = ("yuefu_updates_total", ("test", "tap"))
    assert (told(one)[key], told(other)[key]) == (1, 0)


def test_an_answer_within_a_second_is_told_from_a_later_one():
    assert 1.0 in ANSWER_S
    metrics = Metrics("test")
    metrics.count_answer(Kind.POEM, 0.9)
    metrics.count_answer(Kind.POEM, 1.1)
    figures = told(metrics, beginning="yuefu_answer_seconds_bucket")
    assert figures["yuefu_answer_seconds_bucket", ("test", "poem", "1.0")] == 1
    assert figures["yuefu_answer_seconds_bucket", ("test", "poem", "2.5")] == 2


def test_every_fate_of_a_message_can_be_that_of_a_poem_of_the_day():
    assert {PostResult(fate) for fate in Fate} < set(PostResult)


# --- traces ---


def a_trace(*, asked_ms=None):
    return Trace(cause="tg:1", came_ms=1_000, command="poem", asked_ms=asked_ms)


def test_the_stages_of_a_poem_are_deciding_writing_and_showing():
    stages = a_trace(asked_ms=1_020).stages(put_ms=1_300, now_ms=1_350)
    assert stages == {"decide_ms": 20, "write_ms": 280, "show_ms": 50, "took_ms": 350}


def test_what_is_said_at_once_takes_no_writing():
    stages = a_trace().stages(put_ms=1_030, now_ms=1_080)
    assert stages == {"decide_ms": 30, "write_ms": 0, "show_ms": 50, "took_ms": 80}


def test_a_clock_that_is_a_little_behind_makes_no_stage_negative():
    stages = a_trace(asked_ms=990).stages(put_ms=985, now_ms=980)
    assert set(stages.values()) == {0}


def test_a_trace_that_another_version_wrote_is_read_as_far_as_it_is_known():
    trace = a_trace(asked_ms=1_020)
    assert Trace.from_json(trace.to_json()) == trace
    assert Trace.from_fields({"cause": "tg:1", "came_ms": 5, "mood": "good"}) == Trace(
        cause="tg:1", came_ms=5
    )
    with pytest.raises(TypeError):
        Trace.from_fields({"cause": "tg:1"})
