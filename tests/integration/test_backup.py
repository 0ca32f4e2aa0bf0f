"""What a backup holds comes back, and nothing is lost by making or refusing one."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bot.anthology import Anthology
from bot.anthology.database import migrate
from bot.settings import BotSettings
from engine.jobs import Cell
from engine.registry import Registry
from tests.fakes.anthologies import write
from tests.fakes.bot import ROOT
from tests.fakes.bot import environment as outside
from tests.fakes.deployed import DEPLOY
from tests.fakes.models import write_model
from tests.fakes.postgres import PostgresServer

CHAT, PERSON = "telegram:-1", "telegram:7"


@dataclass(frozen=True)
class Installation:
    """A Yuefu with an anthology and a folder of models, of which one serves."""

    settings: BotSettings
    backups: Path
    programs: Path | None = None
    """Where `pg_dump` and `pg_restore` are, for an anthology in PostgreSQL."""

    @asynccontextmanager
    async def anthology(self) -> AsyncIterator[Anthology]:
        pseudonyms = self.settings.pseudonyms
        async with Anthology.open(self.settings.anthology_url, pseudonyms) as anthology:
            yield anthology

    @property
    def registry(self) -> Registry:
        return Registry(self.settings.models_folder)

    async def poems(self) -> int:
        async with self.anthology() as anthology:
            return await anthology.poems.count_own(PERSON)

    async def migrate(self, revision: str) -> None:
        """Bring the tables to a version, as its own release would."""
        async with self.engine() as engine:
            await migrate(engine, self.settings.pseudonyms, revision)

    async def revision(self) -> str:
        """How far the tables are."""
        async with self.engine() as engine, engine.connect() as connection:
            return str(await connection.scalar(text("SELECT version_num FROM alembic_version")))

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AsyncEngine]:
        engine = create_async_engine(self.settings.anthology_url)
        yield engine
        await engine.dispose()

    def run(self, script: str, *words: str | Path, **environment: str) -> "Done":
        ours = {
            "PYTHON": sys.executable,
            "YUEFU_DATA": str(self.settings.data),
            "YUEFU_MODELS": str(self.settings.models_folder),
        }
        if self.programs is not None:
            ours["YUEFU_DATABASE_URL"] = self.settings.anthology_url
            ours["PATH"] = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [*([sys.executable] if script.endswith(".py") else []), DEPLOY / script, *words],
            env=outside(**ours | environment),
            check=False,
            capture_output=True,
            text=True,
        )
        return Done(worked=done.returncode == 0, says=done.stdout + done.stderr)

    def back_up(self, **environment: str) -> Path:
        done = self.run("backup.sh", self.backups, **environment)
        assert done.worked, done.says
        return Path(done.says.strip())


@dataclass(frozen=True)
class Done:
    worked: bool
    says: str


@pytest.fixture
async def installation(tmp_path: Path) -> Installation:
    installation = Installation(BotSettings(data=tmp_path / "data"), tmp_path / "backups")
    async with installation.anthology() as anthology:
        await write(anthology, "tg:1", chat=CHAT, person=PERSON)
    champion = write_model(installation.settings.models_folder, seed=1)
    installation.registry.promote(champion.name)
    return installation


@pytest.fixture
def on_postgresql(
    tmp_path: Path, postgres_server: PostgresServer
) -> Iterator[Callable[[], Installation]]:
    """Makes installations with an empty database each, in a PostgreSQL."""
    made: list[str] = []

    def make() -> Installation:
        made.append(postgres_server.create())
        url = SecretStr(postgres_server.url(made[-1]))
        settings = BotSettings(data=tmp_path / "data", database_url=url)
        return Installation(settings, tmp_path / "backups", postgres_server.programs)

    yield make
    for name in made:
        postgres_server.drop(name)


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.only_by_make_faults)]
)
async def before_upgrade(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    """An installation with the tables of the first release, in either database."""
    if request.param == "sqlite":
        it = Installation(BotSettings(data=tmp_path / "data"), tmp_path / "backups")
    else:
        it = request.getfixturevalue("on_postgresql")()
    it.settings.data.mkdir()
    await it.migrate("v0001")
    return it


async def test_a_backup_of_a_postgresql_comes_back_where_it_was_and_into_an_empty_one(
    on_postgresql: Callable[[], Installation],
):
    old, new = on_postgresql(), on_postgresql()
    async with old.anthology() as anthology:
        await write(anthology, "tg:1", chat=CHAT, person=PERSON)
        backup = old.back_up()
        await write(anthology, "tg:2", chat=CHAT, person=PERSON)
    for it in (old, new):
        done = it.run("restore.sh", backup)
        assert done.worked, done.says
        assert await it.poems() == 1


async def test_a_damaged_backup_of_a_postgresql_changes_nothing(
    on_postgresql: Callable[[], Installation],
):
    it = on_postgresql()
    async with it.anthology() as anthology:
        await write(anthology, "tg:1", chat=CHAT, person=PERSON)
    backup = it.back_up()
    dump = backup / "anthology.dump"
    dump.write_bytes(dump.read_bytes()[:-100])
    assert not it.run("restore.sh", backup).worked
    assert await it.poems() == 1


async def test_a_backup_made_while_people_write_brings_back_what_was(installation: Installation):
    champion = installation.registry.aliases(Cell.GRU).champion
    async with installation.anthology() as anthology:
        backup = installation.back_up()
        await write(anthology, "tg:2", chat=CHAT, person=PERSON)
    later = write_model(installation.settings.models_folder, seed=2)
    installation.registry.promote(later.name)
    assert await installation.poems() == 2

    done = installation.run("restore.sh", backup)
    assert done.worked, done.says
    assert await installation.poems() == 1
    assert installation.registry.aliases(Cell.GRU).champion == champion
    # Neither what came later nor what it replaced is thrown away.
    assert later.is_dir()
    assert len(list(installation.settings.data.glob("anthology.sqlite3.before-*Z"))) == 1


async def test_a_backup_makes_a_new_machine_what_the_old_one_was(
    installation: Installation, tmp_path: Path
):
    backup = installation.back_up()
    key = installation.settings.data / "pseudonym.key"
    new = Installation(BotSettings(data=tmp_path / "new"), tmp_path / "backups")
    assert new.run("restore.sh", backup).worked
    # It is kept apart from the backup.
    assert not any("key" in path.name for path in backup.rglob("*"))
    (new.settings.data / key.name).write_bytes(key.read_bytes())
    assert await new.poems() == 1
    serves, previous = new.registry.aliases(Cell.GRU), installation.registry.aliases(Cell.GRU)
    assert serves == previous


async def test_an_upgrade_brings_the_tables_up_to_date_and_the_backup_before_it_back(
    before_upgrade: Installation,
):
    """As the runbook does it: backup, migration, and the way back where that was a mistake."""
    it = before_upgrade
    backup = it.back_up()
    assert it.run("migrate.py", PYTHONPATH=str(ROOT)).worked
    assert await it.poems() == 0
    async with it.anthology() as anthology:
        await write(anthology, "tg:1", chat=CHAT, person=PERSON)
    assert await it.revision() > "v0001"
    done = it.run("restore.sh", backup)
    assert done.worked, done.says
    assert await it.revision() == "v0001"
    # And forward again, as if nothing had been.
    assert await it.poems() == 0


@pytest.mark.parametrize("file", ["anthology.sqlite3", "models.tar"])
async def test_a_damaged_backup_changes_nothing(installation: Installation, file: str):
    backup = installation.back_up()
    async with installation.anthology() as anthology:
        await write(anthology, "tg:2", chat=CHAT, person=PERSON)
    content = bytearray((backup / file).read_bytes())
    content[len(content) // 2] ^= 1
    (backup / file).write_bytes(content)
    assert not installation.run("restore.sh", backup).worked
    assert await installation.poems() == 2


async def test_a_backup_that_fails_leaves_the_others_and_no_part_of_itself(
    installation: Installation,
):
    there = installation.back_up()
    (installation.settings.data / "anthology.sqlite3").write_bytes(b"no database")
    assert not installation.run("backup.sh", installation.backups, KEEP="1").worked
    assert list(installation.backups.iterdir()) == [there]


async def test_old_backups_go_for_they_hold_who_was_forgotten_since(installation: Installation):
    for day in range(1, 5):
        (installation.backups / f"yuefu-2026010{day}T000000Z").mkdir(parents=True)
    (installation.backups / "of somebody else").mkdir()
    newest = installation.back_up(KEEP="2")
    left = {path.name for path in installation.backups.iterdir()}
    assert left == {newest.name, "yuefu-20260104T000000Z", "of somebody else"}


async def test_a_backup_of_one_kind_of_database_is_not_put_into_another(
    installation: Installation,
):
    backup = installation.back_up()
    done = installation.run("restore.sh", backup, YUEFU_DATABASE_URL="postgresql://x@nowhere/x")
    assert not done.worked
    assert "SQLite" in done.says
