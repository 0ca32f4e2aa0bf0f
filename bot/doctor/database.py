"""The anthology's database: whether it answers, and has the tables of this version.

Looked at only: nothing is made, and no table is brought up to date.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from bot import texts
from bot.anthology.database import MIGRATIONS
from bot.doctor.data import existing
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.doctor.place import PATIENCE_S, Place, why_away
from bot.doctor.variables import Case

OLDEST_POSTGRES = 15
"""The oldest PostgreSQL that the anthology is made for."""

_NETWORK_DISKS = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "virtiofs",
    }
)
_MEMORY_DISKS = frozenset({"tmpfs", "ramfs"})
_MOUNTS = Path("/proc/self/mounts")
_POSTGRES = text(
    "SELECT current_setting('server_version') AS version,"
    " current_setting('server_version_num')::int / 10000 AS major,"
    " current_setting('server_encoding') AS encoding,"
    " pg_is_in_recovery() AS standby,"
    " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS owned,"
    " coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted"
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen of a database that answers."""

    server: str
    """What it is, with its version."""
    revision: str | None
    """The revision of its tables; None where there are none."""
    facts: Mapping[str, Any]
    """What PostgreSQL says of itself."""


async def check_database(case: Case) -> list[Finding]:
    """The database that the settings name, or the file of SQLite."""
    if missing := case.needs("database.reach", "database_url", "data"):
        return missing
    try:
        address = make_url(case.settings.anthology_url)
        backend = address.get_backend_name()
    except (ArgumentError, ValueError):
        # Its own words may quote the address, and the address a password.
        backend = ""
    if backend == "sqlite":
        return await _check_sqlite(address, Path(address.database or ""))
    if backend == "postgresql":
        return await _check_postgres(address)
    return [wrong("database.reach", texts.DATABASE_NO_ADDRESS, texts.DATABASE_NO_ADDRESS_DO)]


async def _check_sqlite(address: URL, file: Path) -> list[Finding]:
    disk = _disk(file)
    if not _is_there(file):
        return [skipped("database.reach", texts.DATABASE_NEW, place=file), *disk]
    try:
        look = await _look(_only_to_read(address, file), {"timeout": PATIENCE_S})
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        why = type(getattr(error, "orig", error)).__name__
        said, remedy = texts.DATABASE_BROKEN, texts.DATABASE_BROKEN_DO
        return [wrong("database.reach", said, remedy, place=file, error=why), *disk]
    return [_tables(look, file), *disk]


def _is_there(file: Path) -> bool:
    return file.exists()


def _only_to_read(address: URL, file: Path) -> URL:
    """The address of a file that is to stay as it is, and nothing to be made beside it."""
    query = {"mode": "ro", "uri": "true"}
    if not file.with_name(f"{file.name}-wal").exists():
        # Nobody has it open. SQLite would make files by which several could share it.
        query["immutable"] = "1"
    return address.set(database=f"file:{quote(str(file))}", query=query)


async def _check_postgres(address: URL) -> list[Finding]:
    place = Place(host=_host(address), port=address.port)
    patience = {"timeout": PATIENCE_S, "command_timeout": PATIENCE_S}
    try:
        look = await _look(address, patience)
    except ArgumentError:
        said, remedy = texts.DATABASE_NO_ADDRESS, texts.DATABASE_NO_ADDRESS_DO
        return [wrong("database.reach", said, remedy)]
    except Exception as error:
        # A driver raises what it likes: its own errors, those of sockets, of encryption.
        return [_away(place, error)]
    return [_tables(look, place), *_suits(look, place)]


def _host(address: URL) -> str:
    """The host that is spoken to; empty for a socket of this machine."""
    host = address.host or address.query.get("host", "")
    host = host if isinstance(host, str) else host[0]
    return "" if host.startswith("/") else host


