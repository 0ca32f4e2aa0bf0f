"""What follows from what a person did: a poem to come, something to say at once, or nothing.

The responder understands, sees to it that only those who may are granted what they ask, and hands
the rest to the clerk (`bot.clerks`) whose it is.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import structlog

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.tables import PoemRow
from bot.buttons import Deed, Verb
from bot.clerks import Clerk, last_poem_of, picked_or_all, say, tell
from bot.clerks.writing import render_rows
from bot.commands import UNKNOWN, is_command, name_of, speaks_of_a_poem, understand
from bot.message import Incoming, Reply, Tap
from bot.moderation import Filter, permit
from bot.requests import Answer, Choice, Refusal, Request, Role, Situation, role_for
from bot.submit import seed_of
from bot.trace import Trace
from engine.client import EngineClient

REFUSALS = {
    Role.ADMIN: texts.ADMINS_ONLY,
    Role.CURATOR: texts.CURATORS_ONLY,
    Role.APPOINTED: texts.APPOINTED_ONLY,
}
"""What people are told who may not."""

TAP_ROLES = dict.fromkeys((Verb.STAR, Verb.SKIP, Verb.BACK), Role.CURATOR) | {
    Verb.ROLLBACK: Role.APPOINTED
}
"""Who may tap what not everybody may."""

log = structlog.get_logger(__name__)


class Company(Protocol):
    """The people of a platform's chats, as far as the platform has to be asked about them."""

    async def is_admin(self, chat: str, person: str) -> bool:
        """Whether `person` is an admin of `chat`; False where nobody can tell."""
        ...


class Responder:
    """Answers what people do on one platform."""

    def __init__(
        self,
        *,
        engine: EngineClient,
        anthology: Anthology,
        company: Company,
        clerks: Sequence[Clerk],
        words: Filter,
        curators: frozenset[str] = frozenset(),
        bot_name: str = "",
        private_link: str = "",
        whispers: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Have `clerks` act; nobody may ask for what holds one of `words`.

        `clock` tells the Unix time in seconds.
        """
        self._engine = engine
        self._anthology = anthology
        self._company = company
        self._acts = {kind: act for clerk in clerks for kind, act in clerk.acts.items()}
        self._taps = {verb: act for clerk in clerks for verb, act in clerk.taps.items()}
        self._words = words
        self._curators = curators
        self._bot_name = bot_name
        self._private_link = private_link
        self._whispers = whispers
        self._clock = clock

    async def respond(self, incoming: Incoming) -> Reply:
        """Act on a line; the reply is empty where it was not meant for us.

        Doing it again with the same cause does no harm: the job is not put twice.

        Raises:
            EngineUnavailableError: Redis does not answer; try again later.
            AnthologyError: the anthology does not answer.
        """
        if not incoming.direct and not is_command(incoming.text):
            return Reply()
        settings = await self._anthology.chats.settings(incoming.address.chat)
        incoming = replace(incoming, language=settings.language or incoming.language)
        request = understand(incoming.text, await self._situation(incoming, settings))
        if request is None:
            return Reply()
        request = permit(request, incoming, self._words)
        command, kind = name_of(incoming.text), type(request).__name__
        log.info("→", action="request", cause=incoming.cause, command=command, kind=kind)
        incoming = replace(incoming, trace=_named(incoming.trace, command))
        return replace(await self._grant(request, incoming, settings), trace=incoming.trace)

    async def _grant(self, request: Request, incoming: Incoming, settings: ChatSettings) -> Reply:
        """Grant `request`, or say why not."""
        if isinstance(request, Answer):
            return say(incoming, request.text, request.spans)
        if isinstance(request, Refusal):
            return say(incoming, request.text)
        if not await self._may(role_for(request), incoming, settings):
            return say(incoming, REFUSALS[role_for(request)].say(incoming.language))
        return await self._acts[type(request)](request, incoming, settings)

    async def respond_to_tap(self, tap: Tap) -> Reply:
        """Act on a tap; every tap gets an answer.

        Doing it again with the same cause does no harm.

        Raises:
            EngineUnavailableError: Redis does not answer; try again later.
            AnthologyError: the anthology does not answer.
        """
        settings = await self._anthology.chats.settings(tap.address.chat)
        tap = replace(tap, language=settings.language or tap.language)
        deed = Deed.read(tap.data) if tap.message is not None else None
        command = deed.verb if deed else UNKNOWN
        log.info("→", action="tap", cause=tap.cause, command=command)
        tap = replace(tap, trace=_named(tap.trace, command))
        return replace(await self._do(deed, tap, settings), trace=tap.trace)

    async def _do(self, deed: Deed | None, tap: Tap, settings: ChatSettings) -> Reply:
        """Do what a button says, or say why not."""
        if deed is None or deed.verb not in self._taps:
            return tell(tap, texts.TAP_UNKNOWN.say(tap.language))
        role = TAP_ROLES.get(deed.verb, Role.ANYONE)
        if not await self._may(role, tap, settings):
            return tell(tap, REFUSALS[role].say(tap.language), alert=True)
        return await self._taps[deed.verb](deed, tap, settings)

    async def _may(self, role: Role, asked: Incoming | Tap, settings: ChatSettings) -> bool:
        """Whether whoever asked has that role there."""
        match role:
            case Role.ANYONE:
                return True
            case Role.ADMIN:
                return asked.direct or await self._is_admin(asked)
            case Role.APPOINTED:
                return asked.person in self._curators
            case Role.CURATOR:
                return asked.person in self._curators or (
                    settings.admins_curate and await self._is_admin(asked)
                )

    async def _is_admin(self, asked: Incoming | Tap) -> bool:
        if asked.admin is not None:
            return asked.admin
        return asked.person is not None and await self._company.is_admin(
            asked.address.chat, asked.person
        )

    async def _situation(self, incoming: Incoming, settings: ChatSettings) -> Situation:
        shown: Sequence[PoemRow] = ()
        if incoming.quoted is None and speaks_of_a_poem(incoming.text):
            shown = await last_poem_of(incoming, self._anthology.poems)
        return Situation(
            language=incoming.language,
            style=settings.style,
            cells=frozenset(await self._engine.cells()),
            today=datetime.fromtimestamp(self._clock()).astimezone().date(),
            seed=seed_of(incoming.cause),
            direct=incoming.direct,
            bot_name=self._bot_name,
            private_link=self._private_link,
            whispers=self._whispers,
            poem=render_rows(picked_or_all(shown)).text if shown else incoming.quoted,
            choice=Choice(job=shown[0].job, count=len(shown)) if len(shown) > 1 else None,
        )


def _named(trace: Trace | None, command: str) -> Trace | None:
    """`trace`, now that it is known what was wanted."""
    return trace and replace(trace, command=command)
