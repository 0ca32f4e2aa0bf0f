"""The Telegram bot in this process, between a Bot API, a Valkey and an engine made for tests."""

import time

import pytest

from bot import keys
from bot.anthology import Anthology
from bot.anthology.chats import Chats
from bot.anthology.poems import Poems
from bot.buttons import poem_buttons
from bot.errors import TokenRefusedError
from bot.message import Tally
from bot.submit import seed_of
from bot.telegram.service import serve
from engine.jobs import Failure, Reason
from tests.fakes.bot import serving
from tests.fakes.engine import fake_engine, made_up_poem
from tests.fakes.jobs import a_poem
from tests.fakes.telegram import USERNAME, tap_update
from tests.fakes.waiting import until

PLATFORM = "telegram"
GROUP = -100_500


async def shown(fake, count):
    await fake.until(lambda: len(fake.sent) >= count)
    return fake.sent


async def test_a_poem_is_written_shown_and_recorded(fake, bot, engine, settings):
    update = await fake.say("/poem 月 五绝", chat_id=7)
    [sent] = await shown(fake, 1)
    assert sent.chat_id == 7
    assert sent.text.startswith("月月落空江，")
    assert sent.text.endswith("\n五绝 · 尤韵 · lstm")
    assert sent.styled == [("italic", "五绝 · 尤韵 · lstm")]
    assert sent.parameters["link_preview_options"] == {"is_disabled": True}
    assert "parse_mode" not in sent.parameters
    assert "reply_parameters" not in sent.parameters
    [job] = engine.jobs
    assert (job.id, job.chat, job.seed) == (f"tg:{update}", "telegram:7", seed_of(job.id))
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:

        async def recorded():
            poem = await anthology.poems.get(f"tg:{update}")
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


async def test_in_privacy_mode_a_group_reaches_us_by_latin_commands_and_by_replies(
    fake, bot, engine
):
    fake.privacy = True
    # None of these reaches a bot in privacy mode, for Telegram knows no Chinese command.
    for text in ("/诗 月", f"/诗@{USERNAME} 月", f"/藏头@{USERNAME} 春夏秋冬", "/poem 月", "月"):
        await fake.say(text, chat_id=GROUP)
    await fake.say(f"/poem@{USERNAME} 山", chat_id=GROUP)
    [poem] = await shown(fake, 1)
    await fake.reply("/诗 水", poem)
    await shown(fake, 2)
    assert [job.opening for job in engine.jobs] == ["山", "水"]


@pytest.mark.parametrize("reason", Reason)
async def test_whoever_gets_no_poem_is_told_why(settings, fake, redis, reason):
    def fail(job):
        return Failure(job_id=job.id, reason=reason, context=job.context)

    async with fake_engine(redis, answer=fail), serving(settings):
        await fake.say("/poem 月")
        [sent] = await shown(fake, 1)
    assert "。" in sent.text


async def test_a_flood_halts_every_message_and_drops_none(fake, bot):
    fake.flood.append(2)
    for chat_id in (1, 2, 3):
        await fake.say("/help", chat_id=chat_id)
    sent = await shown(fake, 3)
    assert {message.chat_id for message in sent} == {1, 2, 3}
    [flooded_at_s] = fake.floods_at_s
    waits_s = [message.at_s - flooded_at_s for message in sent]
    # Those on their way when the first was refused arrived; nothing set out before the halt ended.
    assert all(wait_s < 1 or wait_s >= 1.99 for wait_s in waits_s)
    assert max(waits_s) >= 1.99


async def test_a_person_beyond_their_limit_is_told_and_others_are_not_held_back(
    fake, settings, redis
):
    # No engine runs, so every poem that is let in stays under way.
    async with serving(settings.model_copy(update={"person_in_flight": 2})):
        for _ in range(3):
            await fake.say("/poem 月", chat_id=7)
        await fake.until(lambda: len(fake.sent) == 1)
        async with fake_engine(redis) as engine:
            await fake.say("/poem 月", chat_id=8)
            await shown(fake, 4)
    assert fake.sent[0].text.startswith("你已经有 2 首诗在写；请等写好一首再要")
    assert [job.chat for job in engine.jobs] == ["telegram:7", "telegram:7", "telegram:8"]
    # Nothing in the quotas' keys tells who it is.
    assert [key for key in await redis.keys("yuefu:quota:*") if b"telegram" in key] == []


