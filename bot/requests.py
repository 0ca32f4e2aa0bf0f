"""What a line of text is understood in, and what it can turn out to ask for."""

from dataclasses import dataclass
from datetime import date
from enum import Enum, auto
from typing import ClassVar

from bot.cards.card import Ratio, Theme
from bot.language import Language, Script
from bot.style import Style
from bot.styled import Span
from bot.texts import Text
from engine.jobs import Cell
from engine.verse.forms import FormName


class Role(Enum):
    """Who may have a request granted."""

    ANYONE = auto()
    """Everybody."""
    ADMIN = auto()
    """Those who run the chat; alone with the bot, everybody."""
    CURATOR = auto()
    """Those whose ratings train the model: named by the operator, or admins of a chat that
    opted in."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Several poems that a chat was shown to choose from."""

    job: str
    """The job that wrote them."""
    count: int
    """How many they are."""


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
    poem: str | None = None
    """The text that the person speaks of: what they reply to, or the last poem shown to them."""
    choice: Choice | None = None
    """The poems that the person may pick from by a bare number."""


@dataclass(frozen=True, kw_only=True)
class PoemRequest:
    """A poem is wanted."""

    opening: str = ""
    """Han characters it must begin with, in the form under which Unicode unites them."""
    frame: str = ""
    """What else is fixed (`engine.verse.frame`), in the same form; then `opening` is empty."""
    glyphs: str = ""
    """Opening or frame exactly as it was typed."""
    form: FormName
    """The form to write in; it admits what is fixed."""
    script: Script
    """The script to show the poem in."""
    rhyme: str | None = None
    """The rhyme group wanted; None leaves it to the engine."""
    theme: str = ""
    """Han characters that say what the poem shall be about."""
    unlike: str = ""
    """The characters of the poem that is to be rewritten."""
    count: int = 1
    """How many poems are wanted to choose from."""


@dataclass(frozen=True, kw_only=True)
class StyleRequest:
    """The chat's style is to be changed."""

    role: ClassVar[Role] = Role.ADMIN
    style: Style
    """The style as it shall be."""
    answer: str
    """What to say once it is."""


@dataclass(frozen=True, kw_only=True)
class LanguageRequest:
    """The language spoken in a chat is to be changed."""

    role: ClassVar[Role] = Role.ADMIN
    language: Language | None
    """The language for everybody; None speaks each person's own again."""


@dataclass(frozen=True, kw_only=True)
class ScriptRequest:
    """The script of a chat's poems is to be changed."""

    role: ClassVar[Role] = Role.ADMIN
    script: Script | None
    """The script of all poems; None lets each request decide again."""


@dataclass(frozen=True, kw_only=True)
class PickRequest:
    """One of several poems is chosen."""

    job: str
    """The job that wrote them."""
    number: int
    """Which, from 1."""


@dataclass(frozen=True, kw_only=True)
class CardRequest:
    """The picture of a poem that is shown is wanted."""

    theme: Theme
    """What it is written on."""
    ratio: Ratio
    """Width to height."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All that is wanted is something to read."""

    text: str
    """The answer in the person's language."""
    spans: tuple[Span, ...] = ()
    """The parts of it that are shown in a style."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What is wanted cannot be."""

    text: str
    """One line in the person's language: what was wrong, and what to do."""


Request = (
    PoemRequest
    | StyleRequest
    | LanguageRequest
    | ScriptRequest
    | PickRequest
    | CardRequest
    | Answer
    | Refusal
)


def role_for(request: Request) -> Role:
    """Who may have `request` granted."""
    return getattr(request, "role", Role.ANYONE)


def refuse(text: Text, situation: Situation, **values: object) -> Refusal:
    """The refusal that says `text`."""
    return Refusal(text=text.say(situation.language, **values))
