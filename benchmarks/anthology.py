"""How long people wait for the anthology when it is large, and which indexes spare them that.

A year of poems and ratings is made in the database by SQL: half of the poems for people alone,
half in groups of which few are lively (the liveliest has a twentieth of all poems), five ratings
a poem, a hundredth of them with stars. Then everything that people wait for is asked again and
again, for chats, people and poems as they come, and for the busiest of them.

    python -m benchmarks.anthology                                        # SQLite, in a new file
    python -m benchmarks.anthology postgresql://USER@HOST/AN_EMPTY_DATABASE --explain

prints p50 and p99 of each, and whether a table of poems or ratings is read from end to end.
"""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine, event, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from bot.anthology import Anthology
from bot.anthology.database import Database, migrate
from bot.anthology.tables import Base, ChatRow, PoemRow, RatingRow
from bot.pseudonyms import Pseudonyms
from bot.settings import BotSettings

PSEUDONYMS = Pseudonyms(b"benchmark")
GROUPS, PEOPLE, CURATORS = 1_000, 50_000, 20
DAYS = 365
RATINGS_EACH = 5

_BEFORE_STANDINGS = "v0005"
_MOMENT = {
    # A moment so many seconds ago.
    "postgresql": "now() - make_interval(secs => {})",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || ({}) || ' seconds')",
}
_NUMBERS = {
    "postgresql": "SELECT n FROM generate_series(1, {0}) AS s(n)",
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {0}) "
    "SELECT n FROM s",
}
_DICE = "(CAST((n * 2654435761 + {salt}) % 4294967296 AS DOUBLE PRECISION) / 4294967296)"
"""A number in [0, 1) that is any row's own."""
_POEMS = """
INSERT INTO poems (id, job, number, chat, lines, form, rhyme, cell, checkpoint, seed, temperature,
    logprob, opening, script, language, shown_at, asker, theme)
SELECT 'tg:' || n, 'tg:' || n, 1, chat.name,
    '["細雨無聲落晚風", "石橋流水小樓東", "何人獨坐聽春夜", "一樹梨花月色中"]',
    'qijue', '東', CASE n % 3 WHEN 0 THEN 'gru' ELSE 'lstm' END,
    'lstm-20260101T000000Z-' || (n * 26 / {poems}), n, 0.9, -50.5, '月', 'simplified', 'zh',
    {moment}, asker.name, ''
FROM (
    SELECT n, CAST({first} * {people} - 0.5 AS INTEGER) AS person,
        CAST({second} * {second} * {second} * {groups} - 0.5 AS INTEGER) AS place
    FROM ({numbers}) AS numbers
) AS drawn
JOIN names AS asker ON asker.kind = 'person' AND asker.number = person
JOIN names AS chat ON chat.kind = CASE n % 2 WHEN 0 THEN 'person' ELSE 'group' END
    AND chat.number = CASE n % 2 WHEN 0 THEN person ELSE place END
"""
_RATINGS = """
INSERT INTO ratings (poem, rater, vote, stars, platform, chat, at)
SELECT poems.id, rater.name, CASE WHEN (seed + each) % 3 = 0 THEN -1 ELSE 1 END,
    CASE WHEN starred THEN 1 + (seed / 10) % 5 END, 'telegram', poems.chat, {moment}
FROM (
    SELECT id, chat, seed, each, {starred} AS starred,
        CASE WHEN {starred} THEN (seed / 20 + each) % {curators}
        ELSE (CAST({third} * {third} * {people} - 0.5 AS INTEGER) + each) % {people} + {curators}
        END AS person
    FROM (SELECT id, chat, seed, seed AS n FROM poems) AS poems
    CROSS JOIN (SELECT n - 1 AS each FROM ({numbers}) AS many) AS several
) AS poems
JOIN names AS rater ON rater.kind = 'person' AND rater.number = person
"""
_STARRED = "(each = 0 AND seed % 20 = 0 OR each = 1 AND seed % 100 = 0)"
_WALK = re.compile(r"Seq Scan on (?:poems|ratings)|SCAN (?:poems|ratings)(?! USING)")
"""How a plan says that a table is read from end to end."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How long one thing takes."""

    what: str
    """What was asked."""
    p50_ms: float
    """Half of the times less."""
    p99_ms: float
    """Of a hundred, one more."""
    walks: int
    """Of its statements, those that read all poems or all ratings."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Something that somebody waits for."""

    what: str
    """What."""
    ask: Callable[[int], Awaitable[object]]
    """Ask it for the so-many-th time."""
    times: int
    """How often it can be asked."""


