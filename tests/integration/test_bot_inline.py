"""Poems for whoever types after the bot's name, in chats that it need not be in."""

import time

import pytest

from bot import keys
from bot.links import payload_for
from bot.shelf import KEPT_MAX, Shelf, wish_of
from bot.telegram.inline import CLIENT
from engine.jobs import Lane
from tests.fakes.bot import serving
from tests.fakes.engine import made_up_poem
from tests.fakes.jobs import a_job
from tests.fakes.waiting import until

PLATFORM = "telegram"


async def offered(fake, text, **more):
    """What is offered to somebody who types `text`."""
    before = len(fake.inline)
    await fake.type_inline(text, **more)
    await fake.until(lambda: len(fake.inline) > before)
    return fake.inline[-1]


async def shelved(redis, wish):
    async def there():
        return await Shelf(redis, PLATFORM).poems(wish_of(wish))

    return await until(there)


async def test_whoever_types_first_gets_a_way_to_ask_and_the_next_a_poem(fake, bot, engine, redis):
    first = await offered(fake, "月")
    assert (first.texts, first.parameters["cache_time"]) == ([], "0")
    assert first.start == payload_for("poem", "月")
    await shelved(redis, "月")
    second = await offered(fake, "月", person=8, language="en")
    [poem] = second.texts
    assert poem.startswith("月月落空江")
    assert second.parameters["is_personal"] == "false"
    [result] = second.parameters["results"]
    assert result["title"].startswith("月月落空江")
    assert "reply_markup" not in result
    [entity] = result["input_message_content"]["entities"]
    assert entity["type"] == "italic"
    [job] = engine.jobs
    assert (job.lane, job.client, job.chat, job.opening) == (Lane.BULK, CLIENT, CLIENT, "月")


async def test_a_poem_of_a_chat_is_never_offered_to_others(fake, bot, engine):
    await fake.say("/poem 月", chat_id=7)
    await fake.until(lambda: bool(fake.sent))
    assert (await offered(fake, "月", person=8)).texts == []


async def test_the_button_asks_in_private_for_what_was_typed(fake, bot, engine):
    answer = await offered(fake, "月 边塞")
    await fake.say(f"/start {answer.start}", chat_id=7)
    await fake.until(lambda: bool(fake.sent))
    job = next(job for job in engine.jobs if job.lane is Lane.CHAT)
    assert (job.opening, job.theme) == ("月", "边塞")


async def test_who_types_nothing_is_offered_the_season(fake, bot, engine, redis):
    answer = await offered(fake, "")
    assert answer.start == "poem"
    await at_work(engine)
    assert len(engine.jobs[0].opening) == 1


async def at_work(engine):
    async def some():
        return engine.jobs

    await until(some)


@pytest.mark.parametrize("text", ["hello", "<a href='tg://user?id=1'>", "月" * 250, "\ud800", "@x"])
async def test_what_cannot_be_a_poem_is_offered_nothing_and_asks_for_nothing(
    fake, bot, engine, text
):
    assert (await offered(fake, text)).texts == []
    if text != "\ud800":
        assert engine.jobs == []


async def test_of_many_who_type_the_same_one_has_it_written(fake, bot, engine, redis, monkeypatch):
    monkeypatch.setattr("bot.telegram.inline.REFILL_S", 3600)
    for person in range(1, 30):
        await offered(fake, "山", person=person)
    await shelved(redis, "山")
    assert len(engine.jobs) == 1


async def test_whoever_types_all_day_has_no_more_written_than_is_fair(fake, bot, engine, redis):
    openings = "一二三四五六七八九十山水风花雪月春夏秋冬江河"
    for opening in openings:
        await offered(fake, opening)

    async def idle():
        return not await redis.xlen("yuefu:jobs:bulk")

    await until(idle)
    assert 0 < len(engine.jobs) <= 20 < len(openings)


async def test_a_question_that_was_forgotten_stops_nobody(fake, bot):
    await fake.type_inline("月", stale=True)
    assert (await offered(fake, "山")).parameters["results"] == []


async def test_strangers_are_offered_nothing_where_the_operator_names_whom_to_serve(
    fake, settings, engine
):
    async with serving(settings.model_copy(update={"chats": "telegram:7"})):
        await offered(fake, "月", person=8)
        await fake.say("/help", chat_id=7)
        await fake.until(lambda: bool(fake.sent))
    assert engine.jobs == []


async def test_the_shelf_stays_small(redis, monkeypatch):
    monkeypatch.setattr("bot.shelf.WISHES_MAX", 3)
    shelf, poem = Shelf(redis, PLATFORM), made_up_poem(a_job())
    for number in range(5):
        for _ in range(KEPT_MAX + 2):
            await shelf.add(f"wish{number}", poem)
    kept = [len(await shelf.poems(f"wish{number}")) for number in range(5)]
    assert kept == [0, 0, KEPT_MAX, KEPT_MAX, KEPT_MAX]
    assert await redis.zcard(keys.wishes(PLATFORM)) == 3
    assert 0 < await redis.ttl(keys.shelf(PLATFORM, "wish4")) <= keys.SHELF_TTL_S


async def test_a_poem_with_a_word_that_is_not_wanted_is_not_put_on_the_shelf(
    fake, settings, engine, redis, tmp_path
):
    (tmp_path / "words").write_text("空江", encoding="utf-8")
    async with serving(settings.model_copy(update={"words": tmp_path / "words"})):
        await offered(fake, "月")
        await offered(fake, "空江")
        await at_work(engine)

        async def dealt_with():
            return not await redis.xlen(f"yuefu:replies:{CLIENT}")

        await until(dealt_with)
    assert [job.opening for job in engine.jobs] == ["月"]
    assert await Shelf(redis, PLATFORM).poems(wish_of("月")) == []


async def test_an_answer_comes_at_once(fake, bot, redis):
    await offered(fake, "月")
    await shelved(redis, "月")
    took_s = []
    for _ in range(20):
        began_s = time.monotonic()
        await offered(fake, "月")
        took_s.append(time.monotonic() - began_s)
    print(f"inline: median {sorted(took_s)[10] * 1000:.0f} ms")
    assert sorted(took_s)[10] < 1
