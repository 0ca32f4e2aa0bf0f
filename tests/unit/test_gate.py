"""The gate: every bound holds on both sides, and what cannot be told is a no."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from trainer import gate
from trainer.gate import Report, _chance_of_wins, judge, orders_as_well

_COUNT = 60
_NATS = tuple(150.0 + 10 * float(np.sin(number)) for number in range(_COUNT))

GOOD: Any = Report(
    checkpoint="gru-1",
    cell="gru",
    vocabulary="v",
    material="m",
    held_out="h",
    snapshot="s",
    nats=_NATS,
    told=tuple(0.9 * nats for nats in _NATS),
    characters=(28,) * _COUNT,
    rules=1.0,
    opened=1.0,
    copied=0,
    failed=0,
    distinct_2=0.9,
    repetition=0.014,
    likeness=0.0035,
    odds=0.1,
    samples=160,
    commonest={"月": 0.2, "風": 0.3},
    surprise=-1.0,
    poems_per_second=5.0,
    size=16_000_000,
    pairs=40,
    win_rate=0.6,
    liked=(1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0),
    disliked=(0.5, 0.5, 0.5, 0.5, 0.5),
)


def scaled(factor, kind="nats"):
    """A report whose perplexity is `factor` times as high, evenly."""
    return replace(GOOD, **{kind: tuple(its + 28 * np.log(factor) for its in getattr(GOOD, kind))})


def reasons(challenger, **more):
    return judge(GOOD, challenger, **more).reasons


def test_a_report_passes_beside_itself():
    verdict = judge(GOOD, GOOD, GOOD)
    assert verdict.passed
    assert verdict.reasons == ()
    assert verdict.figures["perplexity (nats) to the champion's"] == 1.0


# Of each metric: the worst that passes, and what is just worse.
EDGES = [
    ("rules", 1.0, 0.99),
    ("opened", 1.0, 0.99),
    ("copied", 0, 1),
    ("failed", 0, 1),
    ("distinct_2", 0.8821, 0.8819),
    ("repetition", 0.0219, 0.0221),
    ("likeness", 0.0074, 0.0076),
    ("odds", -0.89, -0.91),
    ("surprise", -1.09, -1.11),
    ("poems_per_second", 4.01, 3.99),
    ("size", 20_000_000, 20_000_001),
    ("win_rate", 0.6, 0.59),
    ("pairs", 40, 41),
    ("cell", "gru", "lstm"),
    ("vocabulary", "v", "w"),
    ("material", "m", "n"),
    ("held_out", "h", "i"),
]


@pytest.mark.parametrize(("metric", "enough", "too_bad"), EDGES, ids=[edge[0] for edge in EDGES])
def test_every_bound_holds_on_both_sides(metric, enough, too_bad):
    assert reasons(replace(GOOD, **{metric: enough})) == ()
    (reason,) = reasons(replace(GOOD, **{metric: too_bad}))
    told = {"poems_per_second": "pace", "surprise": "surer", "pairs": "other pairs"}
    assert told.get(metric, metric) in reason


@pytest.mark.parametrize("kind", ["nats", "told"])
def test_perplexity_is_bounded_from_both_sides(kind):
    assert reasons(scaled(1.0099, kind)) == ()
    assert reasons(scaled(0.81, kind)) == ()
    assert "over 1.01" in reasons(scaled(1.0101, kind))[0]
    assert "has it read the test poems?" in reasons(scaled(0.79, kind))[0]


def test_perplexity_must_be_sure():
    """A half percent more on the whole, but of a few poems only: it may as well be two."""
    nats = list(GOOD.nats)
    nats[0] += 28 * _COUNT * np.log(1.005)
    (reason,) = reasons(replace(GOOD, nats=nats))
    assert "over 1.01" in reason


def test_small_losses_may_not_add_up():
    """Each night within its bound, all of them not within that of the origin."""
    worse = replace(scaled(1.009), checkpoint="gru-2")
    assert judge(GOOD, worse, GOOD).passed
    worst = replace(scaled(1.009**3), checkpoint="gru-4")
    assert judge(scaled(1.009**2), worst).passed
    (reason,) = judge(scaled(1.009**2), worst, GOOD).reasons
    assert "the origin's" in reason


@pytest.mark.parametrize(
    ("metric", "first", "second"),
    [
        ("distinct_2", 0.886, 0.871),
        ("repetition", 0.021, 0.028),
        ("likeness", 0.007, 0.0099),
        ("odds", -0.89, -1.45),
    ],
)
def test_small_losses_of_variety_may_not_add_up(metric, first, second):
    between, last = replace(GOOD, **{metric: first}), replace(GOOD, **{metric: second})
    assert judge(GOOD, between, GOOD).passed
    assert judge(between, last).passed
    (reason,) = judge(between, last, GOOD).reasons
    assert metric in reason
    assert "the origin" in reason


def test_one_word_may_not_spread():
    """What a brigade wants that likes every poem with snow in it."""
    assert reasons(replace(GOOD, commonest={"雪": 0.15})) == ()
    (reason,) = reasons(replace(GOOD, commonest={"雪": 0.35}))
    assert reason.startswith("雪")
    between = replace(GOOD, commonest={"月": 0.4, "風": 0.3})
    last = replace(GOOD, commonest={"月": 0.62, "風": 0.3})
    assert judge(GOOD, between, GOOD).passed
    assert judge(between, last).passed
    assert judge(between, last, GOOD).reasons[0].startswith("月")


_FIGURES = [
    field.name
    for field in fields(Report)
    if field.name not in ("checkpoint", "cell", "vocabulary", "material", "held_out", "snapshot")
]


@pytest.mark.parametrize("name", _FIGURES)
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "many", object(), [None]])
def test_a_figure_that_is_missing_or_no_number_is_a_no_that_names_it(name, value):
    for verdict in (
        judge(GOOD, replace(GOOD, **{name: value})),
        judge(replace(GOOD, **{name: value}), GOOD),
    ):
        if verdict.passed:  # only of the challenger are these asked
            assert name in ("rules", "opened", "copied", "failed")
        else:
            assert any(name in reason or "gate itself" in reason for reason in verdict.reasons)
    assert not judge(GOOD, replace(GOOD, **{name: value})).passed


def test_a_check_that_raises_is_a_no(monkeypatch):
    def broken(_case):
        raise RuntimeError("out of order")

    monkeypatch.setattr(gate, "CHECKS", (*gate.CHECKS, broken))
    assert reasons(GOOD) == ("the gate itself failed: broken: RuntimeError: out of order",)


def test_without_held_out_pairs_only_what_learnt_from_no_rating_passes():
    silent = replace(GOOD, pairs=0, win_rate=float("nan"), surprise=None)
    assert judge(silent, replace(silent, snapshot="")).passed
    for unproven in ("a snapshot", None):
        (reason,) = judge(silent, replace(silent, snapshot=unproven)).reasons
        assert reason.startswith("win_rate")


def test_what_was_asked_about_other_poems_cannot_be_compared():
    other = replace(GOOD, characters=(20,) * _COUNT)
    assert any("test poems" in reason for reason in reasons(other))
    short = replace(GOOD, nats=GOOD.nats[1:])
    assert any("same poems" in reason for reason in reasons(short))


def test_the_same_reports_give_the_same_verdict():
    assert judge(GOOD, scaled(1.005), GOOD) == judge(GOOD, scaled(1.005), GOOD)


def asked(wins, *, liked=(3.0, 2.0, 1.0, 0.5), disliked=(0.0, 0.2, 0.4, 0.6)):
    pairs = [(one, other) for one in liked for other in disliked]
    share = sum(one > other for one, other in pairs) / len(pairs)
    return replace(wins, liked=liked, disliked=disliked, pairs=len(pairs), win_rate=share)


def test_a_win_rate_that_is_lower_by_chance_passes_and_one_that_is_lower_by_more_does_not():
    champion = asked(GOOD)
    by_chance = asked(GOOD, liked=(3.0, 2.0, 1.0, 0.3))
    by_more = asked(GOOD, liked=(0.3, 0.1, 0.1, 0.3))
    assert champion.win_rate > by_chance.win_rate > by_more.win_rate
    assert judge(champion, by_chance).passed
    assert orders_as_well(by_chance, champion)
    [reason] = judge(champion, by_more).reasons
    assert reason.startswith("win_rate")
    assert not orders_as_well(by_more, champion)


def test_without_the_scores_of_single_poems_nothing_passes():
    champion = asked(GOOD)
    assert not judge(champion, replace(champion, liked=None)).passed
    assert not judge(champion, asked(GOOD, liked=(3.0, 2.0))).passed
    assert not orders_as_well(replace(champion, win_rate=None), champion)


def test_chance_is_what_delong_says():
    """By hand: gains of 1 at one pair of four; variances of the means are 1/8 on both sides."""
    one, other = (
        asked(GOOD, liked=(1.0, 1.0), disliked=(0.0, 0.5)),
        asked(GOOD, liked=(1.0, 0.2), disliked=(0.0, 0.5)),
    )
    assert _chance_of_wins(one, other) == pytest.approx(((0.125 + 0.125) / 2) ** 0.5)
