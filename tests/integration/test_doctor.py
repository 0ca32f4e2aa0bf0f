"""The doctor beside real servers, well and ill: it sees what is wrong, and leaves no trace."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bot import keys as bot_keys
from bot import texts
from bot.anthology import Anthology
from bot.doctor import clock, engines, examination, models, redis_server, rights
from bot.doctor.database import check_database
from bot.doctor.finding import Finding, Mark
from bot.doctor.keeping import check_keeping
from bot.doctor.place import Place
from bot.doctor.platforms import check_discord, check_telegram
from bot.doctor.redis_server import Reached, Server
from bot.doctor.variables import Case
from bot.pseudonyms import Pseudonyms
from bot.settings import BotSettings
from engine import keys
from engine.embedded import EmbeddedValkey
from engine.heartbeat import Heartbeat, beat
from engine.jobs import Cell
from tests.fakes import discord, telegram
from tests.fakes.anthologies import make_tables
from tests.fakes.bot import ROOT, environment
from tests.fakes.delivery import Delivery
from tests.fakes.deployed import DEPLOY, DeployedValkey, deployed_valkey
from tests.fakes.ports import free_port
from tests.fakes.serving import small_registry
from tests.fakes.valkey import OwnValkey

CANARY = "canary-9f3a7c21"
HEARTBEAT = Heartbeat(worker="w", cells={Cell.GRU: "gru-1"}, slots=1, since_ms=0)


def case_of(folder: Path, **settings) -> Case:
    return Case(settings=BotSettings(data=folder / "data", **settings))


def marks(findings: list[Finding]) -> dict[str, Mark]:
    return {finding.name: finding.mark for finding in findings}


def texts_of(findings: list[Finding]) -> list[texts.Text]:
    return [finding.said for finding in findings]


@asynccontextmanager
async def reached(folder: Path, url: str) -> AsyncIterator[Reached]:
    async with redis_server.reach(case_of(folder, redis_url=url)) as found:
        yield found


@asynccontextmanager
async def served(folder: Path, url: str) -> AsyncIterator[Server]:
    async with reached(folder, url) as found:
        assert found.server is not None
        yield found.server


# --- Redis -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployed() -> Iterator[DeployedValkey]:
    with deployed_valkey() as server:
        yield server


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnValkey]:
    server = OwnValkey(tmp_path_factory.mktemp("own"))
    server.start()
    yield server
    server.kill()


async def test_a_server_as_deployed_is_well(deployed, tmp_path):
    async with reached(tmp_path, deployed.url("operator")) as found:
        assert found.server is not None
        assert found.server.name == "Valkey"
        findings = [*found.findings, *await check_keeping(found.server)]
    assert {*marks(findings).values()} == {Mark.FINE}
    assert {"redis.reach", "redis.policy", "redis.memory", "redis.file"} <= marks(findings).keys()


async def test_a_server_that_drops_and_keeps_nothing_is_ill(own, tmp_path):
    async with served(tmp_path, own.url) as server:
        await server.redis.config_set("maxmemory-policy", "allkeys-lru")
        await server.redis.config_set("appendonly", "no")
        assert marks(await check_keeping(server)) == {
            "redis.policy": Mark.WRONG,
            "redis.memory": Mark.WARNING,
            "redis.file": Mark.WRONG,
        }
        await server.redis.config_set("appendonly", "yes")
        await server.redis.config_set("appendfsync", "no")
        await server.redis.config_set("maxmemory", "1mb")
        found = marks(await check_keeping(server))
    assert (found["redis.file"], found["redis.memory"]) == (Mark.WARNING, Mark.WRONG)


async def test_a_replica_is_told_from_a_server_that_takes_writes(own, tmp_path):
    async with served(tmp_path, own.url) as server:
        await server.redis.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
    async with reached(tmp_path, own.url) as found:
        assert marks(found.findings)["redis.role"] is Mark.WRONG


async def test_a_server_that_does_not_answer_is_away(own, tmp_path, monkeypatch):
    monkeypatch.setattr(redis_server, "PATIENCE_S", 0.2)
    own.freeze()
    for url in (own.url, f"redis://:{CANARY}@127.0.0.1:{free_port()}"):
        async with reached(tmp_path, url) as found:
            assert found.server is None
            assert texts_of(found.findings) == [texts.REDIS_AWAY]
    own.thaw()


@pytest.mark.parametrize(
    ("scheme", "hangs_up", "why"),
    [
        ("redis", True, texts.WHY_HUNG_UP_ON_PLAIN),
        ("redis", False, texts.WHY_SILENT),
        ("rediss", True, texts.WHY_ENCRYPTION),
        ("rediss", False, texts.WHY_SILENT_TO_TLS),
    ],
)
async def test_that_one_side_may_encrypt_and_the_other_not_is_guessed(
    tmp_path, monkeypatch, scheme, hangs_up, why
):
    monkeypatch.setattr(redis_server, "PATIENCE_S", 0.3)

    async def meet(reader, writer):
        if not hangs_up:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with reached(tmp_path, f"{scheme}://127.0.0.1:{port}") as found:
            [finding] = found.findings
    assert (finding.said, finding.values["why"]) == (texts.REDIS_AWAY, why)


async def test_a_file_of_certificates_that_is_not_there_is_told(tmp_path):
    async with reached(tmp_path, f"rediss://127.0.0.1:9?ssl_ca_certs={tmp_path}/ca") as found:
        [finding] = found.findings
    assert finding.values["why"] is texts.WHY_NO_CERTIFICATE


async def test_a_database_that_a_server_has_not_is_told_by_its_number(own, tmp_path):
    async with reached(tmp_path, f"{own.url}?db=999") as found:
        [finding] = found.findings
    assert (finding.said, finding.values["number"]) == (texts.REDIS_NO_DATABASE, 999)


async def test_a_password_that_is_none_is_said_to_be_refused(deployed, tmp_path):
    url = deployed.url("telegram").replace("telegram:", f"telegram:{CANARY}", 1)
    async with reached(tmp_path, url) as found:
        assert found.server is None
        assert texts_of(found.findings) == [texts.REDIS_REFUSES]


@pytest.mark.parametrize(
    "url", ["canary", "redis://h:canary/0", "http://canary", "redis://127.0.0.1:9/0?canary=1"]
)
async def test_what_is_no_address_is_said_without_being_shown(tmp_path, url):
    async with reached(tmp_path, url) as found:
        [finding] = found.findings
    assert finding.said is texts.REDIS_NO_ADDRESS
    assert not finding.values


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"version": "6.2.1"}, {"redis.version": Mark.WRONG}),
        ({"version": "< 6"}, {"redis.version": Mark.WRONG}),
        ({"version": "7.2.4"}, {}),
        ({"role": "replica"}, {"redis.role": Mark.WRONG}),
    ],
)
async def test_versions_and_roles_that_will_not_do_are_told(redis, changes, found):
    server = replace(a_server(redis), **changes)
    assert marks(redis_server._suits(server)) == found


def a_server(redis: Redis, host: str = "") -> Server:
    return Server(
        redis=redis,
        place=Place(host=host),
        user="default",
        password=False,
        encrypted=False,
        version="9.0.0",
    )


async def test_whoever_listens_on_the_way_is_told_of_unless_there_is_none(redis):
    far = a_server(redis, "valkey")
    assert marks(redis_server._is_private(far)) == {
        "redis.encryption": Mark.WARNING,
        "redis.password": Mark.WRONG,
    }
    safe = replace(far, encrypted=True, password=True)
    assert marks(redis_server._is_private(safe)) == {"redis.encryption": Mark.FINE}
    assert marks(redis_server._is_private(a_server(redis))) == {"redis.encryption": Mark.FINE}


async def test_the_embedded_server_is_asked_if_it_runs_and_not_started_if_not(tmp_path):
    case = case_of(tmp_path)
    async with redis_server.reach(case) as found:
        assert (found.server, texts_of(found.findings)) == (None, [texts.REDIS_WILL_START])
    assert not (tmp_path / "data").exists()
    share = EmbeddedValkey(case.settings.data)
    try:
        async with redis_server.reach(case) as found:
            assert found.server is not None
            assert marks(await check_keeping(found.server))["redis.file"] is Mark.FINE
            assert texts_of(await engines.check_engines(found.server)) == [texts.ENGINES_WILL_START]
    finally:
        share.leave()


# --- what users may --------------------------------------------------------------------------


def rules_of(user: str) -> list[tuple[set[str], set[str]]]:
    """The rules of a user in `deploy/users.acl`: commands and the keys they are for."""
    acl = "\n".join(
        line for line in (DEPLOY / "users.acl").read_text().splitlines() if line[:1] != "#"
    )
    block = re.search(rf"^user {user} .*?(?=^user |\Z)", acl, re.MULTILINE | re.DOTALL)
    assert block
    bodies = re.findall(r"\(([^)]*)\)", block[0])
    bodies.append(re.sub(r"\([^)]*\)", "", block[0]))
    return [
        (
            set(re.findall(r"\+([a-z|]+)", body)),
            set(re.findall(r"(?:^|\s)(?:%[RW])?~(\S+)", body)),
        )
        for body in bodies
    ]


def matches(keys_: tuple[str, ...], patterns: set[str]) -> bool:
    return all(any(fnmatchcase(key, pattern) for pattern in patterns) for key in keys_)


@pytest.mark.parametrize("platform", ["telegram", "discord"])
def test_what_is_tried_is_what_the_shipped_users_may(platform):
    rules, tried = rules_of(platform), rights.deeds(platform)
    for deed in tried:
        assert any(
            deed.command in commands and matches(deed.keys, patterns)
            for commands, patterns in rules
        ), deed
    for commands, patterns in rules:
        for command in commands - {"multi", "exec"}:
            of_it = {key for deed in tried if deed.command == command for key in deed.keys}
            for pattern in patterns:
                assert any(fnmatchcase(key, pattern) for key in of_it), (command, pattern)


async def test_each_user_may_do_its_own_and_trying_leaves_no_trace(deployed, tmp_path):
    for user, platform, said in (
        ("telegram", "telegram", texts.RIGHTS_ENOUGH),
        ("discord", "discord", texts.RIGHTS_ENOUGH),
        ("telegram", "discord", texts.RIGHTS_MISSING),
        ("engine", "telegram", texts.RIGHTS_MISSING),
        ("operator", "telegram", texts.RIGHTS_OPERATOR),
    ):
        async with served(tmp_path, deployed.url(user)) as server:
            found = await rights.check_rights(server, platform)
        assert texts_of(found) == [said]
    async with deployed.login("operator") as operator:
        assert await operator.dbsize() == 0


async def test_a_verb_that_an_older_list_of_users_lacks_is_named(deployed, tmp_path):
    async with served(tmp_path, deployed.url("discord")) as server:
        lacking = rights.Deed(command="zpopmin", keys=(bot_keys.lease("discord"),))
        wanted = [*rights.deeds("discord"), lacking]
        assert await rights.refusals(server.redis, wanted) == ["ZPOPMIN yuefu:bot:discord:lease"]


async def test_a_user_who_may_not_look_is_told_so_and_nothing_is_guessed(deployed, tmp_path):
    async with served(tmp_path, deployed.url("engine")) as server:
        [keeping] = await check_keeping(server)
        dead = await examination.guarded("engines.dead", engines.check_dead(server))
    assert (keeping.mark, keeping.said) == (Mark.SKIPPED, texts.REDIS_UNASKED)
    assert (dead[0].mark, dead[0].said) == (Mark.SKIPPED, texts.DOCTOR_NOT_ALLOWED)


# --- engines, clocks -------------------------------------------------------------------------


async def test_engines_that_live_and_jobs_that_are_buried_are_told(redis):
    server = a_server(redis)
    assert texts_of(await engines.check_engines(server)) == [texts.ENGINES_NONE]
    assert texts_of(await engines.check_dead(server)) == [texts.JOBS_NONE_DEAD]
    assert await engines.check_dead_updates(server, "telegram") == []
    await beat(redis, HEARTBEAT)
    for _ in range(2):
        await redis.xadd(keys.DEAD, {"lane": "chat", "id": "1", "job": CANARY, "attempts": "3"})
    await redis.xadd(bot_keys.dead("telegram"), {"why": CANARY})
    [alive] = await engines.check_engines(server)
    [dead] = await engines.check_dead(server)
    [updates] = await engines.check_dead_updates(server, "telegram")
    assert "gru gru-1" in str(alive.values)
    assert (dead.mark, dead.values["count"]) == (Mark.WARNING, "2")
    assert (updates.mark, updates.values["count"]) == (Mark.WARNING, 1)


async def test_the_clock_of_a_server_elsewhere_is_compared(redis):
    far = a_server(redis, "valkey")
    assert marks(await clock.check_clock(far)) == {"clock.redis": Mark.FINE}
    assert marks(await clock.check_clock(far, lambda: 0.0)) == {"clock.redis": Mark.WRONG}
    assert await clock.check_clock(a_server(redis)) == []


# --- the database ----------------------------------------------------------------------------


async def test_tables_are_none_old_current_or_too_new(anthology_url, tmp_path):
    async def look() -> texts.Text:
        findings = await check_database(case_of(tmp_path, database_url=anthology_url))
        return next(each.said for each in findings if each.name == "database.tables")

    async def say(command: str) -> None:
        engine = create_async_engine(anthology_url)
        async with engine.begin() as connection:
            await connection.execute(text(command))
        await engine.dispose()

    await make_tables(anthology_url)
    assert await look() is texts.DATABASE_CURRENT
    await say("UPDATE alembic_version SET version_num = 'v0001'")
    assert await look() is texts.DATABASE_BEHIND
    await say("UPDATE alembic_version SET version_num = 'v9999'")
    assert await look() is texts.DATABASE_AHEAD
    await say("DROP TABLE alembic_version")
    assert await look() is texts.DATABASE_EMPTY


async def test_a_file_that_is_not_there_is_not_made_and_one_that_is_none_is_told(tmp_path):
    case = case_of(tmp_path)
    assert texts_of(await check_database(case))[0] is texts.DATABASE_NEW
    assert not list(tmp_path.iterdir())
    case.settings.data.mkdir()
    (case.settings.data / "anthology.sqlite3").write_text("no database" * 1000)
    assert texts_of(await check_database(case))[0] is texts.DATABASE_BROKEN


async def test_a_file_is_looked_at_without_a_trace_whether_others_use_it_or_not(tmp_path):
    case = case_of(tmp_path)
    url = case.settings.anthology_url
    await make_tables(url)
    closed = sorted(case.settings.data.iterdir())
    assert texts_of(await check_database(case))[0] is texts.DATABASE_CURRENT
    assert sorted(case.settings.data.iterdir()) == closed
    async with Anthology.open(url, Pseudonyms(b"test")) as anthology:
        await anthology.ping()
        used = sorted(case.settings.data.iterdir())
        assert texts_of(await check_database(case))[0] is texts.DATABASE_CURRENT
        assert sorted(case.settings.data.iterdir()) == used != closed
        await anthology.ping()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://u:{CANARY}@127.0.0.1:9/db", texts.DATABASE_AWAY),
        (f"{CANARY}://{CANARY}", texts.DATABASE_NO_ADDRESS),
        (f"mysql://{CANARY}@h/db", texts.DATABASE_NO_ADDRESS),
    ],
)
async def test_a_database_that_is_none_or_away_is_told_without_its_password(tmp_path, url, said):
    [finding] = await check_database(case_of(tmp_path, database_url=url))
    assert (finding.said, finding.mark) == (said, Mark.WRONG)
    assert CANARY not in str(finding.values)


# --- platforms -------------------------------------------------------------------------------


async def test_telegram_knows_the_token_or_refuses_it(tmp_path):
    async with telegram.FakeTelegram().serve() as fake:
        good = case_of(tmp_path, telegram_token=telegram.TOKEN, telegram_api=fake.url)
        found = marks(await check_telegram(good))
        assert found["telegram.token"] is found["clock.telegram"] is Mark.FINE
        bad = case_of(tmp_path, telegram_token=f"1:{CANARY}", telegram_api=fake.url)
        [refused] = await check_telegram(bad)
    assert (refused.said, refused.mark) == (texts.TOKEN_REFUSED, Mark.WRONG)
    [away] = await check_telegram(good)
    assert away.said is texts.PLATFORM_AWAY
    assert telegram.TOKEN not in str(away.values)
    assert texts_of(await check_telegram(case_of(tmp_path))) == [texts.TOKEN_NONE]


@pytest.mark.parametrize(
    ("calls", "wanted", "said"),
    [
        ("https://h/telegram", "https://h", texts.WEBHOOK_FINE),
        ("https://other/telegram", "https://h", texts.WEBHOOK_FOREIGN),
        ("https://other/telegram", None, texts.WEBHOOK_FOREIGN),
        (None, "https://h", texts.WEBHOOK_NOT_YET),
    ],
)
async def test_who_telegram_calls_is_compared_with_the_settings(tmp_path, calls, wanted, said):
    async with telegram.FakeTelegram().serve() as fake:
        if calls is not None:
            fake.webhook = Delivery(
                url=calls,
                secret="",
                max_connections=1,
                allowed_updates=[],
                pending={},
                changed=asyncio.Condition(),
                second_s=1,
            )
        settings = {"telegram_token": telegram.TOKEN, "telegram_api": fake.url}
        found = await check_telegram(case_of(tmp_path, webhook_url=wanted, **settings))
        fake.webhook = None
    assert [each.said for each in found if each.name == "telegram.webhook"] == [said]


async def test_discord_knows_the_token_or_refuses_it(tmp_path):
    async with discord.FakeDiscord().serve() as fake:
        settings = {"discord_token": discord.TOKEN, "discord_api": fake.url}
        found = marks(await check_discord(case_of(tmp_path, **settings)))
        assert found["discord.token"] is Mark.FINE
        [refused] = await check_discord(case_of(tmp_path, **settings | {"discord_token": CANARY}))
        odd = {"discord_token": CANARY, "discord_api": fake.url.removesuffix("/v10")}
        [lost] = await check_discord(case_of(tmp_path, **odd))
    assert (refused.said, refused.mark) == (texts.TOKEN_REFUSED, Mark.WRONG)
    assert lost.mark is Mark.WRONG


# --- the command -----------------------------------------------------------------------------


def doctor(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bot", "doctor", *arguments],
        env=environment(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_tells_all_of_it_shows_no_secret_and_changes_nothing(tmp_path):
    done = doctor(
        "--json",
        "--lang=zh-TW",
        YUEFU_DATA=str(tmp_path / "data"),
        YUEFU_TELEGRAM_TOKEN=f"123456:{CANARY}{CANARY}",
        YUEFU_TELEGRAM_API=f"http://127.0.0.1:{free_port()}",
        YUEFU_DISCORD_TOKEN=f"'{CANARY}'",
        YUEFU_DISCORD_API=f"http://127.0.0.1:{free_port()}",
        YUEFU_REDIS_URL=f"redis://:{CANARY}@127.0.0.1:{free_port()}",
        YUEFU_REDIS_URI=CANARY,
        YUEFU_PSEUDONYM_KEY=CANARY,
        # So no engine is asked about models, which takes a while.
        YUEFU_SLOTS=CANARY,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert CANARY not in done.stdout
    assert not list(tmp_path.iterdir())
    found = json.loads(done.stdout)
    assert found["ok"] is False
    names = {
        mark: {each["name"] for each in found["findings"] if each["mark"] == mark} for mark in Mark
    }
    subjects = {"settings.name", "settings.value", "settings.quoted", "redis.reach"}
    assert subjects | {"telegram.token", "discord.token"} == names[Mark.WRONG]
    assert {"redis.keeping", "engines.alive", "models.champions"} <= names[Mark.SKIPPED]
    assert any("沒有查：要先連得上 Redis" in each["said"] for each in found["findings"])


async def test_where_there_is_nothing_yet_nothing_is_wrong_and_nothing_is_made(
    tmp_path, monkeypatch
):
    # As in the bot's image, no engine is installed.
    monkeypatch.setattr(models, "has_engine", lambda: False)
    found = await examination.examine(case_of(tmp_path))
    assert not {Mark.WRONG} & {*marks(found).values()}
    assert {each.subject for each in found} | {"settings"} == examination.SUBJECTS.keys()
    to_come = {texts.DATA_NEW, texts.KEY_NEW, texts.REDIS_WILL_START, texts.DATABASE_NEW}
    assert to_come | {texts.ENGINES_WILL_START, texts.MODELS_ELSEWHERE} <= {*texts_of(found)}
    assert not list(tmp_path.iterdir())


@pytest.mark.only_by_make_faults
async def test_a_champion_that_is_damaged_is_named_and_the_others_are_sound(tmp_path, monkeypatch):
    registry, [champion, _] = small_registry(tmp_path / "models")
    weights = registry.folder / champion / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    monkeypatch.setenv("YUEFU_MODELS", str(registry.folder))
    *champions, disk = await models.check_models(case_of(tmp_path, models=str(registry.folder)))
    assert texts_of(champions) == [texts.MODEL_SOUND, texts.MODEL_BROKEN]
    assert champion in str(champions[1].values["why"])
    assert disk.name == "models.disk"


async def test_what_an_engine_complains_about_is_told_but_a_cell_without_a_model(
    tmp_path, monkeypatch
):
    async def ask(*_):
        return "", "error: no rnn model is installed; installed: gru\nerror: it is\ndamaged\n"

    monkeypatch.setattr(models, "_ask_engine", ask)
    [broken] = await models.check_models(case_of(tmp_path))
    assert broken.values["why"] == "it is damaged"
    monkeypatch.setattr(models, "_ask_engine", lambda *_: asyncio.sleep(0, ("", "")))
    [none] = await models.check_models(case_of(tmp_path))
    assert (none.said, none.mark) == (texts.MODELS_NONE, Mark.WRONG)
