"""Faults 3 and 12: a bot killed at each named point, and one on a bad line."""

import random
import signal
from collections import Counter

import pytest

from bot import keys
from engine.client import EngineClient
from engine.keys import replies
from tests.fakes.bot import bot_process
from tests.fakes.engine import fake_engine
from tests.fakes.proxy import BadLine, Trouble
from tests.fakes.telegram import FakeTelegram
from tests.fakes.waiting import until

PLATFORM = "telegram"

DIES = """
import importlib, os, signal
from bot.__main__ import main

module, kind, name = os.environ["DIES_AFTER"].split(":")
owner = getattr(importlib.import_module(module), kind)
real = getattr(owner, name)


async def do_and_die(self, *args, **kwargs):
    await real(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)


setattr(owner, name, do_and_die)
main()
"""
"""A bot that dies right after it did one thing for the first time."""

POINTS = {
    "an update is in the inbox": "bot.inbox:Inbox:store",
    "a job is put": "engine.client:EngineClient:put",
    "an update is done with": "bot.inbox:Inbox:done",
    "a poem is on record": "bot.anthology.poems:Poems:record",
    "a message is in the outbox": "bot.outbox:Outbox:put",
    "an outcome is done with": "engine.client:EngineClient:done",
    "a message is marked": "bot.outbox:Outbox:begin",
    "a message is sent": "bot.telegram.sender:TelegramSender:send",
    "a message is off the outbox": "bot.outbox:Outbox:finish",
}
"""Where it dies, in the order in which a request comes by."""


@pytest.fixture
async def fake():
    async with FakeTelegram().serve() as telegram:
        yield telegram


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(240)
async def test_fault_3_killed_at_each_point_it_answers_every_command(
    fake, redis, valkey_url, tmp_path
):
    lines = ("/poem 月", "/help", "/poem hello", "/acrostic 春夏秋冬")
    settings = {"YUEFU_REDIS_URL": valkey_url, "YUEFU_TELEGRAM_API": fake.url}
    asked = 0
    async with fake_engine(redis), bot_process(tmp_path, **settings) as bot:
        await bot.kill()
        for point in POINTS.values():
            for line in lines:
                asked += 1
                await fake.say(line, chat_id=asked)
            dying = await bot.start("-c", DIES, PLATFORM, DIES_AFTER=point)
            assert await dying.wait() == -signal.SIGKILL
        await bot.start()
        await fake.until(lambda: len({sent.chat_id for sent in fake.sent}) == asked, timeout_s=60)
        # Whatever might be shown twice would be on its way by the time this is answered.
        await fake.say("/help", chat_id=asked + 1)
        await fake.until(lambda: bool(fake.texts(asked + 1)))
    answers = Counter(sent.chat_id for sent in fake.sent)
    twice = sum(answers.values()) - len(answers)
    print(
        f"fault 3: killed at {len(POINTS)} points, {asked} commands: "
        f"unanswered {asked + 1 - len(answers)}, shown twice {twice}"
    )
    assert len(answers) == asked + 1
    # A message that was sent and not yet ticked off is sent again; one of them at each kill.
    assert twice <= 2


@pytest.mark.only_by_make_faults
async def test_fault_12_on_a_bad_line_the_inbox_moves_and_nothing_is_shown_twice(
    fake, redis, valkey_url, tmp_path
):
    count = 40
    line = BadLine(server=fake.url, chance=random.Random(12))
    async with line.serve(), fake_engine(redis):
        settings = {"YUEFU_REDIS_URL": valkey_url, "YUEFU_TELEGRAM_API": line.url}
        async with bot_process(tmp_path, **settings):
            for chat_id in range(1, count + 1):
                await fake.say("/poem 月", chat_id=chat_id)

            async def through():
                streams = [keys.inbox(PLATFORM), keys.outbox(PLATFORM), replies(PLATFORM)]
                left = [await redis.xlen(stream) for stream in streams]
                jobs = await EngineClient(redis).depth()
                return not (fake.pending or any(left) or any(jobs.values()))

            await until(through, within_s=50)
            line.share = 0
            await fake.say("/help", chat_id=count + 1)
            await fake.until(lambda: bool(fake.texts(count + 1)))
    answers = Counter(sent.chat_id for sent in fake.sent)
    twice = sum(answers.values()) - len(answers)
    befell = ", ".join(f"{trouble} {number}" for trouble, number in sorted(line.met.items()))
    print(
        f"fault 12: {count} updates on a bad line ({befell}): never shown "
        f"{count + 1 - len(answers)}, shown twice {twice}, left in the inbox {len(fake.pending)}"
    )
    assert (twice, len(fake.pending)) == (0, 0)
    # What the server never heard of, and the client cannot tell from what it did.
    assert count + 1 - len(answers) <= line.met[Trouble.LOST]
