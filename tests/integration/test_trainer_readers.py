"""The trainer reads the anthology: what is withdrawn, undone or forgotten is no more in it."""

from datetime import date

import pytest
from sqlalchemy import select

from bot.anthology import Anthology
from bot.anthology.ratings import WORTH, Selection
from bot.anthology.tables import RatingRow
from bot.commands import understand
from bot.language import Language
from bot.requests import PoemRequest, Situation
from bot.settings import BotSettings
from bot.style import Style
from tests.fakes.anthologies import write
from tests.fakes.jobs import a_job, a_poem
from trainer.feedback import GIVEN, Reason, take_snapshot
from trainer.readers import read_ratings

GROUP = "telegram:-1"
CURATOR, PERSON, OTHER = (f"telegram:{number}" for number in (1, 2, 3))
POEMS = tuple(f"tg:{number}" for number in range(6))


@pytest.fixture
def settings(anthology_url, tmp_path):
    return BotSettings(database_url=anthology_url, data=tmp_path, curators=CURATOR)


@pytest.fixture
async def anthology(settings):
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as opened:
        for person in (CURATOR, PERSON, OTHER):
            await opened.people.answer(person, given=True, language=Language.ZH)
        yield opened


async def vote(anthology, *people):
    for person in people:
        for number, poem in enumerate(POEMS):
            await anthology.ratings.vote(poem, person=person, chat=GROUP, vote=-1 if number else 1)


async def snapshot(settings):
    return take_snapshot(await read_ratings(settings))


@pytest.fixture
async def rated(anthology):
    for poem in POEMS:
        await write(anthology, poem, chat=GROUP, person=PERSON)
    await vote(anthology, OTHER)
    await anthology.ratings.star("tg:1", person=CURATOR, chat=CURATOR, stars=2)
    return anthology


async def test_training_learns_what_people_think_and_who_curates_but_no_names(rated, settings):
    taken = await snapshot(settings)
    assert len(taken.examples) == 7
    [curator] = [example for example in taken.examples if example.curator]
    assert (curator.worth, curator.weight) == (0.25, 3.0)
    assert taken.examples[0].lines[0] == f"{GIVEN}落空江夜"


async def leave(anthology):
    await anthology.people.answer(PERSON, given=False, language=Language.ZH)


async def be_forgotten(anthology):
    await anthology.people.forget(PERSON, own_chat=PERSON)


async def be_undone(anthology):
    await anthology.ratings.undo(Selection(person=PERSON))


async def take_back(anthology):
    for poem in POEMS:
        await anthology.ratings.vote(poem, person=PERSON, chat=GROUP, vote=None)


@pytest.mark.parametrize("go", [leave, be_forgotten, be_undone, take_back])
async def test_who_goes_leaves_the_set_as_if_they_had_never_come(rated, settings, go):
    before = await snapshot(settings)
    await vote(rated, PERSON)
    during = await snapshot(settings)
    assert len(during.examples) == len(before.examples) + len(POEMS)
    await go(rated)
    assert await snapshot(settings) == before


async def test_what_a_rewriting_kept_is_known_as_given(anthology, settings):
    """The frame that the anthology keeps is that of the request, simplified glyphs and all."""
    pasted = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
    situation = Situation(
        language=Language.ZH,
        style=Style(),
        cells=frozenset(),
        today=date(2026, 4, 6),
        seed=7,
        poem=pasted,
    )
    for number, (command, kept) in enumerate([("/rewrite 2 3 4", 5), ("/rewrite 2", 15)]):
        request = understand(command, situation)
        assert isinstance(request, PoemRequest)
        frame = request.glyphs
        assert sum(char != "□" for char in frame) == kept
        job = f"tg:{number}"
        written = "".join(
            char if char != "□" else other
            for char, other in zip(frame, "".join(a_poem(a_job()).lines), strict=True)
        )
        lines = tuple(written[first : first + 5] for first in range(0, 20, 5))
        await write(anthology, job, chat=GROUP, person=PERSON, glyphs=frame, lines=lines)
        await anthology.ratings.vote(job, person=OTHER, chat=GROUP, vote=1)
    taken = await snapshot(settings)
    assert taken.left_out == {Reason.GIVEN: 1}
    assert [example.lines[0] for example in taken.examples] == [GIVEN * 5]


async def test_a_rating_is_worth_the_same_to_the_database_and_to_training(anthology, settings):
    opinions = [(1, None), (-1, None), *((None, stars) for stars in range(1, 6)), (1, 2)]
    for number, (given, stars) in enumerate(opinions):
        await write(anthology, f"tg:{number}", chat=GROUP)
        await anthology.ratings.vote(f"tg:{number}", person=OTHER, chat=GROUP, vote=given)
        await anthology.ratings.star(f"tg:{number}", person=OTHER, chat=GROUP, stars=stars)

    async def worths(session):
        rows = await session.execute(select(RatingRow.poem, WORTH).order_by(RatingRow.poem))
        return [(poem, float(worth)) for poem, worth in rows]

    stored = await anthology.ratings._database.read(worths)
    assert stored == [(one.poem, one.worth) for one in await read_ratings(settings)]
    assert len(stored) == len(opinions)
