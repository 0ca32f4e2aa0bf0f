"""What the anthology knows of poems: each that was written, for whom, and where it is shown."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.anthology.chats import chat_row
from bot.anthology.database import Database
from bot.anthology.tables import ChatRow, PoemRow, ShowingRow
from bot.buttons import candidate_id
from bot.submit import Context
from engine.jobs import Poem


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

        return await self._database.transact(find)

    async def shown_in(self, chat: str, message: int) -> PoemRow | None:
        """The poem that `message` of `chat` shows; of several the picked one, else none."""
        known_as = self._database.known_as(chat)

        async def find(session: AsyncSession) -> PoemRow | None:
            showing = await session.get(ShowingRow, (known_as, message))
            if showing is None:
                return None
            rows = (await session.scalars(_candidates(known_as, showing.job))).all()
            return rows[0] if len(rows) == 1 else _picked(rows)

        return await self._database.transact(find)

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
        return await self._database.transact(lambda session: session.get(PoemRow, poem_id))

    async def get_in(self, chat: str, poem_id: str) -> PoemRow | None:
        """One poem, by its id, if it was written for `chat`."""
        row = await self.get(poem_id)
        return row if row is not None and row.chat == self._database.known_as(chat) else None


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