async def test_only_where_a_poem_is_long_in_coming_typing_is_shown_in_its_topic(
    fake, settings, redis
):
    async with serving(settings):
        began_s = time.monotonic()
        await fake.say("/help", chat_id=7)
        await fake.say(
            f"/poem@{USERNAME} 月", chat_id=GROUP, message_thread_id=31, is_topic_message=True
        )
        await fake.until(lambda: len(fake.typed) == 1)
        async with fake_engine(redis):
            await shown(fake, 2)
            await fake.say("/poem 山", chat_id=8)
            await shown(fake, 3)
    [typed] = fake.typed
    assert typed.at_s - began_s >= 0.8
    assert (typed.chat_id, typed.parameters["message_thread_id"]) == (GROUP, "31")


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
    fake.admins[-5] = {5}
    await fake.say("/style 0.5 七律", chat_id=-5)
    await shown(fake, 1)
    fake.moved[-5] = GROUP
    await fake.say("/poem 月", chat_id=-5)
    assert (await shown(fake, 2))[1].chat_id == GROUP
    await fake.say("/poem 山", chat_id=GROUP)
    await shown(fake, 3)
    assert (engine.jobs[1].form, engine.jobs[1].temperature) == ("qilu", 0.5)


async def test_a_group_that_says_it_moved_keeps_its_style(fake, bot, engine):
    fake.admins[-5] = {5}
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
    real = Chats.settings

    async def fail_for_five(self, chat):
        if chat == "telegram:5":
            raise RuntimeError("a fault")
        return await real(self, chat)

    monkeypatch.setattr(Chats, "settings", fail_for_five)
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


# --- several poems to choose from ---

POEMS = ("月月落空江，夜风吹远树。", "月落空江夜，风吹远树秋。", "月空江夜风，吹远树秋故。")


async def three_poems(fake, *, chat_id=7):
    """A chat asks for three poems; the message that shows them."""
    before = len(fake.sent)
    name = f"@{USERNAME}" if chat_id < 0 else ""
    await fake.say(f"/poem{name} 月 五绝 x3", chat_id=chat_id)
    return (await shown(fake, before + 1))[-1]


async def answers(fake, count):
    await fake.until(lambda: len(fake.answered) >= count)
    return [text for _, text in fake.answered]


async def test_of_three_poems_one_is_picked_after_a_restart_and_stays_picked(
    fake, settings, engine, redis
):
    async with serving(settings):
        message = await three_poems(fake)
    assert [job.count for job in engine.jobs] == [3]
    assert all(f"{number}.\n{poem}" in message.text for number, poem in enumerate(POEMS, 1))
    assert [len(data.encode()) <= 64 for data in message.buttons] == [True] * 3
    async with serving(settings):
        for _ in range(2):
            await fake.tap(message.message_id, message.buttons[1])
        assert await answers(fake, 2) == ["", ""]
        await fake.tap(message.message_id, message.buttons[2])
        assert (await answers(fake, 3))[2] == "已经选了第 2 首；要别的就再用 /poem 写。"
        await drained(redis)
    # Of the two edits the second changed nothing, which Telegram refuses and nobody notices.
    assert len(fake.edits) == 1
    now = fake.now(message)
    assert now.text == f"{POEMS[1]}\n故人千里外，一叶下汀洲。\n\n五绝 · 尤韵 · lstm"
    assert now.styled == [("italic", "五绝 · 尤韵 · lstm")]
    assert now.buttons == below("tg:1000#2")
    assert len(fake.sent) == 1
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:
        rows = await anthology.poems.last_shown("telegram:7")
    assert [row.picked_at is not None for row in rows] == [False, True, False]


FORGOTTEN = "I no longer know these poems; please ask again with /poem."


def below(poem):
    """What the buttons below a poem bring back."""
    return [button.data for button in poem_buttons(poem, Tally())]


async def noted_as_shown(settings, chat="telegram:7"):
    """Wait until the anthology knows that a poem was shown."""
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:

        async def noted():
            return await anthology.poems.last_shown(chat)

        await until(noted)


async def drained(redis):
    async def empty():
        return await redis.xlen(keys.outbox(PLATFORM)) == 0

    await until(empty)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        *((data, FORGOTTEN) for data in ("pick:1:tg:5", "pick:9:tg:1000", "pick:0:tg:1000")),
        *((data, "I no longer know this poem") for data in ("up::tg:5", "again::x", "line:2:tg:5")),
        *((data, "I do not know this button") for data in ("", "nonsense", "pick:1:\ud800")),
    ],
)
async def test_a_tap_on_what_nobody_knows_is_answered_in_one_line(fake, bot, redis, data, answer):
    message = await three_poems(fake)
    await fake.tap(message.message_id, data, language="en")
    [told] = await answers(fake, 1)
    assert told.startswith(answer)
    assert "\n" not in told
    await drained(redis)
    assert fake.edits == []


