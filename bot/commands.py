"""Text becomes a request or a polite refusal. Nothing here knows a platform, Redis or a model.

Each command is declared once, in `COMMANDS`: its name, what it takes, what it says of itself, and
the function that reads its arguments. Platforms render that table to their own menus.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from random import Random

from bot import texts
from bot.language import Language, Script, script_for
from bot.seasons import seasonal_character
from bot.style import TEMPERATURE_MAX, TEMPERATURE_MIN, Style, describe, form_title
from bot.texts import Text
from engine.jobs import Cell
from engine.verse.forms import FORMS, FormName
from engine.verse.plan import Fault, admits, explain_refusal
from engine.verse.script import clean, fold, is_han
from engine.verse.tones import Tone, readings

OPENING_MAX = max(form.line_length for form in FORMS.values())
"""Characters of the longest line, and so of the longest opening."""

_ARGUMENTS_MAX = 200
"""Characters after a command that are looked at: more than any opening with a form needs."""
_PUNCTUATION = frozenset("，。！？、；：…—·「」『』《》“”‘’()[],.!?;:\"'")
_NUMBER = re.compile(r"\d{1,4}([.,]\d{0,4})?|[.,]\d{1,4}")
_NO_FORM = frozenset({"any", "不限", "隨意"})
_FIRST_FORMS = (FormName.WUJUE, FormName.QIJUE)
"""Short forms first, where nobody chose one: they are what a chat reads at a glance."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a line of text has to be understood in."""

    language: Language
    """The person's language."""
    style: Style
    """The chat's style."""
    cells: frozenset[Cell]
    """The models that run now; empty where nobody knows."""
    today: date
    """For the season."""
    seed: int
    """Decides whatever is left open, so that the same message is understood the same way."""
    direct: bool = True
    """Whether the person speaks to the bot alone; in company only commands are meant for it."""
    bot_name: str = ""
    """What stands after the @ in `/poem@name`."""


@dataclass(frozen=True, kw_only=True)
class PoemRequest:
    """A poem is wanted."""

    opening: str
    """Han characters it must begin with, in the form under which Unicode unites them."""
    glyphs: str
    """The same characters exactly as they were typed."""
    form: FormName
    """The form to write in; it admits the opening."""
    script: Script
    """The script to show the poem in."""


@dataclass(frozen=True, kw_only=True)
class StyleRequest:
    """The chat's style is to be changed."""

    style: Style
    """The style as it shall be."""
    answer: str
    """What to say once it is."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that is wanted is something to read."""

    text: str
    """The answer in the person's language."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What is wanted cannot be."""

    text: str
    """One line in the person's language: what was wrong, and what to do."""


