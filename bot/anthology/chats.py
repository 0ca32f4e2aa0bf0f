"""What the anthology knows of chats: how each wants its poems."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.anthology.database import Database
from bot.anthology.tables import ChatRow, PoemRow, RatingRow, ScheduleRow
from bot.language import Language, Script
from bot.style import Style
from bot.timetable import POSTED_MAX
from engine.jobs import Cell
from engine.verse.forms import FormName


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """What a chat chose."""

    style: Style = field(default_factory=Style)
    """How its poems are written."""
    language: Language | None = None
    """The language spoken to everybody there; None speaks each person's own."""
    script: Script | None = None
    """The script of all poems; None lets each request decide."""
    admins_curate: bool = False
    """Whether its admins rate as curators do."""


class Chats:
    """The chats of the anthology, each by its name with the platform: `telegram:42`."""

    def __init__(self, database: Database) -> None:
        """Read and write `database`."""
        self._database = database

    async def settings(self, chat: str) -> ChatSettings:
        """What `chat` chose; the usual where it never did."""
        known_as = self._database.known_as(chat)
        row = await self._database.read(lambda session: session.get(ChatRow, known_as))
        return ChatSettings() if row is None else settings_of(row)

    async def change(self, chat: str, settings: ChatSettings, language: Language) -> None:
        """Have `chat` choose `settings`; `language` is spoken there now."""

        async def change(session: AsyncSession) -> None:
            row = await chat_row(session, self._database.known_as(chat), language)
            style = settings.style
            row.cell, row.temperature, row.form = style.cell, style.temperature, style.form
            row.chosen_language, row.chosen_script = settings.language, settings.script
            row.admins_curate = settings.admins_curate

        await self._database.transact(change)

    async def move(self, old: str, new: str) -> None:
        """Give `new` all that belongs to `old`: the platform changed the chat's number."""
        was, now = self._database.known_as(old), self._database.known_as(new)

        async def move(session: AsyncSession) -> None:
            await session.execute(update(RatingRow).where(RatingRow.chat == was).values(chat=now))
            row = await session.get(ChatRow, was)
            if row is None:
                return
            if await session.get(ChatRow, now) is None:
                # Its poems and schedules follow by the foreign key.
                await session.execute(update(ChatRow).where(ChatRow.id == was).values(id=now))
            else:
                await session.execute(update(PoemRow).where(PoemRow.chat == was).values(chat=now))
                await _move_schedules(session, was, now)
                await session.delete(row)
            named = ScheduleRow.chat == now, ScheduleRow.address.is_not(None)
            await session.execute(update(ScheduleRow).where(*named).values(address=new))

        await self._database.transact(move)


async def _move_schedules(session: AsyncSession, was: str, now: str) -> None:
    """Give a chat the schedules of another; where both have one, its own is kept."""
    there = {
        row.thread: row
        for row in await session.scalars(select(ScheduleRow).where(ScheduleRow.chat == now))
    }
    for row in await session.scalars(select(ScheduleRow).where(ScheduleRow.chat == was)):
        own = there.get(row.thread)
        if own is None:
            row.chat = now
        else:
            # Whatever the chat was shown under its old name is not shown again under the new one.
            own.posted = [*row.posted, *own.posted][-POSTED_MAX:]
    await session.flush()


async def chat_row(session: AsyncSession, known_as: str, language: Language) -> ChatRow:
    """The row of the chat of that pseudonym, made if there is none; it now speaks `language`."""
    row = await session.get(ChatRow, known_as)
    if row is None:
        style = Style()
        row = ChatRow(
            id=known_as,
            cell=style.cell,
            temperature=style.temperature,
            form=style.form,
            created=datetime.now(UTC),
            admins_curate=False,
        )
        session.add(row)
    row.language = language
    return row


def settings_of(row: ChatRow) -> ChatSettings:
    """What the chat of `row` chose."""
    return ChatSettings(
        style=Style(
            cell=Cell(row.cell),
            temperature=row.temperature,
            form=FormName(row.form) if row.form else None,
        ),
        language=Language(row.chosen_language) if row.chosen_language else None,
        script=Script(row.chosen_script) if row.chosen_script else None,
        admins_curate=row.admins_curate,
    )
