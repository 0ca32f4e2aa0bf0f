"""What people can look at: leaderboards, their own poems, the models."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from bot.anthology import Anthology
from bot.pseudonyms import Pseudonyms
from bot.settings import BotSettings
from engine.bulletin import Bulletin, Phase, publish
from engine.jobs import Cell
from tests.fakes.anthologies import write
from tests.fakes.bot import serving
from tests.fakes.engine import fake_engine
from tests.fakes.jobs import a_poem
from tests.fakes.plans import scans
from tests.fakes.telegram import TOKEN

PSEUDONYMS = Pseudonyms(b"test")
GROUP, ELSEWHERE = "telegram:-1", "telegram:-2"
ASKER, READER, CURATOR = "telegram:1", "telegram:2", "telegram:3"


@pytest.fixture
async def anthology(anthology_url):
    async with Anthology.open(anthology_url, PSEUDONYMS) as opened:
        yield opened


async def vote(anthology, poem, up=0, down=0, chat=GROUP):
    for number in range(up + down):
        voted = 1 if number < up else -1
        await anthology.ratings.vote(poem, person=f"telegram:{900 + number}", chat=chat, vote=voted)


async def top(anthology, *, since=None, chat=GROUP):
    return [one.poem.id for one in await anthology.poems.top(chat, since=since, most=5)]


async def test_a_leaderboard_trusts_many_more_than_few(anthology):
    votes = {"tg:1": (1, 0), "tg:2": (9, 1), "tg:3": (2, 2), "tg:4": (3, 0), "tg:5": (0, 3)}
    for poem, (up, down) in votes.items():
        await write(anthology, poem, chat=GROUP)
        await vote(anthology, poem, up, down)
    await write(anthology, "tg:6", chat=GROUP)
    assert await top(anthology) == ["tg:2", "tg:4", "tg:1"]
    [best] = await anthology.poems.top(GROUP, since=None, most=1)
    assert (best.up, best.stars) == (9, None)


async def test_the_stars_of_curators_count_in_place_of_their_votes(anthology):
    for poem in ("tg:1", "tg:2"):
        await write(anthology, poem, chat=GROUP)
        await vote(anthology, poem, up=1)
    await anthology.ratings.star("tg:1", person="telegram:900", chat=GROUP, stars=1)
    await anthology.ratings.star("tg:2", person=CURATOR, chat=GROUP, stars=4)
    [only] = await anthology.poems.top(GROUP, since=None, most=5)
    assert (only.poem.id, only.up, only.stars) == ("tg:2", 1, 4.0)


async def test_a_leaderboard_is_of_one_chat_and_one_span(anthology):
    for number, (chat, age_days) in enumerate([(GROUP, 0), (GROUP, 3), (ELSEWHERE, 0)]):
        await write(anthology, f"tg:{number}", chat=chat, age_days=age_days)
        await vote(anthology, f"tg:{number}", up=1, chat=chat)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert await top(anthology, since=yesterday) == ["tg:0"]
    assert await top(anthology) == ["tg:0", "tg:1"]
    assert await top(anthology, chat=ELSEWHERE) == ["tg:2"]


async def own(anthology, person):
    rows = await anthology.poems.own(person, skip=0, most=9)
    assert await anthology.poems.count_own(person) == len(rows)
    return [row.id for row in rows]


async def test_ones_own_poems_are_those_asked_for_and_those_liked(anthology):
    await write(anthology, "tg:1", chat=GROUP, person=ASKER, age_days=3)
    await write(anthology, "tg:2", chat=GROUP, person=READER, age_days=2)
    await write(anthology, "tg:3", person=READER, chat=ELSEWHERE, age_days=1)
    await write(anthology, "tg:4", chat=GROUP, person=READER)
    for poem, liked in (("tg:1", 1), ("tg:2", 1), ("tg:4", -1)):
        await anthology.ratings.vote(poem, person=ASKER, chat=GROUP, vote=liked)
    assert await own(anthology, ASKER) == ["tg:2", "tg:1"]
    assert await own(anthology, READER) == ["tg:4", "tg:3", "tg:2"]
    assert await own(anthology, CURATOR) == []


async def test_of_several_only_the_picked_one_is_ones_own(anthology):
    await write(anthology, "tg:1", chat=GROUP, person=ASKER, count=3)
    assert await own(anthology, ASKER) == ["tg:1", "tg:1#2", "tg:1#3"]
    await anthology.poems.pick(GROUP, "tg:1", 2)
    assert await own(anthology, ASKER) == ["tg:1#2"]


@pytest.mark.parametrize("since", [None, datetime(2026, 1, 1, tzinfo=UTC)])
async def test_no_query_walks_through_a_table(anthology, since):
    poems = anthology.poems
    assert await scans(anthology, poems.top(GROUP, since=since, most=5)) == []
    assert await scans(anthology, poems.own(ASKER, skip=8, most=4)) == []
    assert await scans(anthology, poems.count_own(ASKER)) == []
    assert await scans(anthology, poems.last_shown(GROUP)) == []


# --- as people meet it ---


@pytest.fixture
async def served(redis, valkey_url, tmp_path, fake):
    """The anthology of a bot that serves."""
    settings = BotSettings(
        redis_url=valkey_url, data=tmp_path, telegram_token=TOKEN, telegram_api=fake.url
    )
    async with (
        Anthology.open(settings.anthology_url, settings.pseudonyms) as opened,
        fake_engine(redis, answer=a_poem),
        serving(settings),
    ):
        yield opened


async def ask(fake, line, **where):
    before = len(fake.sent)
    await fake.say(line, **where)
    await fake.until(lambda: len(fake.sent) > before)
    return fake.sent[before]


async def test_the_best_poems_of_a_group_are_shown_to_all(fake, served):
    assert (await ask(fake, "/top", chat_id=-1)).text.startswith("还没有人喜欢的诗")
    await write(served, "tg:1", chat=GROUP)
    await vote(served, "tg:1", up=2)
    await served.ratings.star("tg:1", person=CURATOR, chat=GROUP, stars=4)
    for words in ("/top", "/榜 本周", "/top WEEK"):
        shown = (await ask(fake, words, chat_id=-1)).text
        assert shown == (
            "一周来这里最受喜欢的诗：\n\n1. 👍 2 · ★ 4.0\n"
            "月落空江夜，风吹远树秋。\n故人千里外，一叶下汀洲。"
        )
    assert "week" in (await ask(fake, "/top nonsense", chat_id=-1)).text


async def test_ones_own_poems_are_turned_page_by_page(fake, served):
    assert "还没有" in (await ask(fake, "/mine")).text
    for number in range(9):
        await write(served, f"tg:{number}", chat="telegram:7", person="telegram:7")
    first = await ask(fake, "/mine")
    assert "共 9 首，第 1/3 页" in first.text
    assert first.text.count("月落空江夜") == 4
    assert first.labels == ["›"]
    for place, page, labels in ((0, 2, ["‹", "›"]), (1, 3, ["‹"]), (0, 2, ["‹", "›"])):
        await fake.tap(first.message_id, fake.now(first).buttons[place])
        await fake.until(lambda page=page: f"第 {page}/3 页" in fake.now(first).text)
        assert fake.now(first).labels == labels
    assert "?start=mine" in (await ask(fake, "/mine", chat_id=-1)).text


async def test_the_models_that_write_are_named(fake, served):
    text = (await ask(fake, "/model", language="en")).text
    assert "· gru: gru-test\n· lstm: gru-test\n" in text
    assert "0 poems are being written" in text


async def test_what_the_trainer_is_doing_is_told_beside_the_models(fake, served, redis):
    bulletin = Bulletin(told_ms=time.time_ns() // 1_000_000, phase=Phase.FIT, cell=Cell.GRU)
    await publish(redis, bulletin)
    text = (await ask(fake, "/model", language="en")).text
    assert "Learning from ratings just now (gru): training, about 0 % done" in text