Request = PoemRequest | StyleRequest | Answer | Refusal


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command, as every platform offers it."""

    name: str
    """What stands after the slash, in Latin letters."""
    aliases: tuple[str, ...] = ()
    """Chinese names, which platforms do not list but people type."""
    arguments: Text | None = None
    """What may follow it, for the help."""
    help: Text
    """What it does, in a few words."""
    read: Callable[[str, Situation], Request]
    """Reads what follows it."""


def understand(text: str, situation: Situation) -> Request | None:
    """What `text` asks for; None if it is not meant for this bot. Never raises."""
    head, arguments = _split_head(text)
    if not head.startswith("/"):
        return _refuse(texts.NOT_A_COMMAND, situation) if situation.direct else None
    found = _HEAD.fullmatch(head)
    name, addressee, attached = found.groups() if found else ("", None, "")
    if addressee and addressee.casefold() != situation.bot_name.casefold():
        return None
    command = _BY_NAME.get(name.casefold())
    if command is None:
        meant = situation.direct or addressee
        return _refuse(texts.UNKNOWN_COMMAND, situation) if meant else None
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        return _refuse(texts.BROKEN_TEXT, situation)
    return command.read(f"{attached} {arguments}".strip(), situation)


def is_command(text: str) -> bool:
    """Whether `text` is a command of some bot; in company, nothing else concerns us."""
    return _split_head(text)[0].startswith("/")


def load_tables() -> None:
    """Load what the first request would wait for: the dictionary of tones and rhymes, a second."""
    readings("月")


def _split_head(text: str) -> tuple[str, str]:
    """The first word, full-width forms made usual, and all that follows it as it is."""
    head, arguments = (*text.split(maxsplit=1), "", "")[:2]
    return clean(head[:_ARGUMENTS_MAX]), arguments


def _refuse(text: Text, situation: Situation, **values: object) -> Refusal:
    return Refusal(text=text.say(situation.language, **values))


# --- /start, /help -------------------------------------------------------------------------


def _read_start(_arguments: str, situation: Situation) -> Request:
    return Answer(text=texts.WELCOME.say(situation.language))


def _read_help(_arguments: str, situation: Situation) -> Request:
    language = situation.language
    lines = [texts.HELP_HEADING.say(language)]
    for command in COMMANDS:
        arguments = f" {command.arguments.say(language)}" if command.arguments else ""
        lines.append(f"/{command.name}{arguments} — {command.help.say(language)}")
    return Answer(text="\n".join(lines))


# --- /poem ---------------------------------------------------------------------------------


def _read_poem(arguments: str, situation: Situation) -> Request:
    if len(arguments) > _ARGUMENTS_MAX:
        return _refuse(texts.OPENING_TOO_LONG, situation, most=OPENING_MAX)
    words = arguments.split()
    named = [forms for word in words if (forms := _forms_named(word))]
    asked = [form for form in FormName if all(form in forms for forms in named)]
    if not asked:
        return _refuse(texts.TWO_FORMS, situation)
    glyphs = _glyphs("".join(word for word in words if not _forms_named(word)))
    if glyphs is None:
        return _refuse(texts.NOT_CHINESE, situation)
    if len(glyphs) > OPENING_MAX:
        return _refuse(texts.OPENING_TOO_LONG, situation, most=OPENING_MAX)
    typed = "".join(glyphs)
    script = script_for(typed, situation.language)
    typed = typed or seasonal_character(situation.today, situation.seed)
    return _fit(typed, script, _by_preference(asked, situation), situation)


def _glyphs(text: str) -> list[str] | None:
    """The characters of an opening as typed, punctuation left out; None if any is not Chinese.

    Variation selectors and other invisible characters fall away with the punctuation.
    """
    glyphs = []
    for glyph in text:
        seen = clean(glyph)
        if is_han(seen):
            glyphs.append(glyph)
        elif not all(char in _PUNCTUATION for char in seen):
            return None
    return glyphs


def _by_preference(asked: Sequence[FormName], situation: Situation) -> list[FormName]:
    """The forms in the order in which to try them: the chat's own, then short ones, by chance."""
    shuffled = Random(situation.seed).sample(asked, len(asked))
    return sorted(
        shuffled, key=lambda form: (form != situation.style.form, form not in _FIRST_FORMS)
    )


def _fit(
    typed: str, script: Script, forms: Sequence[FormName], situation: Situation
) -> PoemRequest | Refusal:
    """The first of `forms` that the opening fits, or why it fits none."""
    opening = "".join(map(clean, typed))
    long_enough = [form for form in forms if FORMS[form].line_length >= len(opening)]
    if not long_enough:
        return _refuse(
            texts.LINE_TOO_SHORT,
            situation,
            form=form_title(FORMS[forms[0]], situation.language),
            length=FORMS[forms[0]].line_length,
        )
    given = {place: readings(char) for place, char in enumerate(opening)}
    for form in long_enough:
        if admits(form, given):
            return PoemRequest(opening=opening, glyphs=typed, form=form, script=script)
    return _refuse_opening(typed, long_enough[0], situation)


def _refuse_opening(typed: str, form: FormName, situation: Situation) -> Refusal:
    language = situation.language
    error = explain_refusal(form, {place: readings(char) for place, char in enumerate(typed)})
    title = form_title(error.form, language)
    if error.place is None or error.fault is not Fault.TONE:
        return _refuse(texts.RHYME_IMPOSSIBLE, situation, form=title)
    tone = texts.LEVEL_TONE if error.wanted is Tone.LEVEL else texts.OBLIQUE_TONE
    return _refuse(
        texts.TONE_MISPLACED,
        situation,
        form=title,
        place=error.place + 1,
        char=typed[error.place],
        tone=tone.say(language),
    )


