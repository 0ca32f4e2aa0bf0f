"""Faults 23 and 24: poems of the day over a year of clocks that change, jump and compete.

The anthology and Valkey are real; clocks are injected, so that a year takes seconds.
"""

import asyncio
import json
import random
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis.asyncio import Redis

from bot import keys
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.daily import Poster
from bot.language import Language
from bot.message import Address
from bot.metrics import Metrics
from bot.settings import BotSettings
from bot.timetable import moment_of
from engine.client import EngineClient
from engine.jobs import Lane
from engine.keys import job as job_key
from engine.keys import jobs as jobs_key
from engine.keys import replies as replies_key
from tests.fakes.bot import BotProcess, sends_in_flight
from tests.fakes.engine import fake_engine
from tests.fakes.telegram import FakeTelegram
from tests.fakes.waiting import until

PLATFORM = "telegram"
DAY = timedelta(days=1)
START = datetime(2028, 1, 1, tzinfo=UTC)
"""Of a leap year."""
ZONES = {
    "telegram:1": ("Asia/Shanghai", time(8)),
    # Times that do not exist once a year and exist twice once, an hour or half an hour long.
    "telegram:2": ("America/New_York", time(2, 30)),
    "telegram:3": ("Europe/London", time(1, 30)),
    "telegram:4": ("Australia/Lord_Howe", time(1, 45)),
    # The hour after midnight, and the hour before it.
    "telegram:5": ("Africa/Cairo", time(0, 0)),
    "telegram:6": ("America/Scoresbysund", time(23, 30)),
}


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now.timestamp()


@pytest.fixture
def settings(valkey_url, tmp_path):
    return BotSettings(redis_url=valkey_url, data=tmp_path)


@pytest.fixture
async def anthology(settings):
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as opened:
        yield opened


def poster_of(anthology, redis, clock):
    return Poster(
        engine=EngineClient(redis),
        anthology=anthology,
        platform=PLATFORM,
        client=PLATFORM,
        metrics=Metrics(PLATFORM),
        clock=clock,
    )


async def posts(redis: Redis) -> Counter[tuple[str, date]]:
    """How many poems were asked for, by chat and local date."""
    entries: Any = await redis.xrange(jobs_key(Lane.BULK))
    jobs = (json.loads(fields[b"job"]) for _, fields in entries)
    return Counter((job["chat"], date.fromisoformat(job["id"][-10:])) for job in jobs)


async def forget_jobs(redis: Redis) -> None:
    """The queue remembers a job for two days; only the anthology remembers it for longer."""
    if known := [key async for key in redis.scan_iter(match=job_key("*"), count=1000)]:
        await redis.delete(*known)


def wrong_clocks(chosen: random.Random):
    """How wrong the clock is, again and again, and for how long; right in between."""
    wrongs = [sign * span for sign in (1, -1) for span in (timedelta(hours=1), DAY)]
    while True:
        yield timedelta(0), timedelta(hours=chosen.uniform(20, 60))
        yield chosen.choice(wrongs), timedelta(hours=chosen.uniform(0.1, 1))


@pytest.mark.only_by_make_faults
async def test_fault_23_a_year_of_poems_in_six_zones_by_a_clock_that_jumps(redis, anthology):
    chosen = random.Random(23)
    for chat, (zone, at) in ZONES.items():
        await anthology.schedules.start(
            Address(chat=chat), at=at, zone=zone, language=Language.ZH, now=START
        )
    clock, jumps, ticks = Clock(START), 0, 0
    poster = poster_of(anthology, redis, clock)
    now, end = START, START + 366 * DAY
    clocks = wrong_clocks(chosen)
    wrong, until_then = timedelta(0), START
    while now < end + timedelta(hours=3):
        if now >= until_then:
            # It is right on the first and on the last days, so that they can be counted.
            wrong, lasts = next(clocks) if START + 2 * DAY < now < end - 3 * DAY else (0 * DAY, DAY)
            until_then, jumps = now + lasts, jumps + (wrong != timedelta(0))
            await forget_jobs(redis)
        if chosen.random() < 0.02:
            poster = poster_of(anthology, redis, clock)
        clock.now = now + wrong
        await poster.tick()
        # Between two looks by a right clock less than six hours pass: what is later is not posted.
        now, ticks = now + timedelta(hours=chosen.uniform(1.5, 2.4)), ticks + 1
    counted = await posts(redis)
    wanted = {
        (chat, day)
        for chat, (zone, at) in ZONES.items()
        for day in (START.date() + n * DAY for n in range(-1, 367))
        if START < (moment_of(day, at, ZoneInfo(zone)) or START) <= end
    }
    per_day = [counted[slot] for slot in wanted]
    print(
        f"fault 23: 6 zones, {len(wanted)} local dates, {ticks} ticks, {jumps} times a clock an "
        f"hour or a day wrong: posts per chat and local date {min(per_day)} to {max(per_day)}"
    )
    assert len(wanted) == 6 * 366
    assert (min(per_day), max(per_day)) == (1, 1)
    assert max(counted.values()) == 1


