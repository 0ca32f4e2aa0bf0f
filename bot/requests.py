"""What a line of text is understood in, and what it can turn out to ask for."""

from dataclasses import dataclass
from datetime import date, time
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
    APPOINTED = auto()
    """Curators named by the operator."""


class Where(Enum):
    """Where a command can be given."""

    ANYWHERE = auto()
    """Wherever the bot is."""
    ALONE = auto()
    """Alone with the bot, or in company where the platform can show the answer to one person."""
    COMPANY = auto()
    """In company: alone with the bot it would mean nothing."""


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
    whispers: bool = False
    """Whether the platform can show an answer to one person in company."""
    private_link: str = ""
    """The address that opens a chat with the bot alone, up to the command to begin with; empty
    where the platform has none."""
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
class DailyRequest:
    """A poem a day is wanted in this chat or topic, or at another time."""

    role: ClassVar[Role] = Role.ADMIN
    at: time | None
    """The wall time; None keeps the present one."""
    zone: str | None
    """The zone of that time, by its IANA name; None keeps the chat's last."""


@dataclass(frozen=True, kw_only=True)
class DailyStopRequest:
    """No more poem a day is wanted in this chat or topic."""

    role: ClassVar[Role] = Role.ADMIN


@dataclass(frozen=True, kw_only=True)
class DailyShowRequest:
    """Somebody wants to know when this chat or topic gets its poem of the day."""


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


class Period(Enum):
    """How far back a leaderboard looks."""

    DAY = auto()
    """A day."""
    WEEK = auto()
    """Seven days."""
    MONTH = auto()
    """Thirty days."""
    ALL = auto()
    """To the first poem."""


@dataclass(frozen=True, kw_only=True)
class TopRequest:
    """The best poems of the chat are wanted."""

    period: Period
    """Of when."""


@dataclass(frozen=True, kw_only=True)
class MineRequest:
    """Somebody wants to see the poems that they asked for or liked."""


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """Somebody wants to know which models write."""


@dataclass(frozen=True, kw_only=True)
class ReviewRequest:
    """A curator wants to rate poems, one after the other."""

    role: ClassVar[Role] = Role.CURATOR


@dataclass(frozen=True, kw_only=True)
class CurateRequest:
    """The admins of a chat shall be curators of its poems, or no longer."""

    role: ClassVar[Role] = Role.ADMIN
    on: bool
    """Whether they shall."""


@dataclass(frozen=True, kw_only=True)
class StatsRequest:
    """A curator wants to know how the anthology fares."""

    role: ClassVar[Role] = Role.CURATOR


@dataclass(frozen=True, kw_only=True)
class RollbackRequest:
    """A curator wants the model back that wrote before."""

    role: ClassVar[Role] = Role.APPOINTED
    cell: Cell
    """The family of the model."""


@dataclass(frozen=True, kw_only=True)
class PrivacyRequest:
    """Somebody wants to know what is kept about them."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Somebody wants to have all that is kept about them."""


@dataclass(frozen=True, kw_only=True)
class ForgetRequest:
    """Somebody wants all that is kept about them to be deleted."""


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
    | DailyRequest
    | DailyStopRequest
    | DailyShowRequest
    | PickRequest
    | CardRequest
    | TopRequest
    | MineRequest
    | ModelRequest
    | ReviewRequest
    | CurateRequest
    | StatsRequest
    | RollbackRequest
    | PrivacyRequest
    | ExportRequest
    | ForgetRequest
    | Answer
    | Refusal
)


def role_for(request: Request) -> Role:
    """Who may have `request` granted."""
    return getattr(request, "role", Role.ANYONE)


def refuse(text: Text, situation: Situation, **values: object) -> Refusal:
    """The refusal that says `text`."""
    return Refusal(text=text.say(situation.language, **values))
