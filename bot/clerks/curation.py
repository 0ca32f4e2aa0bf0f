"""Shows poems to curators one after the other, and counts their stars.

A review is one message that changes. All it remembers is in its buttons and in the anthology, so it
goes on after any restart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from bot import texts
from bot.agreement import alpha
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.curation import Figures, Turn
from bot.anthology.tables import PoemRow
from bot.buttons import Deed, Verb, review_buttons
from bot.cards.chart import Chart, Day, Mean, Term
from bot.clerks import Act, TapAct, instead, person_of, say, tell, whisper
from bot.clerks.voting import and_ask_consent
from bot.language import Language, Script
from bot.message import Button, Incoming, Reply, Tap
from bot.metrics import Metrics, Rating
from bot.render import render_verse
from bot.requests import CurateRequest, ReviewRequest, StatsRequest

DAYS = 14
"""How far back /stats looks."""

_DEBUTS = 6


class CurationClerk:
    """Serves curators.

    Alone with the bot they review the poems of all chats, in company those of that chat.
    """

    def __init__(self, anthology: Anthology, *, whispers: bool, metrics: Metrics) -> None:
        """Tell `metrics` of stars.

        `whispers` says whether the platform can show a message to one person in company.
        """
        self._metrics = metrics
        self._anthology = anthology
        self._whispers = whispers

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        return {
            ReviewRequest: self._begin,
            CurateRequest: self._let_admins_curate,
            StatsRequest: self._show_figures,
        }

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """What it does, by button."""
        return {Verb.STAR: self._star, Verb.SKIP: self._skip, Verb.BACK: self._go_back}

    async def _let_admins_curate(
        self, request: CurateRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        changed = replace(settings, admins_curate=request.on)
        await self._anthology.chats.change(incoming.address.chat, changed, incoming.language)
        text = texts.CURATE_ON if request.on else texts.CURATE_OFF
        return say(incoming, text.say(incoming.language))

    # --- review ---

    async def _begin(
        self, _request: ReviewRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        turn = await self._anthology.curation.turn(person_of(incoming), chat=_chat(incoming))
        text, buttons = _show(turn, incoming.language, settings)
        return whisper(incoming, text, buttons=buttons)

    async def _star(self, deed: Deed, tap: Tap, settings: ChatSettings) -> Reply:
        poem = await self._poem(deed, tap)
        if poem is None or deed.argument not in {"1", "2", "3", "4", "5"}:
            return tell(tap, texts.POEM_UNKNOWN.say(tap.language))
        stars = int(deed.argument)
        await self._anthology.ratings.star(
            poem.id, person=tap.person, chat=tap.address.chat, stars=stars
        )
        self._metrics.count_rating(Rating.STARS)
        reply = await self._go_on(tap, settings, "★" * stars)
        return await and_ask_consent(self._anthology, tap, reply, whispers=self._whispers)

    async def _skip(self, deed: Deed, tap: Tap, settings: ChatSettings) -> Reply:
        poem = await self._poem(deed, tap)
        if poem is None:
            return tell(tap, texts.POEM_UNKNOWN.say(tap.language))
        await self._anthology.curation.skip(poem.id, person=tap.person)
        return await self._go_on(tap, settings, texts.SKIPPED.say(tap.language))

    async def _go_back(self, deed: Deed, tap: Tap, settings: ChatSettings) -> Reply:
        """Take back what was said of a poem, and show it again."""
        poem = await self._poem(deed, tap)
        if poem is None:
            return tell(tap, texts.POEM_UNKNOWN.say(tap.language))
        await self._anthology.ratings.star(
            poem.id, person=tap.person, chat=tap.address.chat, stars=None
        )
        await self._anthology.curation.unskip(poem.id, person=tap.person)
        turn = await self._anthology.curation.turn(tap.person, chat=_chat(tap))
        return _change(tap, replace(turn, poem=poem), settings, texts.TAKEN_BACK.say(tap.language))

    async def _go_on(self, tap: Tap, settings: ChatSettings, said: str) -> Reply:
        turn = await self._anthology.curation.turn(tap.person, chat=_chat(tap))
        return _change(tap, turn, settings, said)

    async def _poem(self, deed: Deed, tap: Tap) -> PoemRow | None:
        """The poem that a button is about, if it may be reviewed there."""
        if tap.direct:
            return await self._anthology.poems.get(deed.subject)
        return await self._anthology.poems.get_in(tap.address.chat, deed.subject)

    # --- figures ---

    async def _show_figures(
        self, _request: StatsRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        figures = await self._anthology.curation.figures(days=DAYS)
        return whisper(incoming, describe(figures, incoming.language), chart=picture(figures))


def picture(figures: Figures) -> Chart:
    """How the anthology fares, as a picture."""
    return Chart(
        days=tuple(Day(label=f"{day:%d}", ratings=number) for day, number in figures.by_day),
        means=tuple(
            Mean(cell=one.cell, worth=one.worth, ratings=one.ratings) for one in figures.by_cell
        ),
        terms=tuple(_terms(figures)),
    )


def _terms(figures: Figures) -> Iterator[Term]:
    """When each checkpoint wrote, among the days of `figures`."""
    first = datetime.combine(figures.by_day[0][0], time(), UTC)
    span = timedelta(days=len(figures.by_day))
    for place, debut in enumerate(figures.debuts):
        followers = (one.at for one in figures.debuts[place + 1 :] if one.cell is debut.cell)
        ends = next(followers, first + span)
        yield Term(
            cell=debut.cell,
            # Of CELL-UTC-SHA8, what tells one from another.
            label=debut.checkpoint.rpartition("-")[2],
            begins=(debut.at - first) / span,
            ends=(ends - first) / span,
        )


def describe(figures: Figures, language: Language) -> str:
    """How the anthology fares, in words."""
    total = sum(number for _, number in figures.by_day)
    lines = [
        texts.STATS_RATINGS.say(language, count=total, days=len(figures.by_day)),
        " ".join(f"{day:%m-%d} {number}" for day, number in figures.by_day if number),
        texts.STATS_CELLS.say(language) if figures.by_cell else "",
    ]
    lines += [
        texts.STATS_CELL.say(language, cell=one.cell, worth=f"{one.worth:.2f}", count=one.ratings)
        for one in figures.by_cell
    ]
    lines.append(_agreement(figures, language))
    lines.append(texts.STATS_CONSENTS.say(language, count=figures.consents))
    lines.append(texts.STATS_DEBUTS.say(language) if figures.debuts else "")
    lines += [
        texts.STATS_DEBUT.say(language, date=one.at.date().isoformat(), checkpoint=one.checkpoint)
        for one in figures.debuts[-_DEBUTS:]
    ]
    return "\n".join(filter(None, lines))


def _agreement(figures: Figures, language: Language) -> str:
    agreement = alpha(figures.starred)
    if agreement is None:
        return texts.STATS_NO_AGREEMENT.say(language)
    return texts.STATS_AGREEMENT.say(
        language, alpha=f"{agreement:.2f}", count=sum(figures.starred.values())
    )


def _chat(asked: Incoming | Tap) -> str | None:
    """The chat whose poems are reviewed; None for all."""
    return None if asked.direct else asked.address.chat


def _show(turn: Turn, language: Language, settings: ChatSettings) -> tuple[str, tuple[Button, ...]]:
    """The text of a review and its buttons; nothing of it says which model wrote the poem."""
    if turn.poem is None:
        text = texts.REVIEW_DONE if turn.total else texts.REVIEW_NOTHING
        return text.say(language, total=turn.total), review_buttons(None, turn.last)
    script = settings.script or Script(turn.poem.script)
    verse = render_verse(turn.poem.poem, glyphs=turn.poem.opening, script=script)
    heading = texts.REVIEW.say(language, done=turn.done, total=turn.total)
    return f"{heading}\n\n{verse}", review_buttons(turn.poem.id, turn.last)


def _change(tap: Tap, turn: Turn, settings: ChatSettings, said: str) -> Reply:
    text, buttons = _show(turn, tap.language, settings)
    return tell(tap, said, instead(tap, text, buttons))
