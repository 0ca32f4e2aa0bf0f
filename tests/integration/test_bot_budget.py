"""What goes out keeps the platform's pace, whichever process sends it."""

import asyncio
import time

import pytest

from bot import keys
from bot.budget import Allowance, Budget, Halt, Pace
from engine.client import connect
from engine.settings import EngineSettings

PLATFORM = "test"
NO_MATTER = Pace(every_ms=1, burst=1000)
ALLOWANCE = Allowance(everywhere=NO_MATTER, chat=NO_MATTER, group=NO_MATTER)


def a_budget(redis, **paces):
    return Budget(redis, PLATFORM, Allowance(**{**vars(ALLOWANCE), **paces}))


async def sent(budget, chat="1", *, count, group=False):
    """When each of `count` messages to a chat was let out, in seconds from the first request."""
    began = time.monotonic()
    times = []
    for _ in range(count):
        await budget.wait(chat, group=group)
        times.append(time.monotonic() - began)
    return times


async def test_a_burst_goes_at_once_and_what_follows_at_the_pace(redis):
    times = await sent(a_budget(redis, chat=Pace(every_ms=300, burst=3)), count=6)
    assert times[2] < 0.3
    assert all(times[n] >= (n - 2) * 0.3 - 0.01 for n in range(3, 6))
    assert times[5] < 5


async def test_the_pace_of_groups_holds_in_groups_only(redis):
    budget = a_budget(redis, group=Pace(every_ms=60_000, burst=1))
    async with asyncio.timeout(10):
        await sent(budget, "private", count=5)
        await sent(budget, "group", count=1, group=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await sent(budget, "group", count=1, group=True)


async def test_a_chat_that_waits_for_its_own_pace_delays_no_other(redis):
    budget = a_budget(
        redis, chat=Pace(every_ms=60_000, burst=1), everywhere=Pace(every_ms=50, burst=1)
    )
    await sent(budget, "busy", count=1)
    waiting = [asyncio.create_task(sent(budget, "busy", count=1)) for _ in range(100)]
    await asyncio.sleep(0.1)
    times = [(await sent(budget, f"{n}", count=1))[0] for n in range(5)]
    for task in waiting:
        task.cancel()
    # Each took its turn at once, and the busy one took none of what all share.
    assert max(times) < 3


async def test_several_processes_keep_one_pace(redis, valkey_url):
    other = connect(EngineSettings(redis_url=valkey_url))
    pace = Pace(every_ms=20, burst=5)
    budgets = [a_budget(client, everywhere=pace) for client in (redis, other)]
    began = time.monotonic()
    await asyncio.gather(*(sent(budget, f"{n}", count=1) for budget in budgets for n in range(20)))
    assert time.monotonic() - began >= (40 - 5) * 0.02 - 0.005
    await other.aclose()


async def test_what_is_spared_for_messages_is_not_typed_away(redis):
    budget = a_budget(redis, chat=Pace(every_ms=60_000, burst=4))
    spent = [await budget.spare("1", group=False) for _ in range(4)]
    assert spent == [True, True, False, False]
    async with asyncio.timeout(10):
        await sent(budget, count=2)
    assert not await budget.spare("1", group=False)


async def test_nothing_is_spare_while_a_message_waits(redis):
    budget = a_budget(redis, everywhere=Pace(every_ms=200, burst=1))
    await sent(budget, count=1)
    waiting = asyncio.create_task(sent(budget, count=1))
    await asyncio.sleep(0)
    assert not await budget.spare("other", group=False)
    await waiting


async def test_during_a_halt_nothing_goes_out_and_nothing_is_spent(redis):
    budget, halt = a_budget(redis), Halt(redis, PLATFORM)
    began = time.monotonic()
    await halt.hold(1)
    assert not await budget.spare("1", group=False)
    waiting = asyncio.create_task(sent(budget, count=1))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert not await redis.exists(keys.budget(PLATFORM))
    await waiting
    assert time.monotonic() - began >= 0.99


async def test_a_halt_lasts_as_long_as_the_longest_that_was_asked_for(redis):
    halt = Halt(redis, PLATFORM)
    began = time.monotonic()
    await halt.hold(0.1)
    waiting = asyncio.create_task(halt.over())
    await asyncio.sleep(0)
    await halt.hold(0.25)
    await halt.hold(0.01)
    await waiting
    assert 0.24 <= time.monotonic() - began < 5


async def test_a_process_that_comes_later_keeps_the_halt(redis, valkey_url):
    await Halt(redis, PLATFORM).hold(30)
    other = connect(EngineSettings(redis_url=valkey_url))
    assert 20 < await Halt(other, PLATFORM).left_s() <= 30
    assert await Halt(other, "another platform").left_s() == 0
    await other.aclose()


async def test_what_is_kept_lives_no_longer_than_it_says_anything(redis):
    await sent(a_budget(redis, group=Pace(every_ms=4000, burst=5)), "1", count=2, group=True)
    assert 4000 < await redis.pttl(keys.budget(PLATFORM, "group", "1")) <= 8000
    # One that has lived its time meanwhile is gone, which is -2.
    assert -1 not in [await redis.ttl(key) for key in await redis.keys()]


async def test_with_memory_full_messages_still_go_out(redis):
    await redis.config_set("maxmemory", 1)
    try:
        async with asyncio.timeout(2):
            await sent(a_budget(redis), count=2)
            await Halt(redis, PLATFORM).hold(0.01)
    finally:
        await redis.config_set("maxmemory", 0)