def _form_words() -> Iterator[tuple[str, FormName]]:
    """Each word for a form or a family of forms, folded: 七律, 七言律詩, qilu, 七言, 律詩."""
    for name, form in FORMS.items():
        length, lines = form.title[:2], form.title[2:]
        for word in (name, form.title, length[0] + lines[0], length, lines):
            yield word, name
        yield ("wuyan" if form.line_length == 5 else "qiyan"), name
        yield ("jueju" if form.lines == 4 else "lushi"), name


def _gather(pairs: Iterable[tuple[str, FormName]]) -> dict[str, frozenset[FormName]]:
    gathered: dict[str, frozenset[FormName]] = {}
    for word, name in pairs:
        gathered[word] = gathered.get(word, frozenset()) | {name}
    return gathered


_FORMS_BY_WORD = _gather(_form_words())
_FORM_WORD_MAX = max(map(len, _FORMS_BY_WORD))


def _forms_named(word: str) -> frozenset[FormName]:
    """The forms that `word` names, in either script; none if it is no word for a form."""
    return _FORMS_BY_WORD.get(_folded(word), frozenset())


def _folded(word: str) -> str:
    """`word` as the tables know it; long words are in none of them."""
    if len(word) > _FORM_WORD_MAX:
        return ""
    return "".join(map(fold, clean(word))).casefold()


# --- /style --------------------------------------------------------------------------------


def _read_style(arguments: str, situation: Situation) -> Request:
    words = arguments[:_ARGUMENTS_MAX].split()
    if not words:
        return Answer(text=describe(texts.STYLE_SHOWN, situation.style, situation.language))
    style = situation.style
    for word in words:
        changed = _change(style, _folded(word), situation)
        if isinstance(changed, Refusal):
            return changed
        style = changed
    answer = describe(texts.STYLE_CHANGED, style, situation.language)
    return StyleRequest(style=style, answer=answer)


def _change(style: Style, word: str, situation: Situation) -> Style | Refusal:
    """`style` with what `word` says changed."""
    forms = _forms_named(word)
    if word in frozenset(Cell):
        return _change_cell(style, Cell(word), situation)
    if _NUMBER.fullmatch(word):
        return _change_temperature(style, float(word.replace(",", ".")), situation)
    if len(forms) == 1:
        return replace(style, form=next(iter(forms)))
    if word in _NO_FORM:
        return replace(style, form=None)
    return _refuse(
        texts.STYLE_UNCLEAR,
        situation,
        cells=_listed(situation.cells or Cell),
        low=TEMPERATURE_MIN,
        high=TEMPERATURE_MAX,
    )


def _change_cell(style: Style, cell: Cell, situation: Situation) -> Style | Refusal:
    if situation.cells and cell not in situation.cells:
        return _refuse(texts.CELL_NOT_RUNNING, situation, cell=cell, cells=_listed(situation.cells))
    return replace(style, cell=cell)


def _change_temperature(style: Style, temperature: float, situation: Situation) -> Style | Refusal:
    if not TEMPERATURE_MIN <= temperature <= TEMPERATURE_MAX:
        return _refuse(
            texts.TEMPERATURE_OUT_OF_RANGE, situation, low=TEMPERATURE_MIN, high=TEMPERATURE_MAX
        )
    return replace(style, temperature=temperature)


def _listed(cells: Iterable[Cell]) -> str:
    """The cells in their usual order."""
    chosen = set(cells)
    return ", ".join(cell for cell in Cell if cell in chosen)


COMMANDS: tuple[Command, ...] = (
    Command(
        name="poem",
        aliases=("诗", "詩"),
        arguments=texts.ARGUMENTS_POEM,
        help=texts.HELP_POEM,
        read=_read_poem,
    ),
    Command(
        name="style",
        aliases=("风格", "風格"),
        arguments=texts.ARGUMENTS_STYLE,
        help=texts.HELP_STYLE,
        read=_read_style,
    ),
    Command(name="help", aliases=("帮助", "幫助"), help=texts.HELP_HELP, read=_read_help),
    Command(name="start", help=texts.HELP_START, read=_read_start),
)
"""Every command, in the order in which menus show them."""

_BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}
# People who write Chinese leave no space: in /诗月 and /poem月 the name ends where it is complete.
_HEAD = re.compile(
    rf"/([a-z_]+|{'|'.join(name for name in _BY_NAME if not name.isascii())})(?:@(\w+))?(.*)",
    re.IGNORECASE | re.DOTALL,
)
