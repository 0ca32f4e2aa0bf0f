"""The anthology keeps styles and poems, and its tables are those that its code believes in."""

import asyncio
import sqlite3
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, time
from random import Random

import pytest
from alembic import command
from sqlalchemy import func, inspect, select, text

from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.database import alembic_config, migrate
from bot.anthology.poems import PRIOR_RATINGS
from bot.anthology.ratings import Selection
from bot.anthology.tables import STARS, Base, PoemRow, RatingRow, StandingRow
from bot.errors import AnthologyError
from bot.language import Language, Script
from bot.message import Address
from bot.pseudonyms import Pseudonyms
from bot.style import Style
from bot.submit import Context
from engine.jobs import Cell
from engine.verse.forms import FormName
from tests.fakes.engine import made_up_poem
from tests.fakes.jobs import a_job, a_poem
from tests.fakes.waiting import until

PSEUDONYMS = Pseudonyms(b"test")
NOW = datetime.now(UTC)
STYLE = Style(cell=Cell.LSTM, temperature=1.3, form=FormName.QILU)


@pytest.fixture
async def anthology(anthology_url):
    async with Anthology.open(anthology_url, PSEUDONYMS) as opened:
        yield opened


def engine_of(anthology):
    return anthology.chats._database._engine


def context_in(chat):
    return Context(
        address=Address(chat=chat),
        language=Language.ZH,
        script=Script.SIMPLIFIED,
        glyphs="月",
        temperature=0.7,
    )


async def test_a_chat_that_never_chose_has_the_usual_style(anthology):
    assert (await anthology.chats.settings("telegram:1")).style == Style()


async def test_a_style_is_kept_for_its_chat_alone(anthology):
    await anthology.chats.change("telegram:1", ChatSettings(style=STYLE), Language.ZH)
    assert (await anthology.chats.settings("telegram:1")).style == STYLE
    assert (await anthology.chats.settings("telegram:2")).style == Style()


async def test_a_style_outlives_the_process(anthology_url):
    async with Anthology.open(anthology_url, PSEUDONYMS) as first:
        await first.chats.change("telegram:1", ChatSettings(style=STYLE), Language.ZH)
    async with Anthology.open(anthology_url, PSEUDONYMS) as second:
        assert (await second.chats.settings("telegram:1")).style == STYLE


async def test_a_poem_is_recorded_once_and_then_shown(anthology):
    poem = a_poem(a_job("tg:1"))
    for _ in range(2):
        await anthology.poems.record(poem, context_in("telegram:1"))
    kept = await anthology.poems.get("tg:1")
    assert (kept.lines, kept.opening, kept.temperature) == (list(poem.lines), "月", 0.7)
    assert kept.shown_at is None
    await anthology.poems.mark_shown("tg:1", chat="telegram:1", message=None)
    kept = await anthology.poems.get("tg:1")
    assert kept.shown_at.utcoffset().total_seconds() == 0


@pytest.mark.parametrize("new_is_known", [False, True])
async def test_what_belongs_to_a_chat_moves_with_it(anthology, new_is_known):
    await anthology.chats.change("telegram:-1", ChatSettings(style=STYLE), Language.ZH)
    await anthology.poems.record(a_poem(a_job("tg:1")), context_in("telegram:-1"))
    if new_is_known:
        await anthology.chats.change("telegram:-100", ChatSettings(style=Style()), Language.ZH)
    await anthology.chats.move("telegram:-1", "telegram:-100")
    assert (await anthology.poems.get("tg:1")).chat == PSEUDONYMS.of("telegram:-100")
    assert (await anthology.chats.settings("telegram:-100")).style == (
        Style() if new_is_known else STYLE
    )
    assert (await anthology.chats.settings("telegram:-1")).style == Style()


async def test_a_chat_that_is_deleted_takes_along_when_it_wanted_its_poem(anthology):
    address = Address(chat="telegram:1", thread=5)
    await anthology.schedules.start(
        address, at=time(8), zone="UTC", language=Language.ZH, now=datetime.now(UTC)
    )
    async with engine_of(anthology).begin() as connection:
        await connection.execute(text("DELETE FROM chats"))
    assert await anthology.schedules.find(address) is None


async def test_a_chat_nobody_knows_can_move_too(anthology):
    await anthology.chats.move("telegram:-1", "telegram:-100")


def a_choice(job_id, count=3):
    return made_up_poem(a_job(job_id, count=count))


