"""Which candidate is shown."""

from dataclasses import replace

import pytest

from engine.rerank import Candidate, Features, Weights, describe, order, score
from tests.fakes.models import small_dataset, small_tradition

USUAL = Features(nats=2.7, company=0.3, repetition=0.0, worn=0.2, relevance=0.4)


@pytest.mark.parametrize(
    "change",
    [
        {"nats": 1.5},
        {"nats": 5.0},
        {"company": 0.5},
        {"odds": -1.0},
        {"liking": -0.1},
        {"repetition": 0.2},
        {"worn": 3.0},
        {"relevance": 0.0},
    ],
)
def test_each_feature_counts(change):
    assert score(replace(USUAL, **change), Weights()) < score(USUAL, Weights())


def test_inside_the_band_likelihood_does_not_matter():
    low, high = Weights().band
    inside = [score(replace(USUAL, nats=nats), Weights()) for nats in (low, 2.7, high)]
    assert inside[0] == inside[1] == inside[2]


def test_equals_stay_in_their_order():
    assert order([1.0, 2.0, 1.0, 2.0]) == [1, 3, 0, 2]


def test_repetition_is_the_share_of_characters_that_came_before():
    vocabulary = small_dataset().vocabulary
    lines = ((1, 2, 3, 4, 5), (1, 2, 6, 7, 8))
    candidate = Candidate(lines=lines, nats=2.0, opening=(), theme=())
    features = describe(candidate, vocabulary, small_tradition())
    assert features.repetition == pytest.approx(0.2)
    assert features.nats == 2.0
