"""Faults 2, 13, 17 and 33 on Discord: a bot that is killed, flooded, doubled and listened to.

Discord is a fake with the real semantics of interactions; Valkey is real; the engine answers with
made-up poems.
"""

import random
from collections import Counter

import pytest
from redis.asyncio import Redis

from bot import keys
from tests.fakes.bot import bot_process
from tests.fakes.discord import FakeDiscord
from tests.fakes.engine import fake_engine
from tests.fakes.waiting import until

PLATFORM = "discord"


@pytest.fixture
async def fake():
    async with FakeDiscord().serve() as discord:
        yield discord


@pytest.fixture
def told(fake, valkey_url):
    """What a bot process has to be told of this test's Discord."""
    return {
        "YUEFU_REDIS_URL": valkey_url,
        "YUEFU_DISCORD_API": fake.url,
        "YUEFU_DISCORD_GATEWAY": fake.gateway_url,
    }


async def settled(redis: Redis):
    """Wait until nothing is left to do in inbox and outbox."""

    async def empty():
        return not await redis.xlen(keys.inbox(PLATFORM)) + await redis.xlen(keys.outbox(PLATFORM))

    await until(empty, within_s=30)


def heard(fake):
    """How many interactions were acknowledged."""
    return len(fake.asked) - len(fake.unheard)


def owed(fake):
    """The interactions that were acknowledged, and left without what was asked for."""
    answered = {shown.channel_id for shown in fake.sent} | {shown.id for shown in fake.edits}
    return [
        asked.id
        for asked in fake.asked.values()
        if asked.heard_s is not None
        and int((asked.raw.get("message") or {}).get("id", asked.raw["channel_id"])) not in answered
    ]


