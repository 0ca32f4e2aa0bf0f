"""A poem becomes the text that people read."""

from bot import texts
from bot.language import Language, Script
from bot.style import form_title
from engine.jobs import Poem
from engine.verse.forms import FORMS
from engine.verse.script import simplified


def render_poem(poem: Poem, *, glyphs: str, script: Script, language: Language) -> str:
    """The poem, a couplet to a line, and below it its form, its rhyme and its model.

    It is shown in `script`, except that it begins with `glyphs`: the opening just as it was typed.
    """
    form = FORMS[poem.form]
    lines = show_lines(poem.lines, glyphs=glyphs, script=script)
    couplets = (form.punctuate(lines[index : index + 2]) for index in range(0, form.lines, 2))
    colophon = texts.COLOPHON.say(
        language,
        form=form_title(form, language),
        rhyme=poem.rhyme if language is Language.ZH_HANT else simplified(poem.rhyme),
        cell=poem.cell,
    )
    return "\n".join([*couplets, "", colophon])


def show_lines(lines: tuple[str, ...], *, glyphs: str, script: Script) -> tuple[str, ...]:
    """`lines` in `script`, the first of them beginning with `glyphs`."""
    shown = tuple(map(_simplify, lines)) if script is Script.SIMPLIFIED else lines
    return (glyphs + shown[0][len(glyphs) :], *shown[1:])


def _simplify(line: str) -> str:
    """`line` in simplified script, character for character.

    A phrase table that changed the line's length would break the verse, so it has no say then.
    """
    whole = simplified(line)
    return whole if len(whole) == len(line) else "".join(map(simplified, line))
