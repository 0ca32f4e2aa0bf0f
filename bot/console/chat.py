"""One person at a terminal: each line is answered before the next is read."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from rich.console import Console

from bot import texts
from bot.answering import make_desk
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.buttons import Deed, Verb, poem_buttons
from bot.cards.card import Card
from bot.cards.easel import Easel, excuse
from bot.clerks.privacy import Traces
from bot.console.keypad import Keypad, number_typed
from bot.console.prompt import Standing
from bot.console.screen import Screen
from bot.console.tray import Opener, Tray
from bot.daily import Poster
from bot.deliver import compose
from bot.errors import CardError
from bot.household import household
from bot.language import Language
from bot.leftovers import Leftovers
from bot.limits import Limits
from bot.message import Address, Attachment, Button, Incoming, Message, Reply, Tap
from bot.metrics import Metrics
from bot.moderation import Filter, Moderator, open_filter
from bot.settings import BotSettings
from bot.submit import PATIENCE_MS, Context
from bot.texts import Text
from engine.client import MAX_BLOCK_MS, Delivery, EngineClient, EngineUnavailableError
from engine.jobs import Job, Outcome, Poem, cause_of

CHAT = "console"
"""This platform, and its one chat."""
PERSON = "console:me"
"""Whoever sits at the terminal; it is their machine, so they may do all that anybody may."""

# The engine itself gives up at a job's deadline and says so; a little later, it must be dead.
_ANSWER_S = PATIENCE_MS / 1000 + 5
_OF_A_POEM = {Verb.PICK, Verb.UP}


@dataclass(frozen=True, kw_only=True)
class Guest:
    """Who talks, and where."""

    chat: str
    """The chat."""
    person: str
    """The person, with the platform."""


HISTORY = "console.history"
"""The file in the data folder that holds the lines typed before."""

AT_HOME = Guest(chat=CHAT, person=PERSON)
"""Whoever sits at the terminal."""
AT_DEMO = Guest(chat="console:demo", person="console:demo")
"""Nobody: what the demo chooses and votes for is not this person's."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where a conversation takes place."""

    screen: Screen
    """What is said on."""
    cards: Path
    """The folder for cards."""
    opener: Opener | None = None
    """Shows them, if anybody sits here."""
    guest: Guest = AT_HOME
    """Who talks."""


