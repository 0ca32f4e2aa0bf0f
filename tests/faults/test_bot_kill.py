"""Faults 2, 15, 16 and 33: a bot that is killed, fed nonsense and listened to.

The Bot API is a fake with the real semantics of offsets; Valkey is real; the engine answers with
made-up poems.
"""

import asyncio
import random
from collections import Counter

import pytest
from redis.asyncio import Redis

from bot import keys
from bot.settings import BotSettings
from bot.telegram.service import serve
from tests.fakes.bot import bot_process, sends_in_flight
from tests.fakes.engine import fake_engine
from tests.fakes.telegram import ApiError, FakeTelegram, message_update
from tests.fakes.waiting import until

PLATFORM = "telegram"


@pytest.fixture
async def fake():
    async with FakeTelegram().serve() as telegram:
        yield telegram


async def settled(redis: Redis):
    """Wait until nothing is left to do in inbox and outbox."""

    async def empty():
        return not await redis.exists(keys.inbox(PLATFORM), keys.outbox(PLATFORM)) or (
            await redis.xlen(keys.inbox(PLATFORM)) == await redis.xlen(keys.outbox(PLATFORM)) == 0
        )

    await until(empty, within_s=30)


async def test_fault_2_a_killed_bot_loses_no_update(fake, redis, valkey_url, tmp_path):
    chosen = random.Random(2)
    count, fake.latency_s = 100, 0.05
    for chat_id in range(1, count + 1):
        await fake.say(chosen.choice(["/poem 月", "/help", "/poem hello"]), chat_id=chat_id)
    kills = [
        lambda: fake.polls >= 2,
        lambda: len(fake.sent) >= chosen.randrange(5, 25),
        lambda: len(fake.sent) >= chosen.randrange(40, 70),
    ]
    in_flight = 0
    async with (
        fake_engine(redis),
        bot_process(tmp_path, YUEFU_REDIS_URL=valkey_url, YUEFU_TELEGRAM_API=fake.url) as bot,
    ):
        for reached in kills:
            await fake.until(reached)
            await bot.kill()
            in_flight += await sends_in_flight(redis, PLATFORM)
            await bot.start()
        await fake.until(lambda: len({sent.chat_id for sent in fake.sent}) == count, timeout_s=40)
        await settled(redis)
    answers = Counter(sent.chat_id for sent in fake.sent)
    lost, twice = count - len(answers), sum(answers.values()) - len(answers)
    print(
        f"fault 2: {count} updates, {len(kills)} kills: lost {lost}, shown twice {twice}, "
        f"sends in flight at the kills {in_flight}"
    )
    assert lost == 0
    assert twice <= in_flight


@pytest.mark.only_by_make_faults
async def test_fault_2_a_killed_bot_loses_no_tap(fake, redis, valkey_url, tmp_path):
    chosen = random.Random(2)
    count, fake.latency_s = 60, 0.05
    kills = [
        lambda: len(fake.answered) >= chosen.randrange(5, 20),
        lambda: len(fake.edits) >= chosen.randrange(25, 45),
    ]
    in_flight = 0
    async with (
        fake_engine(redis),
        bot_process(tmp_path, YUEFU_REDIS_URL=valkey_url, YUEFU_TELEGRAM_API=fake.url) as bot,
    ):
        for chat_id in range(1, count + 1):
            await fake.say("/poem 月 x3", chat_id=chat_id)
        await fake.until(lambda: len(fake.sent) == count)
        await settled(redis)
        for sent in list(fake.sent):
            await fake.tap(sent.message_id, chosen.choice(sent.buttons), chat_id=sent.chat_id)
        for reached in kills:
            await fake.until(reached)
            await bot.kill()
            in_flight += await sends_in_flight(redis, PLATFORM)
            await bot.start()
        await fake.until(lambda: len(fake.edits) >= count, timeout_s=40)
        await settled(redis)
    answers = Counter(query for query, _ in fake.answered)
    left = sum(sent.labels[0] == "1" for sent in map(fake.now, fake.sent))
    twice = sum(answers.values()) - len(answers)
    print(
        f"fault 2: {count} taps, {len(kills)} kills: lost {count - len(answers)}, "
        f"answered twice {twice}, choices left open {left}, in flight at the kills {in_flight}"
    )
    assert (len(answers), left) == (count, 0)
    assert {text for _, text in fake.answered} == {""}
    assert twice <= in_flight


