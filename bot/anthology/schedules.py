"""What the anthology knows of poems of the day: where, when and in which zone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.anthology.chats import ChatSettings, chat_row, settings_of
from bot.anthology.database import Database
from bot.anthology.tables import ChatRow, ScheduleRow
from bot.language import Language
from bot.message import Address
from bot.timetable import Timetable


class Pause(StrEnum):
    """Why nothing is posted."""

    ASKED = "asked"
    """Somebody who runs the chat wanted it so."""
    REFUSED = "refused"
    """The chat, or the topic, takes no messages from us."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The poem of the day of one chat or topic."""

    timetable: Timetable
    """When it is posted."""
    pause: Pause | None
    """Why it is not; None where it is."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """A schedule that it is time to look at."""

    id: int
    """What it is known by in the anthology, wherever its chat moves."""
    name: str
    """A pseudonym of chat and topic together, different from that of the chat."""
    address: Address
    """Where to post."""
    timetable: Timetable
    """When."""
    settings: ChatSettings
    """What the chat chose."""
    language: Language
    """What is spoken there."""


class Schedules:
    """The poems of the day, one for each chat and topic."""

    def __init__(self, database: Database) -> None:
        """Read and write `database`."""
        self._database = database

    async def find(self, address: Address) -> Schedule | None:
        """What is set at `address`, also where it is paused; None where nothing ever was."""
        statement = self._at(address)
        row = await self._database.read(lambda session: session.scalar(statement))
        if row is None:
            return None
        pause = None if row.paused_because is None else Pause(row.paused_because)
        return Schedule(timetable=_timetable_of(row), pause=pause)

    async def last_zone(self, chat: str) -> str | None:
        """The zone that `chat` chose last for any of its topics, paused ones too."""
        statement = (
            select(ScheduleRow.zone)
            .where(ScheduleRow.chat == self._database.known_as(chat))
            .order_by(ScheduleRow.since.desc())
            .limit(1)
        )
        return await self._database.read(lambda session: session.scalar(statement))

    async def start(
        self, address: Address, *, at: time, zone: str, language: Language, now: datetime
    ) -> Timetable:
        """Post at `address` every day from `now` on, at the wall time `at` of `zone`."""
        known_as, statement = self._database.known_as(address.chat), self._at(address)

        async def start_in(session: AsyncSession) -> Timetable:
            await chat_row(session, known_as, language)
            await session.flush()
            row = await session.scalar(statement.with_for_update())
            if row is None:
                row = ScheduleRow(chat=known_as, thread=address.thread or 0, posted=[])
                session.add(row)
            row.platform, row.address = address.chat.partition(":")[0], address.chat
            row.at, row.zone, row.since = at, zone, now
            row.paused_at = row.paused_because = None
            timetable = _timetable_of(row)
            row.due_at = timetable.next_slot(now).moment
            return timetable

        return await self._database.transact(start_in)

    async def pause(self, address: Address, why: Pause, now: datetime) -> None:
        """Post at `address` no more; the chat's own name is forgotten."""
        statement = self._at(address).with_for_update()

        async def pause_in(session: AsyncSession) -> None:
            row = await session.scalar(statement)
            if row is not None:
                row.address = row.due_at = None
                row.paused_at, row.paused_because = now, why

        await self._database.transact(pause_in)

    async def due(self, platform: str, now: datetime, limit: int) -> Sequence[Due]:
        """Up to `limit` schedules of `platform` whose time has come, the longest due first."""
        statement = (
            select(ScheduleRow, ChatRow)
            .join(ChatRow, ChatRow.id == ScheduleRow.chat)
            .where(ScheduleRow.platform == platform, ScheduleRow.due_at <= now)
            .order_by(ScheduleRow.due_at)
            .limit(limit)
        )

        async def find(session: AsyncSession) -> Sequence[Due]:
            return [self._due(*row) for row in (await session.execute(statement)).all()]

        return await self._database.read(find)

    async def advance(self, looked: Mapping[int, date | None], now: datetime) -> None:
        """Look again at each schedule in `looked`, by its id, when it is due next.

        The date is that whose poem it had just now, if it had one.
        """
        statement = (
            select(ScheduleRow)
            .where(ScheduleRow.id.in_(looked))
            .order_by(ScheduleRow.id)
            .with_for_update()
        )

        async def note(session: AsyncSession) -> None:
            for row in await session.scalars(statement):
                _advance(row, looked[row.id], now)

        await self._database.transact(note)

    async def recall(self, platform: str, now: datetime) -> None:
        """Look earlier at those of `platform` that are due earlier: the clock was set back."""
        statement = (
            select(ScheduleRow)
            .where(ScheduleRow.platform == platform, ScheduleRow.due_at > now)
            # All who lock several do so in one order, or they would wait for each other.
            .order_by(ScheduleRow.id)
            .with_for_update()
        )

        async def plan(session: AsyncSession) -> None:
            for row in await session.scalars(statement):
                slot = _timetable_of(row).next_slot(now)
                if row.due_at is None or slot.moment < row.due_at:
                    row.due_at = slot.moment

        await self._database.transact(plan)

    def _at(self, address: Address) -> Select[ScheduleRow]:
        """The schedule of that address."""
        return select(ScheduleRow).where(
            ScheduleRow.chat == self._database.known_as(address.chat),
            ScheduleRow.thread == (address.thread or 0),
        )

    def _due(self, row: ScheduleRow, chat: ChatRow) -> Due:
        settings = settings_of(chat)
        # Whatever is due has one.
        address = Address(chat=str(row.address), thread=row.thread or None)
        return Due(
            id=row.id,
            name=self._database.known_as(f"{address.chat}/{row.thread}"),
            address=address,
            timetable=_timetable_of(row),
            settings=settings,
            language=settings.language or Language(chat.language),
        )


def _advance(row: ScheduleRow, posted: date | None, now: datetime) -> None:
    timetable = _timetable_of(row)
    if posted is not None:
        timetable = timetable.with_posted(posted)
        row.posted = [day.isoformat() for day in timetable.posted]
    # It may have been paused meanwhile.
    if row.due_at is not None:
        row.due_at = timetable.next_slot(now).moment


def _timetable_of(row: ScheduleRow) -> Timetable:
    """When a row's poems are due."""
    return Timetable(
        at=row.at,
        zone=ZoneInfo(row.zone),
        since=row.since,
        posted=tuple(map(date.fromisoformat, row.posted)),
    )
