"""What follows from one line that a person said: a poem to come, or something to say at once."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from bot import texts
from bot.anthology import Anthology, PoemRow
from bot.choice import read_button
from bot.commands import is_command, speaks_of_a_poem, understand
from bot.language import Language, Script
from bot.message import Incoming, Message, Tap
from bot.moderation import Filter, permit
from bot.render import render_poems
from bot.requests import Choice, PickRequest, PoemRequest, Situation, StyleRequest
from bot.style import Style
from bot.submit import make_job, seed_of
from engine.client import Admitted, EngineClient
from engine.jobs import Job

log = structlog.get_logger(__name__)


class Responder:
    """Answers what people say on one platform."""

    def __init__(
        self,
        *,
        engine: EngineClient,
        anthology: Anthology,
        client: str,
        words: Filter,
        bot_name: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Poems go to the reply stream of `client`; nobody may ask for what holds one of `words`.

        `clock` tells the Unix time in seconds.
        """
        self._engine = engine
        self._anthology = anthology
        self._client = client
        self._words = words
        self._bot_name = bot_name
        self._clock = clock

    async def respond(self, incoming: Incoming) -> Message | Job | None:
        """Act on `incoming`: the message to show at once, or the job whose outcome will follow.

        None where it was not meant for us.

        Doing it again with the same cause does no harm: the job is not put twice.

        Raises:
            EngineUnavailableError: Redis does not answer; try again later.
            AnthologyError: the anthology does not answer.
        """
        if not incoming.direct and not is_command(incoming.text):
            return None
        style = await self._anthology.style(incoming.address.chat)
        request = understand(incoming.text, await self._situation(incoming, style))
        if request is None:
            return None
        request = permit(request, incoming, self._words)
        log.info("→", action="request", cause=incoming.cause, kind=type(request).__name__)
        if isinstance(request, PoemRequest):
            return await self._submit(request, incoming, style)
        if isinstance(request, StyleRequest):
            await self._anthology.set_style(incoming.address.chat, request.style, incoming.language)
            return _message(incoming, request.answer)
        if isinstance(request, PickRequest):
            return await self._pick(request, incoming)
        return _message(incoming, request.text)

    async def respond_to_tap(self, tap: Tap) -> tuple[Message, ...]:
        """Pick the poem that `tap` chose: the answer to the tap, and the message that changes.

        Doing it again does no harm. Of several who tap the first decides; whoever taps the same
        again has the message put right, should its change have been lost.

        Raises:
            AnthologyError: the anthology does not answer.
        """
        button = read_button(tap.data) if tap.message is not None else None
        picked = await self._anthology.pick(tap.address.chat, *button) if button else None
        log.info("→", action="tap", cause=tap.cause, known=picked is not None)
        if button is None or picked is None or tap.message is None:
            return (_answer(tap, texts.PICK_UNKNOWN.say(tap.language)),)
        if picked.number != button[1]:
            return (_answer(tap, texts.PICK_TAKEN.say(tap.language, number=picked.number)),)
        changed = Message(
            id=f"{tap.cause}/edit",
            address=tap.address,
            text=_render([picked]),
            edits=tap.message,
        )
        return (_answer(tap, ""), changed)

    async def _pick(self, request: PickRequest, incoming: Incoming) -> Message:
        """Pick by a number that was typed: the poem is shown again, alone."""
        picked = await self._anthology.pick(incoming.address.chat, request.job, request.number)
        if picked is None:
            return _message(incoming, texts.PICK_UNKNOWN.say(incoming.language))
        if picked.number != request.number:
            taken = texts.PICK_TAKEN.say(incoming.language, number=picked.number)
            return _message(incoming, taken)
        return _message(incoming, _render([picked]))

    async def _situation(self, incoming: Incoming, style: Style) -> Situation:
        shown: Sequence[PoemRow] = ()
        # In company, nobody could tell whose last poem is meant.
        if incoming.direct and incoming.quoted is None and speaks_of_a_poem(incoming.text):
            shown = await self._anthology.last_shown(incoming.address.chat)
        return Situation(
            language=incoming.language,
            style=style,
            cells=frozenset(await self._engine.cells()),
            today=datetime.fromtimestamp(self._clock()).astimezone().date(),
            seed=seed_of(incoming.cause),
            direct=incoming.direct,
            bot_name=self._bot_name,
            poem=_render(_picked(shown)) if shown else incoming.quoted,
            choice=Choice(job=shown[0].job, count=len(shown)) if len(shown) > 1 else None,
        )

    async def _submit(
        self, request: PoemRequest, incoming: Incoming, style: Style
    ) -> Message | Job:
        job = make_job(
            request, incoming, style, client=self._client, now_ms=int(self._clock() * 1000)
        )
        admission = await self._engine.put(job)
        if admission.status is Admitted.FULL:
            return _message(incoming, texts.BUSY.say(incoming.language))
        return job


def _message(incoming: Incoming, text: str) -> Message:
    return Message(id=incoming.cause, address=incoming.address, text=text)


def _answer(tap: Tap, text: str) -> Message:
    return Message(id=tap.cause, address=tap.address, text=text, answers=tap.id)


def _picked(rows: Sequence[PoemRow]) -> Sequence[PoemRow]:
    """The poem that was picked, or all where none is yet."""
    return [row for row in rows if row.picked_at is not None] or rows


def _render(rows: Sequence[PoemRow]) -> str:
    """Poems on record, as they were shown."""
    first = rows[0]
    return render_poems(
        [row.poem for row in rows],
        glyphs=first.opening,
        script=Script(first.script),
        language=Language(first.language),
    )
