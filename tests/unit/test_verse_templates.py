"""The table of tone patterns."""

from itertools import pairwise

import pytest

from engine.verse.forms import FORMS, FormName, form_of
from engine.verse.templates import LineKind, mismatches, patterns, templates
from engine.verse.tones import Tone, readings

FORM_NAMES = list(FormName)


@pytest.mark.parametrize("form", FORM_NAMES)
def test_a_form_has_four_templates_that_open_differently(form):
    found = templates(form)
    assert {template.kinds[0] for template in found} == set(LineKind)
    assert all(len(template.kinds) == FORMS[form].lines for template in found)


@pytest.mark.parametrize("form", FORM_NAMES)
def test_every_second_line_rhymes_and_no_other_but_the_first(form):
    for template in templates(form):
        even = tuple(range(1, FORMS[form].lines, 2))
        assert template.rhyming_lines in (even, (0, *even))


@pytest.mark.parametrize("form", FORM_NAMES)
def test_couplets_oppose_and_adhere(form):
    """The second character of a line opposes its couplet's other and joins couplets together."""
    for template in templates(form):
        second = [patterns(kind, FORMS[form].line_length)[0][1] for kind in template.kinds]
        for index, (a, b) in enumerate(pairwise(second)):
            assert (a == b) == (index % 2 == 1)


@pytest.mark.parametrize("length", [5, 7])
@pytest.mark.parametrize("kind", list(LineKind))
def test_no_pattern_admits_a_lone_level_or_three_levels_at_the_end(kind, length):
    lone = (Tone.OBLIQUE, Tone.LEVEL, Tone.OBLIQUE, Tone.OBLIQUE, Tone.LEVEL)
    for pattern in patterns(kind, length):
        assert any(
            want is not None and want is not got
            for want, got in zip(pattern[-5:], lone, strict=True)
        )
        assert pattern[-3:] != (Tone.LEVEL,) * 3
        assert None not in pattern[-1:]
        assert pattern[-1] is (Tone.LEVEL if kind.rhymes else Tone.OBLIQUE)


def test_mismatches_are_counted_from_the_first_character():
    line = [readings(char) for char in "月雨寒窗急"]
    assert mismatches(patterns(LineKind.A, 5)[0], line) == ()
    assert mismatches(patterns(LineKind.D, 5)[0], line) == (2, 4)


def test_a_form_is_known_by_its_size():
    assert form_of(4, 5) is FORMS[FormName.WUJUE]
    assert form_of(6, 5) is None
