"""Choosing the next character under the rules."""

import torch

from engine.sampler import MIN_P, REPEAT_PENALTY, restrict, sample, sound


def restricted(logits, *, allowed=None, written=(0,), rhymed=(0,), temperature=1.0):
    rows = torch.tensor([logits])
    admit = torch.ones_like(rows, dtype=torch.bool) if allowed is None else torch.tensor([allowed])
    return restrict(
        rows,
        admit,
        torch.tensor([list(written)]),
        torch.tensor([list(rhymed)]),
        torch.tensor([temperature]),
    )[0]


def test_what_the_rules_forbid_is_never_chosen():
    logits = restricted([9.0, 0.0, 0.0, 0.0], allowed=[False, True, False, True])
    numbers = torch.linspace(0, 0.999, 50)
    assert set(sample(logits.expand(50, 4), numbers).tolist()) == {1, 3}


def test_a_character_that_was_rhymed_on_is_forbidden():
    assert restricted([0.0, 1.0, 2.0], rhymed=(2, 0))[2] == -torch.inf


def test_a_character_that_was_written_is_less_likely():
    assert restricted([0.0, 1.0, 2.0], written=(2, 2, 0))[2] == 2.0 - REPEAT_PENALTY


def test_temperature_divides_what_is_left():
    assert restricted([0.0, 1.0, 2.0], temperature=0.5).tolist()[1:] == [2.0, 4.0]


def test_samples_follow_the_distribution_cut_at_min_p():
    """Over evenly spaced numbers each index is drawn in proportion to its probability."""
    logits = torch.tensor([[2.0, 1.0, 0.0, -9.0]])
    count = 20_000
    numbers = (torch.arange(count) + 0.5) / count
    drawn = sample(logits.expand(count, 4).clone(), numbers).bincount(minlength=4) / count
    expected = torch.softmax(logits[0], 0)
    expected = torch.where(expected >= MIN_P * expected.max(), expected, 0.0)
    torch.testing.assert_close(drawn, expected / expected.sum(), atol=2e-4, rtol=0)


def test_a_row_does_not_depend_on_its_neighbours():
    logits, numbers = torch.randn(6, 40), torch.rand(6)
    together = sample(logits.clone(), numbers)
    alone = [sample(logits[i : i + 1].clone(), numbers[i : i + 1])[0] for i in range(6)]
    assert together.tolist() == [int(index) for index in alone]


def test_rows_that_cannot_be_sampled_are_found():
    logits = torch.tensor([[0.0, 1.0], [float("nan"), 1.0], [0.0, 1.0]])
    choices = torch.tensor([[0.0, 1.0], [0.0, 1.0], [-torch.inf, -torch.inf]])
    assert sound(logits, choices).tolist() == [True, False, False]
