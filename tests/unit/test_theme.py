"""The encoder of themes: what it learns from, that it learns, and that it disturbs nothing."""

import numpy as np
import pytest
import torch

from engine import checkpoint
from engine.critic import Critic
from engine.jobs import Cell
from engine.model import LAYERS, Model, Shape
from engine.theme import ThemeEncoder
from engine.verse.forms import FormName
from tests.fakes.models import small_checkpoint, small_dataset
from trainer.corpus import Era, Split
from trainer.critic import Hearing
from trainer.product import with_critic, with_theme
from trainer.theme import (
    KEYWORDS,
    inverse_document_frequency,
    keywords,
    perplexity,
    themed,
    train_and_try,
    train_encoder,
)


@pytest.mark.parametrize("cell", list(Cell))
def test_an_encoder_that_has_learnt_nothing_is_no_theme_at_all(cell):
    encoder = ThemeEncoder(Shape(cell=cell, vocabulary=50, embedding=12, hidden=20))
    state = encoder(torch.randn(3, 2, 12))
    assert state.shape == (LAYERS, 2 if cell is Cell.LSTM else 1, 3, 20)
    assert not state.any()


def test_the_state_of_one_poem_is_its_row_of_many():
    encoder = ThemeEncoder(Shape(cell=Cell.LSTM, vocabulary=50, embedding=12, hidden=20))
    torch.nn.init.normal_(encoder.state.weight)
    themes = torch.randn(3, 2, 12)
    many = encoder(themes)  # (L, P, B, H)
    begun = encoder.begin(themes[1])
    torch.testing.assert_close(begun[2 * 1 + 0], many[1, 0, 1])
    torch.testing.assert_close(begun[2 * 0 + 1], many[0, 1, 1])


def test_keywords_are_the_rarest_characters_of_a_poem_and_each_is_named_once():
    weight = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    found = keywords(np.array([[4, 1, 4, 2, 3], [1, 1, 2, 1, 3]]), weight)
    assert found.tolist() == [[4, 3, 2], [3, 2, 1]]


def test_characters_of_too_few_poems_weigh_nothing_and_of_all_others_the_rarer_more():
    dataset = small_dataset()
    weight = inverse_document_frequency(dataset)
    poems = [
        set(row) for v in dataset.select(Split.TRAIN, Era).values() for row in v.tokens.tolist()
    ]
    counts = np.array([sum(i in poem for poem in poems) for i in range(len(weight))])
    assert not weight[counts < 50].any()
    common = np.flatnonzero(counts >= 50)
    assert weight[common] == pytest.approx(np.log(len(poems) / counts[common]))


def test_it_learns_what_keywords_tell_and_leaves_the_decoder_as_it_was():
    dataset = small_dataset()
    torch.manual_seed(0)
    shape = Shape(cell=Cell.GRU, vocabulary=len(dataset.vocabulary), embedding=16, hidden=24)
    model = Model(shape).eval()
    torch.nn.init.normal_(model.characters.weight)  # words far enough apart to be aimed at
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    random = np.random.default_rng(0)
    heads = random.integers(1, 4, size=(64, 1))
    # Every poem says one character over and over, which its keyword names.
    data = {FormName.WUJUE: (heads.repeat(20, axis=1), heads.repeat(KEYWORDS, axis=1))}
    steps = []
    encoder = train_encoder(
        model, data, epochs=60, seed=1, on_step=lambda step, _steps: steps.append(step)
    )
    assert steps == list(range(1, len(steps) + 1))
    assert perplexity(model, data, encoder=encoder) < 0.8 * perplexity(model, data)
    exchanged = {FormName.WUJUE: (data[FormName.WUJUE][0], heads.repeat(KEYWORDS, axis=1) % 3 + 1)}
    assert perplexity(model, exchanged, encoder=encoder) > perplexity(model, data, encoder=encoder)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_bias_counts_towards_perplexity():
    data = themed(small_dataset(), Split.DEV)
    model = Model(
        Shape(cell=Cell.RNN, vocabulary=len(small_dataset().vocabulary), embedding=16, hidden=24)
    )

    def names(themes):
        return torch.nn.functional.one_hot(themes, model.shape.vocabulary).sum(1).float()

    assert perplexity(model, data, bias=names) < perplexity(model, data)


def test_a_checkpoint_gets_it_beside_all_that_it_had(tmp_path):
    old = small_checkpoint(tmp_path)
    encoder, hint = train_and_try(old.model(), small_dataset(), epochs=0.5)
    new = checkpoint.load(with_theme(old, encoder, hint, tmp_path / "new"))
    for part in ("weights", "critic"):
        for name, weight in getattr(old, part).items():
            assert torch.equal(getattr(new, part)[name], weight)
    assert new.theme is not None
    assert set(new.report["theme"]) == {"without", "told"}
    assert torch.equal(new.theme["state.bias"], encoder.state.bias.half().float())
    critic = Critic(len(new.vocabulary))
    again = checkpoint.load(
        with_critic(new, critic, Hearing(area=0.5, loss=1.0), tmp_path / "newer")
    )
    assert again.theme is not None
    assert torch.equal(again.theme["state.bias"], new.theme["state.bias"])
    assert set(again.report) == {"test", "theme", "critic"}
