"""What the anthology knows of poems: each that was written, for whom, and where it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import CompoundSelect, Select, exists, func, or_, select, union, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from bot.anthology.chats import chat_row
from bot.anthology.database import Database
from bot.anthology.tables import STARS, ChatRow, PoemRow, RatingRow, ShowingRow, StandingRow
from bot.buttons import candidate_id
from bot.submit import Context
from engine.jobs import Poem

LIKED_STARS = 4
"""A curator who gives so many stars likes the poem."""

PRIOR_RATINGS = 4
"""Ratings that every poem is thought to have from the start, half of them good.

A poem's standing is then the mean of a Beta(2, 2) posterior: with n ratings that are worth s
together, (s + 2) / (n + 4). One 👍 gives 0.6, nine of ten 0.79, so a few cannot outrank many. It is
the centre of the interval of A. Agresti and B. A. Coull, "Approximate is better than 'exact' for
interval estimation of binomial proportions", The American Statistician 52 (1998) 119-126."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A poem in a leaderboard."""

    poem: PoemRow
    """The poem."""
    up: int
    """How many gave 👍."""
    stars: float | None
    """The mean of the curators' stars; None where there are none."""


class Poems:
    """The poems of the anthology."""

    def __init__(self, database: Database) -> None:
        """Read and write `database`."""
        self._database = database

    async def record(self, poem: Poem, context: Context) -> None:
        """Keep `poem` and those beside it, not shown yet. Doing it again changes nothing."""
        known_as = self._database.known_as(context.address.chat)
        asker = None if context.person is None else self._database.known_as(context.person)

        async def keep(session: AsyncSession) -> None:
            if await session.get(PoemRow, poem.job_id) is None:
                await chat_row(session, known_as, context.language)
                await session.flush()
                session.add_all(
                    _poem_row(candidate, context, number=number, chat=known_as, asker=asker)
                    for number, candidate in enumerate((poem, *poem.others), start=1)
                )

        await self._database.transact(keep)

    async def mark_shown(self, job: str, *, chat: str, message: int | None) -> None:
        """Note that what a job wrote was shown just now, in `message` of `chat`."""
        known_as = self._database.known_as(chat)
        statement = update(PoemRow).where(PoemRow.job == job).values(shown_at=datetime.now(UTC))

        async def note(session: AsyncSession) -> None:
            await session.execute(statement)
            if message is not None and await session.get(ChatRow, known_as) is not None:
                await session.merge(ShowingRow(chat=known_as, message=message, job=job))

        await self._database.transact(note)

    async def last_shown(self, chat: str, asker: str | None = None) -> Sequence[PoemRow]:
        """What `chat` was shown last: one poem, or several to choose from.

        Of what `asker` asked for, if one is named.
        """
        known_as = self._database.known_as(chat)
        asked = () if asker is None else (PoemRow.asker == self._database.known_as(asker),)

        async def find(session: AsyncSession) -> Sequence[PoemRow]:
            last = (
                select(PoemRow.job)
                .where(PoemRow.chat == known_as, PoemRow.shown_at.is_not(None), *asked)
                .order_by(PoemRow.shown_at.desc())
                .limit(1)
            )
            job = await session.scalar(last)
            return (await session.scalars(_candidates(known_as, job))).all()

        return await self._database.read(find)

    async def shown_in(self, chat: str, message: int) -> PoemRow | None:
        """The poem that `message` of `chat` shows; of several the picked one, else none."""
        known_as = self._database.known_as(chat)

        async def find(session: AsyncSession) -> PoemRow | None:
            showing = await session.get(ShowingRow, (known_as, message))
            if showing is None:
                return None
            rows = (await session.scalars(_candidates(known_as, showing.job))).all()
            return rows[0] if len(rows) == 1 else _picked(rows)

        return await self._database.read(find)

    async def pick(self, chat: str, job: str, number: int) -> PoemRow | None:
        """Pick one of several poems; the first who picks decides, and again changes nothing.

        Returns the poem that is picked now; None if `chat` was never shown such a choice.
        """
        known_as = self._database.known_as(chat)

        async def choose(session: AsyncSession) -> PoemRow | None:
            # Locked, where the database can: two who pick at once must see each other.
            rows = (await session.scalars(_candidates(known_as, job).with_for_update())).all()
            picked = _picked(rows)
            if picked is None and len(rows) > 1:
                picked = next((row for row in rows if row.number == number), None)
                if picked is not None:
                    picked.picked_at = datetime.now(UTC)
            return picked

        return await self._database.transact(choose)

    async def get(self, poem_id: str) -> PoemRow | None:
        """One poem, by its id."""
        return await self._database.read(lambda session: session.get(PoemRow, poem_id))

    async def get_in(self, chat: str, poem_id: str) -> PoemRow | None:
        """One poem, by its id, if it was written for `chat`."""
        row = await self.get(poem_id)
        return row if row is not None and row.chat == self._database.known_as(chat) else None

    async def top(self, chat: str, *, since: datetime | None, most: int) -> Sequence[Ranked]:
        """The best of `chat` that were shown since then, at most so many, the best one first.

        Only those that more like than not. Of equals that with more ratings comes first, then the
        newer.
        """
        statement = _top(self._database.known_as(chat), since, most)

        async def rank(session: AsyncSession) -> Sequence[Ranked]:
            return [
                # PostgreSQL's mean is a Decimal.
                Ranked(poem=poem, up=up, stars=None if stars is None else float(stars))
                for poem, up, stars in await session.execute(statement)
            ]

        return await self._database.read(rank)

    async def own(self, person: str, *, skip: int, most: int) -> Sequence[PoemRow]:
        """What `person` asked for or liked, the newest first: `most` of them after `skip`."""
        statement = _own_page(self._database.known_as(person)).offset(skip).limit(most)

        async def read(session: AsyncSession) -> Sequence[PoemRow]:
            return (await session.scalars(statement)).all()

        return await self._database.read(read)

    async def count_own(self, person: str) -> int:
        """How many `person` asked for or liked."""
        own = _own(self._database.known_as(person)).subquery()
        statement = select(func.count()).select_from(own)
        return await self._database.read(lambda session: session.scalar(statement)) or 0


