"""The benchmark of the anthology fills either database with a year that its code can read."""

import pytest
from sqlalchemy import func, select

from benchmarks import anthology as benchmark
from bot.anthology.database import Database
from bot.anthology.tables import RatingRow, StandingRow


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(benchmark, "GROUPS", 10)
    monkeypatch.setattr(benchmark, "PEOPLE", 200)


async def test_a_year_of_poems_is_made_once_and_then_measured(anthology_url, small):
    plans: list[str] = []
    for rounds in (2, 3):
        figures = await benchmark.bench(
            anthology_url, poems=1_000, rounds=rounds, explain=plans.append
        )
        assert all(0 < one.p50_ms <= one.p99_ms for one in figures)
    assert len({one.what for one in figures}) == len(figures)
    assert any("standings" in plan for plan in plans)

    async def count(session):
        counts = select(func.count(), func.count(RatingRow.stars)).select_from(RatingRow)
        return (
            (await session.execute(counts)).one(),
            await session.scalar(select(func.sum(StandingRow.ratings))),
        )

    async with Database.open(anthology_url, benchmark.PSEUDONYMS) as database:
        (ratings, starred), counted = await database.read(count)
    # Some were forgotten, and somebody voted.
    assert 4_000 < ratings <= 5_003
    assert 30 < starred <= 60
    assert counted == ratings
