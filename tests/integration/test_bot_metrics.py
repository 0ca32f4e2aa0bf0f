"""A bot tells over HTTP what happened to it, and its log follows an update to its answer."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from bot import keys
from bot.discord import service as discord_service
from bot.health import Health
from bot.language import Language
from bot.message import Address
from bot.metrics import Metrics
from bot.settings import BotSettings
from engine.client import connect
from engine.jobs import Failure, Reason
from engine.settings import EngineSettings
from engine.web import App, listening
from tests.fakes import discord
from tests.fakes.bot import serving
from tests.fakes.engine import fake_engine, made_up_poem
from tests.fakes.fonts import make_font
from tests.fakes.logbook import line_of, logged_lines
from tests.fakes.ports import free_port
from tests.fakes.scrape import scrape
from tests.fakes.waiting import until

TELEGRAM = "telegram"
GROUP, ADMIN = -100_987_654, 1_234_567
STANDING = (
    "yuefu_inbox_depth",
    "yuefu_outbox_depth",
    "yuefu_platform_halt_seconds",
    "yuefu_engines",
)


@pytest.fixture
def settings(settings, tmp_path):
    font = make_font(
        tmp_path / "font.ttf", "月落空江夜风吹远树秋故人千里外一叶下汀洲五尤韵乐府生成 · lstmgru AI"
    )
    return settings.model_copy(
        update={"listen": f"127.0.0.1:{free_port()}", "card_font": font, "person_in_flight": 0}
    )


@pytest.fixture
async def http(settings):
    async with httpx.AsyncClient(base_url=f"http://{settings.listen}") as client:
        yield client


async def told(http, name, *labels, at_least=1.0):
    """What `/metrics` says, once a figure is as high as it should become."""

    async def high_enough():
        # It listens a moment after it was started.
        with suppress(httpx.ConnectError):
            found = await scrape(http)
            return found if found(name, *labels) >= at_least else None

    return await until(high_enough)


async def test_a_poem_its_picture_and_a_vote_are_counted_and_timed(fake, bot, http, settings):
    await fake.say("/poem 月 五绝")
    await fake.until(lambda: len(fake.sent) == 1)
    [poem] = fake.sent
    await fake.tap(poem.message_id, poem.buttons[0])
    await fake.tap(poem.message_id, poem.buttons[4])
    await fake.until(lambda: len(fake.sent) == 2)
    found = await told(http, "yuefu_answers_total", TELEGRAM, "card")
    assert found("yuefu_updates_total", TELEGRAM, "message") == 1
    assert found("yuefu_updates_total", TELEGRAM, "tap") == 2
    for command in ("poem", "up", "card"):
        assert found("yuefu_commands_total", TELEGRAM, command) == 1
    assert found("yuefu_answers_total", TELEGRAM, "poem") == 1
    # Thanks for the vote, and behind it the question whether it may train the model.
    assert found("yuefu_answers_total", TELEGRAM, "reply") == 1
    assert found("yuefu_answer_seconds_count", TELEGRAM, "poem") == 1
    assert 0 < found("yuefu_answer_seconds_sum", TELEGRAM, "poem") < 60
    assert found("yuefu_ratings_total", TELEGRAM, "vote") == 1
    assert found("yuefu_platform_requests_total", TELEGRAM, "ok") >= 5
    assert (found("yuefu_engines"), found("yuefu_lease_held", TELEGRAM)) == (1, 1)
    assert found("yuefu_platform_halt_seconds") == 0


async def test_each_way_to_rate_is_counted_by_itself_and_so_is_what_is_typed_inline(
    fake, engine, settings, http
):
    async with serving(settings.model_copy(update={"curators": "telegram:7"})):
        update = await fake.say("/poem 月 五绝")
        await fake.until(lambda: len(fake.sent) == 1)
        poem = fake.sent[0].message_id
        # Only what was shown to the end of it can be rated.
        await told(http, "yuefu_answers_total", TELEGRAM, "poem")
        await fake.tap(poem, f"star:5:tg:{update}")
        await fake.react(poem, "👍", chat_id=7, person=8)
        await fake.react(poem, "🤷", chat_id=7, person=9)
        await fake.type_inline("月")
        found = await told(http, "yuefu_updates_total", TELEGRAM, "query")
    assert found("yuefu_ratings_total", TELEGRAM, "stars") == 1
    assert found("yuefu_ratings_total", TELEGRAM, "reaction") == 1
    assert found("yuefu_ratings_total", TELEGRAM, "vote") == 0


async def test_a_halt_that_telegram_asks_for_is_told_while_it_lasts(fake, bot, http):
    fake.flood.append(1)
    await fake.say("/help")
    found = await told(http, "yuefu_send_retries_total", TELEGRAM)
    assert found("yuefu_platform_requests_total", TELEGRAM, "flood") == 1
    found = await told(http, "yuefu_platform_halt_seconds", at_least=0.001)
    assert found("yuefu_platform_halt_seconds") <= 1
    assert found("yuefu_outbox_depth", TELEGRAM) == 1
    found = await told(http, "yuefu_answers_total", TELEGRAM, "reply")
    # Longer than the halt, which is part of what the person waited.
    assert found("yuefu_answer_seconds_sum", TELEGRAM, "reply") >= 1


async def test_what_nobody_can_deal_with_is_counted_where_it_was(fake, bot, http, redis):
    await redis.xadd(keys.outbox(TELEGRAM), {"message": "{}"})
    await redis.xadd(keys.inbox(TELEGRAM), {"update": "[]"})
    found = await told(http, "yuefu_buried_total", TELEGRAM, "inbox")
    assert found("yuefu_updates_total", TELEGRAM, "unreadable") == 1
    await told(http, "yuefu_buried_total", TELEGRAM, "outbox")


async def test_updates_that_wait_are_counted_as_they_are_at_that_moment(
    fake, bot, http, monkeypatch
):
    async def for_ever(_self, _incoming):
        await asyncio.Event().wait()

    monkeypatch.setattr("bot.respond.Responder.respond", for_ever)
    for _ in range(3):
        await fake.say("/help")
    found = await told(http, "yuefu_inbox_depth", TELEGRAM, at_least=3)
    assert found("yuefu_inbox_depth", TELEGRAM) == 3


async def test_what_became_of_poems_of_the_day_is_counted(
    fake, redis, settings, anthology, *, http, monkeypatch
):
    monkeypatch.setattr("bot.daily.TICK_S", 0.05)
    results = {"telegram:1": "shown", "telegram:2": "refused", "telegram:3": "skipped"} | {
        "telegram:4": "failed"
    }

    def write(job):
        if results[job.chat] == "failed":
            return Failure(job_id=job.id, reason=Reason.BURIED, context=job.context)
        return made_up_poem(job)

    fake.blocked.add(2)
    for chat, result in results.items():
        moment = datetime.now(UTC) - timedelta(hours=7 if result == "skipped" else 0, minutes=1)
        await anthology.schedules.start(
            Address(chat=chat),
            at=moment.time().replace(second=0, microsecond=0),
            zone="UTC",
            language=Language.EN,
            now=moment - timedelta(hours=1),
        )
    async with fake_engine(redis, answer=write), serving(settings):
        for result in results.values():
            found = await told(http, "yuefu_daily_posts_total", TELEGRAM, result)
    for result in results.values():
        assert found("yuefu_daily_posts_total", TELEGRAM, result) == 1
    # Nobody had asked for them, so nobody was answered.
    assert found("yuefu_answers_total", TELEGRAM, "poem") == 0


async def test_requests_to_a_telegram_that_is_away_are_counted_from_the_start(
    settings, engine, http
):
    nowhere = settings.model_copy(update={"telegram_api": f"http://127.0.0.1:{free_port()}"})
    async with serving(nowhere):
        found = await told(http, "yuefu_platform_requests_total", TELEGRAM, "unsure")
    assert found("yuefu_platform_requests_total", TELEGRAM, "ok") == 0


async def test_while_redis_is_away_nothing_is_said_of_how_things_stand(anthology, monkeypatch):
    monkeypatch.setattr("engine.client.ANSWER_S", 0.1)
    port = free_port()
    nowhere = connect(EngineSettings(redis_url="unix:///nowhere"))
    health = Health(redis=nowhere, anthology=anthology, metrics=Metrics(TELEGRAM))
    async with (
        nowhere,
        listening(f"127.0.0.1:{port}", App(health.routes)),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        found = await scrape(http)
        assert found.all_unknown(*STANDING)
        assert found("yuefu_updates_total", TELEGRAM, "message") == 0
        assert found("yuefu_redis_errors_total") > 0


async def test_on_discord_the_same_is_told_and_what_the_library_repeats_by_itself(
    valkey_url, tmp_path, engine
):
    port = free_port()
    async with discord.FakeDiscord().serve() as fake:
        settings = BotSettings(
            redis_url=valkey_url,
            data=tmp_path,
            discord_token=discord.TOKEN,
            discord_api=fake.url,
            discord_gateway=fake.gateway_url,
            listen=f"127.0.0.1:{port}",
        )
        async with (
            serving(settings, discord_service.serve),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        ):
            await fake.until(lambda: fake.connections > 0)
            fake.flood.append(0.01)
            await fake.command("poem", "月 五绝")
            found = await told(http, "yuefu_answers_total", "discord", "poem")
            assert found("yuefu_platform_requests_total", "discord", "flood") == 1
            assert found("yuefu_send_retries_total", "discord") == 0
            assert found("yuefu_updates_total", "discord", "message") == 1
            assert found("yuefu_commands_total", "discord", "poem") == 1
            assert found("yuefu_lease_held", "discord") == 1


# --- from an update to its answer ---


@pytest.fixture
def lines():
    """Every line that the bot logs meanwhile."""
    with logged_lines() as entries:
        yield entries


async def test_an_update_has_one_line_when_it_is_answered_however_many_messages_say_so(
    fake, bot, lines
):
    await fake.say("/poem 月 五绝")
    await fake.until(lambda: len(fake.sent) == 1)
    vote = await fake.tap(fake.sent[0].message_id, fake.sent[0].buttons[0])
    await fake.until(lambda: len(fake.sent) == 2)
    await fake.say("/help")
    await fake.until(lambda: len(fake.sent) == 3)
    again = await fake.tap(fake.sent[0].message_id, fake.sent[0].buttons[2])
    await fake.until(lambda: len(fake.sent) == 4)

    async def told_four():
        return len(ended()) == 4

    def ended():
        return [line for line in lines if line.get("action") == "update.answered"]

    await until(told_four)
    assert [(line["command"], line["kind"]) for line in ended()] == [
        ("poem", "poem"),
        ("up", "reply"),
        ("help", "reply"),
        ("again", "poem"),
    ]
    assert [line["cause"] for line in ended()][1::2] == [f"tg:{vote}", f"tg:{again}"]


async def test_who_is_refused_and_who_blocked_us_are_told_by_the_same_line(fake, bot, lines):
    fake.blocked.add(ADMIN)
    update = await fake.say("/poem 月", chat_id=ADMIN)
    answered = await line_of(lines, "update.answered")
    assert (answered["cause"], answered["fate"]) == (f"tg:{update}", "refused")
    refused = await line_of(lines, "send.forbidden")
    assert refused["cause"] == f"tg:{update}"
    assert refused["chat"] == answered["chat"]


async def test_what_goes_wrong_with_an_update_names_it(fake, bot, lines, monkeypatch):
    async def fail(_self, _incoming):
        raise ZeroDivisionError

    monkeypatch.setattr("bot.respond.Responder.respond", fail)
    update = await fake.say("/help")
    buried = await line_of(lines, "update.bury")
    assert (buried["cause"], buried["why"]) == (f"tg:{update}", "ZeroDivisionError")
    answered = await line_of(lines, "update.answered")
    assert (answered["cause"], answered["command"]) == (f"tg:{update}", "")


async def test_no_line_holds_the_number_of_a_chat_or_of_a_person(
    fake, settings, engine, *, lines, caplog, monkeypatch
):
    monkeypatch.setattr("bot.tallies.PAUSE_S", 0.05)
    caplog.set_level("INFO")
    strangers = settings.model_copy(update={"chats": f"telegram:{GROUP}"})
    async with serving(strangers):
        fake.admins[GROUP] = {ADMIN}
        await fake.say("/daily 08:00", chat_id=GROUP, person=ADMIN)
        await fake.say("/poem 月", chat_id=GROUP, person=ADMIN)
        await fake.until(lambda: len(fake.sent) >= 2)
        await fake.tap(fake.sent[1].message_id, "up::tg:1001", chat_id=GROUP, person=ADMIN)
        await fake.until(lambda: len(fake.edits) >= 1)
        # Who is not served, who blocked us, and who threw us out.
        await fake.say("/poem 月", chat_id=ADMIN)
        await line_of(lines, "update.answered")
        fake.blocked.add(GROUP)
        await fake.say("/help", chat_id=GROUP)
        await line_of(lines, "send.forbidden")
        await fake.become("kicked", chat_id=GROUP)
        await line_of(lines, "chat.left")
    assert len(lines) > 10
    for number in (GROUP, ADMIN):
        assert str(abs(number)) not in f"{lines} {caplog.text}"
