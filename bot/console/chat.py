"""One person at a terminal: each line is answered before the next is read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from textwrap import indent
from uuid import uuid4

from rich.console import Console

from bot import texts
from bot.answering import make_desk
from bot.anthology import Anthology
from bot.clerks.privacy import Traces
from bot.daily import Poster
from bot.deliver import compose
from bot.household import household
from bot.language import Language
from bot.leftovers import Leftovers
from bot.limits import Limits
from bot.message import Address, Attachment, Incoming
from bot.moderation import Filter, Moderator, open_filter
from bot.settings import BotSettings
from bot.submit import PATIENCE_MS, Context, cause_of
from engine.client import MAX_BLOCK_MS, Delivery, EngineClient, EngineUnavailableError
from engine.jobs import Job, Outcome, Poem

CHAT = "console"
PERSON = "console:me"
"""Whoever sits at the terminal."""
PROMPT = "› "

# The engine itself gives up at a job's deadline and says so; a little later, it must be dead.
_ANSWER_S = PATIENCE_MS / 1000 + 5


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
        screen: Console,
        traces: Traces,
        folder: Path,
    ) -> None:
        """Speak `language` on `screen`, but none of `words`.

        Files go into `folder`; times are those of `zone`.
        """
        # A name of its own, for two consoles must not collect each other's poems.
        self._client = f"{CHAT}-{uuid4().hex}"
        self._engine = engine
        self._anthology = anthology
        self._language = language
        self._screen = screen
        self._moderator = Moderator(words=words, engine=engine)
        self._folder = folder
        alone = _Alone()
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
        )
        self._responder = desk.responder
        self._poster = Poster(
            engine=engine, anthology=anthology, platform=CHAT, client=self._client
        )

    async def show_daily(self) -> None:
        """Show the poem of the day, if it is due and no other console has shown it."""
        for job in await self._poster.tick():
            await self._show_outcome(job)

    async def say(self, line: str) -> bool:
        """Answer one line on the screen; False if it should have become a poem and did not."""
        incoming = Incoming(
            cause=f"{CHAT}:{uuid4().hex}",
            address=Address(chat=CHAT),
            text=line,
            language=self._language,
            direct=True,
            person=PERSON,
        )
        try:
            reply = await self._responder.respond(incoming)
        except EngineUnavailableError:
            self._show(texts.CONSOLE_NO_ANSWER.say(self._language))
            return False
        for message in reply.messages:
            self._show(message.text)
            if message.attachment is not None:
                self._save(message.attachment)
        return reply.job is None or await self._show_outcome(reply.job)

    async def _show_outcome(self, job: Job) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S):
                delivery, outcome = await self._outcome_of(job)
        except TimeoutError:
            self._show(texts.CONSOLE_NO_ANSWER.say(self._language))
            return False
        if isinstance(outcome, Poem):
            await self._anthology.poems.record(outcome, Context.from_fields(outcome.context))
        self._show(compose(outcome).text)
        if isinstance(outcome, Poem):
            await self._anthology.poems.mark_shown(outcome.job_id, chat=CHAT, message=None)
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

    def _save(self, file: Attachment) -> None:
        path = self._folder / file.name
        path.write_text(file.text, encoding="utf-8")
        self._show(texts.CONSOLE_SAVED.say(self._language, path=path))

    def _show(self, text: str) -> None:
        self._screen.print(indent(text, "  ") + "\n", soft_wrap=True)


class _Alone:
    """The company of one person, who reads what changes as it is said."""

    async def is_admin(self, chat: str, person: str) -> bool:
        """Their own chat is theirs to run."""
        return (chat, person) == (CHAT, PERSON)

    async def note(self, address: Address, message: int, poem: str) -> None:
        """A terminal shows no counters."""


@asynccontextmanager
async def open_chat(
    settings: BotSettings, language: Language, screen: Console
) -> AsyncIterator[Chat]:
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
        yield Chat(
            engine=EngineClient(redis),
            anthology=anthology,
            limits=Limits(settings.with_set_limits_only(), pseudonyms),
            words=words,
            zone=settings.zone,
            language=language,
            screen=screen,
            traces=Leftovers(redis, CHAT),
            folder=settings.data,
        )
