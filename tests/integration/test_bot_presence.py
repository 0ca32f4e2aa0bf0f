"""Whoever waits sees that a poem is being written, and nobody is shown so for ever."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from bot.budget import Halt
from bot.errors import NotShownError, UndeliverableError
from bot.message import Address
from bot.presence import AttendedEngine, Typing
from engine.client import Admitted, EngineClient, EngineUnavailableError, Quota, Whose
from engine.jobs import Lane
from engine.queue import Queue
from tests.fakes.jobs import a_job, a_poem
from tests.fakes.waiting import until

PLATFORM = "test"
FIRST_S, AGAIN_S = 0.1, 0.15
TOPIC = Address(chat="test:1", thread=5)
CONTEXT = {
    "address": {"chat": "test:1", "thread": 5, "reply_to": 9},
    "language": "zh",
    "script": "simplified",
    "glyphs": "月",
    "temperature": 0.8,
}


class FakeTypist:
    def __init__(self):
        self.typed = []
        self.errors = []

    async def type(self, address):
        self.typed.append((time.monotonic(), address))
        if self.errors:
            raise self.errors.pop(0)

    async def has_typed(self, count):
        await until(lambda: self._typed(count))

    async def _typed(self, count):
        return len(self.typed) >= count


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("bot.presence.FIRST_AFTER_S", FIRST_S)
    monkeypatch.setattr("bot.presence.AGAIN_AFTER_S", AGAIN_S)


@pytest.fixture
def typist():
    return FakeTypist()


@pytest.fixture
def typing(typist, redis):
    return Typing(typist, Halt(redis, PLATFORM))


@asynccontextmanager
async def running(typing):
    task = asyncio.create_task(typing.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_after_a_while_typing_is_shown_and_again_as_long_as_it_lasts(typing, typist):
    async with running(typing):
        began = time.monotonic()
        typing.begin("job", TOPIC)
        await typist.has_typed(3)
    times = [at - began for at, _ in typist.typed]
    assert times[0] >= FIRST_S
    assert times[1] - times[0] >= AGAIN_S - 0.01
    assert {address for _, address in typist.typed} == {TOPIC}


async def test_a_poem_that_comes_soon_is_not_announced(typing, typist):
    async with running(typing):
        typing.begin("soon", TOPIC)
        typing.begin("late", Address(chat="test:2"))
        typing.end("soon")
        await typist.has_typed(1)
    assert [address.chat for _, address in typist.typed] == ["test:2"]


async def test_many_jobs_in_one_place_are_shown_as_one(typing, typist):
    async with running(typing):
        for number in range(5):
            typing.begin(f"{number}", Address(chat="test:1", thread=5, reply_to=number))
        await typist.has_typed(1)
        for number in range(4):
            typing.end(f"{number}")
        await typist.has_typed(2)
        typing.end("4")
        assert len(typing) == 0
        typing.begin("last", Address(chat="test:2"))
        await typist.has_typed(3)
    assert [address for _, address in typist.typed] == [TOPIC, TOPIC, Address(chat="test:2")]


async def test_what_is_never_answered_is_forgotten(typing, typist, monkeypatch):
    monkeypatch.setattr("bot.presence.PATIENCE_MS", 300)
    async with running(typing):
        for number in range(100):
            typing.begin(f"{number}", Address(chat=f"test:{number}"))

        async def forgotten():
            return len(typing) == 0

        await until(forgotten)
    assert typing._places == {}
    assert typing._due == []


async def test_a_place_that_refuses_is_left_alone(typing, typist):
    typist.errors = [UndeliverableError("blocked")]
    async with running(typing):
        typing.begin("job", TOPIC)
        await typist.has_typed(1)

        async def forgotten():
            return len(typing) == 0

        await until(forgotten)
        await asyncio.sleep(2 * AGAIN_S)
    assert len(typist.typed) == 1


async def test_too_much_typing_halts_everything(typing, typist, redis):
    typist.errors = [NotShownError("too many requests", retry_after_s=30)]
    async with running(typing):
        typing.begin("job", TOPIC)

        async def halted():
            return await Halt(redis, PLATFORM).left_s() > 29

        await until(halted)


# The engine, attended


@pytest.fixture
def engine(redis, typing):
    return AttendedEngine(redis, typing)


async def test_whoever_asked_waits_until_the_outcome_is_here(redis, engine, typing):
    await engine.put(a_job("a", context=CONTEXT))
    assert list(typing._places) == [TOPIC]
    queue = Queue(redis, worker="worker")
    [lease] = await queue.take(1)
    await queue.finish(lease, a_poem(lease.job))
    await engine.outcomes("bot", "test")
    assert len(typing) == 0


async def test_nobody_waits_for_what_was_not_let_in(engine, typing):
    none = Quota(whose=Whose.PERSON, name="p", in_flight=1)
    await engine.put(a_job("a", context=CONTEXT), [none])
    assert (await engine.put(a_job("b", context=CONTEXT), [none])).status is Admitted.LIMITED
    assert len(typing) == 1
    assert (await engine.put(a_job("a", context=CONTEXT), [none])).status is Admitted.DUPLICATE
    assert len(typing) == 0


async def test_nobody_waits_for_a_machines_job(engine, typing):
    await engine.put(a_job("a", context=CONTEXT, lane=Lane.BULK))
    assert len(typing) == 0


async def test_nobody_waits_where_the_engine_is_away(engine, typing, monkeypatch):
    async def away(self, job, quotas=()):
        raise EngineUnavailableError

    monkeypatch.setattr(EngineClient, "put", away)
    with pytest.raises(EngineUnavailableError):
        await engine.put(a_job("a", context=CONTEXT))
    assert len(typing) == 0
