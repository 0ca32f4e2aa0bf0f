"""Text becomes a request or a polite refusal. Nothing here knows a platform, Redis or a model.

Each command is declared once, in `COMMANDS`: its name, what it takes, what it says of itself, and
the function that reads its arguments. Platforms render that table to their own menus.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from bot import texts
from bot.asking import read_acrostic_request, read_poem_request
from bot.inspection import read_check_request
from bot.links import read_payload
from bot.picturing import read_card_request
from bot.preferences import read_language_request, read_script_request, read_style_request
from bot.quotation import TEXT_MAX
from bot.requests import (
    Answer,
    PickRequest,
    Request,
    Role,
    Situation,
    refuse,
)
from bot.rewriting import read_rewrite_request
from bot.styled import SpanKind, in_style, joined
from bot.texts import Text
from bot.wording import number_of
from engine.verse.script import clean
from engine.verse.tones import readings

_PICK_MAX = 16
_PICK = re.compile(r"第?(\d{1,4}|[一二三四五六七八九十])首?[.。]?")


@dataclass(frozen=True, kw_only=True)
class Menu:
    """A command as it stands in the menu of a message, on platforms that have such menus."""

    title: Text
    """What it is called there."""
    asks: Text | None = None
    """What it has to be told besides, for it to ask; None where the message says it all."""


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
    audience: Role = Role.ANYONE
    """Whom menus show it to; who may have it granted, its request says."""
    speaks_of_a_poem: bool = False
    """Whether it can be about a poem that is there already."""
    menu: Menu | None = None
    """How it is offered for a message with a poem in it, if it is."""


def understand(text: str, situation: Situation) -> Request | None:
    """What `text` asks for; None if it is not meant for this bot. Never raises."""
    head, arguments = _split_head(text)
    if not head.startswith("/"):
        return _read_other(text, situation) if situation.direct else None
    found = _HEAD.fullmatch(head)
    name, addressee, attached = found.groups() if found else ("", None, "")
    if addressee and addressee.casefold() != situation.bot_name.casefold():
        return None
    command = _BY_NAME.get(name.casefold())
    if command is None:
        meant = situation.direct or addressee
        return refuse(texts.UNKNOWN_COMMAND, situation) if meant else None
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        return refuse(texts.BROKEN_TEXT, situation)
    return command.read(f"{attached} {arguments}".strip(), situation)


def is_command(text: str) -> bool:
    """Whether `text` is a command of some bot; in company, nothing else concerns us."""
    return _split_head(text)[0].startswith("/")


def speaks_of_a_poem(text: str) -> bool:
    """Whether `text` may be about poems shown before, so that `Situation` should tell of them."""
    head = _split_head(text)[0]
    found = _HEAD.fullmatch(head)
    command = _BY_NAME.get(found[1].casefold()) if found else None
    return command.speaks_of_a_poem if command else _PICK.fullmatch(head) is not None


def load_tables() -> None:
    """Load what the first request would wait for: the dictionary of tones and rhymes, a second."""
    readings("月")


def _split_head(text: str) -> tuple[str, str]:
    """The first word, full-width forms made usual, and all that follows it as it is."""
    head, arguments = (*text.split(maxsplit=1), "", "")[:2]
    # More than a name with what any command reads, so that what is too long is seen to be.
    return clean(head[: 2 * TEXT_MAX]), arguments


def _read_other(text: str, situation: Situation) -> Request:
    """What is no command: the number of a poem, where there are some to pick from."""
    found = _PICK.fullmatch(clean(text.strip()[:_PICK_MAX]))
    if found is None or situation.choice is None:
        return refuse(texts.NOT_A_COMMAND, situation)
    number = number_of(found[1])
    if not 1 <= number <= situation.choice.count:
        return refuse(texts.PICK_OUT_OF_RANGE, situation, most=situation.choice.count)
    return PickRequest(job=situation.choice.job, number=number)


# --- /start, /help -------------------------------------------------------------------------


def _read_start(arguments: str, situation: Situation) -> Request:
    """A greeting; or what the link says that the person opened."""
    linked = read_payload(arguments)
    command = _BY_NAME.get(linked.command) if linked else None
    if linked is None or command is None:
        return Answer(text=texts.WELCOME.say(situation.language))
    return command.read(linked.arguments, situation)


def _read_help(_arguments: str, situation: Situation) -> Request:
    language = situation.language
    lines = []
    for command in COMMANDS:
        arguments = f" {command.arguments.say(language)}" if command.arguments else ""
        lines.append(f"/{command.name}{arguments} — {command.help.say(language)}")
    heading = in_style(SpanKind.BOLD, texts.HELP_HEADING.say(language))
    told = joined([heading, *lines], by="\n")
    return Answer(text=told.text, spans=told.spans)


COMMANDS: tuple[Command, ...] = (
    Command(
        name="poem",
        aliases=("诗", "詩"),
        arguments=texts.ARGUMENTS_POEM,
        help=texts.HELP_POEM,
        read=read_poem_request,
    ),
    Command(
        name="acrostic",
        aliases=("藏头", "藏頭"),
        arguments=texts.ARGUMENTS_ACROSTIC,
        help=texts.HELP_ACROSTIC,
        read=read_acrostic_request,
    ),
    Command(
        name="rewrite",
        aliases=("改", "改写", "改寫"),
        arguments=texts.ARGUMENTS_REWRITE,
        help=texts.HELP_REWRITE,
        read=read_rewrite_request,
        speaks_of_a_poem=True,
        menu=Menu(title=texts.MENU_REWRITE, asks=texts.MENU_REWRITE_WHAT),
    ),
    Command(
        name="check",
        aliases=("格律", "检查", "檢查"),
        arguments=texts.ARGUMENTS_CHECK,
        help=texts.HELP_CHECK,
        read=read_check_request,
        speaks_of_a_poem=True,
        menu=Menu(title=texts.MENU_CHECK),
    ),
    Command(
        name="card",
        aliases=("诗笺", "詩箋"),
        arguments=texts.ARGUMENTS_CARD,
        help=texts.HELP_CARD,
        read=read_card_request,
        menu=Menu(title=texts.MENU_CARD),
    ),
    Command(
        name="style",
        aliases=("风格", "風格"),
        arguments=texts.ARGUMENTS_STYLE,
        help=texts.HELP_STYLE,
        read=read_style_request,
    ),
    Command(
        name="lang",
        aliases=("语言", "語言"),
        arguments=texts.ARGUMENTS_LANG,
        help=texts.HELP_LANG,
        read=read_language_request,
        audience=Role.ADMIN,
    ),
    Command(
        name="script",
        aliases=("字体", "字體"),
        arguments=texts.ARGUMENTS_SCRIPT,
        help=texts.HELP_SCRIPT,
        read=read_script_request,
        audience=Role.ADMIN,
    ),
    Command(name="help", aliases=("帮助", "幫助"), help=texts.HELP_HELP, read=_read_help),
    Command(name="start", help=texts.HELP_START, read=_read_start),
)
"""Every command, in the order in which menus show them."""

_BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}
# People who write Chinese leave no space: in /诗月 and /poem月 the name ends where it is complete.
# Long names come first, for 改 begins 改写.
_CHINESE_NAMES = sorted((name for name in _BY_NAME if not name.isascii()), key=len, reverse=True)
_HEAD = re.compile(
    rf"/([a-z_]+|{'|'.join(_CHINESE_NAMES)})(?:@(\w+))?(.*)",
    re.IGNORECASE | re.DOTALL,
)