class Chat:
    """A conversation in the terminal."""

    def __init__(
        self,
        *,
        engine: EngineClient,
        anthology: Anthology,
        limits: Limits,
        words: Filter,
        zone: str,
        language: Language,
        screen: Screen,
        tray: Tray,
        traces: Traces,
        card_label: bool = True,
        guest: Guest = AT_HOME,
    ) -> None:
        """Speak `language` with `guest` on `screen`, but none of `words`; files go on the `tray`.

        Times are those of `zone`; `card_label` is whether cards say that a machine wrote the poem.
        """
        # A name of its own, for two consoles must not collect each other's poems.
        self._client = f"{CHAT}-{uuid4().hex}"
        self._engine = engine
        self._anthology = anthology
        self._own_language = language
        self.language = language
        """The language spoken at the moment: a chat may have chosen another."""
        self._screen = screen
        self._tray = tray
        self._guest = guest
        self._address = Address(chat=guest.chat)
        self._keypad = Keypad()
        self._numbers = itertools.count(1)
        self._moderator = Moderator(words=words, engine=engine)
        alone = _Alone(guest, anthology, self._keypad)
        # Nobody looks at them: whoever sits here sees what happens.
        metrics = Metrics(CHAT)
        desk = make_desk(
            engine=engine,
            anthology=anthology,
            limits=limits,
            company=alone,
            counters=alone,
            traces=traces,
            client=self._client,
            words=words,
            zone=zone,
            metrics=metrics,
            curators=frozenset({PERSON}),
            card_label=card_label,
        )
        self._responder = desk.responder
        self._poster = Poster(
            engine=engine,
            anthology=anthology,
            platform=CHAT,
            client=self._client,
            metrics=metrics,
        )

    async def show_daily(self) -> None:
        """Show the poem of the day, if it is due and no other console has shown it."""
        for job in await self._poster.tick():
            await self._show_outcome(job)

    async def say(self, line: str) -> bool:
        """Answer one line on the screen; False if it should have become a poem and did not.

        A number taps that button of the last message that has any.
        """
        await self._look_up()
        number = number_typed(line)
        buttons = self._keypad.buttons
        if number is None or not buttons:
            return await self._follow(self._incoming(line))
        if not 1 <= number <= len(buttons):
            self._tell(texts.CONSOLE_NO_BUTTON, most=len(buttons))
            return True
        return await self._follow(self._tap(buttons[number - 1]))

    async def standing(self) -> Standing:
        """How things are in this chat now."""
        settings = await self._look_up()
        try:
            cells = frozenset(await self._engine.cells())
        except EngineUnavailableError:
            cells = frozenset()
        return Standing(
            language=self.language,
            style=settings.style,
            cells=cells,
            buttons=self._keypad.buttons,
        )

    async def _look_up(self) -> ChatSettings:
        """What the chat chose, of which the language is spoken from now on."""
        settings = await self._anthology.chats.settings(self._guest.chat)
        self.language = settings.language or self._own_language
        return settings

    def _incoming(self, line: str) -> Incoming:
        return Incoming(
            cause=_cause(),
            address=self._address,
            text=line,
            language=self._own_language,
            direct=True,
            person=self._guest.person,
        )

    def _tap(self, button: Button) -> Tap:
        cause = _cause()
        return Tap(
            cause=cause,
            address=self._address,
            language=self._own_language,
            id=cause,
            data=button.data,
            message=self._keypad.message,
            person=self._guest.person,
            direct=True,
        )

    async def _follow(self, act: Incoming | Tap) -> bool:
        """Show all that follows from `act`, and last what numbers mean then."""
        try:
            reply = await self._respond(act)
        except EngineUnavailableError:
            self._tell(texts.CONSOLE_NO_ANSWER)
            return False
        for message in reply.messages:
            await self._show(message)
        for message in await reply.errand() if reply.errand else ():
            await self._show(message)
        well = reply.job is None or await self._show_outcome(reply.job)
        if news := self._keypad.take_news():
            self._screen.show_buttons(news)
        return well

    async def _respond(self, act: Incoming | Tap) -> Reply:
        if isinstance(act, Tap):
            return await self._responder.respond_to_tap(act)
        return await self._responder.respond(act)

    async def _show_outcome(self, job: Job) -> bool:
        waiting = self._screen.waiting(texts.CONSOLE_WAITING.say(self.language))
        try:
            async with waiting, asyncio.timeout(_ANSWER_S):
                delivery, outcome = await self._outcome_of(job)
        except TimeoutError:
            self._tell(texts.CONSOLE_NO_ANSWER)
            return False
        except asyncio.CancelledError:
            # Nobody waits for it any more: it need not be written either.
            with suppress(EngineUnavailableError):
                await self._engine.cancel(job.id)
            raise
        if isinstance(outcome, Poem):
            await self._anthology.poems.record(outcome, Context.from_fields(outcome.context))
        await self._show(compose(outcome))
        if isinstance(outcome, Poem):
            chat = self._guest.chat
            await self._anthology.poems.mark_shown(outcome.job_id, chat=chat, message=None)
        await self._engine.done(delivery)
        return isinstance(outcome, Poem)

    async def _outcome_of(self, job: Job) -> tuple[Delivery, Outcome]:
        """What came of `job`, or of the last of its tries, as far as it may be shown."""
        while True:
            for delivery in await self._engine.outcomes(
                self._client, self._client, wait_ms=MAX_BLOCK_MS
            ):
                # Or it is an earlier line's, which came after we had given it up.
                if cause_of(delivery.outcome.job_id) == job.id:
                    outcome = await self._moderator.review(delivery.outcome)
                    if outcome is not None:
                        return delivery, outcome
                await self._engine.done(delivery)

    async def _show(self, message: Message) -> None:
        """Show `message`, or what it changes: a terminal cannot take back what it printed."""
        if message.answers is not None:
            if message.text:
                self._screen.nod(message.text)
            return
        if message.card is not None:
            await self._show_card(message, message.card)
        else:
            self._show_text(message)
        if message.attachment is not None:
            self._lay_file(message.attachment)
        self._keypad.put(message.edits or next(self._numbers), message.buttons)

    async def _show_card(self, message: Message, card: Card) -> None:
        """Lay the picture on the tray, or show the text and say why there is none."""
        try:
            path = await self._tray.lay_card(card)
        except CardError as error:
            self._show_text(message)
            self._screen.say(excuse(error, self.language))
        except OSError:
            self._tell(texts.CONSOLE_NOT_SAVED)
        else:
            self._screen.offer(texts.CONSOLE_SAVED.say(self.language, path=path))

    def _lay_file(self, file: Attachment) -> None:
        try:
            path = self._tray.lay_file(file.name, file.text)
        except OSError:
            self._tell(texts.CONSOLE_NOT_SAVED)
        else:
            self._screen.offer(texts.CONSOLE_SAVED.say(self.language, path=path))

    def _show_text(self, message: Message) -> None:
        if _shows_poems(message):
            self._screen.show_poem(message.text)
        elif message.text:
            self._screen.say(message.text)

    def _tell(self, text: Text, **values: object) -> None:
        self._screen.say(text.say(self.language, **values))


