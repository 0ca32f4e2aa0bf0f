"""Shows what there is: a chat's best poems, a person's own, and the models that write."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.poems import Ranked
from bot.anthology.tables import PoemRow
from bot.buttons import Deed, Verb, page_buttons
from bot.clerks import Act, TapAct, instead, person_of, say, tell, whisper
from bot.language import Language, Script
from bot.message import Button, Incoming, Reply, Tap
from bot.nights import tell_night
from bot.render import render_verse
from bot.requests import MineRequest, ModelRequest, Period, TopRequest
from bot.texts import Text
from engine.client import EngineClient, Lineup

TOP = 5
"""Poems that a leaderboard shows."""
PAGE = 4
"""Poems of one's own on a page."""

_PERIODS: dict[Period, tuple[timedelta | None, Text]] = {
    Period.DAY: (timedelta(days=1), texts.TOP_DAY),
    Period.WEEK: (timedelta(days=7), texts.TOP_WEEK),
    Period.MONTH: (timedelta(days=30), texts.TOP_MONTH),
    Period.ALL: (None, texts.TOP_ALL),
}
# A checkpoint's id tells when it was made: CELL-UTC-SHA8.
_MADE = re.compile(r"-(\d{8}T\d{6}Z)-")


class BrowsingClerk:
    """Reads the anthology to whoever asks."""

    def __init__(
        self, *, engine: EngineClient, anthology: Anthology, clock: Callable[[], float]
    ) -> None:
        """`clock` tells the Unix time in seconds."""
        self._engine = engine
        self._anthology = anthology
        self._clock = clock

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        return {
            TopRequest: self._show_top,
            MineRequest: self._show_mine,
            ModelRequest: self._show_models,
        }

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """What it does, by button."""
        return {Verb.MINE: self._turn_page}

    async def _show_top(
        self, request: TopRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        age, heading = _PERIODS[request.period]
        since = None if age is None else datetime.fromtimestamp(self._clock(), UTC) - age
        ranked = await self._anthology.poems.top(incoming.address.chat, since=since, most=TOP)
        if not ranked:
            return say(incoming, texts.TOP_NOTHING.say(incoming.language))
        entries = [
            f"{place}. {_marks(one)}\n{_verse(one.poem, settings.script)}"
            for place, one in enumerate(ranked, start=1)
        ]
        return say(incoming, "\n\n".join([heading.say(incoming.language), *entries]))

    async def _show_mine(
        self, _request: MineRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        text, buttons = await self._page(person_of(incoming), 1, incoming.language, settings)
        return whisper(incoming, text, buttons=buttons)

    async def _turn_page(self, deed: Deed, tap: Tap, settings: ChatSettings) -> Reply:
        number = int(deed.argument) if deed.argument.isdecimal() else 1
        text, buttons = await self._page(tap.person, number, tap.language, settings)
        return tell(tap, "", instead(tap, text, buttons))

    async def _page(
        self, person: str, number: int, language: Language, settings: ChatSettings
    ) -> tuple[str, tuple[Button, ...]]:
        """Page `number`, from 1, of a person's own poems; the last one where there is none."""
        count = await self._anthology.poems.count_own(person)
        if count == 0:
            return texts.MINE_NOTHING.say(language), ()
        pages = -(-count // PAGE)
        number = min(max(number, 1), pages)
        rows = await self._anthology.poems.own(person, skip=(number - 1) * PAGE, most=PAGE)
        heading = texts.MINE.say(language, count=count, page=number, pages=pages)
        verses = [_verse(row, settings.script) for row in rows]
        return "\n\n".join([heading, *verses]), page_buttons(Verb.MINE, number, pages)

    async def _show_models(
        self, _request: ModelRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        language = incoming.language
        lineups = await self._engine.lineups()
        if not lineups:
            return say(incoming, texts.MODEL_NONE.say(language))
        waiting = sum((await self._engine.depth()).values())
        lines = [texts.MODELS.say(language)]
        for cell, lineup in sorted(lineups.items()):
            lines += _model_lines(cell, lineup, language)
        lines.append(texts.MODEL_HERE.say(language, cell=settings.style.cell, waiting=waiting))
        bulletin = await self._engine.night()
        if bulletin is not None:
            lines += tell_night(bulletin, language, now_ms=int(self._clock() * 1000))
        return say(incoming, "\n".join(lines))


def _verse(row: PoemRow, chosen: Script | None) -> str:
    """A poem's lines alone, in the script that the chat chose, else as it was shown."""
    return render_verse(row.poem, glyphs=row.opening, script=chosen or Script(row.script))


def _marks(ranked: Ranked) -> str:
    """What people said of a poem."""
    marks = [f"👍 {ranked.up}"] if ranked.up else []
    if ranked.stars is not None:
        marks.append(f"★ {ranked.stars:.1f}")
    return " · ".join(marks)


def _model_lines(cell: str, lineup: Lineup[str], language: Language) -> Iterator[str]:
    """The models of one cell: the one in service, and the one on trial."""
    yield _model_line(cell, lineup.champion, language)
    if lineup.challenger is not None:
        percent = f"{100 * lineup.share:g}"
        yield texts.MODEL_TRIAL.say(language, checkpoint=lineup.challenger, percent=percent)


def _model_line(cell: str, checkpoint: str, language: Language) -> str:
    made = _MADE.search(checkpoint)
    if made is None:
        return texts.MODEL.say(language, cell=cell, checkpoint=checkpoint)
    date = datetime.strptime(made[1], "%Y%m%dT%H%M%S%z").date().isoformat()
    return texts.MODEL_MADE.say(language, cell=cell, checkpoint=checkpoint, date=date)
