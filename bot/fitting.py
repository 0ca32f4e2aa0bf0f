"""Whether what a person fixed of a poem can be written, and in plain words why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bot import texts
from bot.requests import Refusal, Situation, refuse
from bot.style import form_title, rhyme_title
from bot.texts import Text
from engine.verse.forms import FORMS, FormName
from engine.verse.frame import readings_of
from engine.verse.plan import Fault, NoTemplateError, admits, explain_refusal, is_narrow
from engine.verse.tones import Tone


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A form and a rhyme that admit what is fixed."""

    form: FormName
    """The form."""
    rhyme: str | None
    """The rhyme group, where one is wanted."""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Why no form and rhyme admit what is fixed: the case of those wanted first."""

    error: NoTemplateError
    """What stands against it."""
    char: str
    """The character that does."""
    rhyme: str
    """The rhyme group, where one is wanted."""

    @property
    def place(self) -> int:
        """The place of that character, counted from 0 through the poem.

        The plan names none where the quarrel is about the one rhyme that ends no couplet, which is
        the first line's.
        """
        place = self.error.place
        return self.error.form.line_length - 1 if place is None else place

    @property
    def line(self) -> int:
        """Its line, counted from 0."""
        return self.place // self.error.form.line_length


@dataclass(frozen=True, kw_only=True)
class Quarrels:
    """How to tell a person what stands against the characters that they fixed."""

    tone: Text
    """One of them has the wrong tone class."""
    rhyme: Text
    """One of them does not rhyme."""


def fit(frames: Mapping[FormName, str], rhymes: Sequence[str]) -> Fit | Misfit:
    """The first form and rhyme that admit what its frame fixes, or why none does."""
    options: Sequence[str | None] = rhymes or (None,)
    for form, frame in frames.items():
        given = readings_of(frame)
        for rhyme in options:
            if admits(form, given, rhyme=rhyme):
                return Fit(form=form, rhyme=rhyme)
    form, frame = next(iter(frames.items()))
    wide = [rhyme for rhyme in options if rhyme is None or not is_narrow(rhyme, FORMS[form])]
    rhyme = (wide or options)[0]
    error = explain_refusal(form, readings_of(frame), rhyme=rhyme)
    misfit = Misfit(error=error, char="", rhyme=rhyme or "")
    return replace(misfit, char=frame[misfit.place])


def refuse_misfit(misfit: Misfit, quarrels: Quarrels, situation: Situation) -> Refusal:
    """What `misfit` is, in words that suit how the characters came to be fixed."""
    error, language = misfit.error, situation.language
    title = form_title(error.form, language)
    if error.fault is Fault.NARROW:
        name = rhyme_title(misfit.rhyme, language)
        return refuse(texts.RHYME_NARROW, situation, form=title, rhyme=name)
    tone = texts.LEVEL_TONE if error.wanted is Tone.LEVEL else texts.OBLIQUE_TONE
    return refuse(
        quarrels.tone if error.fault is Fault.TONE else quarrels.rhyme,
        situation,
        form=title,
        line=misfit.line + 1,
        place=misfit.place % error.form.line_length + 1,
        char=misfit.char,
        tone=tone.say(language),
    )