class _Traces:
    """What whoever sits at the terminal leaves behind: in Redis, and the lines they typed."""

    def __init__(self, leftovers: Leftovers, history: Path) -> None:
        self._leftovers = leftovers
        self._history = history

    async def forget(self, person: str) -> None:
        """Delete it."""
        await self._leftovers.forget(person)
        if self._history.exists():
            self._history.write_bytes(b"")


class _Alone:
    """The company of one person, whose counters are a line of numbers."""

    def __init__(self, guest: Guest, anthology: Anthology, keypad: Keypad) -> None:
        self._guest = guest
        self._anthology = anthology
        self._keypad = keypad

    async def is_admin(self, chat: str, person: str) -> bool:
        """Their own chat is theirs to run."""
        return (chat, person) == (self._guest.chat, self._guest.person)

    async def note(self, _address: Address, message: int, poem: str) -> None:
        """The counter changes at once, for nobody else votes meanwhile."""
        self._keypad.put(message, poem_buttons(poem, await self._anthology.ratings.tally(poem)))


def _cause() -> str:
    return f"{CHAT}:{uuid4().hex}"


def _shows_poems(message: Message) -> bool:
    """Whether the text of `message` is that of `bot.render`."""
    deeds = [Deed.read(button.data) for button in message.buttons]
    about_poems = any(deed is not None and deed.verb in _OF_A_POEM for deed in deeds)
    known = message.poem_id is not None or message.card is not None
    return bool(message.text) and (known or about_poems)


@asynccontextmanager
async def open_chat(settings: BotSettings, language: Language, scene: Scene) -> AsyncIterator[Chat]:
    """A conversation, with all that it stands on.

    Raises:
        SettingsError: the file of words cannot be used.
        HouseholdError, AnthologyError: something it stands on did not come up.
    """
    words = open_filter(settings)
    async with AsyncExitStack() as stack:
        with Console(stderr=True).status(texts.CONSOLE_WAKING.say(language)):
            redis = await stack.enter_async_context(household(settings))
            pseudonyms = settings.pseudonyms
            anthology = await stack.enter_async_context(
                Anthology.open(settings.anthology_url, pseudonyms)
            )
        easel = stack.enter_context(Easel(settings.card_font))
        yield Chat(
            engine=EngineClient(redis),
            anthology=anthology,
            limits=Limits(settings.with_set_limits_only(), pseudonyms),
            words=words,
            zone=settings.zone,
            language=language,
            traces=_Traces(Leftovers(redis, CHAT), settings.data / HISTORY),
            screen=scene.screen,
            tray=Tray(scene.cards, easel, scene.opener),
            card_label=settings.card_label,
            guest=scene.guest,
        )
