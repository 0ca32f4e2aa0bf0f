"""The critic: poets' poems against ours."""

import numpy as np
import pytest
import torch

from engine.critic import Critic
from engine.verse.checker import check
from engine.verse.forms import FORMS, FormName
from tests.fakes.models import small_checkpoint, small_dataset
from trainer.corpus import Split
from trainer.critic import Hearing, hear, hold_hearing, of_ours, of_poets, train_critic


def test_poets_poems_keep_every_rule_and_hold_no_unknown_character():
    dataset = small_dataset()
    for form, rows in of_poets(dataset, Split.TRAIN).items():
        length = FORMS[form].line_length
        assert (rows != 0).all()
        for row in rows[:5].tolist():
            text = dataset.vocabulary.decode(row)
            lines = [text[first : first + length] for first in range(0, len(text), length)]
            assert check(lines).ok


def test_ours_are_as_many_and_begin_with_the_same_characters(tmp_path):
    poets = {form: rows[:6] for form, rows in of_poets(small_dataset(), Split.TRAIN).items()}
    ours = of_ours([small_checkpoint(tmp_path)], poets, seed=1)
    for form, rows in poets.items():
        assert sorted(ours[form][:, 0]) == sorted(rows[:, 0])
        assert not (ours[form] == 0).any()


def test_it_learns_to_tell_two_worlds_apart_and_says_how_well():
    random = np.random.default_rng(1)
    poets, ours = (
        {FormName.WUJUE: random.integers(low, low + 20, size=(200, 20)).astype(np.uint16)}
        for low in (1, 15)
    )
    critic = train_critic(poets, ours, small_dataset().vocabulary, epochs=8, seed=1)
    assert hear(critic, poets, ours).area > 0.95
    assert hear(critic, ours, poets).area < 0.05


def test_a_critic_that_knows_nothing_is_at_chance():
    random = np.random.default_rng(1)
    rows = {FormName.WUJUE: random.integers(1, 20, size=(400, 20)).astype(np.uint16)}
    half = {FormName.WUJUE: rows[FormName.WUJUE][::2]}
    other = {FormName.WUJUE: rows[FormName.WUJUE][1::2]}
    torch.manual_seed(0)
    hearing = hear(Critic(len(small_dataset().vocabulary)).eval(), half, other)
    assert hearing.area == pytest.approx(0.5, abs=0.1)


def test_a_hearing_gives_a_critic_that_a_checkpoint_can_keep(tmp_path):
    checkpoint = small_checkpoint(tmp_path)
    critic, hearing = hold_hearing(small_dataset(), [checkpoint], every=40, epochs=1)
    assert isinstance(hearing, Hearing)
    again = Critic.of(critic.state_dict())
    poems = [tuple(range(1, 21)), tuple(range(2, 22))]
    assert again.hear(poems, FormName.WUJUE)[1] == critic.hear(poems, FormName.WUJUE)[1]
