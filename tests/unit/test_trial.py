"""Trials: what readers' votes rule, and how often chance rules instead."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import exp, fsum, lgamma, log
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.jobs import Cell
from engine.verse.forms import FormName
from trainer.feedback import Example, key_of
from trainer.trial import (
    FEWEST,
    NIGHTS,
    PER_RATER,
    Arm,
    Ruling,
    arm,
    disappoints,
    p_better,
    recent,
    rule,
)


def example(poem, *, rater=0, worth=1.0, checkpoint="new", curator=False, weight=1.0):
    return Example(
        poem=poem,
        lines=("夜雨敲窗急",) * 4,
        form=FormName.WUJUE,
        cell=Cell.GRU,
        checkpoint=checkpoint,
        rater=rater,
        curator=curator,
        worth=worth,
        value=0.0,
        weight=weight,
        held_out=False,
    )


# --- votes ----------------------------------------------------------------------------------


def test_an_arm_counts_the_poems_of_its_checkpoint_only():
    given = [example("a"), example("b", worth=0.0), example("c", checkpoint="old")]
    assert arm(given, "new") == Arm(likes=1.0, dislikes=1.0)


def test_a_poem_is_one_vote_however_many_rated_it():
    given = [example("a", rater=rater, worth=float(rater < 3)) for rater in range(4)]
    assert arm(given, "new") == Arm(likes=0.75, dislikes=0.25)


def test_one_person_has_so_many_votes_and_a_curator_as_many_as_they_give():
    given = [example(str(number)) for number in range(50)]
    assert arm(given, "new").votes == pytest.approx(PER_RATER)
    assert arm([replace(one, curator=True) for one in given], "new").votes == 50


def test_a_rating_that_the_snapshot_gives_less_weight_has_less_here():
    assert arm([example("a", weight=0.25)], "new") == Arm(likes=0.25, dislikes=0.0)
    assert arm([example("a", weight=3.0)], "new") == Arm(likes=1.0, dislikes=0.0)


def test_only_poems_rated_since_the_trial_began_count():
    begun = datetime(2026, 1, 2, tzinfo=UTC)
    ratings: Any = [
        SimpleNamespace(poem="early", at=begun - timedelta(seconds=1)),
        SimpleNamespace(poem="late", at=begun),
    ]
    given = [example(key_of("early")), example(key_of("late"))]
    assert recent(given, ratings, since=begun) == (given[1],)


# --- probabilities --------------------------------------------------------------------------


def exact(ours, theirs):
    """P(better) for whole votes as a finite sum (Miller 2014, Bayesian A/B testing)."""
    a, b = 1 + int(theirs.likes), 1 + int(theirs.dislikes)
    c, d = 1 + int(ours.likes), 1 + int(ours.dislikes)

    def log_beta(x, y):
        return lgamma(x) + lgamma(y) - lgamma(x + y)

    return fsum(
        exp(log_beta(a + i, b + d) - log(d + i) - log_beta(1 + i, d) - log_beta(a, b))
        for i in range(c)
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [((0, 0), (0, 0)), ((3, 1), (1, 3)), ((20, 10), (180, 120)), ((700, 300), (2000, 1000))],
)
def test_the_probability_is_the_exact_one(ours, theirs):
    one, other = (Arm(likes=likes, dislikes=dislikes) for likes, dislikes in (ours, theirs))
    assert p_better(one, other) == pytest.approx(exact(one, other), abs=1e-4)
    assert p_better(one, other) + p_better(other, one) == pytest.approx(1.0)


@pytest.mark.parametrize("likes", [(0, 0), (5, 3), (40, 12), (300, 290)])
def test_equals_are_better_in_half_of_the_cases(likes):
    equal = Arm(likes=likes[0], dislikes=likes[1])
    assert p_better(equal, equal) == pytest.approx(0.5, abs=1e-9)


# --- rulings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("challenger", "nights", "ruling"),
    [
        (Arm(likes=30, dislikes=10), 5, Ruling.PROMOTE),
        (Arm(likes=10, dislikes=30), 5, Ruling.DROP),
        (Arm(likes=20, dislikes=20), 5, Ruling.GO_ON),
        (Arm(likes=20, dislikes=20), NIGHTS, Ruling.DROP),
        (Arm(likes=FEWEST - 1, dislikes=0), 5, Ruling.GO_ON),
        (Arm(likes=0, dislikes=FEWEST - 1), 5, Ruling.GO_ON),
        (Arm(likes=30, dislikes=10), NIGHTS, Ruling.PROMOTE),
    ],
)
def test_readers_rule(challenger, nights, ruling):
    champion = Arm(likes=100, dislikes=100)
    assert rule(challenger, champion, nights=nights) is ruling


def test_nothing_is_ruled_while_nobody_rates_the_champion():
    assert rule(Arm(likes=40, dislikes=0), Arm(likes=0, dislikes=5), nights=9) is Ruling.GO_ON


def test_a_champion_that_readers_like_less_than_the_one_before_goes_back():
    before = Arm(likes=100, dislikes=100)
    assert disappoints(Arm(likes=10, dislikes=30), before)
    assert not disappoints(Arm(likes=20, dislikes=20), before)
    assert not disappoints(Arm(likes=0, dislikes=FEWEST - 1), before)


def share_promoted(trials, *, champion, challenger, nightly, share, seed):
    """In how many of simulated trials a challenger is promoted, looked at every night."""
    random = np.random.default_rng(seed)
    promoted = 0
    for _ in range(trials):
        ours = theirs = Arm(likes=0, dislikes=0)
        for night in range(1, NIGHTS + 1):
            ours = voted(ours, random, nightly * share, challenger)
            theirs = voted(theirs, random, nightly * (1 - share), champion)
            ruling = rule(ours, theirs, nights=night)
            if ruling is not Ruling.GO_ON:
                promoted += ruling is Ruling.PROMOTE
                break
    return promoted / trials


def voted(of, random, expected, liked):
    count = random.poisson(expected)
    likes = random.binomial(count, liked)
    return Arm(likes=of.likes + likes, dislikes=of.dislikes + count - likes)


@pytest.mark.parametrize(("nightly", "share"), [(50, 0.1), (50, 0.5), (400, 0.1)])
def test_an_equal_challenger_is_seldom_promoted_though_it_is_looked_at_every_night(nightly, share):
    found = share_promoted(400, champion=0.5, challenger=0.5, nightly=nightly, share=share, seed=1)
    print(f"trial: {nightly} ratings a night, share {share}: equals promoted {100 * found:.1f} %")
    assert found < 0.1


def test_a_better_challenger_is_promoted_and_a_worse_one_hardly_ever():
    usual = {"nightly": 50, "share": 0.1, "champion": 0.5, "seed": 2}
    assert share_promoted(100, challenger=0.7, **usual) > 0.95
    assert share_promoted(200, challenger=0.4, **usual) < 0.02
