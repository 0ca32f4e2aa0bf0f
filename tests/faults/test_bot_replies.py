"""Faults 14 and 22: answers that are lost on their way, and people who go before theirs comes."""

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from bot import keys
from bot.deliver import compose
from bot.language import Language, Script
from bot.message import Address, Incoming
from bot.requests import PoemRequest
from bot.settings import BotSettings
from bot.style import Style
from bot.submit import make_job
from bot.telegram.service import serve
from engine.client import Admitted, EngineClient, EngineUnavailableError
from engine.jobs import Lane
from engine.keys import jobs as jobs_of
from engine.verse.forms import FormName
from tests.fakes.engine import fake_engine
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.fakes.waiting import until

PLATFORM = "telegram"


@pytest.fixture
async def fake():
    async with FakeTelegram().serve() as telegram:
        yield telegram


@asynccontextmanager
async def running(work):
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def drained(redis, *streams):
    async def empty():
        return not sum([await redis.xlen(stream) for stream in streams])

    await until(empty, within_s=30)


# --- fault 14 ---


@pytest.mark.only_by_make_faults
async def test_fault_14_what_timed_out_but_was_delivered_is_not_sent_again(
    fake, redis, valkey_url, tmp_path, monkeypatch
):
    count, fake.latency_s = 40, 0.5
    monkeypatch.setattr("bot.telegram.service._READ_TIMEOUT_S", 0.2)
    settings = BotSettings(
        redis_url=valkey_url, data=tmp_path, telegram_token=TOKEN, telegram_api=fake.url
    )
    streams = (keys.inbox(PLATFORM), keys.outbox(PLATFORM))
    async with fake_engine(redis):
        async with running(serve(settings)):
            for chat_id in range(1, count + 1):
                await fake.say("/poem 月 x3", chat_id=chat_id)
            await fake.until(lambda: len(fake.sent) >= count)
            await drained(redis, *streams)
            for sent in list(fake.sent):
                await fake.tap(sent.message_id, sent.buttons[0], chat_id=sent.chat_id)
            await fake.until(lambda: len(fake.edits) >= count)
            await drained(redis, *streams)
        # Whoever comes next finds nothing left to send either.
        async with running(serve(settings)):
            await fake.say("/help", chat_id=count + 1)
            await fake.until(lambda: len(fake.sent) > count)
            await drained(redis, *streams)
    sent = Counter(message.chat_id for message in fake.sent)
    edits = Counter(edit.chat_id for edit in fake.edits)
    answers = Counter(query for query, _ in fake.answered)
    twice = [sum(times - 1 for times in seen.values()) for seen in (sent, edits, answers)]
    print(
        f"fault 14: {count} poems and {count} taps whose answers came after the bot had given "
        f"them up: duplicates {sum(twice)}, lost {count + 1 - len(sent) + count - len(edits)}"
    )
    assert twice == [0, 0, 0]
    assert (len(sent), len(edits), len(answers)) == (count + 1, count, count)


# --- fault 22 ---

PEOPLE = {"telegram:1": "月", "telegram:2": "山"}
REQUESTS = 4000
NEVER_MS = 1 << 50


WRONG = "what was said to somebody else"


@pytest.mark.timeout(120)
async def test_fault_22_what_two_people_cancel_and_ask_never_reaches_the_other(redis):
    """CVE-2023-28858 and 28859: a reply left on a connection went to whoever used it next."""
    engine = EngineClient(redis)
    async with fake_engine(redis):
        told = await ask_and_cancel(engine, redis, random.Random(22))
        await drained(redis, jobs_of(Lane.CHAT))
        deliveries = await engine.outcomes(PLATFORM, PLATFORM, count=REQUESTS)
    shown = [compose(delivery.outcome) for delivery in deliveries]
    cancelled = sum(isinstance(result, asyncio.CancelledError) for result in told)
    wrong = sum(result == WRONG for result in told)
    wrong += sum(not message.text.startswith(PEOPLE[message.address.chat]) for message in shown)
    print(
        f"fault 22: {REQUESTS} requests of two people, {cancelled} of them cancelled, {len(shown)} "
        f"poems: replies to the wrong chat {wrong}"
    )
    assert wrong == 0
    # Whoever Redis does not answer in time is told so, which is no wrong reply.
    failed = [result for result in told if isinstance(result, Exception)]
    assert all(isinstance(error, EngineUnavailableError) for error in failed)
    assert cancelled > REQUESTS / 10
    assert len(shown) > REQUESTS / 2


async def ask_and_cancel(engine, redis, chance):
    """Have both people ask many things, and many of them go before the answer comes."""

    async def ask(number, person):
        mine = f"{person} {number}".encode()
        admission = await engine.put(job_for(number, person))
        async with redis.pipeline() as pipe:
            pipe.echo(mine)
            pipe.echo(mine[::-1])
            echoes = [await redis.echo(mine), *await pipe.execute()]
        right = echoes == [mine, mine, mine[::-1]]
        return None if right and admission.status is Admitted.ACCEPTED else WRONG

    told, loop, took_s = [], asyncio.get_running_loop(), 0.01
    for start in range(0, REQUESTS, 50):
        began_s = loop.time()
        tasks = [
            asyncio.create_task(ask(number, chance.choice(list(PEOPLE))))
            for number in range(start, start + 50)
        ]
        for task in chance.sample(tasks, 25):
            # At any moment of what all of them took before, however fast the machine is.
            loop.call_later(chance.random() * took_s, task.cancel)
        told += await asyncio.gather(*tasks, return_exceptions=True)
        took_s = loop.time() - began_s
    return told


def job_for(number, person):
    asked = Incoming(
        cause=f"tg:{number}",
        address=Address(chat=person),
        text=f"/poem {PEOPLE[person]}",
        language=Language.ZH,
        direct=True,
        person=person,
    )
    request = PoemRequest(
        opening=PEOPLE[person],
        glyphs=PEOPLE[person],
        form=FormName.WUJUE,
        script=Script.SIMPLIFIED,
    )
    return make_job(request, asked, Style(), client=PLATFORM, now_ms=NEVER_MS)
