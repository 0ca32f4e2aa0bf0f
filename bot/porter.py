"""Who is told at once that the poet rests: whoever asks while there is no Redis to keep it in.

What they ask for stays with the platform and is answered afterwards. All else that is sent goes
through the outbox and its ledger, which are in Redis; so this, which must not, is said to a chat
once in a while, and what was said is forgotten with the process.
"""

import asyncio
import time
from typing import Protocol

import structlog

from bot import texts
from bot.anthology import Anthology
from bot.clerks import say, tap_answer
from bot.commands import is_command
from bot.door import Door
from bot.errors import AnthologyError, NotShownError, SendError
from bot.language import Language
from bot.message import Incoming, Message, Tap

AGAIN_S = 300.0
"""How long a chat that was told is not told again."""

# Well within what any platform admits over all chats.
_EVERY_S = 0.04
_SEND_S = 5.0

log = structlog.get_logger(__name__)


class Voice(Protocol):
    """A platform, as far as it shows a message without asking Redis."""

    async def send(self, message: Message) -> int | None:
        """Show `message`; raises SendError, and NotShownError where it may be tried again."""
        ...


class Porter:
    """Tells people that the poet rests."""

    def __init__(self, *, voice: Voice, anthology: Anthology, door: Door) -> None:
        """Tell by `voice`, in the language that the chat chose, whom the `door` admits."""
        self._voice = voice
        self._anthology = anthology
        self._door = door
        self._told: dict[str, float] = {}
        self._silent_until_s = 0.0

    async def tell(self, event: object) -> None:
        """Tell whoever is behind an update, if they spoke to us and do not know yet."""
        if not isinstance(event, Incoming | Tap) or not self._door.admits(event):
            return
        if isinstance(event, Incoming) and not event.direct and not is_command(event.text):
            return
        now_s = time.monotonic()
        self._told = {who: at_s for who, at_s in self._told.items() if at_s + AGAIN_S > now_s}
        who = event.id if isinstance(event, Tap) else event.address.chat
        if who not in self._told and now_s >= self._silent_until_s:
            self._told[who] = now_s
            await self._say(who, event)

    async def _say(self, who: str, event: Incoming | Tap) -> None:
        try:
            async with asyncio.timeout(_SEND_S):
                await self._voice.send(await self._words(event))
        except NotShownError as error:
            del self._told[who]
            self._silent_until_s = time.monotonic() + error.retry_after_s
        except (SendError, TimeoutError) as error:
            log.warning("! not told", action="rest.untold", error=type(error).__name__)
        else:
            log.info("← rests", action="rest", cause=event.cause)
        await asyncio.sleep(_EVERY_S)

    async def _words(self, event: Incoming | Tap) -> Message:
        text = texts.RESTING.say(await self._language(event))
        if isinstance(event, Tap):
            return tap_answer(event, text)
        return say(event, text).messages[0]

    async def _language(self, event: Incoming | Tap) -> Language:
        try:
            settings = await self._anthology.chats.settings(event.address.chat)
        except AnthologyError:
            return event.language
        return settings.language or event.language
