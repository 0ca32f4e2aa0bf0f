"""The ratings that training reads, and how an operator takes some of them out."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import Select, select, update

from bot.anthology import Anthology
from bot.anthology.people import CONSENT_VERSION
from bot.anthology.ratings import Extent, Selection
from bot.anthology.tables import AuditRow, ConsentRow, RatingRow
from bot.errors import OrderError
from bot.language import Language, Script
from bot.message import Address
from bot.settings import BotSettings
from bot.submit import Context
from bot.upkeep import undo_ratings
from engine.jobs import Cell
from engine.verse.forms import FormName
from tests.fakes.bot import environment
from tests.fakes.jobs import a_job, a_poem

GROUP, ELSEWHERE = "telegram:-1", "telegram:-2"
PEOPLE = tuple(f"telegram:{number}" for number in range(1, 5))
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def settings(anthology_url, tmp_path):
    return BotSettings(database_url=anthology_url, data=tmp_path)


@pytest.fixture
async def anthology(settings):
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as opened:
        yield opened


@pytest.fixture
async def rated(anthology):
    """Three poems of a group, each with a vote of four people who let the model learn."""
    for number in range(3):
        context = Context(
            address=Address(chat=GROUP),
            language=Language.ZH,
            script=Script.SIMPLIFIED,
            glyphs="月",
            temperature=0.7,
            person=PEOPLE[0],
            theme="邊塞",
        )
        await anthology.poems.record(a_poem(a_job(f"tg:{number}")), context)
        for person in PEOPLE:
            await anthology.ratings.vote(f"tg:{number}", person=person, chat=GROUP, vote=1)
    for person in PEOPLE:
        await anthology.people.answer(person, given=True, language=Language.ZH)
    return anthology


async def training_set(anthology, **more):
    return [rating async for rating in anthology.ratings.training_ratings(**more)]


async def hashed(anthology):
    return sha256(repr(await training_set(anthology)).encode()).hexdigest()


async def run(anthology, statement):
    async def work(session):
        if isinstance(statement, Select):
            return (await session.scalars(statement)).all()
        return await session.execute(statement)

    return await anthology.ratings._database.transact(work)


async def test_training_reads_every_rating_once_in_order_whatever_the_pages(rated, monkeypatch):
    whole = await training_set(rated)
    monkeypatch.setattr("bot.anthology.ratings._PAGE", 5)
    assert await training_set(rated) == whole
    assert len(whole) == 12
    assert [(one.poem, one.rater) for one in whole] == sorted(
        (one.poem, one.rater) for one in whole
    )
    first = whole[0]
    assert (first.lines, first.form, first.rhyme) == (
        a_poem(a_job()).lines,
        FormName.WUJUE,
        "尤",
    )
    assert (first.cell, first.checkpoint, first.seed) == (Cell.GRU, "gru-test", 7)
    assert (first.temperature, first.theme, first.vote, first.stars) == (0.7, "邊塞", 1, None)
    assert first.at.tzinfo is not None


async def test_training_reads_only_those_who_said_yes_to_the_present_text(rated, settings):
    known_as = settings.pseudonyms.of
    await rated.people.answer(PEOPLE[0], given=False, language=Language.ZH)
    older = update(ConsentRow).where(ConsentRow.rater == known_as(PEOPLE[1]))
    await run(rated, older.values(version=CONSENT_VERSION - 1))
    await rated.people.forget(PEOPLE[2], own_chat=None)
    assert {one.rater for one in await training_set(rated)} == {known_as(PEOPLE[3])}


async def test_training_is_told_who_curates(rated, settings):
    await rated.ratings.star("tg:1", person=PEOPLE[1], chat=PEOPLE[1], stars=5)
    named = [one for one in await training_set(rated, curators=PEOPLE[1:2]) if one.curator]
    assert {one.rater for one in named} == {settings.pseudonyms.of(PEOPLE[1])}
    assert [one.stars for one in named] == [None, 5, None]


@pytest.mark.parametrize(
    ("selection", "extent"),
    [
        (Selection(person="telegram:99"), Extent(ratings=2, people=1, poems=2)),
        (Selection(chat=ELSEWHERE), Extent(ratings=8, people=4, poems=2)),
        (Selection(since=NOW, until=NOW + timedelta(days=1)), Extent(ratings=8, people=4, poems=2)),
        (Selection(chat=ELSEWHERE, since=NOW), Extent(ratings=8, people=4, poems=2)),
        (Selection(since=NOW + timedelta(days=1)), Extent(ratings=0, people=0, poems=0)),
    ],
)
async def test_undoing_a_brigade_gives_back_the_training_set_of_before(
    rated, selection, extent, settings
):
    await run(rated, update(RatingRow).values(at=NOW - timedelta(days=9)))
    before = await hashed(rated)
    brigade = [f"telegram:{number}" for number in (96, 97, 98, 99)]
    for person in brigade:
        await rated.people.answer(person, given=True, language=Language.ZH)
        for poem in ("tg:0", "tg:1"):
            await rated.ratings.star(poem, person=person, chat=ELSEWHERE, stars=1)
    theirs = RatingRow.rater.in_([settings.pseudonyms.of(person) for person in brigade])
    await run(rated, update(RatingRow).where(theirs).values(at=NOW))
    during = await hashed(rated)
    assert await rated.ratings.extent(selection) == extent
    assert await hashed(rated) == during
    assert await rated.ratings.undo(selection) == extent
    assert (await hashed(rated) == before) is (extent.people == 4)
    [row] = await run(rated, select(AuditRow).where(AuditRow.action == "undo"))
    assert (row.actor, row.detail["ratings"]) == (None, extent.ratings)
    whose = selection.person or selection.chat
    assert row.subject == (whose and settings.pseudonyms.of(whose))


@pytest.mark.parametrize("named", [{}, {"person": "telegram:1", "chat": "telegram:2"}])
def test_a_selection_says_which_ratings_it_means(named):
    with pytest.raises(ValueError, match="name a person"):
        Selection(**named)


async def test_the_operator_sees_what_would_go_before_it_goes(rated, anthology_url, tmp_path):
    async def undo(*arguments):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot", "ratings", "undo", *arguments),
            env=environment(YUEFU_DATA=str(tmp_path), YUEFU_DATABASE_URL=anthology_url),
            stdout=PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    found = await undo("--person", PEOPLE[0])
    assert found == "found: 3 ratings of 3 poems by 1 people; --yes undoes them\n"
    assert len(await training_set(rated)) == 12
    undone = json.loads(await undo("--person", PEOPLE[0], "--yes", "--json"))
    assert undone == {"ratings": 3, "people": 1, "poems": 3, "undone": True}
    assert len(await training_set(rated)) == 9


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"person": "42"},
        {"since": "yesterday"},
        {"person": "telegram:1", "chat": "telegram:2"},
    ],
)
async def test_an_order_that_nobody_can_follow_is_one_line(settings, named):
    order = dict.fromkeys(("person", "chat", "since", "until")) | named
    with pytest.raises(OrderError) as refused:
        await undo_ratings(settings, **order, undone=True)
    assert "\n" not in str(refused.value)


async def test_an_order_may_name_moments_in_any_zone(rated, settings):
    await run(rated, update(RatingRow).values(at=NOW))
    for since, ratings in (("2026-11-21", 12), ("2026-11-21T08:00+08:00", 12), ("2026-11-22", 0)):
        found = await undo_ratings(
            settings, person=None, chat=None, since=since, until=None, undone=False
        )
        assert found.ratings == ratings