async def many_due(anthology, count, now):
    """So many chats want their poem now."""
    for number in range(1, count + 1):
        await anthology.schedules.start(
            Address(chat=f"telegram:{number}"),
            at=now.time().replace(second=0, microsecond=0),
            zone="UTC",
            language=Language.ZH,
            now=now - timedelta(hours=1),
        )


async def test_fault_24_two_schedulers_at_once_post_once(redis, settings):
    chats, days = 40, 5
    now = START + timedelta(hours=8)
    async with AsyncExitStack() as stack:
        anthologies = [
            await stack.enter_async_context(
                Anthology.open(settings.anthology_url, settings.pseudonyms)
            )
            for _ in range(2)
        ]
        await many_due(anthologies[0], chats, now)
        clocks = [Clock(now) for _ in anthologies]
        posters = [
            poster_of(anthology, redis, clock)
            for anthology, clock in zip(anthologies, clocks, strict=True)
        ]
        for day in range(days):
            # They do not agree on the time either.
            for clock, apart in zip(clocks, (timedelta(0), timedelta(seconds=40)), strict=True):
                clock.now = now + day * DAY + apart
            put = await asyncio.gather(*(poster.tick() for poster in posters))
            assert sum(map(len, put)) == chats
    counted = await posts(redis)
    print(
        f"fault 24: two schedulers, {len(counted)} slots: posts per slot "
        f"{min(counted.values())} to {max(counted.values())}"
    )
    assert len(counted) == chats * days
    assert set(counted.values()) == {1}


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("point", ["before the job", "after the job", "before the note"])
async def test_fault_24_a_scheduler_killed_in_a_post_leaves_it_to_the_next(
    redis, settings, monkeypatch, point
):
    now = START + timedelta(hours=8)
    put, puts = EngineClient.put, 0

    async def dying_put(self, job):
        nonlocal puts
        puts += 1
        if point == "before the job" and puts == 4:
            raise KilledError
        admission = await put(self, job)
        if point == "after the job" and puts == 4:
            raise KilledError
        return admission

    async def dying_advance(self, looked, now):
        raise KilledError

    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:
        await many_due(anthology, 9, now)
        with monkeypatch.context() as dying:
            dying.setattr(EngineClient, "put", dying_put)
            # Whoever is killed writes nothing more.
            dying.setattr(type(anthology.schedules), "advance", dying_advance)
            with pytest.raises(KilledError):
                await poster_of(anthology, redis, Clock(now)).tick()
        await poster_of(anthology, redis, Clock(now + timedelta(minutes=1))).tick()
    counted = await posts(redis)
    assert len(counted) == 9
    assert set(counted.values()) == {1}


@pytest.mark.parametrize("new_is_known", [False, True])
async def test_a_chat_that_moves_while_its_poem_is_asked_for_gets_one(
    redis, anthology, monkeypatch, new_is_known
):
    now = START + timedelta(hours=8)
    put = EngineClient.put

    async def moved_meanwhile(self, job):
        admission = await put(self, job)
        await anthology.chats.move("telegram:1", "telegram:2")
        return admission

    if new_is_known:
        await anthology.chats.change("telegram:2", ChatSettings(), Language.ZH)
    await many_due(anthology, 1, now)
    monkeypatch.setattr(EngineClient, "put", moved_meanwhile)
    for late in range(3):
        await poster_of(anthology, redis, Clock(now + timedelta(minutes=late))).tick()
    assert set((await posts(redis)).values()) == {1}


@pytest.mark.only_by_make_faults
async def test_fault_24_a_leader_killed_while_it_posts_posts_nothing_twice(
    redis, settings, valkey_url, tmp_path
):
    chats = 100
    async with (
        Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology,
        FakeTelegram(latency_s=0.1).serve() as fake,
        fake_engine(redis),
    ):
        await many_due(anthology, chats, datetime.now(UTC) - timedelta(minutes=1))
        address = {"YUEFU_REDIS_URL": valkey_url, "YUEFU_TELEGRAM_API": fake.url}
        leader, follower = (BotProcess(tmp_path, **address) for _ in range(2))
        await leader.start()
        try:
            await fake.until(lambda: fake.polls > 0)
            await follower.start()
            await fake.until(lambda: len(fake.sent) >= chats // 2)
            await leader.kill()
            in_flight = await sends_in_flight(redis, PLATFORM)
            streams = (jobs_key(Lane.BULK), replies_key(PLATFORM), keys.outbox(PLATFORM))

            async def all_posted():
                left = [await redis.xlen(stream) for stream in streams]
                due = await anthology.schedules.due(PLATFORM, datetime.now(UTC), 1)
                return not any(left) and not due

            await until(all_posted, within_s=40)
        finally:
            await leader.kill()
            await follower.kill()
        counted = Counter(sent.chat_id for sent in fake.sent)
    lost = chats - len(counted)
    print(
        f"fault 24: {chats} chats, leader killed while posting with {in_flight} in flight: "
        f"posts per slot at most {max(counted.values())}, slots without a post {lost}"
    )
    assert max(counted.values()) == 1
    assert in_flight > 0
    assert lost <= in_flight