async def test_poems_to_choose_from_are_all_recorded_and_shown_together(anthology):
    for _ in range(2):
        await anthology.poems.record(a_choice("tg:1"), context_in("telegram:1"))
    await anthology.poems.mark_shown("tg:1", chat="telegram:1", message=None)
    rows = await anthology.poems.last_shown("telegram:1")
    assert [row.id for row in rows] == ["tg:1", "tg:1#2", "tg:1#3"]
    assert all(row.shown_at is not None and row.picked_at is None for row in rows)
    first, *others = (row.poem for row in rows)
    assert replace(first, others=tuple(others)) == replace(
        a_choice("tg:1"), context={}, tones=first.tones, others=tuple(others)
    )


async def test_the_first_pick_decides(anthology):
    await anthology.poems.record(a_choice("tg:1"), context_in("telegram:1"))
    for number in (2, 2, 3):
        assert (await anthology.poems.pick("telegram:1", "tg:1", number)).number == 2
    assert (await anthology.poems.get("tg:1#2")).picked_at is not None
    assert (await anthology.poems.get("tg:1#3")).picked_at is None


@pytest.mark.parametrize(
    ("chat", "job", "number"),
    [
        ("telegram:2", "tg:1", 1),
        ("telegram:1", "tg:9", 1),
        ("telegram:1", "tg:1", 4),
        ("telegram:1", "tg:1", 0),
        ("telegram:1", "tg:2", 1),
    ],
)
async def test_only_what_a_chat_was_shown_can_be_picked_there(anthology, chat, job, number):
    await anthology.poems.record(a_choice("tg:1"), context_in("telegram:1"))
    await anthology.poems.record(a_poem(a_job("tg:2")), context_in("telegram:1"))
    assert await anthology.poems.pick(chat, job, number) is None


async def test_the_last_poem_of_a_chat_is_the_one_shown_last(anthology):
    assert await anthology.poems.last_shown("telegram:1") == []
    for number in (1, 2, 3):
        await anthology.poems.record(a_poem(a_job(f"tg:{number}")), context_in("telegram:1"))
    await anthology.poems.mark_shown("tg:2", chat="telegram:1", message=None)
    await anthology.poems.mark_shown("tg:1", chat="telegram:1", message=None)
    assert [row.id for row in await anthology.poems.last_shown("telegram:1")] == ["tg:1"]
    assert await anthology.poems.last_shown("telegram:2") == []


async def test_poems_of_before_choices_came_are_kept(anthology):
    engine = engine_of(anthology)
    await migrate(engine, PSEUDONYMS, "v0001")
    async with engine.begin() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO chats VALUES ('console', 'gru', 0.8, NULL, 'zh', '2026-01-01 00:00:00')"
        )
        await connection.exec_driver_sql(
            "INSERT INTO poems VALUES ('c:1', 'console', '[]', 'wujue', '尤', 'gru', 'x', 7, 0.8, "
            "-1.5, '月', '2026-01-01 00:00:00')"
        )
    await migrate(engine, PSEUDONYMS)
    [row] = await anthology.poems.last_shown("console")
    assert (row.id, row.job, row.number, row.language) == ("c:1", "c:1", 1, "zh")
    assert row.chat == PSEUDONYMS.of("console")


async def check_tables(anthology):
    """Alembic's own check: it raises where migrations and models differ."""
    async with engine_of(anthology).begin() as connection:
        await connection.run_sync(lambda sync: command.check(alembic_config(sync, PSEUDONYMS)))


async def count_rows(anthology):
    async with engine_of(anthology).begin() as connection:
        present = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        return {
            name: await connection.scalar(select(func.count()).select_from(table))
            for name, table in Base.metadata.tables.items()
            if name in present
        }


async def test_models_and_migrations_agree(anthology):
    await check_tables(anthology)


async def test_migrations_lead_down_to_nothing_and_up_again(anthology):
    empty = dict.fromkeys(Base.metadata.tables, 0)
    assert await count_rows(anthology) == empty
    await migrate(engine_of(anthology), PSEUDONYMS, "base")
    assert await count_rows(anthology) == {}
    await migrate(engine_of(anthology), PSEUDONYMS)
    assert await count_rows(anthology) == empty


