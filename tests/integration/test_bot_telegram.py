"""The Telegram bot in this process, between a Bot API, a Valkey and an engine made for tests."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from bot import keys
from bot.anthology import Anthology
from bot.commands import COMMANDS
from bot.errors import TokenRefusedError
from bot.settings import BotSettings
from bot.submit import seed_of
from bot.telegram.service import serve
from engine.jobs import Failure, Reason
from tests.fakes.engine import fake_engine
from tests.fakes.telegram import TOKEN, USERNAME, FakeTelegram
from tests.fakes.waiting import until

PLATFORM = "telegram"
GROUP = -100_500


@pytest.fixture
async def fake():
    async with FakeTelegram().serve() as telegram:
        yield telegram


@pytest.fixture
def settings(valkey_url, tmp_path, fake):
    return BotSettings(
        redis_url=valkey_url, data=tmp_path, telegram_token=TOKEN, telegram_api=fake.url
    )


@asynccontextmanager
async def serving(settings):
    task = asyncio.create_task(serve(settings))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def engine(redis):
    async with fake_engine(redis) as running:
        yield running


@pytest.fixture
async def bot(settings, engine):
    async with serving(settings) as task:
        yield task


async def shown(fake, count):
    await fake.until(lambda: len(fake.sent) >= count)
    return fake.sent


async def test_a_poem_is_written_shown_and_recorded(fake, bot, engine, settings):
    update = await fake.say("/poem 月 五绝", chat_id=7)
    [sent] = await shown(fake, 1)
    assert sent.chat_id == 7
    assert sent.text.startswith("月月落空江，")
    assert sent.text.endswith("\n五绝 · 尤韵 · gru")
    assert sent.parameters["link_preview_options"] == {"is_disabled": True}
    assert "parse_mode" not in sent.parameters
    assert "reply_parameters" not in sent.parameters
    [job] = engine.jobs
    assert (job.id, job.chat, job.seed) == (f"tg:{update}", "telegram:7", seed_of(job.id))
    async with Anthology.open(settings.anthology_url) as anthology:

        async def recorded():
            poem = await anthology.poem(f"tg:{update}")
            return poem is not None and poem.shown_at is not None

        await until(recorded)


async def test_whoever_writes_in_english_is_answered_in_english(fake, bot):
    await fake.say("/poem hello", language="en")
    [sent] = await shown(fake, 1)
    assert sent.text == "A poem has to begin with Chinese characters, such as /poem 月."


async def test_a_style_is_kept_and_used(fake, bot, engine):
    await fake.say("/style lstm 0.6 七绝")
    await fake.say("/poem 月")
    await shown(fake, 2)
    [job] = engine.jobs
    assert (job.cell, job.temperature, job.form) == ("lstm", 0.6, "qijue")


async def test_a_model_that_does_not_run_is_refused_with_those_that_do(fake, bot):
    await fake.say("/style rnn")
    [sent] = await shown(fake, 1)
    assert sent.text == "rnn 模型现在没有运行；可以用：gru, lstm。"


async def test_the_menu_is_filled_in_both_languages(fake, bot):
    await fake.until(lambda: len(fake.menus) == 2)
    names = [command.name for command in COMMANDS]
    assert {code: [entry["command"] for entry in menu] for code, menu in fake.menus.items()} == {
        "": names,
        "zh": names,
    }


async def test_in_a_group_the_answer_goes_to_the_topic_and_the_question(fake, bot):
    await fake.say(
        f"/poem@{USERNAME} 月", chat_id=GROUP, message_thread_id=31, is_topic_message=True
    )
    [sent] = await shown(fake, 1)
    assert sent.parameters["message_thread_id"] == "31"
    assert sent.parameters["reply_parameters"] == {
        "message_id": 1000,
        "allow_sending_without_reply": True,
    }


async def test_a_thread_of_replies_is_no_topic(fake, bot):
    await fake.say("/help", chat_id=GROUP, message_thread_id=31)
    [sent] = await shown(fake, 1)
    assert "message_thread_id" not in sent.parameters


async def test_in_a_group_only_commands_for_us_are_answered(fake, bot):
    for text in ("hello", "月", "/poem@other_bot 月", "/sing"):
        await fake.say(text, chat_id=GROUP)
    await fake.say(None, chat_id=GROUP, new_chat_title="Poets")
    await fake.say("/help", chat_id=GROUP)
    assert len(await shown(fake, 1)) == 1
    assert "/poem" in fake.sent[0].text


@pytest.mark.parametrize("reason", Reason)
async def test_whoever_gets_no_poem_is_told_why(settings, fake, redis, reason):
    def fail(job):
        return Failure(job_id=job.id, reason=reason, context=job.context)

    async with fake_engine(redis, answer=fail), serving(settings):
        await fake.say("/poem 月")
        [sent] = await shown(fake, 1)
    assert "。" in sent.text


async def test_a_flood_halts_every_message_and_drops_none(fake, bot):
    fake.flood.append(1)
    for chat_id in (1, 2, 3):
        await fake.say("/help", chat_id=chat_id)
    sent = await shown(fake, 3)
    assert {message.chat_id for message in sent} == {1, 2, 3}
    [flooded_at_s] = fake.floods_at_s
    waits_s = [message.at_s - flooded_at_s for message in sent]
    # Those on their way when the first was refused arrived; nothing set out before the halt ended.
    assert all(wait_s < 0.3 or wait_s >= 1 for wait_s in waits_s)
    assert max(waits_s) >= 1


async def test_an_answer_of_telegram_that_comes_too_late_shows_nothing_twice(
    fake, settings, engine, redis, monkeypatch
):
    monkeypatch.setattr("bot.telegram.service._READ_TIMEOUT_S", 0.3)
    fake.latency_s = 0.6
    async with serving(settings):
        await fake.say("/help")
        await shown(fake, 1)
        await outbox_is_empty(redis)
    assert len(fake.sent) == 1


async def outbox_is_empty(redis):
    async def empty():
        return await redis.xlen(keys.outbox(PLATFORM)) == 0

    await until(empty)


async def test_a_chat_that_blocked_us_is_noted_once_and_others_go_on(fake, bot, redis):
    fake.blocked.add(5)
    for _ in range(3):
        await fake.say("/help", chat_id=5)
    await fake.say("/help", chat_id=6)
    assert (await shown(fake, 1))[0].chat_id == 6
    assert await redis.exists(keys.refused(PLATFORM, "telegram:5"))
    await outbox_is_empty(redis)
    assert len(fake.sent) == 1


async def test_a_group_that_became_a_supergroup_is_answered_there(fake, bot, engine):
    await fake.say("/style 0.5 七律", chat_id=-5)
    await shown(fake, 1)
    fake.moved[-5] = GROUP
    await fake.say("/poem 月", chat_id=-5)
    assert (await shown(fake, 2))[1].chat_id == GROUP
    await fake.say("/poem 山", chat_id=GROUP)
    await shown(fake, 3)
    assert (engine.jobs[1].form, engine.jobs[1].temperature) == ("qilu", 0.5)


async def test_a_group_that_says_it_moved_keeps_its_style(fake, bot, engine):
    await fake.say("/style 0.5", chat_id=-5)
    await fake.say(None, chat_id=-5, migrate_to_chat_id=GROUP)
    await fake.say("/poem 山", chat_id=GROUP)
    await shown(fake, 2)
    assert engine.jobs[0].temperature == 0.5


async def test_an_update_that_cannot_be_read_is_buried_alone(fake, bot, redis):
    await fake.add({"update_id": 1, "message": {"message_id": 1, "text": "/help"}})
    await fake.say("/help")
    await shown(fake, 1)
    assert await redis.xlen(keys.dead(PLATFORM)) == 1


async def test_a_fault_of_ours_in_one_update_is_admitted_and_stops_nobody(
    fake, settings, engine, redis, monkeypatch
):
    real = Anthology.style

    async def fail_for_five(self, chat):
        if chat == "telegram:5":
            raise RuntimeError("a fault")
        return await real(self, chat)

    monkeypatch.setattr(Anthology, "style", fail_for_five)
    async with serving(settings):
        await fake.say("/help", chat_id=5)
        await fake.say("/help", chat_id=6)
        await shown(fake, 2)
    assert fake.texts(5) == ["我这边出了错，这首诗没写成；请再发一次。"]
    assert len(fake.texts(6)) == 1
    assert await redis.xlen(keys.dead(PLATFORM)) == 1


async def test_a_token_that_telegram_does_not_know_ends_the_bot(settings):
    wrong = settings.model_copy(update={"telegram_token": type(settings.telegram_token)("1:x")})
    with pytest.raises(TokenRefusedError) as caught:
        await serve(wrong)
    assert "1:x" not in str(caught.value)


async def test_of_two_bots_one_serves_and_the_other_takes_over(fake, settings, engine):
    async with serving(settings) as first:
        await fake.say("/help", chat_id=1)
        await shown(fake, 1)
        async with serving(settings):
            await fake.until(lambda: fake.polls > 1)
            first.cancel()
            await fake.say("/help", chat_id=2)
            await shown(fake, 2)
    assert [sent.chat_id for sent in fake.sent] == [1, 2]


async def test_a_poller_of_somebody_else_makes_us_step_back_for_a_while(
    fake, settings, engine, monkeypatch
):
    monkeypatch.setattr("bot.telegram.service._CONFLICT_PAUSE_S", 0.2)
    async with serving(settings):
        await fake.until(lambda: fake.polls == 1)
        await fake.conflict()
        await fake.say("/help")
        await shown(fake, 1)
