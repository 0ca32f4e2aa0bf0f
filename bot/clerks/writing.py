"""Has poems written: those asked for, others like one that is shown, and lines written anew."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.tables import PoemRow
from bot.buttons import Deed, Verb, line_buttons, poem_buttons
from bot.clerks import Act, TapAct, say, tap_answer, tell
from bot.language import Language, Script
from bot.limits import Limits, explain
from bot.message import Button, Incoming, Message, Reply, Tap
from bot.render import render_poems
from bot.requests import PickRequest, PoemRequest, Refusal, Situation
from bot.rewriting import read_rewrite_request
from bot.styled import Styled
from bot.submit import make_job, seed_of
from engine.client import EngineClient
from engine.verse.forms import FORMS, FormName
from engine.verse.frame import OPEN
from engine.verse.script import clean

_AS_BEFORE = Styled(text="")


class WritingClerk:
    """Puts jobs for poems, and remembers which of several was picked."""

    def __init__(
        self,
        *,
        engine: EngineClient,
        anthology: Anthology,
        limits: Limits,
        client: str,
        clock: Callable[[], float],
    ) -> None:
        """Poems go to the reply stream of `client`; `clock` tells the Unix time in seconds.

        How many may be asked for is a matter of `limits`.
        """
        self._engine = engine
        self._anthology = anthology
        self._limits = limits
        self._client = client
        self._clock = clock

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        return {PoemRequest: self._write, PickRequest: self._pick}

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """What it does, by button."""
        return {
            Verb.PICK: self._pick_by_tap,
            Verb.AGAIN: self._write_another,
            Verb.CHANGE: self._ask_for_line,
            Verb.LINE: self._rewrite_line,
        }

    # --- what is asked for in words ---

    async def _write(
        self, request: PoemRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        submitted = await self._submit(request, incoming, settings)
        return submitted if isinstance(submitted, Reply) else say(incoming, submitted)

    async def _pick(
        self, request: PickRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        """Pick by a number that was typed: the poem is shown again, alone."""
        picked = await self._anthology.poems.pick(
            incoming.address.chat, request.job, request.number
        )
        if picked is None:
            return say(incoming, texts.PICK_UNKNOWN.say(incoming.language))
        if picked.number != request.number:
            taken = texts.PICK_TAKEN.say(incoming.language, number=picked.number)
            return say(incoming, taken)
        rendered = render_rows([picked])
        shown = Message(
            id=incoming.cause,
            address=incoming.address,
            text=rendered.text,
            spans=rendered.spans,
            buttons=poem_buttons(picked.id, await self._anthology.ratings.tally(picked.id)),
        )
        return Reply(messages=(shown,))

    # --- what is asked for by buttons ---

    async def _pick_by_tap(self, deed: Deed, tap: Tap, _settings: ChatSettings) -> Reply:
        """Pick the poem that was tapped; the message then shows it alone.

        Of several who tap the first decides; whoever taps the same again has the message put
        right, should its change have been lost.
        """
        number = int(deed.argument) if deed.argument.isdecimal() else 0
        picked = await self._anthology.poems.pick(tap.address.chat, deed.subject, number)
        if picked is None:
            return tell(tap, texts.PICK_UNKNOWN.say(tap.language))
        if picked.number != number:
            return tell(tap, texts.PICK_TAKEN.say(tap.language, number=picked.number))
        tally = await self._anthology.ratings.tally(picked.id)
        buttons = poem_buttons(picked.id, tally)
        return tell(tap, "", _edit(tap, render_rows([picked]), buttons))

    async def _write_another(self, deed: Deed, tap: Tap, settings: ChatSettings) -> Reply:
        row = await self._poem_here(deed, tap)
        if row is None:
            return tell(tap, texts.POEM_UNKNOWN.say(tap.language))
        return await self._submit_tap(_like(row), tap, settings)

    async def _ask_for_line(self, deed: Deed, tap: Tap, _settings: ChatSettings) -> Reply:
        row = await self._poem_here(deed, tap)
        if row is None:
            return tell(tap, texts.POEM_UNKNOWN.say(tap.language))
        buttons = line_buttons(row.id, FORMS[FormName(row.form)].lines)
        return tell(tap, texts.WHICH_LINE.say(tap.language), _edit(tap, _AS_BEFORE, buttons))

    async def _rewrite_line(self, deed: Deed, tap: Tap, settings: ChatSettings) -> Reply:
        row = await self._poem_here(deed, tap)
        if row is None:
            return tell(tap, texts.POEM_UNKNOWN.say(tap.language))
        tally = await self._anthology.ratings.tally(row.id)
        usual = _edit(tap, _AS_BEFORE, poem_buttons(row.id, tally))
        if not deed.argument.isdecimal():
            return tell(tap, "", usual)
        request = read_rewrite_request(deed.argument, self._situation(row, tap, settings))
        if isinstance(request, PoemRequest):
            reply = await self._submit_tap(request, tap, settings)
            return replace(reply, messages=(*reply.messages, usual))
        refusal = request.text if isinstance(request, Refusal) else ""
        return tell(tap, refusal, usual, alert=True)

    def _situation(self, row: PoemRow, tap: Tap, settings: ChatSettings) -> Situation:
        """What a line number that was tapped has to be understood in."""
        return Situation(
            language=tap.language,
            style=settings.style,
            cells=frozenset(),
            today=datetime.fromtimestamp(self._clock()).astimezone().date(),
            seed=seed_of(tap.cause),
            poem=render_rows([row]).text,
        )

    # --- both ---

    async def _poem_here(self, deed: Deed, tap: Tap) -> PoemRow | None:
        """The poem that a button is about, if it was shown where the button is."""
        return await self._anthology.poems.get_in(tap.address.chat, deed.subject)

    async def _submit_tap(self, request: PoemRequest, tap: Tap, settings: ChatSettings) -> Reply:
        submitted = await self._submit(request, tap, settings)
        if not isinstance(submitted, Reply):
            return tell(tap, submitted, alert=True)
        return replace(submitted, messages=(tap_answer(tap, texts.WRITING.say(tap.language)),))

    async def _submit(
        self, request: PoemRequest, asked: Incoming | Tap, settings: ChatSettings
    ) -> Reply | str:
        """Put the job; in one line why not where the queue is full or somebody's quota used up."""
        job = make_job(
            replace(request, script=settings.script or request.script),
            asked,
            settings.style,
            client=self._client,
            now_ms=int(self._clock() * 1000),
        )
        quotas = self._limits.quotas(person=asked.person, chat=asked.address.chat)
        admission = await self._engine.put(job, quotas)
        return explain(admission, asked.language) or Reply(job=job)


def render_rows(rows: Sequence[PoemRow]) -> Styled:
    """Poems on record, as they were shown."""
    first = rows[0]
    return render_poems(
        [row.poem for row in rows],
        glyphs=first.opening,
        script=Script(first.script),
        language=Language(first.language),
    )


def _like(row: PoemRow) -> PoemRequest:
    """The request that `row` answered, in the form that it got."""
    fixed = "".join(char if char == OPEN else clean(char) for char in row.opening)
    return PoemRequest(
        opening="" if OPEN in fixed else fixed,
        frame=fixed if OPEN in fixed else "",
        glyphs=row.opening,
        form=FormName(row.form),
        script=Script(row.script),
        rhyme=row.wanted_rhyme,
        theme=row.theme,
    )


def _edit(tap: Tap, shown: Styled, buttons: tuple[Button, ...]) -> Message:
    """The change of the message that was tapped; no text leaves its text."""
    return Message(
        id=f"{tap.cause}/edit",
        address=tap.address,
        text=shown.text,
        spans=shown.spans,
        edits=tap.message,
        buttons=buttons,
    )