@pytest.mark.only_by_make_faults
async def test_fault_2_a_killed_bot_answers_whatever_it_acknowledged(fake, redis, told, tmp_path):
    chosen = random.Random(2)
    each, fake.latency_s = 40, 0.05
    async with fake_engine(redis), bot_process(tmp_path, PLATFORM, **told) as bot:
        await fake.until(lambda: fake.connections > 0)
        for channel_id in range(1, each // 2 + 1):
            await fake.command("poem", "月 x3", channel_id=channel_id)
        await fake.until(lambda: len(fake.sent) == each // 2)
        choices = list(fake.sent)
        for number in range(1, 3):
            await fake.until(lambda: fake.connections > 0)
            until_heard = heard(fake) + chosen.randrange(each // 2, each)
            for shown in choices[number % 2 :: 2]:
                await fake.tap(shown, chosen.choice(shown.buttons))
            for place in range(each):
                words = chosen.choice([("poem", "月"), ("help", None), ("poem", "hello")])
                await fake.command(*words, channel_id=number * each + place)
            # Some are answered by now, some acknowledged, some only stored, and some not even that.
            await fake.until(lambda least=until_heard: heard(fake) >= least)
            await bot.kill()
            await bot.start()
        await fake.until(lambda: not owed(fake), timeout_s=40)
        await settled(redis)
    answers = Counter(shown.channel_id for shown in fake.sent)
    twice = sum(answers.values()) - len(answers)
    waits_s = sorted(
        asked.heard_s - asked.began_s for asked in fake.asked.values() if asked.heard_s is not None
    )
    print(
        f"fault 2: {len(fake.asked)} interactions, 2 kills: acknowledged {heard(fake)} "
        f"(half of them within {1000 * waits_s[len(waits_s) // 2]:.0f} ms, all within "
        f"{1000 * waits_s[-1]:.0f}), lost {len(owed(fake))}, shown twice {twice}"
    )
    assert (owed(fake), twice) == ([], 0)


@pytest.mark.only_by_make_faults
async def test_fault_13_a_storm_of_429_drops_nothing_and_doubles_nothing(
    fake, redis, told, tmp_path
):
    count, refusals = 40, 30
    async with fake_engine(redis), bot_process(tmp_path, PLATFORM, **told) as bot:
        await fake.until(lambda: fake.connections > 0)
        fake.flood.extend([0.2] * refusals)
        for channel_id in range(1, count + 1):
            # Half of them too late for their token: those are messages of their own.
            late_s = 16 * 60 if channel_id % 2 else 0
            await fake.command("help", channel_id=channel_id, age_s=late_s)
        await fake.until(lambda: len(fake.sent) >= count)
        await settled(redis)
        assert await bot.stop() == 0
    answers = Counter(shown.channel_id for shown in fake.sent)
    print(
        f"fault 13: {count} answers, {len(fake.floods_at_s)} times 429: "
        f"lost {count - len(answers)}, shown twice {len(fake.sent) - len(answers)}"
    )
    assert len(fake.floods_at_s) == refusals
    assert len(answers) == len(fake.sent) == count
    assert "Traceback" not in bot.log()


@pytest.mark.only_by_make_faults
async def test_fault_17_of_two_processes_on_one_token_one_serves_and_the_other_takes_over(
    fake, redis, told, tmp_path
):
    (tmp_path / "other").mkdir()
    async with (
        fake_engine(redis),
        bot_process(tmp_path, PLATFORM, **told) as first,
        bot_process(tmp_path / "other", PLATFORM, **told) as second,
    ):
        await fake.until(lambda: fake.connections == 1, timeout_s=40)
        for channel_id in range(1, 11):
            await fake.command("help", channel_id=channel_id)
        await fake.until(lambda: len(fake.sent) == 10)

        async def both_are_up():
            return "waits for the lease" in first.log() + second.log()

        await until(both_are_up)
        serving = first if "holds the lease" in first.log() else second
        await serving.kill()
        await fake.until(lambda: fake.identified == 2)
        for channel_id in range(11, 21):
            await fake.command("help", channel_id=channel_id)
        await fake.until(lambda: len(fake.sent) >= 20)
        await settled(redis)
    answers = Counter(shown.channel_id for shown in fake.sent)
    print(
        f"fault 17: 20 interactions, two processes, one killed: lost {20 - len(answers)}, "
        f"shown twice {len(fake.sent) - len(answers)}"
    )
    assert set(answers.values()) == {1}
    assert len(answers) == 20


@pytest.mark.only_by_make_faults
async def test_fault_33_neither_tokens_nor_people_are_in_the_log(fake, redis, told, tmp_path):
    canary = "canary-of-a-person"
    fake.closed_channels.add(2)
    async with (
        fake_engine(redis),
        bot_process(tmp_path, PLATFORM, YUEFU_LOG_LEVEL="DEBUG", **told) as bot,
    ):
        await fake.until(lambda: fake.connections > 0)
        fake.flood.append(0.1)
        await fake.command("poem", canary, channel_id=1)
        await fake.command("poem", canary, channel_id=2, age_s=16 * 60)
        await fake.choose("Rewrite this poem", canary)
        await fake.tell({"id": "7", "type": 2, "token": canary, "data": {"name": canary}})
        await fake.until(lambda: bool(fake.sent and fake.forms))
        await settled(redis)
        await fake.break_off()
        await fake.until(lambda: fake.resumed == 1)
        await bot.stop()
        wrong = await bot.start(YUEFU_DISCORD_TOKEN=f"{fake.token}x")
        assert await wrong.wait() == 1
        await bot.start(YUEFU_DISCORD_API="http://127.0.0.1:1")

        async def tried_again():
            return "Discord is away" in bot.log()

        await until(tried_again)
    secrets = [fake.token, canary, *(asked.token for asked in fake.asked.values())]
    found = sum(
        path.read_bytes().count(secret.encode())
        for path in tmp_path.glob("*.log")
        for secret in secrets
    )
    print(f"fault 33: DEBUG on: tokens and what people wrote were written {found} times")
    assert found == 0
    assert "Traceback" not in bot.log()
