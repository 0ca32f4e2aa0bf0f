"""What `compose` is asked for, checked before a model is loaded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.verse.forms import FORMS, FormName
from engine.verse.frame import acrostic_frame, glyphs_of, opening_frame, readings_of
from engine.verse.plan import Fault, NoTemplateError, admits, explain_refusal
from engine.verse.script import clean, is_han
from engine.verse.tones import rhyme_groups_for

_PREFERRED = (FormName.QIJUE, FormName.WUJUE, FormName.QILU, FormName.WULU)
"""The order in which forms are tried where nobody names one."""


class AskError(ValueError):
    """What was asked for cannot be written."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """An ask that some template admits."""

    form: FormName
    """The form to write in."""
    frame: str
    """What is fixed (`engine.verse.frame`) beyond an opening; may be empty."""
    rhyme: str | None
    """The rhyme group wanted."""
    theme: str
    """What the poem shall be about."""


def ask(
    opening: str = "",
    *,
    acrostic: str | None = None,
    form: FormName | None = None,
    rhyme: str | None = None,
    theme: str = "",
) -> Ask:
    """Find a form, the one asked for or the first that fits, in which this can be written.

    Raises:
        AskError: nothing can be; says why, and what would work.
    """
    if opening and acrostic:
        raise AskError("a poem has an opening or an acrostic, not both")
    chars = _han(opening, "an opening", "月 or 白日依山盡")
    heads = _han(acrostic or "", "an acrostic", "春夏秋冬")
    about = _han(theme, "a theme", "邊塞")
    groups = _groups(rhyme)
    if acrostic is not None:
        forms = _forms_with(lambda name: FORMS[name].lines == len(heads), form)
        if not forms:
            raise AskError(f"an acrostic has 4 characters, or 8 for a lushi; {acrostic} fits not")
        frames = {name: acrostic_frame(name, heads) for name in forms}
    else:
        forms = _forms_with(lambda name: FORMS[name].line_length >= len(chars), form)
        if not forms:
            longest = FORMS[form].line_length if form else 7
            raise AskError(f"an opening is one line at most: {longest} characters")
        frames = {name: opening_frame(name, chars) for name in forms}
    for name, frame in frames.items():
        for group in groups:
            if admits(name, readings_of(frame), rhyme=group):
                fixed = frame if acrostic is not None else ""
                return Ask(form=name, frame=fixed, rhyme=group, theme=about)
    name, frame = next(iter(frames.items()))
    raise AskError(_why_not(frame, explain_refusal(name, readings_of(frame), rhyme=groups[0])))


def _han(text: str, what: str, example: str) -> str:
    chars = clean(text)
    if not all(map(is_han, chars)):
        raise AskError(f"{what} is made of Chinese characters, such as {example}")
    return chars


def _groups(rhyme: str | None) -> Sequence[str | None]:
    if rhyme is None:
        return (None,)
    groups = rhyme_groups_for(clean(rhyme))
    if not groups:
        raise AskError(
            f"{rhyme} names none of the 30 level rhyme groups and has no level tone to rhyme on: "
            "try 東, 先 or 陽"
        )
    return groups


def _forms_with(fits: Callable[[FormName], bool], form: FormName | None) -> list[FormName]:
    return [name for name in ([form] if form else _PREFERRED) if fits(name)]


def _why_not(frame: str, error: NoTemplateError) -> str:
    form = error.form.name
    if error.fault is Fault.NARROW:
        return f"the rhyme group has too few characters for a {form}: try a jueju, or 東, 先, 陽"
    if error.place is None:
        return f"nothing rhymes so in a {form}: try another rhyme"
    line, column = divmod(error.place, error.form.line_length)
    why = "does not rhyme" if error.fault is Fault.RHYME else f"must be {error.wanted}"
    char = glyphs_of(frame)[error.place]
    return f"line {line + 1}, character {column + 1} of a {form}, {char}, {why}"
