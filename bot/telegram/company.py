"""Who runs a Telegram chat: asked of Telegram, and remembered for some minutes."""

import asyncio

import structlog
from telegram import Bot
from telegram.error import TelegramError

from bot.telegram.updates import AdminsChanged, chat_id_of, person_name

REMEMBERED_S = 300.0
"""How long an answer is good. Telegram tells of changes only where the bot is an admin."""

_CHATS_MAX = 1000

log = structlog.get_logger(__name__)


class TelegramCompany:
    """The admins of chats."""

    def __init__(self, bot: Bot) -> None:
        """Ask as `bot`."""
        self._bot = bot
        self._admins: dict[str, tuple[float, frozenset[str]]] = {}

    async def is_admin(self, chat: str, person: str) -> bool:
        """Whether `person` is an admin of `chat`; False where Telegram does not say."""
        now_s = asyncio.get_running_loop().time()
        until_s, admins = self._admins.get(chat, (0.0, frozenset()))
        if now_s >= until_s:
            admins = await self._ask(chat)
            if len(self._admins) >= _CHATS_MAX:
                self._admins.clear()
            self._admins[chat] = (now_s + REMEMBERED_S, admins)
        return person in admins

    async def forget(self, changed: AdminsChanged) -> None:
        """The admins of a chat changed."""
        self._admins.pop(changed.chat, None)

    async def _ask(self, chat: str) -> frozenset[str]:
        try:
            members = await self._bot.get_chat_administrators(chat_id_of(chat))
        except TelegramError as error:
            log.warning("! admins unknown", action="company.ask", error=type(error).__name__)
            return frozenset()
        return frozenset(person_name(member.user.id) for member in members)