async def test_fault_15_updates_doubled_shuffled_and_renumbered_are_answered_once(
    fake, redis, valkey_url, tmp_path
):
    chosen = random.Random(15)
    starts = (900_000_000, 5, 40_000)
    updates = [
        message_update(start + 3 * number, "/poem 月", chat_id=start + number)
        for start in starts
        for number in range(20)
    ]
    arriving = [update for update in updates for _ in range(chosen.randint(1, 3))]
    chosen.shuffle(arriving)
    while arriving:
        size = chosen.randint(1, 12)
        fake.script.append(arriving[:size])
        del arriving[:size]
    settings = BotSettings(
        redis_url=valkey_url, data=tmp_path, telegram_token=fake.token, telegram_api=fake.url
    )
    async with fake_engine(redis) as engine:
        serving = asyncio.create_task(serve(settings))
        await fake.until(lambda: not fake.script and len(fake.sent) >= len(updates))
        await settled(redis)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    answers = Counter(sent.chat_id for sent in fake.sent)
    print(
        f"fault 15: {len(updates)} updates: answered {len(answers)}, "
        f"more than once {sum(count > 1 for count in answers.values())}, jobs {len(engine.jobs)}"
    )
    assert set(answers.values()) == {1}
    assert len(answers) == len(engine.jobs) == len(updates)


@pytest.mark.only_by_make_faults
async def test_fault_16_an_update_that_cannot_be_read_harms_no_other(
    fake, redis, valkey_url, tmp_path
):
    canary, count = "canary-of-a-person", 40
    for chat_id in range(1, count + 1):
        await fake.say(f"/poem {canary}", chat_id=chat_id)
        if chat_id == count // 2:
            await fake.add(
                {
                    "update_id": 1_500,
                    "message": {"text": canary, "from": {"first_name": canary}, "chat": canary},
                }
            )
    async with (
        fake_engine(redis),
        bot_process(
            tmp_path,
            YUEFU_REDIS_URL=valkey_url,
            YUEFU_TELEGRAM_API=fake.url,
            YUEFU_LOG_LEVEL="DEBUG",
        ) as bot,
    ):
        await fake.until(lambda: len(fake.sent) >= count)
        await settled(redis)
        buried = await redis.xlen(keys.dead(PLATFORM))
        await bot.stop()
    found = bot.log().count(canary)
    answered = len({sent.chat_id for sent in fake.sent})
    print(
        f"fault 16: good updates answered {answered} of {count}, buried {buried}, "
        f"user data in the log {found}"
    )
    assert (answered, buried, found) == (count, 1, 0)


@pytest.mark.only_by_make_faults
async def test_fault_33_the_token_is_in_no_log(fake, redis, valkey_url, tmp_path, monkeypatch):
    canary = fake.token
    told = {"YUEFU_REDIS_URL": valkey_url, "YUEFU_TELEGRAM_API": fake.url}
    # A token that is not known, an API that does not answer, databases that do not open, a number
    # that is none.
    wrong = (
        {"YUEFU_TELEGRAM_TOKEN": f"{canary}x"},
        {"YUEFU_DATABASE_URL": f"postgresql://yuefu:{canary}@127.0.0.1:1/yuefu"},
        {"YUEFU_DATABASE_URL": f"nonsense-{canary}://"},
        {"YUEFU_SLOTS": canary},
    )
    monkeypatch.setattr(fake, "_refuse", _quoting(fake, canary, chat_id=3))
    fake.blocked.add(2)
    fake.flood.append(1)
    async with fake_engine(redis), bot_process(tmp_path, YUEFU_LOG_LEVEL="DEBUG", **told) as bot:
        # A poem after a flood; a chat that refuses us; an error that quotes the token; a conflict.
        for chat_id in (1, 2, 3):
            await fake.say("/poem 月", chat_id=chat_id)
        await fake.until(lambda: len(fake.sent) == 1)
        await settled(redis)
        await fake.conflict()
        await bot.stop()
        for environment in wrong:
            await (await bot.start(**environment)).wait()
        await bot.start(YUEFU_TELEGRAM_API="http://127.0.0.1:1")

        async def tried_again():
            return "Telegram is away" in bot.log()

        await until(tried_again)
    secret = canary.partition(":")[2]
    found = sum(
        path.read_bytes().count(secret.encode()) for path in tmp_path.rglob("*") if path.is_file()
    )
    print(f"fault 33: {5 + len(wrong)} paths, DEBUG on: the token was written {found} times")
    assert found == 0
    assert "***" in bot.log(), "nothing had to be hidden, so nothing was shown"
    assert "Traceback" not in bot.log()


def _quoting(fake: FakeTelegram, canary: str, *, chat_id: int):
    """The fake's refusals, and one more, which quotes the address that it was asked at."""
    usual = fake._refuse

    def refuse(chat: int, text: str, parameters):
        if chat == chat_id:
            raise ApiError(400, f"Bad Request: /bot{canary}/sendMessage")
        usual(chat, text, parameters)

    return refuse
