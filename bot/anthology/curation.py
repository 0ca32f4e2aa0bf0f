"""What curators do: which poem comes next for one of them, and what all of them have done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import (
    Select,
    Subquery,
    case,
    delete,
    exists,
    func,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncSession

from bot.agreement import Counts
from bot.anthology.audit import audit_row
from bot.anthology.database import Database
from bot.anthology.ratings import WORTH
from bot.anthology.tables import (
    SEVERAL_STARRED,
    STARS,
    ConsentRow,
    DayRow,
    PoemRow,
    RatingRow,
    SkipRow,
    StandingRow,
)
from engine.jobs import Cell
from engine.verse.frame import OPEN

REVIEW_MAX = 500
"""The newest poems, of which curators are asked: those of old models teach the next one little."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a curator is shown next."""

    poem: PoemRow | None
    """The poem; None where they have seen all."""
    done: int
    """Poems that they have starred or skipped."""
    total: int
    """Poems that there are to review."""
    last: str | None
    """The id of the poem that they starred or skipped last, if any."""


@dataclass(frozen=True, kw_only=True)
class CellFigures:
    """What people think of the poems of one cell."""

    cell: Cell
    """The cell."""
    ratings: int
    """How many ratings there are."""
    worth: float
    """Their mean, where 👍 and five stars are 1, 👎 and one star 0."""


@dataclass(frozen=True, kw_only=True)
class Debut:
    """A checkpoint that came into service."""

    cell: Cell
    """Its cell."""
    checkpoint: str
    """Its id."""
    at: datetime
    """When the first of its poems was shown."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How the anthology fares, of the last `days`."""

    by_day: Sequence[tuple[date, int]]
    """Ratings given or changed on each day of UTC, the oldest first."""
    by_cell: Sequence[CellFigures]
    """What they say of each cell."""
    debuts: Sequence[Debut]
    """Checkpoints whose poems were shown, by their first."""
    starred: dict[Counts, int]
    """Of all time: by how many gave a poem one to five stars, how many such poems there are."""
    consents: int
    """People who let the model learn from them."""


class Curation:
    """The curators' side of the anthology."""

    def __init__(self, database: Database) -> None:
        """Read and write `database`."""
        self._database = database

    async def turn(self, person: str, *, chat: str | None) -> Turn:
        """What `person` is shown next: the poem with the fewest stars, of these the newest.

        Of `chat`; where it is None, of all chats, but none in which people fixed more than how it
        begins: acrostics spell names.
        """
        rater = self._database.known_as(person)
        place = None if chat is None else self._database.known_as(chat)

        async def look(session: AsyncSession) -> Turn:
            found = (await session.execute(_next(rater, place))).one_or_none()
            total, done = (await session.execute(_progress(rater, place))).one()
            return Turn(
                poem=await session.get(PoemRow, found.id) if found else None,
                done=int(done),
                total=int(total),
                last=await session.scalar(_last(rater, place)),
            )

        return await self._database.read(look)

    async def skip(self, poem: str, *, person: str) -> None:
        """Note that `person` does not want to rate a poem."""
        rater = self._database.known_as(person)

        async def skip(session: AsyncSession) -> None:
            if await session.get(PoemRow, poem) is not None:
                await session.merge(SkipRow(poem=poem, rater=rater, at=datetime.now(UTC)))

        await self._database.transact(skip)

    async def unskip(self, poem: str, *, person: str) -> None:
        """Take a skip back, if there was one."""
        rater = self._database.known_as(person)
        statement = delete(SkipRow).where(SkipRow.poem == poem, SkipRow.rater == rater)
        await self._database.transact(lambda session: session.execute(statement))

    async def note_rollback(self, *, person: str, cell: Cell, was: str, now: str) -> None:
        """Write into the audit log that `person` had checkpoint `now` put in the place of `was`."""
        detail = {"cell": cell.value, "from": was, "to": now}

        async def note(session: AsyncSession) -> None:
            session.add(audit_row("rollback", self._database.known_as(person), detail))

        await self._database.transact(note)

    async def figures(self, *, days: int) -> Figures:
        """How the anthology fares, of so many days with today."""
        today = datetime.now(UTC).date()
        dates = [today - timedelta(days=ago) for ago in reversed(range(days))]
        counted = await self._counted(dates)

        async def count(session: AsyncSession) -> Figures:
            debuts = await session.execute(_debuts(_midnight(dates[0])))
            starred = await session.execute(_starred())
            return Figures(
                by_day=[
                    (day, sum(row.ratings for row in counted if row.day == day)) for day in dates
                ],
                by_cell=_by_cell(counted),
                debuts=[
                    Debut(cell=Cell(cell), checkpoint=checkpoint, at=at)
                    for cell, checkpoint, at in debuts
                    if at is not None
                ],
                starred={tuple(map(int, given)): number for *given, number in starred},
                consents=await session.scalar(_consents()) or 0,
            )

        return await self._database.read(count)

    async def _counted(self, dates: Sequence[date]) -> Sequence[DayRow]:
        """What was thought on each of these days; days that are over are counted once."""

        async def count(session: AsyncSession) -> tuple[list[DayRow], list[DayRow]]:
            kept = list(await session.scalars(select(DayRow).where(DayRow.day.in_(dates))))
            missing = [day for day in dates if day not in {row.day for row in kept}]
            new = [row for day in missing for row in await _count_day(session, day)]
            return kept, new

        kept, new = await self._database.read(count)
        # What was rated just before midnight may be written a little after it.
        over = (datetime.now(UTC) - timedelta(hours=1)).date()
        closed = [row for row in new if row.day < over]
        if closed:
            await self._database.transact(lambda session: _keep(session, closed))
        return kept + new