async def test_what_is_in_the_anthology_outlives_migrations_that_know_of_it(anthology):
    await anthology.poems.record(a_choice("tg:1"), context_in("telegram:1"))
    await anthology.poems.mark_shown("tg:1", chat="telegram:1", message=5)
    await anthology.ratings.vote("tg:1", person="telegram:7", chat="telegram:1", vote=1)
    await anthology.ratings.star("tg:1#2", person="telegram:7", chat="telegram:1", stars=4)
    await anthology.curation.skip("tg:1#3", person="telegram:7")
    await anthology.people.answer("telegram:7", given=True, language=Language.ZH)
    await anthology.schedules.start(
        Address(chat="telegram:1"), at=time(8), zone="UTC", language=Language.ZH, now=NOW
    )
    left = {
        "chats": 1,
        "poems": 3,
        "showings": 1,
        "ratings": 2,
        "skips": 1,
        "consents": 1,
        "audit": 1,
        "schedules": 1,
        "standings": 2,
        "days": 0,
    }
    for revision, lost in (
        ("v0005", {}),
        ("v0004", {"schedules": 0}),
        ("v0003", {"skips": 0}),
        ("v0002", {"showings": 0, "ratings": 0, "standings": 0, "consents": 0, "audit": 0}),
        ("v0001", {"poems": 1}),
        ("base", {"poems": 0, "chats": 0}),
    ):
        assert await count_rows(anthology) == left
        await migrate(engine_of(anthology), PSEUDONYMS, revision)
        left |= lost
        await migrate(engine_of(anthology), PSEUDONYMS)
        await check_tables(anthology)
    assert await count_rows(anthology) == left


async def test_an_anthology_of_a_newer_program_is_not_touched(anthology, anthology_url):
    async with engine_of(anthology).begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    with pytest.raises(AnthologyError, match="v9999"):
        async with Anthology.open(anthology_url, PSEUDONYMS):
            pass


async def test_sqlite_is_opened_so_that_readers_and_a_writer_get_along(tmp_path):
    # And the folder is made.
    path = tmp_path / "new folder" / "anthology.sqlite3"
    async with (
        Anthology.open(f"sqlite+aiosqlite:///{path}", PSEUDONYMS) as anthology,
        engine_of(anthology).connect() as connection,
    ):
        pragmas = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1}


@pytest.mark.parametrize(
    "address", ["nonsense", "nonsense://", "sqlite+aiosqlite:////proc/no/a.db"]
)
async def test_an_address_that_is_no_database_is_said_to_be_none(address):
    with pytest.raises(AnthologyError):
        async with Anthology.open(address, PSEUDONYMS):
            pass


async def test_whoever_reads_keeps_nobody_from_writing(anthology):
    await anthology.poems.record(a_poem(a_job("tg:1")), context_in("telegram:1"))

    async def read(session):
        before = await session.scalar(select(func.count()).select_from(PoemRow))
        async with asyncio.timeout(10):
            await anthology.poems.record(a_poem(a_job("tg:2")), context_in("telegram:1"))
        # And meets the anthology as it was when they began.
        return before, await session.scalar(select(func.count()).select_from(PoemRow))

    assert await anthology.poems._database.read(read) == (1, 1)
    assert await anthology.poems.get("tg:2") is not None


async def test_a_new_file_that_another_process_prepares_is_waited_for(tmp_path, monkeypatch):
    # As SQLite does while a new file is turned to WAL: it says at once that it is locked.
    monkeypatch.setattr("bot.anthology.database._BUSY_S", 0)
    tries = []

    async def try_once(engine, pseudonyms):
        tries.append(engine)
        await migrate(engine, pseudonyms)

    monkeypatch.setattr("bot.anthology.database.migrate", try_once)
    path = tmp_path / "new.sqlite3"
    another = sqlite3.connect(path)
    another.execute("BEGIN EXCLUSIVE")

    async def open_it():
        async with Anthology.open(f"sqlite+aiosqlite:///{path}", PSEUDONYMS) as opened:
            return await opened.chats.settings("telegram:1")

    opening = asyncio.create_task(open_it())

    async def tried_again():
        return len(tries) > 1 or opening.done()

    await until(tried_again)
    another.close()
    assert (await opening).style == Style()


async def test_a_database_that_fails_is_reported_as_such_without_what_people_wrote(
    anthology, monkeypatch
):
    monkeypatch.setattr("bot.anthology.database._PAUSES_S", (0.01,))
    async with engine_of(anthology).begin() as connection:
        await connection.execute(text("ALTER TABLE poems RENAME TO lost"))
    with pytest.raises(AnthologyError) as caught:
        await anthology.poems.record(a_poem(a_job("tg:1")), context_in("telegram:1"))
    assert "月" not in str(caught.value)


# --- what the database keeps by itself ---


def standing_of(ratings):
    """What a poem's row comes to, by the rules of `bot.anthology`."""
    worth = sum((stars - 1) / 4 if stars is not None else (vote + 1) / 2 for vote, stars in ratings)
    given = [stars for _, stars in ratings]
    return (
        len(ratings),
        worth,
        sum(1 for vote, _ in ratings if vote == 1),
        *(given.count(stars) for stars in STARS),
        (worth + PRIOR_RATINGS / 2) / (len(ratings) + PRIOR_RATINGS),
    )


