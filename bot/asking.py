"""`/poem` and `/acrostic`: what follows them becomes a poem to write, or a refusal."""

from collections.abc import Iterable, Sequence
from random import Random

from bot import texts
from bot.fitting import Misfit, Quarrels, fit, refuse_misfit
from bot.language import script_for
from bot.requests import PoemRequest, Refusal, Request, Situation, refuse
from bot.seasons import seasonal_character
from bot.style import form_title
from bot.wording import Wishes, glyphs_in, read_wishes, with_theme
from engine.verse.forms import FORMS, FormName
from engine.verse.frame import acrostic_frame, opening_frame
from engine.verse.script import clean

OPENING_MAX = max(form.line_length for form in FORMS.values())
"""Characters of the longest line, and so of the longest opening."""
ARGUMENTS_MAX = 200
"""Characters after a command that are looked at: more than any wish needs."""

SHORT_FORMS = (FormName.WUJUE, FormName.QIJUE)
"""What comes first where nobody chose a form: what a chat reads at a glance."""
_OPENING = Quarrels(tone=texts.TONE_MISPLACED, rhyme=texts.OPENING_UNRHYMED)
_HEADS = Quarrels(tone=texts.HEAD_MISPLACED, rhyme=texts.OPENING_UNRHYMED)


# --- /poem ---------------------------------------------------------------------------------


def read_poem_request(arguments: str, situation: Situation) -> Request:
    """What follows /poem: an opening, then a theme; among them forms, a rhyme, a count."""
    if len(arguments) > ARGUMENTS_MAX:
        return refuse(texts.OPENING_TOO_LONG, situation, most=OPENING_MAX)
    wishes = read_wishes(arguments, situation)
    if isinstance(wishes, Refusal):
        return wishes
    words = _han_words(wishes.rest)
    if words is None:
        return refuse(texts.NOT_CHINESE, situation)
    typed, *about = words or [""]
    if len(typed) > OPENING_MAX:
        return refuse(texts.OPENING_TOO_LONG, situation, most=OPENING_MAX)
    themed = with_theme(wishes, "".join(about), situation) if about else wishes
    return themed if isinstance(themed, Refusal) else _begin(typed, themed, situation)


def _han_words(words: Iterable[str]) -> list[str] | None:
    """The Chinese characters of each word that has some; None if one has others too."""
    found = [glyphs_in(word) for word in words]
    if any(glyphs is None for glyphs in found):
        return None
    return ["".join(glyphs) for glyphs in found if glyphs]


def _begin(typed: str, wishes: Wishes, situation: Situation) -> PoemRequest | Refusal:
    """A poem that begins with `typed`, or with the season if nothing at all was named."""
    script = script_for(typed + wishes.theme, situation.language)
    if not typed and not wishes.theme:
        typed = seasonal_character(situation.today, situation.seed)
    opening = "".join(map(clean, typed))
    forms = _by_preference(wishes.forms, situation)
    frames = {
        form: opening_frame(form, opening)
        for form in forms
        if FORMS[form].line_length >= len(opening)
    }
    if not frames:
        return refuse(
            texts.LINE_TOO_SHORT,
            situation,
            form=form_title(FORMS[forms[0]], situation.language),
            length=FORMS[forms[0]].line_length,
        )
    found = fit(frames, wishes.rhymes)
    if isinstance(found, Misfit):
        return refuse_misfit(found, _OPENING, situation)
    return PoemRequest(
        opening=opening,
        glyphs=typed,
        form=found.form,
        script=script,
        rhyme=found.rhyme,
        theme=wishes.theme,
        count=wishes.count,
    )


def _by_preference(asked: Sequence[FormName], situation: Situation) -> list[FormName]:
    """The forms in the order in which to try them: the chat's own, then short ones, by chance."""
    shuffled = Random(situation.seed).sample(asked, len(asked))
    return sorted(
        shuffled, key=lambda form: (form != situation.style.form, form not in SHORT_FORMS)
    )


# --- /acrostic -----------------------------------------------------------------------------


def read_acrostic_request(arguments: str, situation: Situation) -> Request:
    """What follows /acrostic: as many characters as the poem shall have lines."""
    if len(arguments) > ARGUMENTS_MAX:
        return refuse(texts.HEADS_MISCOUNTED, situation)
    wishes = read_wishes(arguments, situation)
    if isinstance(wishes, Refusal):
        return wishes
    words = _han_words(wishes.rest)
    if words is None:
        return refuse(texts.HEADS_NOT_CHINESE, situation)
    return _lead("".join(words), wishes, situation)


def _lead(typed: str, wishes: Wishes, situation: Situation) -> PoemRequest | Refusal:
    """A poem whose lines begin with `typed`, one character a line."""
    forms = [form for form in wishes.forms if FORMS[form].lines == len(typed)]
    if not forms:
        if not any(form.lines == len(typed) for form in FORMS.values()):
            return refuse(texts.HEADS_MISCOUNTED, situation)
        form = FORMS[wishes.forms[0]]
        title = form_title(form, situation.language)
        return refuse(texts.HEADS_UNLIKE_FORM, situation, form=title, lines=form.lines)
    heads = "".join(map(clean, typed))
    # Short lines first: a head weighs more in them.
    forms.sort(key=lambda form: (form != situation.style.form, FORMS[form].line_length))
    frames = {form: acrostic_frame(form, heads) for form in forms}
    found = fit(frames, wishes.rhymes)
    if isinstance(found, Misfit):
        return refuse_misfit(found, _HEADS, situation)
    return PoemRequest(
        frame=frames[found.form],
        glyphs=acrostic_frame(found.form, typed),
        form=found.form,
        script=script_for(typed, situation.language),
        rhyme=found.rhyme,
        theme=wishes.theme,
        count=wishes.count,
    )