def _top(chat: str, since: datetime | None, most: int) -> Select[PoemRow, int, float | None]:
    shown = StandingRow.shown_at.is_not(None) if since is None else StandingRow.shown_at >= since
    # Found in their index alone; poems are looked up for those few that come out on top.
    best = (
        select(StandingRow)
        .where(StandingRow.chat == chat, StandingRow.standing > 0.5, shown)
        .order_by(
            StandingRow.standing.desc(), StandingRow.ratings.desc(), StandingRow.shown_at.desc()
        )
        .limit(most)
        .subquery()
    )
    given = [best.c[f"stars{stars}"] for stars in STARS]
    total = sum(stars * count for stars, count in zip(STARS, given, strict=True))
    stars = total / func.nullif(sum(given), 0)
    return (
        select(PoemRow, best.c.up, stars)
        .join(best, best.c.poem == PoemRow.id)
        .order_by(best.c.standing.desc(), best.c.ratings.desc(), best.c.shown_at.desc())
    )


def _own(person: str) -> CompoundSelect[str]:
    """The ids of the poems that the person of that pseudonym asked for or liked.

    Of several poems of one request those that were passed over are left out.
    """
    sibling = aliased(PoemRow)
    passed_over = exists().where(
        sibling.job == PoemRow.job, sibling.picked_at.is_not(None), sibling.id != PoemRow.id
    )
    asked = select(PoemRow.id).where(
        PoemRow.asker == person, PoemRow.shown_at.is_not(None), ~passed_over
    )
    liked = select(RatingRow.poem).where(
        RatingRow.rater == person, or_(RatingRow.vote == 1, RatingRow.stars >= LIKED_STARS)
    )
    return union(asked, liked)


def _own_page(person: str) -> Select[PoemRow]:
    own = select(PoemRow).where(PoemRow.id.in_(_own(person)))
    return own.order_by(PoemRow.shown_at.desc(), PoemRow.id)


def _picked(rows: Sequence[PoemRow]) -> PoemRow | None:
    return next((row for row in rows if row.picked_at is not None), None)


def _candidates(chat: str, job: str | None) -> Select[PoemRow]:
    """What a job wrote for the chat of that pseudonym, in order."""
    return select(PoemRow).where(PoemRow.chat == chat, PoemRow.job == job).order_by(PoemRow.number)


def _poem_row(
    poem: Poem, context: Context, *, number: int, chat: str, asker: str | None
) -> PoemRow:
    return PoemRow(
        id=candidate_id(poem.job_id, number),
        job=poem.job_id,
        number=number,
        chat=chat,
        lines=list(poem.lines),
        form=poem.form,
        rhyme=poem.rhyme,
        cell=poem.cell,
        checkpoint=poem.checkpoint,
        seed=poem.seed,
        temperature=context.temperature,
        logprob=poem.logprob,
        opening=context.glyphs,
        script=context.script,
        language=context.language,
        asker=asker,
        theme=context.theme,
        wanted_rhyme=context.rhyme,
    )
