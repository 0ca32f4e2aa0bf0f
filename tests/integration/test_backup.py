"""What a backup holds comes back, and nothing is lost by making or refusing one."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

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

CHAT, PERSON = "telegram:-1", "telegram:7"


@dataclass(frozen=True)
class Installation:
    """A Yuefu with a SQLite anthology and a folder of models, of which one serves."""

    settings: BotSettings
    backups: Path

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

    def revision(self) -> str:
        """How far the tables are."""
        with closing(sqlite3.connect(self.settings.data / "anthology.sqlite3")) as database:
            return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])

    def run(self, script: str, *words: str | Path, **environment: str) -> "Done":
        ours = {
            "PYTHON": sys.executable,
            "YUEFU_DATA": str(self.settings.data),
            "YUEFU_MODELS": str(self.settings.models_folder),
        }
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
    tmp_path: Path,
):
    """As the runbook does it: backup, migration, and the way back where that was a mistake."""
    old = Installation(BotSettings(data=tmp_path / "data"), tmp_path / "backups")
    old.settings.data.mkdir()
    engine = create_async_engine(old.settings.anthology_url)
    await migrate(engine, old.settings.pseudonyms, "v0001")
    await engine.dispose()
    before = old.back_up()
    assert old.run("migrate.py", PYTHONPATH=str(ROOT)).worked
    assert await old.poems() == 0
    assert old.revision() > "v0001"
    assert old.run("restore.sh", before).worked
    assert old.revision() == "v0001"


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
