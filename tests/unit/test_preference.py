"""What a checkpoint learnt of its readers, as the engine uses it."""

from dataclasses import replace

import pytest
import torch

from engine import checkpoint as checkpoints
from engine.critic import Critic
from engine.errors import DamagedError, MismatchError
from engine.jobs import Cell
from engine.preference import LEANING, LEANING_MOST, READING, Preference
from engine.rerank import Features
from engine.verse.forms import FORMS, FormName
from engine.writer import Writer
from tests.fakes.models import job, small_checkpoint

PLAIN = Features(nats=2.5, company=0.3, repetition=0.1, worn=2.0, relevance=0.0, odds=1.5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("model"), Cell.LSTM)


def preference_of(checkpoint, **parts):
    preference = Preference(len(checkpoint.vocabulary))
    with torch.no_grad():
        for name, values in parts.items():
            getattr(preference, name).copy_(torch.as_tensor(values, dtype=torch.float32))
    return preference


def one_character(checkpoint, index, worth):
    worths = torch.zeros(len(checkpoint.vocabulary))
    worths[index] = worth
    return preference_of(checkpoint, characters=worths)


def with_preference(checkpoint, preference):
    return replace(checkpoint, preference=preference.state_dict())


def write(writer, jobs):
    poems = {}
    for each in jobs:
        writer.add(each)
    while not writer.idle:
        poems.update({poem.job_id: poem for poem in writer.step()})
    return poems


def test_liking_is_the_sum_of_what_is_seen(checkpoint):
    preference = one_character(checkpoint, 3, 2.0)
    with torch.no_grad():
        preference.figures.copy_(torch.tensor([1.0, 10.0, 0.0, 2.0]))
        preference.reading[0] = 0.5
        preference.bias.fill_(-1.0)
    reading = torch.zeros(1, READING)
    reading[0, 0] = 4.0
    (found,) = preference.liking([(3, 5, 5, 9)], [()], [PLAIN], reading)
    assert found == pytest.approx(2.0 / 2 + (0.3 + 10 * 0.1 + 2 * 1.5) + 0.5 * 4 - 1.0)


def test_a_character_counts_once_and_not_where_it_was_asked_for(checkpoint):
    preference = one_character(checkpoint, 3, 2.0)
    poems = [(3, 3, 3, 9), (3, 5, 6, 9), (4, 5, 6, 9)]
    repeated, once, never = preference.liking(poems, [()] * 3, [PLAIN] * 3, None)
    assert repeated == once > never
    (asked,) = preference.liking([poems[1]], [{3}], [PLAIN], None)
    assert asked == never


def test_among_candidates_the_one_that_readers_like_is_shown(checkpoint):
    shown = write(Writer(checkpoint, slots=8), [job(1, count=8)])["test:1"]
    worst = shown.others[-1]
    only_there = set("".join(worst.lines)) - {
        char for poem in (shown, *shown.others[:-1]) for char in "".join(poem.lines)
    }
    index = checkpoint.vocabulary.index(min(only_there))
    # The table would also lean the model to other candidates; what is tested here is the choice.
    taught = with_preference(checkpoint, one_character(checkpoint, index, 1e4))
    writer = Writer(taught, slots=8)
    writer.runner = Writer(checkpoint, slots=8).runner
    assert write(writer, [job(1, count=8)])["test:1"].lines == worst.lines


def test_the_model_leans_to_what_readers_like(checkpoint):
    index = 5
    char = checkpoint.vocabulary.chars[index]
    shares = []
    for worth in (-10.0, 0.0, 10.0):
        taught = with_preference(checkpoint, one_character(checkpoint, index, worth))
        poems = write(Writer(taught, slots=32), [job(n, candidates=1) for n in range(200)])
        shares.append(sum(char in "".join(poem.lines) for poem in poems.values()) / 200)
    assert shares[0] < shares[1] < shares[2]


def test_the_leaning_is_bounded_whatever_was_learnt(checkpoint):
    worths = torch.linspace(-100, 100, len(checkpoint.vocabulary))
    preference = preference_of(checkpoint, characters=worths)
    for form in FORMS.values():
        assert float(preference.leaning(form.length).abs().max()) <= LEANING_MOST


def test_the_leaning_is_what_a_character_adds_to_the_liking(checkpoint):
    preference = one_character(checkpoint, 3, 0.5)
    length = FORMS[FormName.QIJUE].length
    having, lacking = (3, *range(10, 10 + length - 1)), tuple(range(10, 10 + length))
    more, less = preference.liking([having, lacking], [()] * 2, [PLAIN] * 2, None)
    assert float(preference.leaning(length)[3]) == pytest.approx(LEANING * (more - less), rel=1e-4)


def test_what_is_liked_can_be_read(checkpoint):
    worths = torch.zeros(len(checkpoint.vocabulary))
    worths[[3, 5, 9]] = torch.tensor([0.5, 2.0, -1.0])
    preference = preference_of(checkpoint, characters=worths)
    assert preference.extremes(5) == ([5, 3], [9])
    assert preference.extremes(1) == ([5], [9])


def test_the_indifferent_change_nothing(checkpoint):
    indifferent = with_preference(checkpoint, Preference(len(checkpoint.vocabulary)))
    jobs = [job(n) for n in range(8)]
    assert write(Writer(indifferent, slots=8, candidates=4), jobs) == write(
        Writer(checkpoint, slots=8, candidates=4), jobs
    )


def test_a_theme_is_sought_all_the_same(checkpoint):
    taught = with_preference(checkpoint, one_character(checkpoint, 5, 1.0))
    jobs = [job(n, theme="風雪") for n in range(4)]
    assert write(Writer(taught, slots=4), jobs) != write(
        Writer(replace(taught, theme=None), slots=4), jobs
    )


def saved(checkpoint, parent, preference):
    return checkpoints.save(
        parent,
        shape=checkpoint.shape,
        vocabulary=checkpoint.vocabulary,
        unknown_types=checkpoint.unknown_types,
        priors=checkpoint.priors,
        tradition=checkpoint.tradition,
        weights=checkpoint.weights,
        report={},
        critic=Critic(len(checkpoint.vocabulary)).state_dict(),
        preference=preference.state_dict(),
    )


def test_it_is_kept_with_the_checkpoint(checkpoint, tmp_path):
    preference = one_character(checkpoint, 3, 0.25)
    kept = checkpoints.load(saved(checkpoint, tmp_path, preference)).preference
    assert kept is not None
    assert torch.equal(kept["characters"], preference.characters)


def test_one_of_another_vocabulary_or_with_what_is_no_number_is_refused(checkpoint, tmp_path):
    with pytest.raises(MismatchError):
        checkpoints.load(saved(checkpoint, tmp_path / "1", Preference(7)))
    broken = one_character(checkpoint, 3, torch.nan)
    with pytest.raises(DamagedError, match="characters"):
        checkpoints.load(saved(checkpoint, tmp_path / "2", broken))
