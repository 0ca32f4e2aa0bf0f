"""What people think of poems: one row a person and poem, the last word counts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    case,
    delete,
    distinct,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession

from bot.anthology.audit import audit_row
from bot.anthology.database import Database
from bot.anthology.people import CONSENT_VERSION
from bot.anthology.tables import ConsentRow, DayRow, PoemRow, RatingRow
from bot.message import Tally
from engine.jobs import Cell
from engine.verse.forms import FormName

WORTH = case(
    (RatingRow.stars.is_not(None), (RatingRow.stars - 1) / 4.0), else_=(RatingRow.vote + 1) / 2.0
)
"""What a rating says of a poem, 0 to 1: 👍 is worth 1 and 👎 0; where a curator gave stars they
count instead, five worth 1 and one 0."""

_PAGE = 1000
_OF_POEM = [
    "lines",
    "form",
    "rhyme",
    "cell",
    "checkpoint",
    "seed",
    "temperature",
    "theme",
    "opening",
]
_OF_RATING = ["poem", "vote", "stars", "rater", "chat", "at"]


@dataclass(frozen=True, kw_only=True)
class TrainingRating:
    """What one person thinks of one poem, and lets the model learn."""

    poem: str
    """The poem's id."""
    lines: tuple[str, ...]
    """Its lines, without punctuation, as the engine gave them."""
    form: FormName
    """Its form."""
    rhyme: str
    """Its rhyme group."""
    cell: Cell
    """The family of the model that wrote it."""
    checkpoint: str
    """The checkpoint that wrote it."""
    seed: int
    """The seed it was written with."""
    temperature: float
    """The temperature it was written at."""
    theme: str
    """What it was asked to be about; may be empty."""
    opening: str
    """What it was asked to begin with, or the frame it was written in, as typed; that of a
    rewriting holds all that was kept. No model may learn from these characters."""
    vote: int | None
    """1 for 👍, -1 for 👎; None where only stars were given."""
    stars: int | None
    """1 to 5; None where only a vote was given."""
    rater: str
    """The person's pseudonym."""
    curator: bool
    """Whether the operator named them. Stars come also from admins of chats that opted in, and
    whoever makes a chat of their own is an admin: those deserve less trust."""
    chat: str
    """The pseudonym of the chat that it was given in."""
    at: datetime
    """When it was given or last changed."""

    @property
    def worth(self) -> float:
        """What it says of the poem, 0 to 1, as `WORTH` has it."""
        if self.stars is not None:
            return (self.stars - 1) / 4
        return ((self.vote or 0) + 1) / 2


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which ratings are meant: those to which all of this applies."""

    person: str | None = None
    """Given by them, with the platform."""
    chat: str | None = None
    """Given there, with the platform."""
    since: datetime | None = None
    """Given or last changed then or later."""
    until: datetime | None = None
    """Given or last changed before."""

    def __post_init__(self) -> None:
        """Raises ValueError if nothing is named, or both a person and a chat."""
        if self.person is not None and self.chat is not None:
            raise ValueError("name a person or a chat, not both")
        if (self.person, self.chat, self.since, self.until) == (None,) * 4:
            raise ValueError("name a person, a chat or an interval")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much a selection holds."""

    ratings: int
    """Ratings."""
    people: int
    """People who gave them."""
    poems: int
    """Poems that they are about."""