# --- a year ---


async def fill(engine: AsyncEngine, poems: int) -> None:
    """Make so many poems, and five ratings of each.

    Indexes come after the rows, as in a restored backup, and so do standings: to count once is
    many times faster than to count with each rating.
    """
    await migrate(engine, PSEUDONYMS, _BEFORE_STANDINGS)
    indexes = [index for row in (PoemRow, RatingRow) for index in _indexes(row)]
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: [index.drop(sync) for index in indexes])
        await connection.run_sync(_write_names)
        await connection.run_sync(_write_year, poems)
        await connection.run_sync(lambda sync: [index.create(sync) for index in indexes])
        await connection.execute(text("DROP TABLE names"))
    await migrate(engine, PSEUDONYMS)
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        # As autovacuum does it; SQLite's planner does without.
        if engine.dialect.name == "postgresql":
            await connection.execute(text("VACUUM ANALYZE"))


def _indexes(row: type[Base]) -> Sequence[Any]:
    return sorted(Base.metadata.tables[row.__tablename__].indexes, key=str)


def _write_names(connection: Connection) -> None:
    """Chats and people, under the pseudonyms by which the anthology is asked for them."""
    connection.execute(text("CREATE TABLE names (kind TEXT, number INTEGER, name TEXT)"))
    names = [("group", number, group(number)) for number in range(GROUPS)]
    names += [("person", number, person(number)) for number in range(PEOPLE)]
    rows = [{"k": kind, "n": number, "p": PSEUDONYMS.of(name)} for kind, number, name in names]
    connection.execute(text("INSERT INTO names VALUES (:k, :n, :p)"), rows)
    connection.execute(text("CREATE UNIQUE INDEX ix_names ON names (kind, number)"))
    usual = {
        "cell": "lstm",
        "temperature": 0.9,
        "language": "zh",
        "created": datetime.now(UTC),
        "admins_curate": False,
    }
    connection.execute(insert(ChatRow), [{"id": row["p"], **usual} for row in rows])


def _write_year(connection: Connection, poems: int) -> None:
    dialect = connection.dialect.name
    step = DAYS * 86_400 / poems
    dice = {
        name: _DICE.format(salt=salt)
        for name, salt in (("first", 1), ("second", 77_777_777), ("third", 1_234_567_890))
    }
    connection.execute(
        text(
            _POEMS.format(
                moment=_MOMENT[dialect].format(f"({poems} - n) * {step} + 86400"),
                numbers=_NUMBERS[dialect].format(poems),
                poems=poems,
                people=PEOPLE,
                groups=GROUPS,
                **dice,
            )
        )
    )
    # Four of five come within the hour, the last one a day later.
    later = f"({poems} - seed) * {step} + CASE each WHEN 4 THEN 0 ELSE 86400 - each * 600 END"
    connection.execute(
        text(
            _RATINGS.format(
                moment=_MOMENT[dialect].format(later),
                numbers=_NUMBERS[dialect].format(RATINGS_EACH),
                starred=_STARRED,
                people=PEOPLE - CURATORS,
                curators=CURATORS,
                **dice,
            )
        )
    )


def group(number: int) -> str:
    """The name of a group; the first is the liveliest."""
    return f"telegram:-{number + 1}"


def person(number: int) -> str:
    """The name of a person; the first are curators, and rate most."""
    return f"telegram:{number + 1}"


# --- what people wait for ---


