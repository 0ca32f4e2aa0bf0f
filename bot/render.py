"""A poem becomes the text that people read."""

from collections.abc import Sequence

from bot import texts
from bot.language import Language, Script
from bot.style import form_title, rhyme_title
from bot.styled import SpanKind, Styled, in_style, joined
from engine.jobs import Poem
from engine.verse.forms import FORMS, cut_lines
from engine.verse.frame import glyphs_of
from engine.verse.script import simplified


def render_poem(poem: Poem, *, glyphs: str, script: Script, language: Language) -> Styled:
    """The poem, a couplet to a line, and below it its form, its rhyme and its model.

    It is shown in `script`, except for `glyphs`: what the person fixed, just as it was typed.
    """
    verse = render_verse(poem, glyphs=glyphs, script=script)
    foot = in_style(SpanKind.ITALIC, colophon([poem], language))
    return joined([verse, foot], by="\n\n")


def render_poems(
    poems: Sequence[Poem], *, glyphs: str, script: Script, language: Language
) -> Styled:
    """What answers one request: a poem, or several with numbers and the question which to keep."""
    if len(poems) == 1:
        return render_poem(poems[0], glyphs=glyphs, script=script, language=language)
    numbered = [
        f"{number}.\n{render_verse(poem, glyphs=glyphs, script=script)}"
        for number, poem in enumerate(poems, start=1)
    ]
    foot = in_style(SpanKind.ITALIC, colophon(poems, language))
    end = joined([foot, texts.CHOOSE.say(language)], by="\n")
    return joined([*numbered, end], by="\n\n")


def show_lines(lines: tuple[str, ...], *, glyphs: str, script: Script) -> tuple[str, ...]:
    """`lines` in `script`, with the `glyphs` of an opening or a frame at their places."""
    shown = tuple(map(_simplify, lines)) if script is Script.SIMPLIFIED else lines
    text = list("".join(shown))
    for place, glyph in glyphs_of(glyphs).items():
        text[place] = glyph
    return cut_lines("".join(text), len(lines[0]))


def colophon(poems: Sequence[Poem], language: Language) -> str:
    """What poems of one request have in common, and the rhymes in which they may differ."""
    rhymes = dict.fromkeys(rhyme_title(poem.rhyme, language) for poem in poems)
    return texts.COLOPHON.say(
        language,
        form=form_title(FORMS[poems[0].form], language),
        rhyme=texts.LISTED.say(language).join(rhymes),
        cell=poems[0].cell,
    )


def render_verse(poem: Poem, *, glyphs: str, script: Script) -> str:
    """The poem alone, a couplet to a line, in `script` except for `glyphs`."""
    form = FORMS[poem.form]
    lines = show_lines(poem.lines, glyphs=glyphs, script=script)
    return "\n".join(form.punctuate(lines[index : index + 2]) for index in range(0, form.lines, 2))


def _simplify(line: str) -> str:
    """`line` in simplified script, character for character.

    A phrase table that changed the line's length would break the verse, so it has no say then.
    """
    whole = simplified(line)
    if len(whole) != len(line):
        whole = "".join(map(simplified, line))
    return "".join(
        # Hardly any font has the simplified glyphs that came late to Unicode (濆 as 𣸣).
        char if ord(glyph) > 0xFFFF else glyph
        for glyph, char in zip(whole, line, strict=True)
    )
