"""What commands may be told, one thing at a time, on platforms that have a field for each.

What stands in the fields becomes the line that people type elsewhere, so that one reader reads
both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bot import texts
from bot.language import Language
from bot.style import form_title
from bot.texts import Text
from bot.wording import COUNT_MAX, COUNT_MIN
from engine.jobs import Cell
from engine.verse.forms import FORMS, Form


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of the few things that can stand in a field."""

    word: str
    """The word for it in a line."""
    title: Text
    """What it is called."""


def _as_typed(value: str) -> str:
    return value


@dataclass(frozen=True, kw_only=True)
class Field:
    """One thing that a command may be told."""

    title: Text
    """What it is called, in one lower-case word; in English it is the field's name."""
    help: Text
    """What belongs into it."""
    written: Callable[[str], str] = _as_typed
    """How what stands in it stands in a line."""
    choices: tuple[Choice, ...] = ()
    """All that can stand in it; anything where there are none."""
    needed: bool = False
    """Whether the command means nothing without it; such fields come first."""

    @property
    def name(self) -> str:
        """Its name for machines."""
        return self.title.en


def line_of(fields: Sequence[Field], values: Mapping[str, str]) -> str:
    """The line that says what `values`, by names of `fields`, say."""
    return " ".join(field.written(values[field.name]) for field in fields if field.name in values)


def _form_choice(form: Form) -> Choice:
    versions = {language: form_title(form, language) for language in Language}
    title = Text(
        zh=versions[Language.ZH], zh_hant=versions[Language.ZH_HANT], en=versions[Language.EN]
    )
    return Choice(word=form.name, title=title)


def _same(word: str) -> Choice:
    """A choice that is called the same in every language."""
    return Choice(word=word, title=Text(zh=word, zh_hant=word, en=word))


def _after(label: str) -> Callable[[str], str]:
    """Write a value behind a label, in one word: a space would end it."""
    return lambda value: label + "".join(value.split())


_FORM = Field(
    title=texts.FIELD_FORM,
    help=texts.FIELD_FORM_HELP,
    choices=tuple(map(_form_choice, FORMS.values())),
)
_WISHES = (
    _FORM,
    Field(title=texts.FIELD_RHYME, help=texts.FIELD_RHYME_HELP, written=_after("韵:")),
    Field(
        title=texts.FIELD_COUNT,
        help=texts.FIELD_COUNT_HELP,
        written=_after("x"),
        choices=tuple(_same(str(count)) for count in range(COUNT_MIN, COUNT_MAX + 1)),
    ),
)
_THEME = Field(title=texts.FIELD_THEME, help=texts.FIELD_THEME_HELP, written=_after("题:"))
_POEM = Field(title=texts.FIELD_POEM, help=texts.FIELD_POEM_HELP, written=lambda poem: f"\n{poem}")

POEM = (Field(title=texts.FIELD_OPENING, help=texts.FIELD_OPENING_HELP), _THEME, *_WISHES)
"""What /poem may be told; the constants below name their commands in the same way."""
ACROSTIC = (
    Field(title=texts.FIELD_HEADS, help=texts.FIELD_HEADS_HELP, needed=True),
    _THEME,
    *_WISHES,
)
REWRITE = (Field(title=texts.FIELD_PART, help=texts.FIELD_PART_HELP, needed=True), _POEM)
CHECK = (_POEM,)
CARD = (
    Field(
        title=texts.FIELD_PAPER,
        help=texts.FIELD_PAPER_HELP,
        choices=(
            Choice(word="paper", title=texts.CHOICE_PAPER),
            Choice(word="ink", title=texts.CHOICE_INK),
        ),
    ),
    Field(
        title=texts.FIELD_RATIO,
        help=texts.FIELD_RATIO_HELP,
        choices=(_same("3:4"), _same("1:1")),
    ),
)
STYLE = (
    Field(
        title=texts.FIELD_CELL,
        help=texts.FIELD_CELL_HELP,
        choices=tuple(_same(cell.value) for cell in Cell),
    ),
    Field(title=texts.FIELD_TEMPERATURE, help=texts.FIELD_TEMPERATURE_HELP),
    Field(
        title=texts.FIELD_FORM,
        help=texts.FIELD_FORM_HELP,
        choices=(*_FORM.choices, Choice(word="any", title=texts.ANY_FORM)),
    ),
)
LANG = (
    Field(
        title=texts.FIELD_LANGUAGE,
        help=texts.FIELD_LANGUAGE_HELP,
        needed=True,
        choices=(
            _same("zh"),
            _same("zh-Hant"),
            _same("en"),
            Choice(word="auto", title=texts.CHOICE_EACH_THEIR_OWN),
        ),
    ),
)
SCRIPT = (
    Field(
        title=texts.FIELD_SCRIPT,
        help=texts.FIELD_SCRIPT_HELP,
        needed=True,
        choices=(
            Choice(word="simplified", title=texts.CHOICE_SIMPLIFIED),
            Choice(word="traditional", title=texts.CHOICE_TRADITIONAL),
            Choice(word="auto", title=texts.CHOICE_EACH_THEIR_OWN),
        ),
    ),
)
DAILY = (
    Field(title=texts.FIELD_TIME, help=texts.FIELD_TIME_HELP),
    Field(title=texts.FIELD_ZONE, help=texts.FIELD_ZONE_HELP),
)
TOP = (
    Field(
        title=texts.FIELD_PERIOD,
        help=texts.FIELD_PERIOD_HELP,
        choices=(
            Choice(word="day", title=texts.CHOICE_DAY),
            Choice(word="week", title=texts.CHOICE_WEEK),
            Choice(word="month", title=texts.CHOICE_MONTH),
            Choice(word="all", title=texts.CHOICE_ALL),
        ),
    ),
)
ROLLBACK = (STYLE[0],)
CURATE = (
    Field(
        title=texts.FIELD_ADMINS,
        help=texts.FIELD_ADMINS_HELP,
        needed=True,
        choices=(
            Choice(word="on", title=texts.CHOICE_ON),
            Choice(word="off", title=texts.CHOICE_OFF),
        ),
    ),
)
