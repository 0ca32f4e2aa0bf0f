"""The checker says which rule fails, and where."""

from random import Random

import pytest

from engine.verse.checker import Rule, check, split_lines, tone_marks
from engine.verse.forms import FormName
from engine.verse.script import simplified
from engine.verse.tones import Tone
from tests.fakes.poems import QIJUE, WUJUE, by_rule


def replaced(lines, number, line):
    return (*lines[: number - 1], line, *lines[number:])


@pytest.mark.parametrize(
    ("lines", "form", "rhyme"), [(WUJUE, FormName.WUJUE, "庚"), (QIJUE, FormName.QIJUE, "東")]
)
def test_a_regular_poem_passes(lines, form, rhyme):
    verdict = check(lines, opening=lines[0][0])
    assert verdict.ok
    assert (verdict.form, verdict.rhyme) == (form, rhyme)


def test_script_does_not_matter():
    assert check([simplified(line) for line in WUJUE], opening="夜").ok


@pytest.mark.parametrize(
    ("lines", "rule", "line", "place"),
    [
        (WUJUE[:3], Rule.FORMAT, None, None),
        (replaced(WUJUE, 2, "孤燈照壁"), Rule.FORMAT, None, None),
        (replaced(WUJUE, 2, "孤燈照壁x"), Rule.FORMAT, None, None),
        (replaced(WUJUE, 1, "夜山敲窗急"), Rule.TONE, 1, 2),
        (replaced(WUJUE, 2, "夜燈照壁明"), Rule.LONE_LEVEL, 2, None),
        (replaced(WUJUE, 4, "何處春潮聲"), Rule.LEVEL_ENDING, 4, None),
        (replaced(WUJUE, 4, "何處聽潮來"), Rule.RHYME, 4, 5),
        (replaced(WUJUE, 4, "何處夜潮明"), Rule.REPEATED_RHYME, 4, 5),
        (replaced(WUJUE, 3, "夜夜敲門急"), Rule.ADHESION, 3, None),
        (replaced(WUJUE, 4, "新詩寄遠情"), Rule.OPPOSITION, 4, None),
        (replaced(WUJUE, 3, WUJUE[0]), Rule.REPEATED_LINE, 3, None),
    ],
)
def test_a_broken_rule_is_named_and_located(lines, rule, line, place):
    found = [(v.rule, v.line, v.place) for v in check(lines).violations]
    assert (rule, line, place) in found


def test_a_misplaced_tone_says_what_is_wanted():
    (violation,) = check(replaced(WUJUE, 1, "夜山敲窗急")).violations
    assert violation.wanted is Tone.OBLIQUE


def test_another_opening_than_asked_is_noticed():
    assert check(WUJUE, opening="月").broken() == {Rule.OPENING}
    assert check(WUJUE, opening="夜雨").ok


def test_marks_show_polyphones_as_either():
    assert tone_marks("江夜看潮聲") == "平仄中平平"


def test_a_poem_is_cut_at_punctuation_and_line_breaks():
    assert split_lines(f"{WUJUE[0]}，{WUJUE[1]}。\n{WUJUE[2]}, {WUJUE[3]}.") == WUJUE


def test_poems_made_by_rule_pass_and_shuffled_ones_do_not():
    poems, random = by_rule(80), Random(0)
    assert all(check(poem.lines).ok for poem in poems)
    shuffled = 0
    for poem in poems:
        text = "".join(random.sample(poem.text, len(poem.text)))
        length = poem.form.line_length
        shuffled += check([text[i : i + length] for i in range(0, len(text), length)]).ok
    assert shuffled == 0