# --- review ---


def _window(rater: str, place: str | None) -> Subquery:
    """The poems to review, each with its stars and whether the curator has dealt with it."""
    newest = (
        select(PoemRow.id, PoemRow.shown_at)
        .where(PoemRow.shown_at.is_not(None))
        .order_by(PoemRow.shown_at.desc())
        .limit(REVIEW_MAX)
    )
    if place is None:
        newest = newest.where(PoemRow.opening.not_like(f"%{OPEN}%"))
    else:
        newest = newest.where(PoemRow.chat == place)
    poems = newest.subquery()
    stars = select(func.count(RatingRow.stars)).where(RatingRow.poem == poems.c.id)
    starred = exists().where(
        RatingRow.poem == poems.c.id, RatingRow.rater == rater, RatingRow.stars.is_not(None)
    )
    skipped = exists().where(SkipRow.poem == poems.c.id, SkipRow.rater == rater)
    return select(
        poems.c.id,
        poems.c.shown_at,
        stars.scalar_subquery().label("stars"),
        case((starred | skipped, 1), else_=0).label("done"),
    ).subquery()


def _next(rater: str, place: str | None) -> Select[str]:
    poems = _window(rater, place)
    return (
        select(poems.c.id)
        .where(poems.c.done == 0)
        .order_by(poems.c.stars, poems.c.shown_at.desc(), poems.c.id)
        .limit(1)
    )


def _progress(rater: str, place: str | None) -> Select[int, int]:
    poems = _window(rater, place)
    return select(func.count(), func.coalesce(func.sum(poems.c.done), 0)).select_from(poems)


def _last(rater: str, place: str | None) -> Select[str]:
    """The poem that a curator dealt with last."""
    starred = select(RatingRow.poem, RatingRow.at).where(
        RatingRow.rater == rater, RatingRow.stars.is_not(None)
    )
    skipped = select(SkipRow.poem, SkipRow.at).where(SkipRow.rater == rater)
    if place is not None:
        starred = starred.join(PoemRow, PoemRow.id == RatingRow.poem).where(PoemRow.chat == place)
        skipped = skipped.join(PoemRow, PoemRow.id == SkipRow.poem).where(PoemRow.chat == place)
    newest = union_all(
        select(starred.order_by(RatingRow.at.desc()).limit(1).subquery()),
        select(skipped.order_by(SkipRow.at.desc()).limit(1).subquery()),
    ).subquery()
    return select(newest.c.poem).order_by(newest.c.at.desc()).limit(1)


# --- figures ---


def _midnight(day: date) -> datetime:
    """The moment at which a day begins in UTC."""
    return datetime.combine(day, time(), UTC)


async def _count_day(session: AsyncSession, day: date) -> list[DayRow]:
    """What was thought on one day, of each cell of which anything was."""
    statement = (
        select(PoemRow.cell, func.count(), func.sum(WORTH))
        .join(RatingRow, RatingRow.poem == PoemRow.id)
        .where(RatingRow.at >= _midnight(day), RatingRow.at < _midnight(day + timedelta(days=1)))
        .group_by(PoemRow.cell)
    )
    return [
        DayRow(day=day, cell=cell, ratings=ratings, worth=float(worth))
        for cell, ratings, worth in await session.execute(statement)
    ]


async def _keep(session: AsyncSession, counted: Sequence[DayRow]) -> None:
    # Another process may be doing the same.
    for row in counted:
        await session.merge(row)


def _by_cell(counted: Sequence[DayRow]) -> list[CellFigures]:
    figures = []
    for cell in sorted({row.cell for row in counted}):
        rows = [row for row in counted if row.cell == cell]
        ratings = sum(row.ratings for row in rows)
        worth = sum(row.worth for row in rows) / ratings
        figures.append(CellFigures(cell=Cell(cell), ratings=ratings, worth=worth))
    return figures


def _debuts(since: datetime) -> Select[str, str, datetime | None]:
    first = func.min(PoemRow.shown_at, type_=PoemRow.shown_at.type)
    return (
        select(PoemRow.cell, PoemRow.checkpoint, first)
        .where(PoemRow.shown_at >= since)
        .group_by(PoemRow.cell, PoemRow.checkpoint)
        .order_by(first)
    )


def _starred() -> Select[*tuple[Any, ...]]:
    given = [StandingRow.__table__.c[f"stars{stars}"] for stars in STARS]
    return select(*given, func.count()).where(text(SEVERAL_STARRED)).group_by(*given)


def _consents() -> Select[int]:
    return select(func.count()).where(ConsentRow.given == true())
