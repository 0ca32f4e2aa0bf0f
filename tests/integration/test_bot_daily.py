"""The poem of the day, from `/daily` to the message, between fakes and a real Valkey."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from bot import keys
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.schedules import Pause
from bot.budget import Pace
from bot.buttons import poem_buttons
from bot.discord.service import serve as serve_discord
from bot.dispatch import IN_FLIGHT_MAX
from bot.language import Language
from bot.message import Address, Tally
from bot.quotation import Quoted, read_poem
from bot.seasons import day_name
from bot.settings import BotSettings
from bot.style import Style
from bot.telegram.sender import ALLOWANCE
from engine.jobs import Cell, Failure, Lane, Reason
from engine.verse.forms import FormName
from tests.fakes.anthologies import all_words
from tests.fakes.bot import serving
from tests.fakes.discord import TOKEN as DISCORD_TOKEN
from tests.fakes.discord import FakeDiscord
from tests.fakes.engine import fake_engine, made_up_poem
from tests.fakes.waiting import until

PLATFORM = "telegram"
GROUP = -100_500
EARLIER = timedelta(minutes=1)
AT_ONCE = Pace(every_ms=1, burst=100)


@pytest.fixture
def settings(settings, anthology_url, monkeypatch):
    monkeypatch.setattr("bot.daily.TICK_S", 0.05)
    # People do not ask as fast as tests do.
    monkeypatch.setattr("bot.telegram.sender.ALLOWANCE", replace(ALLOWANCE, chat=AT_ONCE))
    return settings.model_copy(update={"database_url": SecretStr(anthology_url)})


async def due_since(
    anthology, chat_id, late=EARLIER, *, thread=None, language=Language.ZH, platform=PLATFORM
):
    """Have a chat want its poem of the day at a time that was `late` ago."""
    moment = datetime.now(UTC) - late
    address = Address(chat=f"{platform}:{chat_id}", thread=thread)
    await anthology.schedules.start(
        address,
        at=moment.time().replace(second=0, microsecond=0),
        zone="UTC",
        language=language,
        now=moment - timedelta(hours=1),
    )
    return address


async def paused(anthology, address, why=Pause.REFUSED):
    async def is_paused():
        return (await anthology.schedules.find(address)).pause is why

    await until(is_paused)


async def settled(anthology, redis):
    """Wait until nothing is due and nothing on its way."""

    async def empty():
        due = await anthology.schedules.due(PLATFORM, datetime.now(UTC), 1)
        ways = ("yuefu:jobs:bulk", f"yuefu:replies:{PLATFORM}", keys.outbox(PLATFORM))
        left = [await redis.xlen(key) for key in ways]
        return not due and not any(left)

    await until(empty, within_s=30)


async def answer(fake, text, **extra):
    """What the bot says to a line."""
    before = len(fake.sent)
    await fake.say(text, **extra)
    await fake.until(lambda: len(fake.sent) > before)
    return fake.sent[before].text


# --- /daily ---


async def test_a_chat_sets_sees_changes_and_ends_its_poem_of_the_day(fake, bot):
    assert (await answer(fake, "/daily")).startswith("这里没有每日一诗")
    told = await answer(fake, "/daily 08:00 东京")
    assert told.startswith("好，每天 08:00（Asia/Tokyo）在这里发一首，下一首在 20")
    # The zone is kept, and so is the time.
    assert (await answer(fake, "/daily 9:30")).startswith("好，每天 09:30（Asia/Tokyo）")
    assert (await answer(fake, "/daily UTC+8")).startswith("好，每天 09:30（UTC+8）")
    assert (await answer(fake, "/daily")).startswith("这里每天 09:30（UTC+8）发一首")
    assert await answer(fake, "/daily off") == "好，这里不再每天发诗。"
    assert (await answer(fake, "/daily")).startswith("这里没有每日一诗")
    assert (await answer(fake, "/daily 7点")).startswith("好，每天 07:00（UTC+8）")


async def test_where_nobody_names_a_zone_the_setting_does(fake, engine, settings):
    async with serving(settings.model_copy(update={"zone": "Europe/Paris"})):
        told = await answer(fake, "/daily 8", language="en")
        assert told.startswith("Done. A poem every day at 08:00 (Europe/Paris), next on 20")
        assert (await answer(fake, "/daily soon", language="en")).startswith("At what time?")
        assert (await answer(fake, "/daily Tokyo", chat_id=8)).startswith("几点发？")


async def test_in_a_group_only_admins_set_it_and_each_topic_has_its_own(fake, bot, anthology):
    fake.admins[GROUP] = {5}
    topic = {"message_thread_id": 31, "is_topic_message": True}
    admin = {"from": {"id": 5, "is_bot": False, "first_name": "A", "language_code": "en"}}
    for line in ("/daily 8:00", "/daily off"):
        assert "管理员" in await answer(fake, line, chat_id=GROUP, **topic)
    assert (await answer(fake, "/daily 8:00", chat_id=GROUP, **topic, **admin)).startswith("Done")
    assert "每天 08:00" in await answer(fake, "/daily", chat_id=GROUP, **topic)
    assert "没有" in await answer(fake, "/daily", chat_id=GROUP)
    address = Address(chat=f"telegram:{GROUP}", thread=31)
    assert (await anthology.schedules.find(address)).pause is None


async def test_a_channel_sets_its_own(fake, bot):
    channel = {"id": GROUP, "type": "channel", "title": "Poems"}
    post = {"message_id": 1, "date": 1, "chat": channel, "sender_chat": channel}
    await fake.add({"update_id": 1, "channel_post": {**post, "text": "/daily 08:00 上海"}})
    await fake.until(lambda: len(fake.sent) == 1)
    assert fake.texts(GROUP)[0].startswith("好，每天 08:00（Asia/Shanghai）")


async def test_nothing_but_a_poem_a_day_makes_the_anthology_keep_a_chat_s_own_name(
    fake, bot, anthology
):
    await answer(fake, "/style 0.5", chat_id=77)
    assert "telegram:77" not in await all_words(anthology)
    await answer(fake, "/daily 8:00", chat_id=77)
    assert "telegram:77" in await all_words(anthology)


# --- the post ---


async def test_the_poem_says_what_day_it_is_and_has_its_buttons(
    fake, settings, engine, anthology, redis
):
    today = datetime.now(UTC) - EARLIER
    style = Style(cell=Cell.GRU, temperature=0.6, form=FormName.WULU)
    chosen = ChatSettings(style=style, language=Language.ZH_HANT)
    await anthology.chats.change("telegram:-7", chosen, Language.EN)
    await due_since(anthology, -7, thread=31, language=Language.EN)
    await due_since(anthology, 8, language=Language.EN)
    async with serving(settings):
        await fake.until(lambda: len(fake.sent) == 2)
        await settled(anthology, redis)
    assert len(fake.sent) == 2
    [job] = [job for job in engine.jobs if job.chat == "telegram:-7"]
    [group] = [sent for sent in fake.sent if sent.chat_id == -7]
    [person] = [sent for sent in fake.sent if sent.chat_id == 8]
    heading, _, poem = group.text.partition("\n\n")
    assert heading == f"{day_name(today.date(), Language.ZH_HANT)} · 今日一詩"
    assert poem.endswith("五律 · 尤韻 · gru")
    assert group.parameters["message_thread_id"] == "31"
    assert group.buttons == [button.data for button in poem_buttons(job.id, Tally())]
    assert person.text.startswith(f"{day_name(today.date(), Language.EN)} · poem of the day\n\n")
    assert (job.cell, job.temperature, job.form) == (Cell.GRU, 0.6, FormName.WULU)
    assert (job.lane, job.client) == (Lane.BULK, PLATFORM)
    assert "-7" not in job.id
    assert all(len(data.encode()) <= 64 for data in group.buttons)
    # What people reply to is found below the line that says the day.
    assert isinstance(read_poem(group.text), Quoted)
    assert isinstance(read_poem(person.text), Quoted)
    assert (await anthology.poems.get(job.id)).shown_at is not None


async def test_its_buttons_work_as_those_of_any_poem(fake, settings, engine, anthology):
    await due_since(anthology, 7)
    async with serving(settings):
        await fake.until(lambda: len(fake.sent) == 1)
        [sent] = fake.sent

        async def known():
            row = await anthology.poems.get(engine.jobs[0].id)
            return row is not None and row.shown_at is not None

        await until(known)
        for index in (0, 2):
            await fake.tap(sent.message_id, sent.buttons[index])
        await fake.until(lambda: len(fake.sent) == 3)
    assert fake.answered[0][1] == "👍 记下了。"
    [question] = [text for text in fake.texts() if "训练" in text]
    assert question in fake.texts()
    assert engine.jobs[1].opening == engine.jobs[0].opening
    assert "今日一诗" not in fake.sent[-1].text


async def test_after_downtime_it_comes_late_once_and_not_at_all_after_six_hours(
    fake, settings, engine, anthology, redis
):
    late = await due_since(anthology, 7, timedelta(hours=5))
    too_late = await due_since(anthology, 8, timedelta(hours=7))
    for _ in range(2):
        async with serving(settings):
            await fake.until(lambda: len(fake.sent) == 1)
            await settled(anthology, redis)
    assert [sent.chat_id for sent in fake.sent] == [7]
    assert len((await anthology.schedules.find(late)).timetable.posted) == 1
    assert (await anthology.schedules.find(too_late)).timetable.posted == ()


async def test_a_model_that_does_not_run_costs_nobody_the_poem(fake, settings, engine, anthology):
    await anthology.chats.change(
        "telegram:7", ChatSettings(style=Style(cell=Cell.RNN)), Language.ZH
    )
    await due_since(anthology, 7)
    async with serving(settings):
        await fake.until(lambda: len(fake.sent) == 1)
    assert engine.jobs[0].cell is Cell.LSTM


async def test_a_poem_that_could_not_be_written_is_not_spoken_of(fake, settings, anthology, redis):
    def fail(job):
        if job.lane is Lane.BULK:
            return Failure(job_id=job.id, reason=Reason.BURIED, context=job.context)
        return made_up_poem(job)

    await due_since(anthology, 7)
    async with fake_engine(redis, answer=fail) as engine, serving(settings):
        await until_jobs(engine, 1)
        assert (await answer(fake, "/poem 月", chat_id=8)).startswith("月")
        await settled(anthology, redis)
    assert fake.texts(7) == []


async def until_jobs(engine, count):
    async def taken():
        return len(engine.jobs) >= count

    await until(taken)


async def test_a_full_queue_only_puts_it_off(fake, settings, engine, anthology, monkeypatch):
    for chat_id in range(1, 4):
        await due_since(anthology, chat_id)
    monkeypatch.setattr("engine.client.CAP", 1)
    async with serving(settings):
        await fake.until(lambda: len(fake.sent) == 3)
    assert {sent.chat_id for sent in fake.sent} == {1, 2, 3}


# --- chats that refuse, lose topics and move ---


async def test_a_chat_that_refuses_us_is_left_alone_until_it_asks_again(
    fake, settings, engine, anthology, redis
):
    address = await due_since(anthology, 7)
    fake.blocked.add(7)
    async with serving(settings):
        await paused(anthology, address)
        fake.blocked.clear()
        assert (await answer(fake, "/daily")).startswith("之前我在这里发不了消息")
    assert (await anthology.schedules.find(address)).pause is None
    assert len(engine.jobs) == 1


async def test_a_topic_that_is_gone_ends_its_poem_and_no_other(
    fake, settings, engine, anthology, redis
):
    gone = await due_since(anthology, GROUP, thread=31)
    other = await due_since(anthology, GROUP, thread=32)
    fake.lost_topics.add(31)
    async with serving(settings):
        await paused(anthology, gone)
        await settled(anthology, redis)
    assert [sent.parameters["message_thread_id"] for sent in fake.sent] == ["32"]
    assert (await anthology.schedules.find(other)).pause is None


async def test_a_paused_schedule_forgets_where_the_chat_was(anthology, tmp_path):
    address = await due_since(anthology, 778899)
    await anthology.schedules.pause(address, Pause.REFUSED, datetime.now(UTC))
    async with anthology.chats._database._engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT address, due_at FROM schedules")
        assert rows.all() == [(None, None)]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("new_has_one", [False, True])
async def test_a_chat_that_moved_takes_its_poem_of_the_day_along(
    fake, settings, anthology, redis, new_has_one
):
    await due_since(anthology, -5)
    if new_has_one:
        await due_since(anthology, GROUP, timedelta(hours=-3))
    fake.moved[-5] = GROUP
    async with serving(settings):
        await fake.until(lambda: len(fake.sent) == 1)
        await settled(anthology, redis)
    assert [sent.chat_id for sent in fake.sent] == [GROUP]
    moved = await anthology.schedules.find(Address(chat=f"telegram:{GROUP}"))
    assert len(moved.timetable.posted) == 1
    assert await anthology.schedules.find(Address(chat="telegram:-5")) is None
    # It is due again a day later, under its new name.
    [due] = await anthology.schedules.due(PLATFORM, datetime.now(UTC) + timedelta(hours=25), 9)
    assert due.address == Address(chat=f"telegram:{GROUP}")


# --- Discord ---

CHANNEL = 3_000_000_000_000_000_003
MANAGE_CHANNELS = 1 << 4


async def test_channels_and_threads_of_discord_get_theirs_until_they_are_closed(
    redis, valkey_url, tmp_path, engine, monkeypatch
):
    monkeypatch.setattr("bot.daily.TICK_S", 0.05)
    thread: dict[str, Any] = {"channel_id": CHANNEL + 1, "parent_id": CHANNEL, "guild": True}
    async with FakeDiscord().serve() as discord:
        settings = BotSettings(
            redis_url=valkey_url,
            data=tmp_path,
            discord_token=DISCORD_TOKEN,
            discord_api=discord.url,
            discord_gateway=discord.gateway_url,
        )
        async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:
            for number in (CHANNEL, CHANNEL + 2):
                await due_since(anthology, number, platform="discord")
            await due_since(anthology, CHANNEL, thread=CHANNEL + 1, platform="discord")
            discord.closed_channels.add(CHANNEL + 2)
            running = asyncio.create_task(serve_discord(settings))
            await discord.until(lambda: len(discord.sent) == 2)
            await paused(anthology, Address(chat=f"discord:{CHANNEL + 2}"))
            await discord.command(
                "daily", told={"time": "9:00"}, permissions=MANAGE_CHANNELS, **thread
            )
            await discord.until(lambda: len(discord.sent) == 3)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    posts = {shown.channel_id: shown for shown in discord.sent[:2]}
    assert set(posts) == {CHANNEL, CHANNEL + 1}
    assert all("今日一诗" in post.text and not post.rings for post in posts.values())
    # The thread's own, as before but for the time.
    assert "每天 09:00（UTC）" in discord.sent[2].text
    assert discord.sent[2].channel_id == CHANNEL + 1


# --- all at once ---


@pytest.mark.only_by_make_faults
@pytest.mark.usefixtures("engine")
# In one of the databases: it takes long, and the rate is not theirs.
@pytest.mark.parametrize("anthology_url", ["sqlite"], indirect=True)
async def test_five_hundred_chats_at_eight_get_one_poem_each_at_the_permitted_rate(
    fake, settings, anthology, redis, monkeypatch
):
    # Telegram's own rate would take twenty seconds.
    pace = Pace(every_ms=8, burst=5)
    monkeypatch.setattr("bot.telegram.sender.ALLOWANCE", replace(ALLOWANCE, everywhere=pace))
    chats = range(1, 501)
    await asyncio.gather(*(due_since(anthology, chat_id) for chat_id in chats))
    fake.flood.append(1)
    async with serving(settings):
        for count in (150, 300):
            await fake.until(lambda count=count: len(fake.sent) >= count)
            fake.flood.append(1)
        asked_at_s = asyncio.get_running_loop().time()
        await fake.say("/help", chat_id=1000)
        await fake.until(lambda: bool(fake.texts(1000)))
        waited_s = asyncio.get_running_loop().time() - asked_at_s
        left = 501 - len(fake.sent)
        await fake.until(lambda: len(fake.sent) == 501, timeout_s=40)
        await settled(anthology, redis)
    posts = [sent for sent in fake.sent if sent.chat_id in chats]
    per_chat = [sum(sent.chat_id == chat_id for sent in posts) for chat_id in chats]
    halts = [(at_s + 0.3, at_s + 1) for at_s in fake.floods_at_s]
    during = sum(low < sent.at_s < high for sent in posts for low, high in halts)
    took_s = posts[-1].at_s - posts[0].at_s
    fastest = max(
        sum(0 <= other.at_s - sent.at_s < 1 for other in fake.sent[place:])
        for place, sent in enumerate(fake.sent)
    )
    print(
        f"daily: 500 chats, {len(halts)} answers of 429: posts per chat "
        f"{min(per_chat)} to {max(per_chat)}, sent during halts {during}, all in {took_s:.1f} s, "
        f"at most {fastest} in a second where {1000 // pace.every_ms} are permitted; "
        f"a question meanwhile was answered after {waited_s:.1f} s, with {left} still to go"
    )
    assert (min(per_chat), max(per_chat), during) == (1, 1, 0)
    # Those on their way at once may arrive together.
    assert fastest <= 1000 // pace.every_ms + pace.burst + IN_FLIGHT_MAX
    assert left > 0
