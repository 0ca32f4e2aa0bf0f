"""Text becomes a request or a polite refusal. Nothing here knows a platform, Redis or a model.

Each command is declared once, in `COMMANDS`: its name, what it takes, what it says of itself, and
the function that reads its arguments. Platforms render that table to their own menus.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from bot import fields, texts
from bot.asking import read_acrostic_request, read_poem_request
from bot.browsing import read_mine_request, read_model_request, read_top_request
from bot.buttons import Verb
from bot.curation import (
    read_curate_request,
    read_review_request,
    read_rollback_request,
    read_stats_request,
)
from bot.fields import Field
from bot.inspection import read_check_request
from bot.links import read_payload
from bot.picturing import read_card_request
from bot.preferences import read_language_request, read_script_request, read_style_request
from bot.privacy import read_export_request, read_forget_request, read_privacy_request
from bot.quotation import TEXT_MAX
from bot.requests import (
    Answer,
    PickRequest,
    Refusal,
    Request,
    Role,
    Situation,
    Where,
    refuse,
)
from bot.rewriting import read_rewrite_request
from bot.scheduling import read_daily_request
from bot.styled import SpanKind, in_style, joined
from bot.texts import Text
from bot.wording import number_of
from bot.zones import find_zone
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
    """Whom menus and help show it to; who may have it granted, its request says."""
    speaks_of_a_poem: bool = False
    """Whether it can be about a poem that is there already."""
    fields: tuple[Field, ...] = ()
    """What may follow it, one thing at a time; those that are needed first."""
    menu: Menu | None = None
    """How it is offered for a message with a poem in it, if it is."""
    where: Where = Where.ANYWHERE
    """Where it can be given."""


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
    return _misplaced(command, situation) or command.read(
        f"{attached} {arguments}".strip(), situation
    )


def _misplaced(command: Command, situation: Situation) -> Refusal | None:
    """Why `command` cannot be given here; None where it can."""
    if command.where is Where.COMPANY and situation.direct:
        return refuse(texts.IN_COMPANY_ONLY, situation)
    if command.where is not Where.ALONE or situation.direct or situation.whispers:
        return None
    if not situation.private_link:
        return refuse(texts.ALONE_ONLY, situation, command=command.name)
    link = f"{situation.private_link}{command.name}"
    return refuse(texts.ALONE_ONLY_AT, situation, link=link)


def is_command(text: str) -> bool:
    """Whether `text` is a command of some bot; in company, nothing else concerns us."""
    return _split_head(text)[0].startswith("/")


def speaks_of_a_poem(text: str) -> bool:
    """Whether `text` may be about poems shown before, so that `Situation` should tell of them."""
    head = _split_head(text)[0]
    command = _command_in(head)
    return command.speaks_of_a_poem if command else _PICK.fullmatch(head) is not None


def name_of(text: str) -> str:
    """Which of `COMMAND_NAMES` tells what `text` is."""
    head = _split_head(text)[0]
    command = _command_in(head)
    if command is not None:
        return command.name
    return Verb.PICK if _PICK.fullmatch(head) else UNKNOWN


def load_tables() -> None:
    """Load what first requests would wait for: the dictionary of tones, a second; time zones."""
    readings("月")
    find_zone("")


def _split_head(text: str) -> tuple[str, str]:
    """The first word, full-width forms made usual, and all that follows it as it is."""
    head, arguments = (*text.split(maxsplit=1), "", "")[:2]
    # More than a name with what any command reads, so that what is too long is seen to be.
    return clean(head[: 2 * TEXT_MAX]), arguments


def _command_in(head: str) -> Command | None:
    """The command that a first word gives, whoever it is for."""
    found = _HEAD.fullmatch(head)
    return _BY_NAME.get(found[1].casefold()) if found else None


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
    return _misplaced(command, situation) or command.read(linked.arguments, situation)


def _read_help(_arguments: str, situation: Situation) -> Request:
    language = situation.language
    lines = []
    for command in OFFERED:
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
        fields=fields.POEM,
        help=texts.HELP_POEM,
        read=read_poem_request,
    ),
    Command(
        name="acrostic",
        aliases=("藏头", "藏頭"),
        arguments=texts.ARGUMENTS_ACROSTIC,
        fields=fields.ACROSTIC,
        help=texts.HELP_ACROSTIC,
        read=read_acrostic_request,
    ),
    Command(
        name="rewrite",
        aliases=("改", "改写", "改寫"),
        arguments=texts.ARGUMENTS_REWRITE,
        fields=fields.REWRITE,
        help=texts.HELP_REWRITE,
        read=read_rewrite_request,
        speaks_of_a_poem=True,
        menu=Menu(title=texts.MENU_REWRITE, asks=texts.MENU_REWRITE_WHAT),
    ),
    Command(
        name="check",
        aliases=("格律", "检查", "檢查"),
        arguments=texts.ARGUMENTS_CHECK,
        fields=fields.CHECK,
        help=texts.HELP_CHECK,
        read=read_check_request,
        speaks_of_a_poem=True,
        menu=Menu(title=texts.MENU_CHECK),
    ),
    Command(
        name="card",
        aliases=("诗笺", "詩箋"),
        arguments=texts.ARGUMENTS_CARD,
        fields=fields.CARD,
        help=texts.HELP_CARD,
        read=read_card_request,
        menu=Menu(title=texts.MENU_CARD),
    ),
    Command(
        name="style",
        aliases=("风格", "風格"),
        arguments=texts.ARGUMENTS_STYLE,
        fields=fields.STYLE,
        help=texts.HELP_STYLE,
        read=read_style_request,
    ),
    Command(
        name="daily",
        aliases=("每日", "每日一诗", "每日一詩"),
        arguments=texts.ARGUMENTS_DAILY,
        fields=fields.DAILY,
        help=texts.HELP_DAILY,
        read=read_daily_request,
    ),
    Command(
        name="lang",
        aliases=("语言", "語言"),
        arguments=texts.ARGUMENTS_LANG,
        fields=fields.LANG,
        help=texts.HELP_LANG,
        read=read_language_request,
        audience=Role.ADMIN,
    ),
    Command(
        name="script",
        aliases=("字体", "字體"),
        arguments=texts.ARGUMENTS_SCRIPT,
        fields=fields.SCRIPT,
        help=texts.HELP_SCRIPT,
        read=read_script_request,
        audience=Role.ADMIN,
    ),
    Command(
        name="top",
        aliases=("榜", "排行"),
        arguments=texts.ARGUMENTS_TOP,
        fields=fields.TOP,
        help=texts.HELP_TOP,
        read=read_top_request,
    ),
    Command(
        name="mine",
        aliases=("我的", "我的诗", "我的詩"),
        help=texts.HELP_MINE,
        read=read_mine_request,
        where=Where.ALONE,
    ),
    Command(
        name="model",
        aliases=("模型",),
        help=texts.HELP_MODEL,
        read=read_model_request,
    ),
    Command(
        name="review",
        aliases=("评选", "評選"),
        help=texts.HELP_REVIEW,
        read=read_review_request,
        audience=Role.CURATOR,
    ),
    Command(
        name="stats",
        aliases=("统计", "統計"),
        help=texts.HELP_STATS,
        read=read_stats_request,
        audience=Role.CURATOR,
    ),
    Command(
        name="rollback",
        aliases=("回退",),
        arguments=texts.ARGUMENTS_ROLLBACK,
        fields=fields.ROLLBACK,
        help=texts.HELP_ROLLBACK,
        read=read_rollback_request,
        audience=Role.APPOINTED,
    ),
    Command(
        name="curate",
        aliases=("编选", "編選"),
        arguments=texts.ARGUMENTS_CURATE,
        fields=fields.CURATE,
        help=texts.HELP_CURATE,
        read=read_curate_request,
        audience=Role.ADMIN,
        where=Where.COMPANY,
    ),
    Command(
        name="privacy",
        aliases=("隐私", "隱私"),
        help=texts.HELP_PRIVACY,
        read=read_privacy_request,
        where=Where.ALONE,
    ),
    Command(
        name="export",
        aliases=("导出", "匯出"),
        help=texts.HELP_EXPORT,
        read=read_export_request,
        where=Where.ALONE,
    ),
    Command(
        name="forget",
        aliases=("忘记我", "忘記我"),
        help=texts.HELP_FORGET,
        read=read_forget_request,
        where=Where.ALONE,
    ),
    Command(name="help", aliases=("帮助", "幫助"), help=texts.HELP_HELP, read=_read_help),
    Command(name="start", help=texts.HELP_START, read=_read_start),
)
"""Every command, in the order in which menus show them."""

OFFERED = tuple(
    command for command in COMMANDS if command.audience not in {Role.CURATOR, Role.APPOINTED}
)
"""The commands that everybody is told of."""

UNKNOWN = "unknown"
"""The name of what is no command."""

COMMAND_NAMES = (*(command.name for command in COMMANDS), Verb.PICK, UNKNOWN)
"""What a line can be, by name; the number of a poem is called like the button for it."""

_BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}
# People who write Chinese leave no space: in /诗月 and /poem月 the name ends where it is complete.
# Long names come first, for 改 begins 改写.
_CHINESE_NAMES = sorted((name for name in _BY_NAME if not name.isascii()), key=len, reverse=True)
_HEAD = re.compile(
    rf"/([a-z_]+|{'|'.join(_CHINESE_NAMES)})(?:@(\w+))?(.*)",
    re.IGNORECASE | re.DOTALL,
)
