"""A chat's style: which model writes for it, how freely, and in which form."""

from collections.abc import Iterable
from dataclasses import dataclass

from bot import texts
from bot.language import Language
from bot.texts import Text
from engine.jobs import USUAL_CELL, USUAL_TEMPERATURE, Cell
from engine.verse.forms import FORMS, Form, FormName
from engine.verse.script import simplified

TEMPERATURE_MIN = 0.1
TEMPERATURE_MAX = 2.0


@dataclass(frozen=True, kw_only=True)
class Style:
    """How poems are written for one chat."""

    cell: Cell = USUAL_CELL
    """The model family."""
    temperature: float = USUAL_TEMPERATURE
    """Sampling temperature, `TEMPERATURE_MIN` to `TEMPERATURE_MAX`."""
    form: FormName | None = None
    """The form to write in where nobody names one; None lets each poem choose."""


def form_title(form: Form, language: Language) -> str:
    """The short name of a form, as readers of `language` know it: 七绝, 七絕, 七绝 qijue."""
    title = form.title[0] + form.title[2]
    if language is Language.ZH_HANT:
        return title
    return simplified(title) + (f" {form.name}" if language is Language.EN else "")


def rhyme_title(rhyme: str, language: Language) -> str:
    """A rhyme group as readers of `language` write it."""
    return rhyme if language is Language.ZH_HANT else simplified(rhyme)


def describe(text: Text, style: Style, language: Language) -> str:
    """`text`, which speaks of a style, filled in with this one."""
    form = form_title(FORMS[style.form], language) if style.form else texts.ANY_FORM.say(language)
    return text.say(language, cell=style.cell, temperature=style.temperature, form=form)


def listed(cells: Iterable[Cell]) -> str:
    """The cells in their usual order."""
    chosen = set(cells)
    return ", ".join(cell for cell in Cell if cell in chosen)
