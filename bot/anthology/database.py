"""One database, open: SQLite in the data folder, or PostgreSQL."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm.exc import StaleDataError

from bot.errors import AnthologyError
from bot.pseudonyms import Pseudonyms
from engine.files import make_private

T = TypeVar("T")

MIGRATIONS = Path(__file__).parents[1] / "migrations"

_BUSY_S = 10
_READS = "yuefu_reads"
_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 2.0)
"""Pauses before trying again, on average: each is between half and one and a half of these, so that
those who met in a deadlock do not meet again."""
_AGAIN = (OperationalError, InterfaceError, OSError, IntegrityError, StaleDataError)
"""The database is away, or somebody else has just made the row that was missing, or deleted that
which was there."""
_AGAIN_STATES = ("08", "40", "53", "57")
"""The same, in the words of PostgreSQL, by the first two characters of an SQLSTATE: no connection,
a deadlock, too many connections, a server that is just starting or stopping."""
_POSTGRES_LOCK = 0x797565667531
"""Any number that nothing else in the database locks: "yuefu1"."""
_POSTGRES_CONNECT_S = 5
_POSTGRES_COMMAND_S = 30
"""A command that takes longer waits for a machine that is gone, and nobody waits for that."""
_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Whoever reads twice reads the same, as they do in SQLite."""


log = structlog.get_logger(__name__)


class Database:
    """The anthology's database, and the pseudonyms under which it knows people and chats."""

    def __init__(self, engine: AsyncEngine, pseudonyms: Pseudonyms) -> None:
        """Use `engine`, whose database has the newest tables. Most callers want `open`."""
        self._engine = engine
        options = _SNAPSHOT if engine.dialect.name == "postgresql" else {}
        self._reading = engine.execution_options(**{_READS: True}, **options)
        self._pseudonyms = pseudonyms

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, pseudonyms: Pseudonyms) -> AsyncIterator[Self]:
        """Open the database at `url`, with its tables brought up to date.

        Raises:
            AnthologyError: the address is wrong, or the database does not answer.
        """
        await _prepare(url, pseudonyms)
        engine = _connect(url, command_s=_POSTGRES_COMMAND_S)
        try:
            yield cls(engine, pseudonyms)
        finally:
            await engine.dispose()

    def known_as(self, name: str) -> str:
        """The pseudonym of a person or a chat."""
        return self._pseudonyms.of(name)

    async def ping(self) -> None:
        """Return once it answers; raises as `transact` does."""
        await self.transact(lambda session: session.execute(text("SELECT 1")))

    async def transact(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Do `work` in one transaction.

        Again from its start where the database was away, or another transaction was faster.

        Raises:
            AnthologyError: it stays away, or what was asked of it cannot be.
        """
        return await self._attempt(self._engine, work)

    async def read(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Do `work`, which changes nothing and may take long: nobody who writes has to wait.

        Raises:
            AnthologyError: as `transact` does.
        """
        return await self._attempt(self._reading, work)

    async def _attempt(
        self, engine: AsyncEngine, work: Callable[[AsyncSession], Awaitable[T]]
    ) -> T:
        pauses_s = iter(_PAUSES_S)
        while True:
            try:
                async with (
                    AsyncSession(engine, expire_on_commit=False) as session,
                    session.begin(),
                ):
                    return await work(session)
            except (SQLAlchemyError, OSError) as error:
                pause_s = next(pauses_s, None)
                if pause_s is None or not _passes(error):
                    # Only its name: a database may quote what people wrote.
                    raise AnthologyError(type(error).__name__) from error
                log.warning("↻", action="anthology.again", error=type(error).__name__)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))


def _passes(error: Exception) -> bool:
    """Whether the same may go better a little later."""
    if isinstance(error, TimeoutError):
        # It took its time already.
        return False
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        if error.connection_invalidated or state.startswith(_AGAIN_STATES):
            return True
    return isinstance(error, _AGAIN)


async def _prepare(url: str, pseudonyms: Pseudonyms) -> None:
    """Bring the tables up to date, however long that takes."""
    engine = _connect(url, command_s=None)
    try:
        _make_folder(engine)
        await _migrate_in_turn(engine, pseudonyms)
    except (SQLAlchemyError, OSError, CommandError) as error:
        raise AnthologyError(f"the anthology does not open: {_brief(error)}") from error
    finally:
        await engine.dispose()


async def _migrate_in_turn(engine: AsyncEngine, pseudonyms: Pseudonyms) -> None:
    """Bring the tables up to date, in turn with others who make the same SQLite file.

    While one of them turns a new file to WAL, SQLite tells the others at once that it is locked,
    whatever they said they would wait.
    """
    pauses_s = iter(_PAUSES_S)
    while True:
        try:
            await migrate(engine, pseudonyms)
        except OperationalError as error:
            pause_s = next(pauses_s, None)
            locked = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if pause_s is None or not locked:
                raise
            await asyncio.sleep(pause_s)
        else:
            return


async def migrate(engine: AsyncEngine, pseudonyms: Pseudonyms, revision: str = "head") -> None:
    """Bring the tables to `revision`, up or down, one process at a time."""
    async with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})"))
        await connection.run_sync(_migrate, pseudonyms, revision)


def alembic_config(connection: Connection, pseudonyms: Pseudonyms) -> Config:
    """What Alembic's commands need to know to work on a connection."""
    config = Config(attributes={"connection": connection, "pseudonyms": pseudonyms})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _migrate(connection: Connection, pseudonyms: Pseudonyms, revision: str) -> None:
    config = alembic_config(connection, pseudonyms)
    now = MigrationContext.configure(connection).get_current_revision()
    steps = ScriptDirectory.from_config(config).walk_revisions("base", now or "base")
    behind = {"base", *(step.down_revision for step in steps)}
    move: Callable[[Config, str], None] = (
        command.downgrade if revision in behind else command.upgrade
    )
    move(config, revision)


def _connect(url: str, *, command_s: float | None) -> AsyncEngine:
    try:
        address = make_url(url)
        engine = create_async_engine(
            address,
            # Errors must not quote what people wrote.
            hide_parameters=True,
            pool_pre_ping=True,
            connect_args=_arguments(address, command_s),
        )
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


def _arguments(address: URL, command_s: float | None) -> dict[str, Any]:
    """What the driver is told about every connection, and how long a command may take."""
    if address.get_backend_name() != "postgresql":
        return {}
    return {
        "timeout": _POSTGRES_CONNECT_S,
        "command_timeout": command_s,
        "server_settings": {
            "application_name": "yuefu",
            # Compiling a question takes longer than answering any of ours.
            "jit": "off",
            # On a disk that seeks at once, looking rows up is not four times as dear as reading on.
            "random_page_cost": "1.1",
        },
    }


def _make_folder(engine: AsyncEngine) -> None:
    """A file needs a folder to be made in."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        make_private(Path(engine.url.database).parent)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own idea of when to begin leaves out changes of tables; `_begin_sqlite` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        # First, for the next already needs a lock.
        f"busy_timeout = {_BUSY_S * 1000}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once if another wrote meanwhile;
    # one that takes its turn at the start waits instead. One that only reads needs no turn.
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _brief(error: Exception) -> str:
    """The first line of what an error says: the rest is the library's advice."""
    return str(error).partition("\n")[0]
