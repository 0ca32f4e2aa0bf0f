"""Fault 32: somebody asks to be forgotten, or takes their consent back."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, time

import pytest
from sqlalchemy import select

from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.ratings import Selection
from bot.anthology.tables import Base
from bot.language import Language, Script
from bot.message import Address
from bot.pseudonyms import Pseudonyms
from bot.style import Style
from bot.submit import Context
from engine.jobs import Cell
from tests.fakes.jobs import a_job, a_poem
from trainer.feedback import take_snapshot

PSEUDONYMS = Pseudonyms(b"test")
PERSON, OTHER = "telegram:4204204204", "telegram:77"
GROUP = "telegram:-100500"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
async def anthology(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'anthology.sqlite3'}"
    async with Anthology.open(url, PSEUDONYMS) as opened:
        yield opened


async def write(anthology, job, *, chat, person):
    context = Context(
        address=Address(chat=chat),
        language=Language.ZH,
        script=Script.SIMPLIFIED,
        glyphs="月",
        temperature=0.7,
        person=person,
        theme="邊塞",
    )
    await anthology.poems.record(replace(a_poem(a_job(job)), others=()), context)
    await anthology.poems.mark_shown(job, chat=chat, message=int(job.partition(":")[2]))


async def rows_about(anthology, *names):
    """The rows of all tables in which a name or its pseudonym stands, in whatever column."""
    wanted = [name.partition(":")[2] for name in names] + [PSEUDONYMS.of(name) for name in names]
    named = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in wanted))

    async def look(session):
        return [
            table.name
            for table in Base.metadata.sorted_tables
            for row in (await session.execute(select(table))).mappings()
            if named.search(json.dumps(dict(row), default=str))
        ]

    return await anthology.people._database.transact(look)


async def learners(anthology):
    """Whose ratings the next training set holds."""
    return {rating.rater async for rating in anthology.ratings.training_ratings()}


async def snapshot(anthology, *, without=None):
    """What the next training would learn from, and what it would be had somebody never been."""
    ratings = [rating async for rating in anthology.ratings.training_ratings()]
    return take_snapshot(rating for rating in ratings if rating.rater != without)


async def test_fault_32_the_next_training_set_lacks_whoever_took_consent_back(anthology):
    await write(anthology, "tg:1", chat=GROUP, person=PERSON)
    for person in (PERSON, OTHER):
        await anthology.ratings.vote("tg:1", person=person, chat=GROUP, vote=1)
        await anthology.people.answer(person, given=True, language=Language.ZH)
    assert await learners(anthology) == {PSEUDONYMS.of(PERSON), PSEUDONYMS.of(OTHER)}
    without_them = await snapshot(anthology, without=PSEUDONYMS.of(PERSON))
    assert (await snapshot(anthology)).digest != without_them.digest
    await anthology.people.answer(PERSON, given=False, language=Language.ZH)
    assert (await snapshot(anthology)).digest == without_them.digest
    left = await learners(anthology)
    print(f"fault 32: consent withdrawn, ratings of theirs left {len(left) - 1}")
    assert left == {PSEUDONYMS.of(OTHER)}
    await anthology.people.answer(PERSON, given=True, language=Language.ZH)
    assert PSEUDONYMS.of(PERSON) in await learners(anthology)


async def test_fault_32_nothing_is_left_of_whoever_is_forgotten(anthology):
    own_style = ChatSettings(style=Style(cell=Cell.RNN))
    await anthology.chats.change(PERSON, own_style, Language.ZH)
    await anthology.chats.change(GROUP, own_style, Language.ZH)
    await write(anthology, "tg:1", chat=PERSON, person=PERSON)
    await write(anthology, "tg:2", chat=GROUP, person=PERSON)
    await write(anthology, "tg:3", chat=GROUP, person=OTHER)
    for person in (PERSON, OTHER):
        await anthology.people.note_asked(person, Language.ZH)
        await anthology.people.answer(person, given=True, language=Language.ZH)
        for poem in ("tg:2", "tg:3"):
            await anthology.ratings.vote(poem, person=person, chat=GROUP, vote=1)
    await anthology.ratings.vote("tg:1", person=PERSON, chat=PERSON, vote=1)
    await anthology.curation.skip("tg:2", person=PERSON)
    await anthology.schedules.start(
        Address(chat=PERSON), at=time(8), zone="Asia/Shanghai", language=Language.ZH, now=LONG_AGO
    )
    await anthology.ratings.undo(Selection(person=PERSON, until=LONG_AGO))
    assert PSEUDONYMS.of(PERSON) in await learners(anthology)
    before = await rows_about(anthology, PERSON)
    # Days are about nobody.
    assert set(before) == set(Base.metadata.tables) - {"days"}
    without_them = await snapshot(anthology, without=PSEUDONYMS.of(PERSON))
    assert len((await snapshot(anthology)).examples) == 5

    await anthology.people.forget(PERSON, own_chat=PERSON)

    left = await rows_about(anthology, PERSON)
    print(f"fault 32: of {len(before)} rows about a person {len(left)} are left")
    assert left == []
    assert await learners(anthology) == {PSEUDONYMS.of(OTHER)}
    after = await snapshot(anthology)
    print(f"fault 32: the next snapshot is {after.digest[:16]}, that of the others alone as well")
    assert len(after.examples) == 2
    assert after == without_them
    shared = await anthology.poems.get("tg:2")
    assert (shared.asker, shared.theme) == (None, "")
    assert (await anthology.people.holdings(OTHER)).ratings == 2
    assert (await anthology.chats.settings(GROUP)).style.cell is Cell.RNN
