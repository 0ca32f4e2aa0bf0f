"""Curators review poems, and see what came of it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from bot.anthology import Anthology
from bot.anthology.ratings import Selection
from bot.anthology.tables import RatingRow
from bot.language import Language
from bot.pseudonyms import Pseudonyms
from engine.jobs import Cell
from tests.fakes.anthologies import write
from tests.fakes.bot import serving
from tests.fakes.engine import fake_engine
from tests.fakes.jobs import a_poem
from tests.fakes.plans import scans

GROUP, OTHER_GROUP = "telegram:-1", "telegram:-2"
CURATOR, SECOND = "telegram:7", "telegram:8"


@pytest.fixture
async def anthology(anthology_url):
    async with Anthology.open(anthology_url, Pseudonyms(b"test")) as opened:
        yield opened


async def star(anthology, poem, stars, person=CURATOR):
    await anthology.ratings.star(poem, person=person, chat=GROUP, stars=stars)


async def order(anthology, person=CURATOR, chat=None):
    """The poems that a curator is shown who skips them all."""
    shown: list[str] = []
    while (turn := await anthology.curation.turn(person, chat=chat)).poem is not None:
        assert turn.done == len(shown)
        shown.append(turn.poem.id)
        await anthology.curation.skip(turn.poem.id, person=person)
    assert turn.done == turn.total == len(shown)
    return shown


async def test_poems_with_the_fewest_stars_come_first_and_of_these_the_newest(anthology):
    for number in range(1, 5):
        await write(anthology, f"tg:{number}", chat=GROUP, age_days=number)
    await star(anthology, "tg:1", 5, SECOND)
    await star(anthology, "tg:2", 5, SECOND)
    await star(anthology, "tg:2", 5, "telegram:9")
    await anthology.ratings.vote("tg:3", person=SECOND, chat=GROUP, vote=1)
    assert await order(anthology) == ["tg:3", "tg:4", "tg:1", "tg:2"]


async def test_a_curator_never_sees_a_poem_twice_but_another_one_does(anthology):
    await write(anthology, "tg:1", chat=GROUP)
    await write(anthology, "tg:2", chat=GROUP)
    await star(anthology, "tg:1", 3)
    turn = await anthology.curation.turn(CURATOR, chat=None)
    assert (turn.poem.id, turn.done, turn.total, turn.last) == ("tg:2", 1, 2, "tg:1")
    assert set(await order(anthology, SECOND)) == {"tg:1", "tg:2"}


async def test_alone_curators_review_all_chats_but_nothing_that_may_spell_a_name(anthology):
    await write(anthology, "tg:1", chat=GROUP)
    await write(anthology, "tg:2", chat=OTHER_GROUP, age_days=1)
    await write(anthology, "tg:3", chat=GROUP, glyphs="月□□□□風□□□□故□□□□一□□□□", age_days=2)
    assert await order(anthology, chat=GROUP) == ["tg:1", "tg:3"]
    assert await order(anthology, SECOND) == ["tg:1", "tg:2"]


async def test_only_poems_that_were_shown_and_are_new_are_reviewed(anthology, monkeypatch):
    monkeypatch.setattr("bot.anthology.curation.REVIEW_MAX", 2)
    for number in range(4):
        await write(anthology, f"tg:{number}", chat=GROUP, age_days=number)
    assert await order(anthology) == ["tg:0", "tg:1"]


async def test_no_query_walks_through_a_table(anthology):
    curation = anthology.curation
    for chat in (None, GROUP):
        # Along an index from its newest end, and no further than REVIEW_MAX.
        walked = await scans(anthology, curation.turn(CURATOR, chat=chat))
        assert walked == []
    assert await scans(anthology, curation.unskip("tg:1", person=CURATOR)) == []


async def test_figures_are_of_days_cells_checkpoints_and_curators(anthology):
    for number in range(3):
        await write(anthology, f"tg:{number}", chat=GROUP)
        await star(anthology, f"tg:{number}", 5 - number)
        await star(anthology, f"tg:{number}", 5 - number, SECOND)
    await anthology.ratings.vote("tg:0", person="telegram:9", chat=GROUP, vote=-1)
    await anthology.people.answer(CURATOR, given=True, language=Language.ZH)
    figures = await anthology.curation.figures(days=3)
    days, counts = zip(*figures.by_day, strict=True)
    assert days[-1] == datetime.now(UTC).date()
    assert counts == (0, 0, 7)
    [gru] = figures.by_cell
    assert (gru.cell, gru.ratings, gru.worth) == (Cell.GRU, 7, pytest.approx(4.5 / 7))
    assert figures.starred == {(0, 0, 0, 0, 2): 1, (0, 0, 0, 2, 0): 1, (0, 0, 2, 0, 0): 1}
    assert [debut.checkpoint for debut in figures.debuts] == ["gru-test"]
    assert figures.consents == 1


async def test_days_that_are_over_are_counted_once_and_anew_after_an_undo(anthology):
    day = timedelta(days=1)

    async def ratings_of_days():
        return [number for _, number in (await anthology.curation.figures(days=4)).by_day]

    async def date_back(session):
        await session.execute(update(RatingRow).values(at=datetime.now(UTC) - 2 * day))

    await write(anthology, "tg:1", chat=GROUP)
    for person in (CURATOR, SECOND):
        await star(anthology, "tg:1", 5, person)
    await anthology.poems._database.transact(date_back)
    await anthology.ratings.vote("tg:1", person="telegram:9", chat=GROUP, vote=-1)
    for _ in range(2):
        assert await ratings_of_days() == [0, 2, 0, 1]
    # They did rate that day, whatever they want now.
    await anthology.people.forget(SECOND, own_chat=None)
    assert await ratings_of_days() == [0, 2, 0, 1]
    [gru] = (await anthology.curation.figures(days=4)).by_cell
    assert (gru.ratings, gru.worth) == (3, pytest.approx(2 / 3))
    await anthology.ratings.undo(Selection(person="telegram:9"))
    assert await ratings_of_days() == [0, 1, 0, 0]


# --- as curators meet it ---


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"curators": "telegram:7"})


@pytest.fixture
async def kept(redis, settings):
    """The anthology of a bot that serves when a test lets it."""
    async with (
        Anthology.open(settings.anthology_url, settings.pseudonyms) as opened,
        fake_engine(redis, answer=a_poem),
    ):
        yield opened


async def ask(fake, line, **where):
    before = len(fake.sent)
    await fake.say(line, **where)
    await fake.until(lambda: len(fake.sent) > before)
    return fake.sent[before]


async def tap(fake, sent, label, **extra):
    """Tap the button of that label; what the tap is answered."""
    now = fake.now(sent)
    before = len(fake.answered)
    data = now.buttons[now.labels.index(label)]
    await fake.tap(sent.message_id, data, chat_id=sent.chat_id, **extra)
    await fake.until(lambda: len(fake.answered) > before)
    return fake.answered[-1][1]


async def shows(fake, sent, words):
    await fake.until(lambda: words in fake.now(sent).text)


async def test_a_review_is_one_message_that_survives_restarts(fake, kept, settings):
    for number in range(3):
        await write(kept, f"tg:{number}", chat=GROUP, age_days=number)
    async with serving(settings):
        review = await ask(fake, "/review")
        assert "看过 0/3 首" in review.text
        assert "gru" not in review.text
        assert review.labels == ["1★", "2★", "3★", "4★", "5★", "⏭"]
        assert await tap(fake, review, "4★") == "★★★★"
        await shows(fake, review, "看过 1/3 首")
        # The question whether the ratings may train the model, once.
        await fake.until(lambda: len(fake.sent) == 2)
    async with serving(settings):
        assert await tap(fake, review, "⏭") == "跳过了。"
        await shows(fake, review, "看过 2/3 首")
        assert await tap(fake, review, "↩") == "收回了。"
        await shows(fake, review, "看过 1/3 首")
        assert await tap(fake, review, "↩") == "收回了。"
        await shows(fake, review, "看过 0/3 首")
        assert "↩" not in fake.now(review).labels
        for done in (1, 2):
            assert await tap(fake, review, "2★") == "★★"
            await shows(fake, review, f"看过 {done}/3 首")
        assert await tap(fake, review, "5★") == "★★★★★"
        await shows(fake, review, "3 首都看过了")
        assert fake.now(review).labels == ["↩"]
    assert len(fake.sent) == 2
    starred = (await kept.curation.figures(days=1)).by_day
    assert starred[-1][1] == 3


async def test_tapping_twice_changes_nothing(fake, kept, settings):
    for number in range(2):
        await write(kept, f"tg:{number}", chat=GROUP, age_days=number)
    async with serving(settings):
        review = await ask(fake, "/review")
        data = review.buttons[4]
        for _ in range(2):
            await fake.tap(review.message_id, data)
        await fake.until(lambda: len(fake.answered) == 2)
        await shows(fake, review, "看过 1/2 首")
        assert (await kept.curation.figures(days=1)).by_day[-1][1] == 1


async def test_only_curators_review(fake, kept, settings):
    await write(kept, "tg:1", chat=GROUP)
    async with serving(settings):
        for command in ("/review", "/stats", "/评选"):
            assert "编选人" in (await ask(fake, command, chat_id=9)).text
        review = await ask(fake, "/review")
        assert "编选人" in await tap(fake, review, "1★", person=9)
        assert (await kept.curation.figures(days=1)).by_day[-1][1] == 0


async def test_admins_review_the_poems_of_their_chat_where_it_opted_in(fake, kept, settings):
    fake.admins[-1] = {5}
    await write(kept, "tg:1", chat=GROUP)
    await write(kept, "tg:2", chat=OTHER_GROUP)

    async def says(line, person):
        who = {"from": {"id": person, "is_bot": False, "first_name": "R", "language_code": "zh"}}
        return await ask(fake, line, chat_id=-1, **who)

    async with serving(settings):
        assert "群里" in (await ask(fake, "/curate on")).text
        assert "管理员" in (await says("/curate on", 6)).text
        assert "编选人" in (await says("/review", 5)).text
        assert "on（开）" in (await says("/curate perhaps", 5)).text
        assert "可以用 /review" in (await says("/curate on", 5)).text
        assert "编选人" in (await says("/review", 6)).text
        review = await says("/review", 5)
        assert "看过 0/1 首" in review.text
        assert "编选人" in await tap(fake, review, "5★", person=6)
        foreign = review.buttons[4].replace("tg:1", "tg:2")
        await fake.tap(review.message_id, foreign, chat_id=-1, person=5)
        await fake.until(lambda: "不记得" in fake.answered[-1][1])
        assert "/privacy" in await tap(fake, review, "5★", person=5)
        await shows(fake, review, "1 首都看过了")
        assert "不再编选" in (await says("/curate off", 5)).text
        assert "编选人" in await tap(fake, review, "↩", person=5)


async def test_curators_see_the_figures(fake, kept, settings):
    async with serving(settings):
        assert "还没有几个人都打过分" in (await ask(fake, "/stats")).text
        for number in range(2):
            await write(kept, f"tg:{number}", chat=GROUP)
            for person in (CURATOR, SECOND):
                await star(kept, f"tg:{number}", 5 - number, person)
        shown = await ask(fake, "/stats", language="en")
    text = shown.text
    assert shown.photo is not None
    assert "Ratings of the last 14 days: 4" in text
    assert "\n· gru 0.88 (4)\n" in text
    assert "Krippendorff's α = 1.00 (2 poems" in text
    assert "since " in text