async def check_standings(anthology):
    """Every poem's standing is what its ratings say; how many poems have ratings."""

    async def read(session):
        ratings = await session.execute(select(RatingRow.poem, RatingRow.vote, RatingRow.stars))
        standings = await session.execute(select(StandingRow, PoemRow).join(PoemRow))
        return ratings.all(), standings.all()

    ratings, standings = await anthology.poems._database.read(read)
    said = defaultdict(list)
    for poem, vote, stars in ratings:
        said[poem].append((vote, stars))
    for row, poem in standings:
        stars = [getattr(row, f"stars{stars}") for stars in STARS]
        counted = (row.ratings, row.worth, row.up, *stars, row.standing)
        assert counted == pytest.approx(standing_of(said.get(row.poem, [])))
        assert (row.chat, row.shown_at) == (poem.chat, poem.shown_at)
    assert set(said) <= {row.poem for row, _ in standings}
    return len(said)


async def test_standings_follow_whatever_happens_to_ratings(anthology):
    random = Random(1)
    jobs = [f"tg:{number}" for number in range(5)]
    people = [f"telegram:{number}" for number in range(6)]
    chats = {job: people[0] if job == "tg:4" else "telegram:-1" for job in jobs}
    for job in jobs:
        await anthology.poems.record(a_poem(a_job(job)), context_in(chats[job]))
        await anthology.poems.mark_shown(job, chat=chats[job], message=None)
    for _ in range(80):
        job, person = random.choice(jobs), random.choice(people)
        who = {"person": person, "chat": chats[job]}
        if random.random() < 0.6:
            await anthology.ratings.vote(job, **who, vote=random.choice((1, -1, None)))
        else:
            await anthology.ratings.star(job, **who, stars=random.choice((1, 3, 5, None)))
    assert await check_standings(anthology) == 5
    await anthology.poems.mark_shown("tg:1", chat="telegram:-1", message=None)
    await anthology.chats.change("telegram:-100", ChatSettings(), Language.ZH)
    await anthology.chats.move("telegram:-1", "telegram:-100")
    assert await check_standings(anthology) == 5
    await anthology.people.forget(people[0], own_chat=people[0])
    assert await check_standings(anthology) == 4
    await anthology.ratings.undo(Selection(person=people[1]))
    assert await check_standings(anthology) == 4
    await anthology.ratings.undo(Selection(chat="telegram:-100"))
    assert await check_standings(anthology) == 0


async def test_standings_count_what_was_rated_before_they_came(anthology):
    for number in range(3):
        await anthology.poems.record(a_poem(a_job(f"tg:{number}")), context_in("telegram:1"))
        for rater in range(number):
            who = {"person": f"telegram:{rater}", "chat": "telegram:1"}
            await anthology.ratings.vote(f"tg:{number}", **who, vote=1 - 2 * (rater % 2))
            await anthology.ratings.star(f"tg:{number}", **who, stars=4 if rater else None)
    await migrate(engine_of(anthology), PSEUDONYMS, "v0005")
    await migrate(engine_of(anthology), PSEUDONYMS)
    assert await check_standings(anthology) == 2
    await anthology.ratings.vote("tg:0", person="telegram:9", chat="telegram:1", vote=1)
    assert await check_standings(anthology) == 3


# --- a PostgreSQL that is away ---


@pytest.fixture
async def away(postgres_server, monkeypatch):
    """An anthology in a PostgreSQL that may be stopped and frozen."""
    monkeypatch.setattr("bot.anthology.database._PAUSES_S", (0.01,) * 1000)
    name = postgres_server.create()
    async with Anthology.open(postgres_server.url(name), PSEUDONYMS) as opened:
        yield opened
    postgres_server.drop(name)


async def test_a_postgresql_that_is_started_again_is_waited_for(away, postgres_server):
    await away.ping()
    postgres_server.stop()
    waiting = asyncio.create_task(away.chats.settings("telegram:1"))
    try:
        await asyncio.sleep(0)
        assert not waiting.done()
    finally:
        postgres_server.start()
    assert (await waiting).style == Style()


async def test_a_postgresql_that_says_nothing_is_not_waited_for_long(postgres_server, monkeypatch):
    monkeypatch.setattr("bot.anthology.database._POSTGRES_COMMAND_S", 0.5)
    monkeypatch.setattr("bot.anthology.database._POSTGRES_CONNECT_S", 0.5)
    name = postgres_server.create()
    async with Anthology.open(postgres_server.url(name), PSEUDONYMS) as opened:
        postgres_server.freeze()
        try:
            with pytest.raises(AnthologyError, match="TimeoutError"):
                await opened.ping()
        finally:
            postgres_server.thaw()

        async def answers():
            with suppress(AnthologyError):
                await opened.ping()
                return True

        await until(answers)
    postgres_server.drop(name)
