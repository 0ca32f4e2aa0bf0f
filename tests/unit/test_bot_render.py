"""A poem is shown in the reader's script, but begins with the very glyphs that were typed."""

from dataclasses import replace

import pytest

from bot.language import Language, Script
from bot.render import render_poem, render_poems, show_lines
from bot.styled import SpanKind
from engine.jobs import Poem
from engine.verse.forms import FormName
from tests.fakes.jobs import a_job, a_poem

POEM = a_poem(a_job())


def rendered(poem: Poem = POEM, glyphs="月", script=Script.SIMPLIFIED, language=Language.ZH):
    return render_poem(poem, glyphs=glyphs, script=script, language=language).text


def test_couplets_stand_on_lines_of_their_own_above_form_rhyme_and_model():
    assert rendered() == ("月落空江夜，风吹远树秋。\n故人千里外，一叶下汀洲。\n\n五绝 · 尤韵 · gru")


def test_traditional_readers_see_traditional_glyphs():
    assert rendered(script=Script.TRADITIONAL, language=Language.ZH_HANT) == (
        "月落空江夜，風吹遠樹秋。\n故人千里外，一葉下汀洲。\n\n五絕 · 尤韻 · gru"
    )


def test_english_readers_are_told_the_form_in_both_ways():
    assert rendered(language=Language.EN).endswith("\n\n五绝 wujue · rhyme 尤 · gru")


@pytest.mark.parametrize("script", Script)
@pytest.mark.parametrize("glyphs", ["⽉", "⽉落", "風", "风"])
def test_the_opening_stays_as_it_was_typed(glyphs, script):
    shown = show_lines(("風落空江夜", "風吹遠樹秋"), glyphs=glyphs, script=script)
    assert shown[0].startswith(glyphs)
    assert [len(line) for line in shown] == [5, 5]


@pytest.mark.parametrize("form", [FormName.WULU, FormName.QILU])
def test_eight_lines_are_four_couplets(form):
    lines = ("雲山連野水風煙",) * 8
    poem = Poem(**{**vars(POEM), "lines": lines, "form": form})
    assert rendered(poem, glyphs="").count("\n") == 5


def test_a_line_that_a_phrase_table_would_shorten_is_turned_glyph_by_glyph(monkeypatch):
    monkeypatch.setattr("bot.render.simplified", lambda text: "" if len(text) > 1 else "简")
    assert show_lines(("雲山連野水",), glyphs="", script=Script.SIMPLIFIED) == ("简" * 5,)


def test_a_glyph_that_hardly_any_font_has_stays_traditional():
    assert show_lines(("獨自落江濆",), glyphs="", script=Script.SIMPLIFIED) == ("独自落江濆",)


def test_the_characters_of_a_frame_stay_as_they_were_typed_at_their_places():
    lines = ("風落空江夜", "雲吹遠樹秋")
    shown = show_lines(lines, glyphs="□□□□□雲□□树", script=Script.SIMPLIFIED)
    assert shown == ("风落空江夜", "雲吹远树秋")


def test_several_poems_are_numbered_and_their_rhymes_named():
    other = replace(POEM, rhyme="東")
    text = render_poems(
        [POEM, other, POEM], glyphs="⽉", script=Script.SIMPLIFIED, language=Language.ZH
    ).text
    assert text.startswith("1.\n⽉落空江夜，风吹远树秋。\n故人千里外，一叶下汀洲。\n\n2.\n⽉落")
    assert text.endswith("\n\n五绝 · 尤、东韵 · gru\n留下哪一首？选它的编号。")


def test_one_poem_is_shown_without_a_number():
    shown = render_poems([POEM], glyphs="月", script=Script.SIMPLIFIED, language=Language.ZH)
    assert shown.text == rendered()


def test_what_stands_below_a_poem_is_in_italics():
    shown = render_poem(POEM, glyphs="月", script=Script.SIMPLIFIED, language=Language.ZH)
    [span] = shown.spans
    assert span.kind is SpanKind.ITALIC
    assert shown.text[span.offset : span.end] == "五绝 · 尤韵 · gru"
