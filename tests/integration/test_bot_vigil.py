"""What was asked for is asked for again where Redis forgot it, and what is known is left alone."""

import pytest

from bot.vigil import WatchfulEngine
from engine import keys
from engine.client import Admitted, Quota, Whose
from engine.jobs import Lane
from engine.queue import Queue
from tests.fakes.jobs import a_job, a_poem

MINUTE_MS = 60_000


@pytest.fixture
def engine(redis):
    return WatchfulEngine(redis)


@pytest.fixture
def queue(redis):
    return Queue(redis, worker="w")


async def forget_everything(redis):
    await redis.delete(*[key async for key in redis.scan_iter()])


async def write(queue, count):
    """Finish all that waits."""
    leases = await queue.take(count)
    for lease in leases:
        await queue.finish(lease, a_poem(lease.job))
    return sorted(lease.job.id for lease in leases)


async def test_what_redis_forgot_is_put_again_once(engine, queue, redis):
    for name in "abc":
        await engine.put(a_job(name))
    await forget_everything(redis)
    await engine.put(a_job("d"))
    await engine.look()
    await engine.look()
    assert await write(queue, 9) == ["a", "b", "c", "d"]


async def test_what_redis_knows_is_not_put_again(engine, redis):
    await engine.put(a_job("a"))
    await engine.look()
    assert await redis.xlen(keys.jobs(Lane.CHAT)) == 1


async def test_what_came_is_not_put_again(engine, queue, redis):
    await engine.put(a_job("a"))
    await write(queue, 1)
    assert len(await engine.outcomes("bot", "bot")) == 1
    await forget_everything(redis)
    await engine.look()
    assert await write(queue, 1) == []


async def test_what_was_written_but_not_collected_is_written_again(engine, queue, redis):
    await engine.put(a_job("a"))
    await write(queue, 1)
    await forget_everything(redis)
    await engine.look()
    assert await write(queue, 1) == ["a"]


async def test_what_was_refused_is_not_awaited(engine, redis, queue):
    quota = Quota(whose=Whose.CHAT, name="c", in_flight=1)
    await engine.put(a_job("a"), [quota])
    assert (await engine.put(a_job("b"), [quota])).status is Admitted.LIMITED
    await forget_everything(redis)
    await engine.look()
    assert await write(queue, 9) == ["a"]


async def test_what_is_long_over_is_forgotten(engine, queue, redis):
    await engine.put(a_job("a", deadline_ms=1))
    await forget_everything(redis)
    await engine.look()
    assert await redis.xlen(keys.jobs(Lane.CHAT)) == 0


async def test_an_outcome_that_comes_again_is_dropped(engine, queue, redis):
    await engine.put(a_job("a"))
    await write(queue, 1)
    [delivery] = await engine.outcomes("bot", "bot")
    await engine.done(delivery)
    # What Redis lost is that the job was put and ended; somebody puts it again.
    await forget_everything(redis)
    await engine.put(a_job("a"))
    await write(queue, 1)
    assert await engine.outcomes("bot", "bot") == []
    assert await redis.xlen(keys.replies("bot")) == 0
