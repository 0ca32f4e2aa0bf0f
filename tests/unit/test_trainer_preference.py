"""What is learnt of readers, from ratings made for the test."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from engine.jobs import Cell
from engine.preference import chars_that_count
from engine.verse.forms import FormName
from tests.fakes.models import small_checkpoint
from tests.fakes.poems import by_rule
from trainer.feedback import GIVEN, Example
from trainer.preference import FEWEST, fit_preference, win_rate

POEMS = [poem.lines for poem in by_rule(400, seed=5)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("model"))


def common_char() -> str:
    """One that stands in about half of the poems: its lovers are easy to tell."""
    texts = ["".join(lines) for lines in POEMS]
    chars = sorted({char for text in texts for char in text})
    return min(chars, key=lambda char: abs(sum(char in text for text in texts) - 200))


LOVED = common_char()


def loves(lines: Sequence[str]) -> bool:
    return LOVED in "".join(lines)


def examples(
    count: int,
    *,
    likes: Callable[[Sequence[str]], bool] = loves,
    raters: int = 10,
    malicious: Sequence[int] = (),
    error: float = 0.1,
) -> list[Example]:
    random = Random("examples")
    found = []
    for number in range(count):
        lines, rater = POEMS[number % len(POEMS)], random.randrange(raters)
        truth = likes(lines) ^ (random.random() < error) ^ (rater in malicious)
        found.append(an_example(f"{number:04}", lines, rater=rater, value=1.0 if truth else -1.0))
    return found


def an_example(poem: str, lines: Sequence[str], **fields) -> Example:
    forms = {(4, 5): FormName.WUJUE, (4, 7): FormName.QIJUE, (8, 5): FormName.WULU}
    usual: dict[str, Any] = {
        "poem": poem,
        "lines": tuple(lines),
        "form": forms.get((len(lines), len(lines[0])), FormName.QILU),
        "cell": Cell.GRU,
        "checkpoint": "gru-0",
        "rater": 0,
        "curator": False,
        "worth": 1.0,
        "value": 1.0,
        "weight": 1.0,
        "held_out": False,
    }
    return Example(**usual | fields)


def worth_of(checkpoint, learnt, char: str) -> float:
    return float(learnt.preference.characters[checkpoint.vocabulary.index(char)])


def test_what_readers_love_is_found(checkpoint):
    learnt = fit_preference(checkpoint, examples(300))
    assert learnt is not None
    assert learnt.evidence > 10
    worths = learnt.preference.characters
    assert int(worths.argmax()) == checkpoint.vocabulary.index(LOVED)


def test_more_ratings_say_it_louder(checkpoint):
    worths = [
        worth_of(checkpoint, fit_preference(checkpoint, examples(count)), LOVED)
        for count in (40, 100, 400)
    ]
    assert 0 < worths[0] < worths[2]
    assert worths[1] < worths[2]


def test_ratings_by_chance_teach_little(checkpoint):
    random = Random("chance")
    by_chance = examples(300, likes=lambda _lines: random.random() < 0.5)
    learnt, real = fit_preference(checkpoint, by_chance), fit_preference(checkpoint, examples(300))
    assert learnt is not None
    assert real is not None
    spread = [float(one.preference.characters.abs().max()) for one in (learnt, real)]
    assert spread[0] < 0.3 * spread[1]


def test_who_says_the_opposite_loses_their_say(checkpoint):
    learnt = fit_preference(checkpoint, examples(400, malicious=(3,)))
    assert learnt is not None
    assert learnt.trust[3] == 0.0
    assert min(trust for rater, trust in learnt.trust.items() if rater != 3) > 0.5


def test_a_curator_keeps_their_say(checkpoint):
    given = [replace(one, curator=one.rater == 3) for one in examples(400, malicious=(3,))]
    learnt = fit_preference(checkpoint, given)
    assert learnt is not None
    assert learnt.trust[3] == 1.0


def test_too_few_ratings_teach_nothing(checkpoint):
    assert fit_preference(checkpoint, examples(FEWEST - 1)) is None
    assert fit_preference(checkpoint, []) is None


def test_a_night_in_which_all_rate_alike_teaches_nothing(checkpoint):
    alike = [replace(one, value=0.0) for one in examples(200)]
    learnt = fit_preference(checkpoint, alike)
    assert learnt is None or float(learnt.preference.characters.abs().max()) < 1e-6


def test_what_is_held_out_is_not_read(checkpoint):
    known = examples(200)
    secret = [
        replace(one, poem=f"x{one.poem}", value=-one.value, held_out=True) for one in examples(200)
    ]
    with_secret, without = (
        fit_preference(checkpoint, known + secret),
        fit_preference(checkpoint, known),
    )
    assert with_secret is not None
    assert without is not None
    assert np.array_equal(with_secret.preference.characters, without.preference.characters)


def test_the_order_of_ratings_does_not_matter(checkpoint):
    given = examples(150)
    shuffled = Random(1).sample(given, len(given))
    one, other = fit_preference(checkpoint, given), fit_preference(checkpoint, shuffled)
    assert one is not None
    assert other is not None
    assert all(
        np.array_equal(p, q)
        for p, q in zip(one.preference.parameters(), other.preference.parameters(), strict=True)
    )


def test_what_a_person_gave_is_nothing_to_be_liked_for(checkpoint):
    blanked = [
        replace(one, lines=tuple(line.replace(LOVED, GIVEN) for line in one.lines))
        for one in examples(300)
    ]
    learnt, seeing = fit_preference(checkpoint, blanked), fit_preference(checkpoint, examples(300))
    assert learnt is not None
    assert abs(worth_of(checkpoint, learnt, LOVED)) < 0.1 * worth_of(checkpoint, seeing, LOVED)
    assert chars_that_count(checkpoint.vocabulary.encode(GIVEN)) == []


def test_a_taught_checkpoint_wins_on_poems_it_never_saw(checkpoint):
    held_out = [replace(one, poem=f"h{one.poem}", held_out=True) for one in examples(100)]
    learnt = fit_preference(checkpoint, examples(300))
    assert learnt is not None
    taught = replace(checkpoint, preference=learnt.preference.state_dict())
    before, after = win_rate(checkpoint, held_out), win_rate(taught, held_out)
    assert before.pairs == after.pairs > 100
    assert after.share > before.share + 0.1


def test_without_a_pair_there_is_no_win_rate(checkpoint):
    liked = [replace(one, value=1.0, held_out=True) for one in examples(10)]
    assert win_rate(checkpoint, liked).pairs == 0
    assert np.isnan(win_rate(checkpoint, liked).share)
    assert win_rate(checkpoint, examples(10)).pairs == 0
