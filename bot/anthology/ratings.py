"""What people think of poems: one row a person and poem, the last word counts."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.anthology.database import Database
from bot.anthology.tables import PoemRow, RatingRow
from bot.message import Tally


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
        return await self._database.transact(lambda session: _tally(session, poem))

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
            row = await session.get(RatingRow, (poem, rater))
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


async def _tally(session: AsyncSession, poem: str) -> Tally:
    counts = select(
        func.coalesce(func.sum(case((RatingRow.vote == 1, 1), else_=0)), 0),
        func.coalesce(func.sum(case((RatingRow.vote == -1, 1), else_=0)), 0),
    ).where(RatingRow.poem == poem)
    up, down = (await session.execute(counts)).one()
    return Tally(up=int(up), down=int(down))