async def test_a_choice_of_one_chat_cannot_be_made_in_another(fake, bot):
    message = await three_poems(fake)
    await fake.tap(message.message_id, message.buttons[0], chat_id=8)
    assert "不记得" in (await answers(fake, 1))[0]


async def test_in_a_group_anybody_may_pick_and_the_first_decides(fake, bot):
    message = await three_poems(fake, chat_id=GROUP)
    for button in message.buttons:
        await fake.tap(message.message_id, button, chat_id=GROUP)
    assert await answers(fake, 3) == ["", *["已经选了第 1 首；要别的就再用 /poem 写。"] * 2]
    await fake.until(lambda: len(fake.edits) == 1)
    assert fake.now(message).text.startswith(POEMS[0])


async def test_a_tap_that_comes_twice_is_answered_once(fake, bot, redis):
    message = await three_poems(fake)
    update = tap_update(900, message.message_id, message.buttons[0])
    fake.queries.add(update["callback_query"]["id"])
    for _ in range(3):
        fake.script.append([update, update])
    await fake.say("/help")
    await answers(fake, 1)
    await fake.until(lambda: not fake.script and len(fake.sent) == 2)
    assert len(fake.answered) == 1


async def test_a_tap_too_old_to_be_answered_still_picks(fake, bot):
    message = await three_poems(fake)
    await fake.add(tap_update(5000, message.message_id, message.buttons[0]))
    await fake.until(lambda: len(fake.edits) == 1)
    assert fake.answered == []


async def test_a_number_typed_in_private_picks_as_well(fake, settings, bot):
    await three_poems(fake)
    await noted_as_shown(settings)
    await fake.say("3")
    assert (await shown(fake, 2))[1].text.startswith(POEMS[2])


async def test_a_fault_of_ours_in_a_tap_is_admitted_to_whoever_tapped(
    fake, bot, redis, monkeypatch
):
    message = await three_poems(fake)

    async def fail(self, *_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(Poems, "pick", fail)
    await fake.tap(message.message_id, message.buttons[0])
    assert await answers(fake, 1) == ["我这边出了错，这首诗没写成；请再发一次。"]
    assert await redis.xlen(keys.dead(PLATFORM)) == 1


async def test_a_chat_that_moved_keeps_its_choice(fake, bot):
    message = await three_poems(fake, chat_id=-500)
    await fake.say(None, chat_id=-500, migrate_to_chat_id=GROUP)
    fake.moved[-500] = GROUP
    await fake.tap(message.message_id, message.buttons[0], chat_id=GROUP)
    assert await answers(fake, 1) == [""]


# --- poems that are there already ---


async def test_a_reply_to_a_poem_rewrites_it_and_keeps_the_rest(fake, settings, redis):
    def answer(job):
        return made_up_poem(job) if job.frame else a_poem(job)

    async with fake_engine(redis, answer=answer) as engine, serving(settings):
        await fake.say("/poem 月 五绝", chat_id=GROUP)
        [poem] = await shown(fake, 1)
        await fake.reply("/rewrite 第二句", poem)
        rewritten = (await shown(fake, 2))[1]
        await fake.reply("/check", rewritten)
        checked = (await shown(fake, 3))[2]
        other = {"id": 99, "is_bot": False, "first_name": "R", "language_code": "zh-hans"}
        await fake.say("/rewrite 2", chat_id=GROUP, **{"from": other})
        refused = (await shown(fake, 4))[3]
        await fake.say("/rewrite 2", chat_id=GROUP)
        await shown(fake, 5)
    _, job, own = engine.jobs
    assert job.frame == "月落空江夜□□□□□故人千里外一叶下汀洲"
    assert job.unlike == job.frame.replace("□" * 5, "风吹远树秋")
    assert (job.opening, job.rhyme) == ("", None)
    assert rewritten.text.startswith("月落空江夜，月落空江夜。\n故人千里外，一叶下汀洲。\n\n五绝")
    assert checked.text.startswith("月落空江夜\n仄仄中平仄\n")
    assert checked.styled == [("pre", checked.text.partition("\n\n")[0])]
    assert "第2句与前面的一句相同。" in checked.text
    # In company, who does not say which poem is meant means the last that they asked for.
    assert "没看到诗" in refused.text
    assert own.frame == job.frame[:5] + "□" * 5 + job.frame[10:]


async def test_in_private_the_last_poem_is_meant(fake, settings, redis):
    async with fake_engine(redis, answer=a_poem), serving(settings):
        await fake.say("/poem 月 五绝")
        await shown(fake, 1)
        await noted_as_shown(settings)
        await fake.say("/check")
        checked = (await shown(fake, 2))[1]
    assert checked.text.startswith("月落空江夜\n")
    assert "平仄、粘对、押韵都合格律。" in checked.text
