"""Faults 28 and 29: whatever is wrong with a challenger, it does not pass; a good one does."""

from dataclasses import replace

import pytest
import torch

from engine import checkpoint
from engine.errors import DamagedError
from engine.jobs import Cell
from engine.settings import BUNDLED_MODELS
from tests.fakes.challengers import KINDS, Stage, own_corpus, padded, with_noise
from tests.fakes.models import write_model
from trainer.gate import judge

pytestmark = pytest.mark.timeout(300)

EXAMINED = KINDS[:7]
"""Kinds whose every challenger is a model that is looked at, which takes seconds."""


@pytest.fixture(scope="module")
def stage():
    champion = checkpoint.load(next(BUNDLED_MODELS.glob("gru-*")))
    return Stage(champion=champion, dataset=own_corpus(champion), poems=16)


def promoted(stage, kind, numbers):
    """How many of a kind pass; each must be refused for reasons that name something."""
    verdicts = [judge(stage.report, kind(stage, number)) for number in numbers]
    assert all(verdict.passed or verdict.reasons for verdict in verdicts)
    return sum(verdict.passed for verdict in verdicts)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_bad_challenger_is_refused(stage, kind):
    numbers = range(1) if kind in EXAMINED else range(10)
    found = promoted(stage, kind, numbers)
    print(f"fault 29: {kind.__name__}: promotions {found}/{len(numbers)}")
    assert found == 0


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", EXAMINED, ids=lambda kind: kind.__name__)
def test_ten_bad_challengers_are_refused(stage, kind):
    found = promoted(stage, kind, range(10))
    print(f"fault 29: {kind.__name__}: promotions {found}/10")
    assert found == 0


def test_a_checkpoint_passes_beside_itself(stage):
    again = stage.examine(stage.champion)
    unlike = {"poems_per_second": None, "win_rate": None}  # a pace, and a NaN
    assert replace(again, **unlike) == replace(stage.report, **unlike)
    assert judge(stage.report, stage.report, stage.report).passed


def test_a_better_checkpoint_passes_and_a_worse_one_does_not(stage):
    """The champion has some noise in its weights, which costs it 3 % of perplexity."""
    many = replace(stage, poems=32)
    better, worse = many.report, many.examine(with_noise(stage.champion, 0.06, seed=0))
    # Equal, but for the machine and for chance, which is much of what 32 samples say.
    alike = ("poems_per_second", "distinct_2", "repetition", "likeness", "odds", "commonest")
    worse = replace(worse, **{name: getattr(better, name) for name in alike})
    forth, back = judge(worse, better, origin=worse), judge(better, worse)
    figure = "perplexity (nats) to the champion's"
    print(f"fault 29: {forth.figures[figure]:.4f} of the perplexity: passed {forth.passed}")
    print(f"fault 29: {back.figures[figure]:.4f} of the perplexity: passed {back.passed}")
    assert forth.passed, forth.reasons
    assert not back.passed


@pytest.mark.only_by_make_faults
def test_idle_units_change_nothing_but_the_pace(stage):
    """What makes the kind `slower` slower is all that is wrong with it."""
    wide = stage.examine(padded(stage.champion, 512))
    reasons = judge(stage.report, wide).reasons
    assert [reason.split()[0] for reason in reasons] == ["pace,", "size"]


# --- fault 28 --------------------------------------------------------------------------------


def test_weights_that_are_no_numbers_are_not_even_loaded(tmp_path):
    good = checkpoint.load(write_model(tmp_path, Cell.GRU))
    for value in (torch.nan, torch.inf):
        bad = {**good.weights, "bias": torch.full_like(good.weights["bias"], value)}
        folder = checkpoint.save(
            tmp_path / str(value),
            shape=good.shape,
            vocabulary=good.vocabulary,
            unknown_types=good.unknown_types,
            priors=good.priors,
            tradition=good.tradition,
            weights=bad,
            report={},
        )
        with pytest.raises(DamagedError):
            checkpoint.load(folder)


@pytest.mark.only_by_make_faults
def test_weights_that_exploded_do_not_pass(stage):
    exploded = {name: 1e4 * p for name, p in stage.champion.weights.items()}
    verdict = judge(stage.report, stage.examine(replace(stage.champion, weights=exploded)))
    print(f"fault 28: exploded weights: promotions {int(verdict.passed)}")
    assert not verdict.passed


def test_an_empty_corpus_lets_nothing_pass(stage):
    nothing = {
        key: replace(part, tokens=part.tokens[:0]) for key, part in stage.dataset.verses.items()
    }
    empty = replace(stage, dataset=replace(stage.dataset, verses=nothing))
    verdict = judge(empty.report, empty.report)
    print(f"fault 28: empty corpus: promotions {int(verdict.passed)}")
    assert not verdict.passed


def test_a_night_of_one_star_ratings_lets_nothing_pass(stage):
    """Where all are disliked no pair says what is liked; what learnt from that shows nothing."""
    learnt = replace(stage.report, snapshot="of one-star ratings")
    verdict = judge(stage.report, learnt)
    print(f"fault 28: only one star: promotions {int(verdict.passed)}")
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["win_rate"]
