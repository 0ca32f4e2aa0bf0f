"""Scripts, tones and rhymes of single characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.verse.rhymes import RHYME_GROUPS
from engine.verse.script import clean, fold, is_han, is_simplified, simplified, traditional
from engine.verse.tones import Tone, readings, rhyme_group_named


def test_there_are_thirty_level_rhyme_groups():
    assert len(RHYME_GROUPS) == 30
    assert RHYME_GROUPS[0] == "東"
    assert RHYME_GROUPS[-1] == "咸"


@pytest.mark.parametrize(
    ("char", "group"),
    [
        ("風", "東"),
        ("鐘", "冬"),
        ("窗", "江"),
        ("時", "支"),
        ("魂", "元"),
        ("間", "刪"),
        ("春", "真"),
        ("看", "寒"),
        ("仙", "先"),
        ("聲", "庚"),
        ("樓", "尤"),
        ("凡", "咸"),
    ],
)
def test_a_level_character_rhymes_in_its_group(char, group):
    assert group in readings(char).rhymes


@pytest.mark.parametrize("char", "月雪國一十日白石")
def test_entering_tones_are_oblique_whatever_modern_mandarin_says(char):
    assert readings(char).tones == {Tone.OBLIQUE}


@pytest.mark.parametrize("char", "看中教思為間")
def test_a_polyphone_admits_either_class(char):
    assert readings(char).admits(Tone.LEVEL)
    assert readings(char).admits(Tone.OBLIQUE)


def test_an_unknown_character_gets_the_benefit_of_the_doubt():
    unknown = readings("\U00030000")
    assert not unknown.known
    assert unknown.admits(Tone.LEVEL)
    assert unknown.admits(Tone.OBLIQUE)
    assert not unknown.rhymes


@pytest.mark.parametrize(
    ("variant", "usual"), [("爲", "為"), ("牀", "床"), ("来", "來"), ("峯", "峰")]
)
def test_variants_fold_to_the_usual_glyph(variant, usual):
    assert fold(variant) == fold(usual) == usual


def test_one_simplified_glyph_may_stand_for_several_characters():
    assert {"發", "髮"} <= set(traditional("发"))
    assert {"後", "后"} <= set(traditional("后"))
    assert traditional("月") == ("月",)


def test_a_simplified_glyph_has_the_readings_of_all_its_characters():
    assert readings("发").tones == readings("發").tones | readings("髮").tones
    assert readings("东").rhymes == {"東"}


def test_scripts_are_told_apart():
    assert is_simplified("东风")
    assert not is_simplified("東風")
    assert not is_simplified("月")
    assert simplified("東風") == "东风"


def test_clean_unites_what_unicode_keeps_apart_and_drops_what_nobody_sees():
    assert clean("\uf914") == "樂"
    assert clean("月\u200d\ud800") == "月"


def test_a_rhyme_group_is_named_in_either_script():
    assert rhyme_group_named("东") == "東"
    assert rhyme_group_named("月") is None
    assert rhyme_group_named("") is None


@given(st.text(max_size=4))
def test_no_text_breaks_the_look_up(text):
    for char in text:
        assert isinstance(is_han(char), bool)
        if is_han(char):
            assert readings(char).admits(None)
