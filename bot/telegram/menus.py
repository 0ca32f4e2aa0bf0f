"""What Telegram shows of the bot unasked: the menus of commands, and what it says of itself.

Telegram knows languages by two letters only, so readers of both scripts share the Chinese texts.
It is told only what changed: it takes such calls seldom, and answers too many of them by a wait of
hours.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from redis.asyncio import Redis
from telegram import (
    Bot,
    BotCommand,
    BotCommandScope,
    BotCommandScopeAllChatAdministrators,
    BotCommandScopeAllGroupChats,
    BotCommandScopeAllPrivateChats,
    BotCommandScopeChat,
    BotCommandScopeDefault,
)
from telegram.error import TelegramError

from bot import keys, texts
from bot.commands import COMMANDS
from bot.language import Language
from bot.requests import Role
from bot.telegram.updates import PLATFORM, chat_id_of

LANGUAGES = {"": Language.EN, "zh": Language.ZH}
"""What is said to people whose app speaks the language of that code; "" is all others."""

_GUESTS = frozenset({Role.ANYONE})
_HOSTS = _GUESTS | {Role.ADMIN}
_SCOPES: tuple[tuple[BotCommandScope, frozenset[Role]], ...] = (
    (BotCommandScopeDefault(), _GUESTS),
    # Alone with the bot, everybody runs the chat.
    (BotCommandScopeAllPrivateChats(), _HOSTS),
    (BotCommandScopeAllGroupChats(), _GUESTS),
    (BotCommandScopeAllChatAdministrators(), _HOSTS),
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Notice:
    """One thing that Telegram shows of the bot."""

    name: str
    """Which: the call, but for what it says."""
    digest: str
    """Changes with what it says."""
    tell: Callable[[], Awaitable[object]]
    """Has Telegram show it."""


async def publish(bot: Bot, redis: Redis, curators: Iterable[str]) -> None:
    """Tell Telegram what changed of menus and profile since it was last told.

    People can type what no menu shows, so what Telegram refuses is tried again at the next start.
    """
    key = keys.notices(PLATFORM)
    reply: Any = await redis.hgetall(key)
    told = {name.decode(): digest.decode() for name, digest in reply.items()}
    wanted = {notice.name: notice for notice in (*_menus(bot, curators), *_profile(bot))}

    async def show(notice: _Notice) -> None:
        if told.get(notice.name) != notice.digest and await _succeeds(notice.tell):
            await redis.hset(key, notice.name, notice.digest)

    async def withdraw(name: str) -> None:
        if await _succeeds(partial(_withdraw, bot, name)):
            await redis.hdel(key, name)

    await asyncio.gather(
        *map(show, wanted.values()), *(withdraw(name) for name in told if name not in wanted)
    )


def _menus(bot: Bot, curators: Iterable[str]) -> Iterator[_Notice]:
    """The menu of each scope, in each language; curators see theirs where they are alone."""
    private = [
        (BotCommandScopeChat(chat_id_of(person)), frozenset(Role))
        for person in sorted(curators)
        if person.startswith(f"{PLATFORM}:")
    ]
    for scope, roles in (*_SCOPES, *private):
        for code, language in LANGUAGES.items():
            menu = [
                BotCommand(command.name, command.help.say(language))
                for command in COMMANDS
                if command.audience in roles
            ]
            yield _Notice(
                name=_menu_name(scope, code),
                digest=_digest(bot, [command.to_dict() for command in menu]),
                tell=partial(bot.set_my_commands, menu, scope=scope, language_code=code),
            )


def _profile(bot: Bot) -> Iterator[_Notice]:
    """What stands in an empty chat with the bot, and on its profile."""
    for text, tell in (
        (texts.ABOUT, bot.set_my_description),
        (texts.ABOUT_IN_SHORT, bot.set_my_short_description),
    ):
        for code, language in LANGUAGES.items():
            words = text.say(language)
            yield _Notice(
                name=f"{tell.__name__} {code}",
                digest=_digest(bot, words),
                tell=partial(tell, words, language_code=code),
            )


def _menu_name(scope: BotCommandScope, code: str) -> str:
    return json.dumps({"scope": scope.to_dict(), "language_code": code}, sort_keys=True)


async def _withdraw(bot: Bot, name: str) -> None:
    """Take back a menu that nobody wants any more: of somebody who is no curator now."""
    if not name.startswith("{"):
        return
    call: dict[str, Any] = json.loads(name)
    scope = BotCommandScope.de_json(call["scope"], bot)
    await bot.delete_my_commands(scope=scope, language_code=call["language_code"])


def _digest(bot: Bot, said: object) -> str:
    """Another bot on the same Redis has been told nothing yet."""
    return hashlib.sha256(json.dumps([bot.id, said]).encode()).hexdigest()[:16]


async def _succeeds(call: Callable[[], Awaitable[object]]) -> bool:
    try:
        await call()
    except TelegramError as error:
        log.warning("! not shown", action="start.notice", error=type(error).__name__)
        return False
    return True
