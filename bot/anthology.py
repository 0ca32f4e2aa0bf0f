"""The anthology: the lasting record of chats and of the poems shown to them.

SQLite in the data folder, or PostgreSQL. It knows chats by their platform's number and poems by
their words; no names, and of what people write nothing but what their poems hold.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    ForeignKey,
    MetaData,
    Select,
    TypeDecorator,
    event,
    select,
    text,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bot.choice import candidate_id
from bot.errors import AnthologyError
from bot.language import Language
from bot.style import Style
from bot.submit import Context
from engine.jobs import Cell, Poem
from engine.verse.checker import tone_marks
from engine.verse.forms import FormName

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"

_BUSY_S = 10
_PAUSES_S = (0.1, 0.5, 1.0, 2.0)
_AWAY = (OperationalError, InterfaceError, OSError)
_POSTGRES_LOCK = 0x797565667531
"""Any number that nothing else in the database locks: "yuefu1"."""


log = structlog.get_logger(__name__)


class Moment(TypeDecorator[datetime]):
    """A time in UTC, also where the database forgets time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """The tables; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ChatRow(Base):
    """A chat that changed its style or was shown a poem."""

    __tablename__ = "chats"

    id: Mapped[str] = mapped_column(primary_key=True)
    """The chat with its platform: `telegram:<id>`, `console`."""
    cell: Mapped[str]
    """The model family of its style."""
    temperature: Mapped[float]
    """The temperature of its style."""
    form: Mapped[str | None]
    """The form of its style; none where each poem chooses."""
    language: Mapped[str]
    """The language last spoken there, for messages that nobody asked for."""
    created: Mapped[datetime] = mapped_column(Moment)
    """When it came."""


class PoemRow(Base):
    """A poem that was written for a chat."""

    __tablename__ = "poems"

    id: Mapped[str] = mapped_column(primary_key=True)
    """The id of its job, with its number where that is not 1: `tg:5`, `tg:5#2`."""
    job: Mapped[str] = mapped_column(index=True)
    """The id of its job, which those to choose from share."""
    number: Mapped[int]
    """Its place among them, from 1."""
    chat: Mapped[str] = mapped_column(
        ForeignKey("chats.id", onupdate="CASCADE", ondelete="CASCADE"), index=True
    )
    """The chat it was written for."""
    lines: Mapped[list[str]] = mapped_column(JSON)
    """Its lines, without punctuation, as the engine gave them."""
    form: Mapped[str]
    """Its form."""
    rhyme: Mapped[str]
    """Its rhyme group."""
    cell: Mapped[str]
    """The family of the model that wrote it."""
    checkpoint: Mapped[str]
    """The checkpoint that wrote it."""
    seed: Mapped[int] = mapped_column(BigInteger)
    """The seed it was written with."""
    temperature: Mapped[float]
    """The temperature it was written at."""
    logprob: Mapped[float]
    """Natural log of its probability."""
    opening: Mapped[str]
    """What it was asked to begin with, or the frame it was written in, as typed."""
    script: Mapped[str]
    """The script it is shown in."""
    language: Mapped[str]
    """The language of what is said around it."""
    shown_at: Mapped[datetime | None] = mapped_column(Moment)
    """When it was shown; none where it never was."""
    picked_at: Mapped[datetime | None] = mapped_column(Moment)
    """When it was picked from several; none where it was not."""

    @property
    def poem(self) -> Poem:
        """The poem as the engine gave it."""
        return Poem(
            job_id=self.job,
            lines=tuple(self.lines),
            form=FormName(self.form),
            rhyme=self.rhyme,
            tones=tuple(map(tone_marks, self.lines)),
            cell=Cell(self.cell),
            checkpoint=self.checkpoint,
            seed=self.seed,
            logprob=self.logprob,
        )


class Anthology:
    """The anthology, open.

    Every call waits a few seconds for a database that is away, then raises AnthologyError.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Use `engine`, whose database has the newest tables. Most callers want `open`."""
        self._engine = engine

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Self]:
        """Open the anthology at `url`, with its tables brought up to date.

        Raises:
            AnthologyError: the address is wrong, or the database does not answer.
        """
        engine = _connect(url)
        try:
            try:
                _make_folder(engine)
                await migrate(engine)
            except (SQLAlchemyError, OSError) as error:
                raise AnthologyError(f"the anthology does not open: {_brief(error)}") from error
            yield cls(engine)
        finally:
            await engine.dispose()

    async def style(self, chat: str) -> Style:
        """The style of `chat`, the usual one if it never chose."""
        row = await self._transact(lambda session: session.get(ChatRow, chat))
        return Style() if row is None else _style_of(row)

    async def set_style(self, chat: str, style: Style, language: Language) -> None:
        """Have poems for `chat` written in `style` from now on."""

        async def change(session: AsyncSession) -> None:
            row = await _chat_row(session, chat, language)
            row.cell, row.temperature, row.form = style.cell, style.temperature, style.form

        await self._transact(change)

    async def record(self, poem: Poem, context: Context) -> None:
        """Keep `poem` and those beside it, not shown yet. Doing it again changes nothing."""

        async def keep(session: AsyncSession) -> None:
            if await session.get(PoemRow, poem.job_id) is None:
                chat = await _chat_row(session, context.address.chat, context.language)
                await session.flush()
                session.add_all(
                    _poem_row(candidate, chat.id, context, job=poem.job_id, number=number)
                    for number, candidate in enumerate((poem, *poem.others), start=1)
                )

        await self._transact(keep)

    async def mark_shown(self, job: str) -> None:
        """Note that what a job wrote was shown just now."""
        statement = update(PoemRow).where(PoemRow.job == job).values(shown_at=datetime.now(UTC))
        await self._transact(lambda session: session.execute(statement))

    async def last_shown(self, chat: str) -> Sequence[PoemRow]:
        """What `chat` was shown last: one poem, or several to choose from."""

        async def find(session: AsyncSession) -> Sequence[PoemRow]:
            last = (
                select(PoemRow.job)
                .where(PoemRow.chat == chat, PoemRow.shown_at.is_not(None))
                .order_by(PoemRow.shown_at.desc())
                .limit(1)
            )
            job = await session.scalar(last)
            return (await session.scalars(_candidates(chat, job))).all()

        return await self._transact(find)

    async def pick(self, chat: str, job: str, number: int) -> PoemRow | None:
        """Pick one of several poems; the first who picks decides, and again changes nothing.

        Returns the poem that is picked now; None if `chat` was never shown such a choice.
        """

        async def choose(session: AsyncSession) -> PoemRow | None:
            # Locked, where the database can: two who pick at once must see each other.
            rows = (await session.scalars(_candidates(chat, job).with_for_update())).all()
            picked = next((row for row in rows if row.picked_at is not None), None)
            if picked is None and len(rows) > 1:
                picked = next((row for row in rows if row.number == number), None)
                if picked is not None:
                    picked.picked_at = datetime.now(UTC)
            return picked

        return await self._transact(choose)

    async def move_chat(self, old: str, new: str) -> None:
        """Give `new` all that belongs to `old`: the platform changed the chat's number."""

        async def move(session: AsyncSession) -> None:
            row = await session.get(ChatRow, old)
            if row is None:
                return
            if await session.get(ChatRow, new) is None:
                # Its poems follow by the foreign key.
                await session.execute(update(ChatRow).where(ChatRow.id == old).values(id=new))
            else:
                await session.execute(update(PoemRow).where(PoemRow.chat == old).values(chat=new))
                await session.delete(row)

        await self._transact(move)

    async def poem(self, poem_id: str) -> PoemRow | None:
        """One poem, by its id."""
        return await self._transact(lambda session: session.get(PoemRow, poem_id))

    async def _transact(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Do `work` in one transaction; again from its start where the database was away."""
        pauses_s = iter(_PAUSES_S)
        while True:
            try:
                async with (
                    AsyncSession(self._engine, expire_on_commit=False) as session,
                    session.begin(),
                ):
                    return await work(session)
            except (SQLAlchemyError, OSError) as error:
                pause_s = next(pauses_s, None)
                if pause_s is None or not isinstance(error, _AWAY):
                    # Only its name: a database may quote what people wrote.
                    raise AnthologyError(type(error).__name__) from error
                log.warning("↻", action="anthology.again", error=type(error).__name__)
                await asyncio.sleep(pause_s)


async def migrate(engine: AsyncEngine, revision: str = "head") -> None:
    """Bring the tables to `revision`, one process at a time."""
    async with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})"))
        await connection.run_sync(_migrate, revision)


def _migrate(connection: Connection, revision: str) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    step: Callable[[Config, str], None] = (
        command.downgrade if revision == "base" else command.upgrade
    )
    step(config, revision)


def _connect(url: str) -> AsyncEngine:
    try:
        address = make_url(url)
        # Errors must not quote what people wrote.
        engine = create_async_engine(address, hide_parameters=True, pool_pre_ping=True)
    except (ArgumentError, ImportError) as error:
        # The library's own words may quote the address, and the address a password.
        why = type(error).__name__
        raise AnthologyError(
            f"YUEFU_DATABASE_URL names no database for the anthology: {why}"
        ) from None
    if address.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _make_folder(engine: AsyncEngine) -> None:
    """A file needs a folder to be made in."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own idea of when to begin leaves out changes of tables; `_begin_sqlite` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
        f"busy_timeout = {_BUSY_S * 1000}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once if another wrote meanwhile;
    # one that takes its turn at the start waits instead.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _brief(error: Exception) -> str:
    """The first line of what an error says: the rest is the library's advice."""
    return str(error).partition("\n")[0]


async def _chat_row(session: AsyncSession, chat: str, language: Language) -> ChatRow:
    """The row of `chat`, made if there is none; it now speaks `language`."""
    row = await session.get(ChatRow, chat)
    if row is None:
        style = Style()
        row = ChatRow(
            id=chat,
            cell=style.cell,
            temperature=style.temperature,
            form=style.form,
            created=datetime.now(UTC),
        )
        session.add(row)
    row.language = language
    return row


def _style_of(row: ChatRow) -> Style:
    return Style(
        cell=Cell(row.cell),
        temperature=row.temperature,
        form=FormName(row.form) if row.form else None,
    )


def _candidates(chat: str, job: str | None) -> Select[PoemRow]:
    """What a job wrote for `chat`, in order."""
    return select(PoemRow).where(PoemRow.chat == chat, PoemRow.job == job).order_by(PoemRow.number)


def _poem_row(poem: Poem, chat: str, context: Context, *, job: str, number: int) -> PoemRow:
    return PoemRow(
        id=candidate_id(job, number),
        job=job,
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
    )
