"""Krippendorff's alpha, against the example of his own paper."""

from collections import Counter

import pytest

from bot.agreement import Counts, alpha

# "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers, twelve units.
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def test_the_published_example_comes_out_as_published():
    units = Counter(
        tuple([given.count(value) for value in "12345"])
        for given in map("".join, zip(*OBSERVERS, strict=True))
    )
    # The paper says 0.815 for ordinal data.
    assert alpha(units) == pytest.approx(0.815, abs=5e-4)


def test_who_always_agrees_agrees_perfectly():
    assert alpha({(2, 0, 0, 0, 0): 3, (0, 0, 0, 2, 0): 4}) == 1


def test_to_be_near_counts_for_more_than_to_be_far():
    agreed: dict[Counts, int] = {(2, 0, 0, 0, 0): 5, (0, 0, 2, 0, 0): 5, (0, 0, 0, 0, 2): 5}
    near, far = alpha(agreed | {(1, 0, 1, 0, 0): 1}), alpha(agreed | {(1, 0, 0, 0, 1): 1})
    assert near is not None
    assert far is not None
    assert far < near < 1


@pytest.mark.parametrize("poems", [{}, {(1, 0, 0, 0, 0): 9}, {(0, 0, 3, 0, 0): 9}])
def test_where_nobody_could_disagree_there_is_no_agreement_to_speak_of(poems):
    assert alpha(poems) is None
