"""The baselines and the figures that Yuefu is measured by."""

import math

import numpy as np
import pytest

from benchmarks.ngram import NGram
from engine.verse.forms import FormName
from tests.fakes.models import small_dataset
from trainer.corpus import Era, Split
from trainer.dataset import Verses


@pytest.fixture(scope="module")
def dataset():
    return small_dataset()


def verses_of(rows):
    return Verses(tokens=np.array(rows, np.uint16), rhymes=np.zeros(len(rows), np.uint8))


# --- 5-gram ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 3, 5, 12, 19])
def test_the_probabilities_of_all_characters_at_a_place_sum_to_one(dataset, place):
    train = dataset.select(Split.TRAIN, Era)
    v = len(dataset.vocabulary)
    poem = train[FormName.WUJUE].tokens[0]
    every = np.repeat(poem[None], v, axis=0)
    every[:, place] = np.arange(v)
    logs = NGram(train, v).logs(FormName.WUJUE, every)
    assert np.exp(logs[:, place]).sum() == pytest.approx(1.0)


def test_the_order_below_counts_contexts_and_not_occurrences():
    """Kneser & Ney's 'San Francisco': 2 is frequent, but only ever after 1; 3 is rarer."""
    rows = [[1, 2, 1, 2, 1] * 4] * 3 + [[4, 3, 5, 3, 6, 7, 3, 8, 3, 9, *range(4, 14)]]
    model = NGram({FormName.WUJUE: verses_of(rows)}, 20)
    strange = np.array([[15] * 5 + [2] * 1 + [15] * 14, [15] * 5 + [3] * 1 + [15] * 14], np.uint16)
    logs = model.logs(FormName.WUJUE, strange)
    assert logs[1, 5] > logs[0, 5]


def test_a_5_gram_knows_what_it_read_and_is_charged_for_the_unknown(dataset):
    train = dataset.select(Split.TRAIN, Era)
    model = NGram(train, len(dataset.vocabulary))
    form, part = next(iter(train.items()))
    seen = model.score(form, part, unknown_types=1)
    assert seen.perplexity < 5
    strange = verses_of(part.tokens[:1] * 0)
    few, many = (model.score(form, strange, unknown_types=types) for types in (1, 100))
    assert many.nats - few.nats == pytest.approx(20 * math.log(100))