async def questions(anthology: Anthology, poems: int, rounds: int) -> list[Question]:
    """What is asked, for chats, people and poems as they come up in use."""
    random = Random(1)
    people = [person(random.randrange(PEOPLE)) for _ in range(rounds)]
    groups = [group(int(random.random() ** 3 * GROUPS)) for _ in range(rounds)]
    recent = [f"tg:{poems - 1 - 2 * random.randrange(poems // 20)}" for _ in range(rounds)]
    homes = await _names_of_chats(anthology, recent)
    week = datetime.now(UTC) - timedelta(days=7)
    poem, people_of, ratings = anthology.poems, anthology.people, anthology.ratings
    asked: dict[str, Callable[[int], Awaitable[object]]] = {
        "/top of a week": lambda i: poem.top(groups[i], since=week, most=10),
        "/top of all time": lambda i: poem.top(groups[i], since=None, most=10),
        "/top of a week, liveliest group": lambda _: poem.top(group(0), since=week, most=10),
        "/top of all time, liveliest group": lambda _: poem.top(group(0), since=None, most=10),
        "/stats": lambda _: anthology.curation.figures(days=14),
        "/review": lambda i: anthology.curation.turn(person(i % CURATORS), chat=None),
        "/mine": lambda i: poem.own(people[i], skip=0, most=4),
        "/mine, the count": lambda i: poem.count_own(people[i]),
        "/export": lambda i: people_of.kept(people[i], own_chat=people[i]),
        "the last poem of a chat": lambda i: poem.last_shown(groups[i]),
        "a vote": lambda i: ratings.vote(recent[i], person=people[i], chat=homes[i], vote=1),
        "/forget": lambda i: people_of.forget(people[i], own_chat=people[i]),
        "/forget, who rates most": lambda i: people_of.forget(
            person(CURATORS + i), own_chat=person(CURATORS + i)
        ),
    }
    return [Question(what=what, ask=ask, times=rounds) for what, ask in asked.items()]


async def _names_of_chats(anthology: Anthology, poems: Sequence[str]) -> list[str]:
    names = {PSEUDONYMS.of(group(number)): group(number) for number in range(GROUPS)}
    rows = [await anthology.poems.get(poem) for poem in poems]
    return [names[row.chat] for row in rows if row is not None]


async def measure(
    question: Question, engine: AsyncEngine, *, explain: Callable[[str], None]
) -> Figures:
    """Ask again and again, once beforehand with an eye on the plans."""
    plans = await _plans(question, engine)
    for plan in plans:
        explain(f"\n{question.what}\n{plan}")
    times_ms = []
    for number in range(1, question.times):
        begin = time.perf_counter()
        await question.ask(number)
        times_ms.append((time.perf_counter() - begin) * 1000)
    times_ms.sort()
    return Figures(
        what=question.what,
        p50_ms=times_ms[len(times_ms) // 2],
        p99_ms=times_ms[int(len(times_ms) * 0.99)],
        walks=sum(1 for plan in plans if _WALK.search(plan)),
    )


async def _plans(question: Question, engine: AsyncEngine) -> list[str]:
    """How the database goes about each of its statements."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, given: Any, *_: object) -> None:
        statements.append((statement, given))

    event.listen(Engine, "before_cursor_execute", note)
    await question.ask(0)
    event.remove(Engine, "before_cursor_execute", note)
    explain = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    plans = []
    async with engine.connect() as connection:
        for statement, given in statements:
            if statement.lstrip().upper().startswith(("SELECT", "DELETE", "UPDATE")):
                rows = await connection.exec_driver_sql(f"{explain} {statement}", given)
                plans.append("\n".join(str(row[-1]) for row in rows))
    return plans


async def bench(
    url: str, *, poems: int, rounds: int, explain: Callable[[str], None]
) -> list[Figures]:
    """Measure the database at `url`, and fill it first where it is empty."""
    engine = create_async_engine(url)
    async with Database.open(url, PSEUDONYMS) as database:
        anthology = Anthology(database)
        if not await database.read(_count):
            await fill(engine, poems)
        asked = await questions(anthology, poems, rounds)
        figures = [await measure(question, engine, explain=explain) for question in asked]
    await engine.dispose()
    return figures


async def _count(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(PoemRow)) or 0


def main(
    url: Annotated[str | None, typer.Argument(help="An empty database; else a new file.")] = None,
    *,
    poems: Annotated[int, typer.Option(min=1000, help="How many poems.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=2, help="How often each is asked.")] = 200,
    explain: Annotated[bool, typer.Option("--explain", help="Print the plans too.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Where the figures go too.")] = None,
) -> None:
    """Measure how long people wait for a large anthology."""
    with tempfile.TemporaryDirectory() as folder:
        settings = BotSettings(data=Path(folder), database_url=url)
        figures = asyncio.run(
            bench(
                settings.anthology_url,
                poems=poems,
                rounds=rounds,
                explain=print if explain else lambda _: None,
            )
        )
    table = Table("", "p50 ms", "p99 ms", "walks")
    for one in figures:
        table.add_row(one.what, f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", str(one.walks))
    Console().print(table)
    if out is not None:
        out.write_text(json.dumps([asdict(one) for one in figures], ensure_ascii=False, indent=1))


if __name__ == "__main__":
    typer.run(main)
