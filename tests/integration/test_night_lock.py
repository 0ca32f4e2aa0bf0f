"""One trainer at a time: the lock, its heartbeat and its fencing numbers, on a real Valkey."""

import asyncio
from contextlib import suppress

import pytest

from tests.fakes.waiting import until
from trainer import keys
from trainer.lock import LockLostError, NoLockError, holding


async def test_only_one_of_many_trainers_gets_the_lock(redis):
    running, most = 0, 0

    async def trainer():
        nonlocal running, most
        with suppress(NoLockError):
            async with holding(redis):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.05)
                running -= 1
                return 1
        return 0

    assert sum(await asyncio.gather(*(trainer() for _ in range(20)))) == most == 1


async def test_each_holder_has_a_higher_number(redis):
    numbers = []
    for _ in range(3):
        async with holding(redis) as hold:
            numbers.append(hold.fence)
    assert numbers == [1, 2, 3]


async def test_numbers_go_on_above_what_the_registry_knows_where_redis_was_emptied(redis):
    async with holding(redis, at_least=42) as hold:
        assert hold.fence == 42
    async with holding(redis, at_least=5) as hold:
        assert hold.fence == 43


async def test_the_heartbeat_keeps_the_lock_beyond_its_time(redis):
    async with holding(redis, lock_ms=1000) as hold:
        for _ in range(5):
            await asyncio.sleep(0.4)
            with pytest.raises(NoLockError):
                async with holding(redis):
                    pass
        await hold.check()


async def test_the_lock_of_a_trainer_that_died_is_free_after_its_time(redis):
    await redis.set(keys.LOCK, "somebody-who-died", px=200)
    async with holding(redis, wait_s=5.0, lock_ms=500) as hold:
        await hold.check()


async def test_whoever_was_paused_and_lost_the_lock_learns_it_before_changing_anything(redis):
    async with holding(redis, lock_ms=60_000) as paused:
        # What a pause longer than the lock's time looks like to the others.
        await redis.delete(keys.LOCK)
        async with holding(redis) as other:
            with pytest.raises(LockLostError):
                await paused.check()
            assert paused.lost.is_set()
            assert other.fence > paused.fence
            await other.check()
        with pytest.raises(LockLostError):
            await paused.check()  # nor afterwards


async def test_a_lock_that_ran_out_while_nobody_wanted_it_is_still_the_holders(redis):
    async with holding(redis, lock_ms=60_000) as hold:
        await redis.delete(keys.LOCK)
        await hold.check()
        assert await redis.exists(keys.LOCK)


async def test_a_lock_that_somebody_had_meanwhile_is_lost_also_when_it_is_free_again(redis):
    async with holding(redis, lock_ms=60_000) as hold:
        await redis.delete(keys.LOCK)
        async with holding(redis):
            pass
        with pytest.raises(LockLostError):
            await hold.check()


async def test_the_heartbeat_notices_a_lost_lock_by_itself(redis):
    async with holding(redis, lock_ms=300) as hold:
        await redis.set(keys.LOCK, "another")

        async def lost():
            return hold.lost.is_set()

        await until(lost)
    assert await redis.get(keys.LOCK) == b"another"  # leaving does not free what is another's