async def _look(address: URL, arguments: dict[str, float]) -> Look:
    engine = create_async_engine(
        address, poolclass=NullPool, hide_parameters=True, connect_args=arguments
    )
    try:
        async with engine.connect() as connection:
            revision = await connection.run_sync(_revision)
            if engine.dialect.name == "sqlite":
                server, facts = f"SQLite {sqlite3.sqlite_version}", {}
            else:
                facts = dict((await connection.execute(_POSTGRES)).mappings().one())
                server = f"PostgreSQL {facts['version'].partition(' ')[0]}"
            return Look(server=server, revision=revision, facts=facts)
    finally:
        await engine.dispose()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _tables(look: Look, place: object) -> Finding:
    """Whether the tables are those of this version."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    newest = scripts.get_current_head()
    values = {"server": look.server, "place": place, "revision": look.revision, "newest": newest}
    if look.revision is None:
        return fine("database.tables", texts.DATABASE_EMPTY, **values)
    if look.revision == newest:
        return fine("database.tables", texts.DATABASE_CURRENT, **values)
    if look.revision not in {script.revision for script in scripts.walk_revisions()}:
        said, remedy = texts.DATABASE_AHEAD, texts.DATABASE_AHEAD_DO
        return wrong("database.tables", said, remedy, **values)
    said, remedy = texts.DATABASE_BEHIND, texts.DATABASE_BEHIND_DO
    return warning("database.tables", said, remedy, **values)


def _suits(look: Look, place: Place) -> list[Finding]:
    """Whether a PostgreSQL is one that the anthology can be in."""
    facts, findings = look.facts, []
    if facts["major"] < OLDEST_POSTGRES:
        said, remedy = texts.DATABASE_OLD, texts.DATABASE_OLD_DO
        values = {"server": look.server, "oldest": OLDEST_POSTGRES}
        findings.append(wrong("database.version", said, remedy, **values))
    if facts["standby"]:
        said, remedy = texts.DATABASE_STANDBY, texts.DATABASE_STANDBY_DO
        findings.append(wrong("database.role", said, remedy, place=place))
    elif not facts["owned"]:
        said, remedy = texts.DATABASE_NOT_OWNED, texts.DATABASE_NOT_OWNED_DO
        findings.append(wrong("database.rights", said, remedy, place=place))
    if facts["encoding"] != "UTF8":
        said, remedy = texts.DATABASE_ENCODING, texts.DATABASE_ENCODING_DO
        encoding = facts["encoding"]
        findings.append(wrong("database.encoding", said, remedy, place=place, encoding=encoding))
    if not (facts["encrypted"] or place.is_here):
        said, remedy = texts.DATABASE_PLAIN, texts.DATABASE_PLAIN_DO
        findings.append(warning("database.encryption", said, remedy, place=place))
    return findings


def _away(place: Place, error: Exception) -> Finding:
    """Why nothing can be asked, by what PostgreSQL calls it (SQLSTATE) or by what is in the way."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    if state.startswith("28"):
        said, remedy = texts.DATABASE_REFUSES, texts.DATABASE_REFUSES_DO
        return wrong("database.reach", said, remedy, place=place)
    if state == "3D000":
        said, remedy = texts.DATABASE_NO_SUCH, texts.DATABASE_NO_SUCH_DO
        return wrong("database.reach", said, remedy, place=place)
    said, remedy = texts.DATABASE_AWAY, texts.DATABASE_AWAY_DO
    why, seconds = why_away(cause or error), f"{PATIENCE_S:.0f}"
    return wrong("database.reach", said, remedy, place=place, why=why, seconds=seconds)


def _disk(file: Path) -> list[Finding]:
    """Whether a file of SQLite is on a disk that keeps it."""
    kind = disk_kind(file)
    if kind in _NETWORK_DISKS:
        said, remedy = texts.DATABASE_ON_NETWORK, texts.DATABASE_ON_NETWORK_DO
        return [warning("database.disk_kind", said, remedy, place=file, disk=kind)]
    if kind in _MEMORY_DISKS:
        said, remedy = texts.DATABASE_IN_MEMORY, texts.DATABASE_IN_MEMORY_DO
        return [warning("database.disk_kind", said, remedy, place=file, disk=kind)]
    return []


def disk_kind(path: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that a path is on, or will be; empty where the kernel does not say.

    `mounts` is the kernel's list, of which later entries hide earlier ones.
    """
    there, found, length = existing(path).resolve(), "", -1
    with suppress(OSError):
        for line in mounts.read_text(encoding="utf-8").splitlines():
            _, point, kind, *_ = line.split(" ")
            root = Path(point.replace("\\040", " "))
            if there.is_relative_to(root) and len(root.parts) >= length:
                found, length = kind, len(root.parts)
    return found
