"""An anthology with something in it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.anthology import Anthology
from bot.anthology.tables import Base, PoemRow
from bot.language import Language, Script
from bot.message import Address
from bot.pseudonyms import Pseudonyms
from bot.submit import Context
from tests.fakes.jobs import a_job, a_poem


async def make_tables(url: str) -> None:
    """Give an empty database the anthology's tables."""
    async with Anthology.open(url, Pseudonyms(b"test")):
        pass


async def all_words(anthology: Anthology) -> str:
    """Whatever stands in the anthology, in one string."""

    async def read(session: AsyncSession) -> list[Row[Any]]:
        tables = Base.metadata.sorted_tables
        return [row for table in tables for row in await session.execute(select(table))]

    return str(await anthology.poems._database.read(read))


async def write(
    anthology: Anthology,
    job: str,
    *,
    chat: str,
    person: str | None = None,
    count: int = 1,
    age_days: float = 0.0,
    glyphs: str = "月",
    lines: tuple[str, ...] = a_poem(a_job()).lines,
) -> None:
    """`person` asked for `count` poems of these `lines`, which `chat` was shown so long ago."""
    context = Context(
        address=Address(chat=chat),
        language=Language.ZH,
        script=Script.SIMPLIFIED,
        glyphs=glyphs,
        temperature=0.7,
        person=person,
        theme="邊塞",
    )
    poem = replace(a_poem(a_job(job)), lines=lines)
    await anthology.poems.record(replace(poem, others=(poem,) * (count - 1)), context)
    shown_at = datetime.now(UTC) - timedelta(days=age_days)
    shown = update(PoemRow).where(PoemRow.job == job).values(shown_at=shown_at)
    await anthology.poems._database.transact(lambda session: session.execute(shown))