class Ratings:
    """The ratings of the anthology."""

    def __init__(self, database: Database) -> None:
        """Read and write `database`."""
        self._database = database

    async def vote(self, poem: str, *, person: str, chat: str, vote: int | None) -> Tally | None:
        """Count `person`'s vote on a poem of `chat`: 1, -1, or None to take it back.

        Returns the votes on it now; None if `chat` was never shown that poem.
        """

        def change(row: RatingRow) -> None:
            row.vote = vote

        return await self._change(poem, person=person, chat=chat, of_chat=True, change=change)

    async def star(self, poem: str, *, person: str, chat: str, stars: int | None) -> Tally | None:
        """Count a curator's 1 to 5 stars for any poem, given in `chat`; None takes them back.

        Returns the votes on it now; None if there is no such poem.
        """

        def change(row: RatingRow) -> None:
            row.stars = stars

        return await self._change(poem, person=person, chat=chat, of_chat=False, change=change)

    async def tally(self, poem: str) -> Tally:
        """The votes on one poem."""
        return await self._database.read(lambda session: _tally(session, poem))

    async def training_ratings(
        self, *, curators: Collection[str] = ()
    ) -> AsyncIterator[TrainingRating]:
        """What the next training may learn from: by poem and rater, each once.

        Only of those who have allowed it in answer to the present text, and not taken it back;
        what was undone or forgotten is not there. It is read page by page, so that nobody who
        rates meanwhile has to wait: what changes meanwhile is met as it was or as it is.

        Args:
            curators: Those whom the operator named, with their platforms.
        """
        named = frozenset(map(self._database.known_as, curators))
        after = ("", "")
        while page := await self._database.read(_reader_of(_training_page(after))):
            for row in page:
                yield _training_rating(row, curator=row["rater"] in named)
            after = (page[-1]["poem"], page[-1]["rater"])

    async def extent(self, selection: Selection) -> Extent:
        """How much `selection` holds."""
        chosen = self._chosen(selection)
        return await self._database.read(lambda session: _extent(session, chosen))

    async def undo(self, selection: Selection) -> Extent:
        """Delete the ratings of `selection`, and note it in the audit log; how much it was.

        They are deleted, not marked: there is one row a person and poem, so what others think is
        not touched. What a person thought before they changed their mind is not kept anywhere, so
        of a rating that was changed in the interval nothing is left.
        """
        chosen = self._chosen(selection)
        whose = selection.person or selection.chat
        subject = None if whose is None else self._database.known_as(whose)

        async def undo(session: AsyncSession) -> Extent:
            gone = await _extent(session, chosen)
            await session.execute(delete(RatingRow).where(*chosen))
            # Whichever days they were counted in are counted anew.
            await session.execute(delete(DayRow))
            detail = {
                "by": _kind(selection),
                "since": selection.since and selection.since.isoformat(),
                "until": selection.until and selection.until.isoformat(),
                "ratings": gone.ratings,
            }
            session.add(audit_row("undo", None, detail, subject=subject))
            return gone

        return await self._database.transact(undo)

    def _chosen(self, selection: Selection) -> list[ColumnElement[bool]]:
        """`selection` as conditions."""
        chosen: list[ColumnElement[bool]] = []
        if selection.person is not None:
            chosen.append(RatingRow.rater == self._database.known_as(selection.person))
        if selection.chat is not None:
            chosen.append(RatingRow.chat == self._database.known_as(selection.chat))
        if selection.since is not None:
            chosen.append(RatingRow.at >= selection.since)
        if selection.until is not None:
            chosen.append(RatingRow.at < selection.until)
        return chosen

    async def _change(
        self,
        poem: str,
        *,
        person: str,
        chat: str,
        of_chat: bool,
        change: Callable[[RatingRow], None],
    ) -> Tally | None:
        rater, place = self._database.known_as(person), self._database.known_as(chat)

        async def upsert(session: AsyncSession) -> Tally | None:
            # Locked, where the database can: two taps of one person must not both make the row.
            rated = await session.get(PoemRow, poem, with_for_update=True)
            if rated is None or (of_chat and rated.chat != place):
                return None
            # And one that is forgotten meanwhile must not be taken for one that is there.
            row = await session.get(RatingRow, (poem, rater), with_for_update=True)
            if row is None:
                row = RatingRow(poem=poem, rater=rater)
                session.add(row)
            before = (row.vote, row.stars)
            change(row)
            if (row.vote, row.stars) == (None, None):
                await _drop(session, row)
            elif (row.vote, row.stars) != before:
                row.platform, row.chat = chat.partition(":")[0], place
                row.at = datetime.now(UTC)
            await session.flush()
            return await _tally(session, poem)

        return await self._database.transact(upsert)


async def _drop(session: AsyncSession, row: RatingRow) -> None:
    """Take out a row that says nothing any more, or never came to say anything."""
    if row in session.new:
        session.expunge(row)
    else:
        await session.delete(row)


def _training_page(after: tuple[str, str]) -> Select[*tuple[Any, ...]]:
    """The ratings that may train the model, from the first beyond that poem and rater."""
    columns = [getattr(PoemRow, name) for name in _OF_POEM]
    columns += [getattr(RatingRow, name) for name in _OF_RATING]
    return (
        select(*columns)
        .select_from(RatingRow)
        .join(PoemRow, PoemRow.id == RatingRow.poem)
        .join(ConsentRow, ConsentRow.rater == RatingRow.rater)
        .where(
            tuple_(RatingRow.poem, RatingRow.rater) > after,
            ConsentRow.given == true(),
            ConsentRow.version == CONSENT_VERSION,
        )
        .order_by(RatingRow.poem, RatingRow.rater)
        .limit(_PAGE)
    )


def _training_rating(row: RowMapping, *, curator: bool) -> TrainingRating:
    typed = {
        "lines": tuple(row["lines"]),
        "form": FormName(row["form"]),
        "cell": Cell(row["cell"]),
    }
    return TrainingRating(**{**row, **typed}, curator=curator)


def _reader_of(
    statement: Select[*tuple[Any, ...]],
) -> Callable[[AsyncSession], Awaitable[Sequence[RowMapping]]]:
    async def read(session: AsyncSession) -> Sequence[RowMapping]:
        return (await session.execute(statement)).mappings().all()

    return read


async def _extent(session: AsyncSession, chosen: Sequence[ColumnElement[bool]]) -> Extent:
    counts = select(
        func.count(), func.count(distinct(RatingRow.rater)), func.count(distinct(RatingRow.poem))
    ).where(*chosen)
    ratings, people, poems = (await session.execute(counts)).one()
    return Extent(ratings=ratings, people=people, poems=poems)


def _kind(selection: Selection) -> str:
    """What ratings were chosen by, for the audit log."""
    if selection.person is not None:
        return "person"
    return "interval" if selection.chat is None else "chat"


async def _tally(session: AsyncSession, poem: str) -> Tally:
    counts = select(
        func.coalesce(func.sum(case((RatingRow.vote == 1, 1), else_=0)), 0),
        func.coalesce(func.sum(case((RatingRow.vote == -1, 1), else_=0)), 0),
    ).where(RatingRow.poem == poem)
    up, down = (await session.execute(counts)).one()
    return Tally(up=int(up), down=int(down))
