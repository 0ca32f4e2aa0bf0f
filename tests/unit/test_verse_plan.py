"""Plans are made before a poem is begun."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.verse.forms import FORMS, FormName
from engine.verse.plan import NoTemplateError, Priors, admits, explain_refusal, make_plan
from engine.verse.templates import LineKind, patterns
from engine.verse.tones import Tone, readings
from tests.fakes.poems import CHARACTERS

PRIORS = Priors(
    openings={"A": 3.0, "B": 1.0},
    patterns={kind: (1.0,) * len(patterns(kind, 5)) for kind in LineKind},
    rhymes={"東": 1.0, "真": 2.0},
)


def given_of(text):
    return {place: readings(char) for place, char in enumerate(text)}


@settings(max_examples=60, deadline=None)
@given(
    opening=st.text(alphabet=CHARACTERS, max_size=5),
    form=st.sampled_from(FormName),
    seed=st.integers(0, 10**6),
)
def test_a_plan_admits_what_was_given_or_is_refused(opening, form, seed):
    fixed = given_of(opening)
    if not admits(form, fixed):
        with pytest.raises(NoTemplateError):
            make_plan(form, fixed, PRIORS, Random(seed))
        return
    plan = make_plan(form, fixed, PRIORS, Random(seed))
    for place, entry in fixed.items():
        assert entry.admits(plan.tone_at(place))
        if plan.rhymes_at(place):
            assert plan.rhyme in entry.rhymes


def test_the_same_chance_gives_the_same_plan():
    first, second = (make_plan(FormName.QILU, {}, PRIORS, Random(5)) for _ in range(2))
    assert first == second


def test_priors_decide_how_often_a_rhyme_is_chosen():
    random = Random(0)
    drawn = [make_plan(FormName.WUJUE, {}, PRIORS, random).rhyme for _ in range(300)]
    assert set(drawn) == {"東", "真"}
    assert 1.4 < drawn.count("真") / drawn.count("東") < 2.9


def test_a_rhyme_asked_for_is_kept_and_an_impossible_one_refused():
    assert make_plan(FormName.WULU, {}, PRIORS, Random(1), rhyme="陽").rhyme == "陽"
    assert not admits(FormName.WUJUE, given_of("春江夜雨聲"), rhyme="東")


def test_a_line_that_ends_level_decides_the_rhyme():
    plan = make_plan(FormName.WUJUE, given_of("春江一夜聲"), PRIORS, Random(1))
    assert plan.rhyme == "庚"


def test_a_refusal_says_which_character_stands_against_what():
    error = explain_refusal(FormName.WUJUE, given_of("春山寒山紅"))
    assert error.form is FORMS[FormName.WUJUE]
    assert error.place == 3
    assert error.wanted is Tone.OBLIQUE


def test_every_place_of_a_rhyming_line_end_wants_a_level_tone():
    plan = make_plan(FormName.QIJUE, {}, PRIORS, Random(3))
    for place in range(plan.form.length):
        if plan.rhymes_at(place):
            assert plan.tone_at(place) is Tone.LEVEL
