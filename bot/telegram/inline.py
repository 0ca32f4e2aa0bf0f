"""`@bot 月`, typed in any chat: poems at once from a small shelf, and the way to have one written.

A poem that was written for a chat is that chat's. So these are written for nobody: whoever asks has
one written for the shelf, behind everybody who waits for a poem, and the next to ask finds it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from structlog.contextvars import bound_contextvars
from telegram import (
    Bot,
    InlineQueryResultArticle,
    InlineQueryResultsButton,
    InputTextMessageContent,
    LinkPreviewOptions,
)
from telegram.error import RetryAfter, TelegramError

from bot import texts
from bot.asking import read_poem_request
from bot.budget import Halt
from bot.door import Door
from bot.language import Language
from bot.links import payload_for
from bot.moderation import Filter
from bot.pseudonyms import Pseudonyms
from bot.render import colophon, render_poem, show_lines
from bot.requests import PoemRequest, Situation
from bot.seasons import seasonal_character
from bot.shelf import KEPT_MAX, Shelf, wish_of
from bot.style import Style
from bot.submit import seed_of
from bot.telegram.sender import seconds_of
from bot.telegram.shape import entities_of
from bot.telegram.updates import PLATFORM, InlineQuestion
from engine.client import (
    MAX_BLOCK_MS,
    EngineClient,
    Quota,
    Rate,
    Whose,
)
from engine.jobs import Job, Lane, Poem
from engine.verse.script import clean

CLIENT = f"{PLATFORM}.inline"
"""Whose reply stream the poems for the shelf go to."""
FRESH_S = 5
"""How long Telegram may show the same answer to whoever asks the same."""
REFILL_S = 10
"""The time in which one more poem at most is written for the same wish."""

# Every keystroke asks. A person who types shall not have the engine write for each of them.
_PERSON_IN_FLIGHT = 3
_PERSON_RATES = (Rate(count=20, window_s=60), Rate(count=300, window_s=24 * 3600))
_ALL = Quota(whose=Whose.CHAT, name="inline", in_flight=32)
_PATIENCE_MS = 30_000
_WAITING_MAX = 64
_AT_ONCE = 4

log = structlog.get_logger(__name__)


class InlineDesk:
    """Answers what people type after the bot's name in chats that it need not be in.

    Answers that are lost do no harm: whoever types on asks again.
    """

    def __init__(
        self,
        *,
        bot: Bot,
        engine: EngineClient,
        shelf: Shelf,
        halt: Halt,
        words: Filter,
        door: Door,
        pseudonyms: Pseudonyms,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Answer those whom the `door` admits as `bot`, except during a `halt`.

        Nobody may ask for what holds one of `words`. `clock` tells the Unix time in seconds.
        """
        self._bot = bot
        self._engine = engine
        self._shelf = shelf
        self._halt = halt
        self._words = words
        self._door = door
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._waiting: asyncio.Queue[InlineQuestion] = asyncio.Queue(_WAITING_MAX)

    async def note(self, question: InlineQuestion) -> None:
        """Have `question` answered soon; where too many wait, the one that waited longest is not.

        Its asker has typed on by now.
        """
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(question)

    async def run(self) -> None:
        """Answer, and fill the shelf, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fill())
            for _ in range(_AT_ONCE):
                group.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        while True:
            question = await self._waiting.get()
            with bound_contextvars(cause=question.cause):
                try:
                    await self._answer(question)
                except Exception as error:
                    # Only its name: an error's text may quote what a person wrote.
                    log.warning("! inline", action="inline.failed", error=type(error).__name__)

    async def _answer(self, question: InlineQuestion) -> None:
        request = self._understood(question)
        if request is None or not self._door.serves(question.person):
            await self._show(question, ())
            return
        wish = wish_of(self._wish(question))
        poems = await self._shelf.poems(wish)
        results = [
            _article(poem, request, question.language, number)
            for number, poem in enumerate(poems, start=1)
        ]
        await self._show(question, results)
        if len(poems) < KEPT_MAX:
            await self._have_written(wish, question)

    def _wish(self, question: InlineQuestion) -> str:
        """What is asked for; where nothing is, what suits the season, the same all day."""
        today = datetime.fromtimestamp(self._clock()).astimezone().date()
        return question.text.strip() or seasonal_character(today, today.toordinal())

    def _understood(self, question: InlineQuestion, *, seed: int = 0) -> PoemRequest | None:
        """The poem asked for, in a form that `seed` chooses; None if there can be none."""
        situation = Situation(
            language=question.language,
            style=Style(),
            cells=frozenset(),
            today=datetime.fromtimestamp(self._clock()).astimezone().date(),
            seed=seed,
        )
        request = read_poem_request(self._wish(question), situation)
        if not isinstance(request, PoemRequest) or self._words.find_in_request(request):
            return None
        return request

    async def _show(
        self, question: InlineQuestion, results: Sequence[InlineQueryResultArticle]
    ) -> None:
        if await self._halt.left_s():
            return
        text = texts.INLINE_NEW if results else texts.INLINE_SOON
        payload = payload_for("poem", " ".join(clean(question.text).split()))
        try:
            await self._bot.answer_inline_query(
                question.id,
                results,
                # The next keystroke shall find what was written meanwhile.
                cache_time=FRESH_S if results else 0,
                is_personal=False,
                button=InlineQueryResultsButton(
                    text.say(question.language), start_parameter=payload
                ),
            )
        except RetryAfter as error:
            await self._halt.hold(seconds_of(error))
        except TelegramError as error:
            # Most often: the person typed on, and Telegram forgot this question.
            log.info("! inline", action="inline.refused", error=type(error).__name__)

    async def _have_written(self, wish: str, question: InlineQuestion) -> None:
        """Put a job for the shelf, at most one for a wish in `REFILL_S`."""
        now_s = self._clock()
        name = f"inline:{wish}:{int(now_s // REFILL_S)}"
        request = self._understood(question, seed=seed_of(name))
        if request is None:
            return
        style = Style()
        job = Job(
            id=name,
            client=CLIENT,
            chat=CLIENT,
            form=request.form,
            cell=style.cell,
            temperature=style.temperature,
            seed=seed_of(name),
            opening=request.opening,
            rhyme=request.rhyme,
            theme=request.theme,
            lane=Lane.BULK,
            deadline_ms=int(now_s * 1000) + _PATIENCE_MS,
            context={"wish": wish},
        )
        person = Quota(
            whose=Whose.PERSON,
            name=f"inline:{self._pseudonyms.of(question.person)}",
            in_flight=_PERSON_IN_FLIGHT,
            rates=_PERSON_RATES,
        )
        await self._engine.put(job, (person, _ALL))

    async def _fill(self) -> None:
        """Put on the shelf what was written for it."""
        while True:
            for delivery in await self._engine.outcomes(CLIENT, CLIENT, wait_ms=MAX_BLOCK_MS):
                poem = delivery.outcome
                if isinstance(poem, Poem) and not self._words.find_in_poem(poem.lines):
                    await self._shelf.add(str(poem.context["wish"]), poem)
                await self._engine.done(delivery)


def _article(
    poem: Poem, request: PoemRequest, language: Language, number: int
) -> InlineQueryResultArticle:
    """One poem to choose: it is sent as plain text, for nobody could count votes on it."""
    glyphs, script = request.glyphs, request.script
    shown = render_poem(poem, glyphs=glyphs, script=script, language=language)
    return InlineQueryResultArticle(
        id=str(number),
        title=show_lines(poem.lines, glyphs=glyphs, script=script)[0],
        description=colophon([poem], language),
        input_message_content=InputTextMessageContent(
            shown.text,
            entities=entities_of(shown.text, shown.spans),
            link_preview_options=LinkPreviewOptions(is_disabled=True),
        ),
    )
