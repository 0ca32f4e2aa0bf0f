"""Faults 5, 6 and 7: Redis emptied, frozen or full, and what people hear of it.

The server, the engine and the bot are processes of their own, the Bot API is a fake; each test ends
by printing its figure.
"""

import asyncio
import itertools
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from bot import keys, texts
from bot.inbox import Inbox
from bot.language import Language
from bot.telegram.inbox import Poller
from engine.client import Admitted, EngineClient, Quota, Rate, Whose
from engine.jobs import Lane
from tests.fakes.bot import BotProcess, bot_process
from tests.fakes.jobs import a_job
from tests.fakes.serving import engine_process, small_registry
from tests.fakes.telegram import TOKEN, FakeTelegram, Sent
from tests.fakes.valkey import OwnValkey
from tests.fakes.waiting import until

PLATFORM = "telegram"
# Slow enough that people wait, as for models that are worth it.
SLOW_ENGINE = ("-m", "tests.fakes.troubled", "slow", "25")
ROWS = 4
FEW_ROWS = {"YUEFU_SLOTS": f"{ROWS}", "YUEFU_CANDIDATES": "1"}
RESTING = texts.RESTING.say(Language.ZH)
BUSY = texts.BUSY.say(Language.ZH)


@dataclass(kw_only=True)
class Town:
    """People who ask for poems, and the processes that write and tell."""

    telegram: FakeTelegram
    redis: Redis
    engine: Process
    bot: BotProcess
    log: Path
    asked_at_s: dict[int, float] = field(default_factory=dict)
    """When each person asked, by their chat."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def ask(self, count: int = 1) -> list[int]:
        """So many people, each alone with the bot, ask for a poem; their chats."""
        chats = [next(self._numbers) for _ in range(count)]
        for chat in chats:
            self.asked_at_s[chat] = time.monotonic()
            await self.telegram.say("/poem 月", chat_id=chat)
        return chats

    def answers(self) -> list[Sent]:
        """All that was said in answer, but that the poet rests."""
        return [sent for sent in self.telegram.sent if sent.text != RESTING]

    def poems(self) -> list[Sent]:
        """All poems that were shown; buttons are below nothing else here."""
        return [sent for sent in self.telegram.sent if sent.keyboard]

    def told_after_s(self, text: str, chats: list[int]) -> list[float]:
        """How long each of `chats` that was told `text` waited for it."""
        return [
            sent.at_s - self.asked_at_s[sent.chat_id]
            for sent in self.telegram.sent
            if sent.text == text and sent.chat_id in chats
        ]

    async def all_have_poems(self, chats: list[int], *, within_s: float = 30) -> None:
        await self.telegram.until(
            lambda: {sent.chat_id for sent in self.poems()} >= set(chats), timeout_s=within_s
        )

    async def ask_for_s(self, seconds: float) -> list[int]:
        """So long, one more person a second asks for a poem; their chats."""
        chats, until_s = list[int](), time.monotonic() + seconds
        while time.monotonic() < until_s:
            chats += await self.ask()
            await asyncio.sleep(1)
        return chats

    async def wait_in_queue(self, count: int) -> tuple[list[int], int]:
        """So many people ask, and the bot has put it: their chats, and how many wait still."""
        before = len(self.poems())
        chats = await self.ask(count)
        await until(lambda: _handled(self, count))
        return chats, count + before - len(self.poems())

    async def answered_after_s(self, chats: list[int]) -> float:
        """How long it takes from now until all of `chats` have poems and nothing is left to do."""
        began_s = time.monotonic()
        await self.all_have_poems(chats, within_s=60)
        took_s = time.monotonic() - began_s
        await self.settled()
        return took_s

    async def settled(self) -> None:
        """Wait until nothing is left to do."""

        async def empty() -> bool:
            streams = (keys.inbox(PLATFORM), keys.outbox(PLATFORM))
            return not sum([await self.redis.xlen(stream) for stream in streams])

        await until(empty, within_s=20)
        await until(lambda: idle(self.redis), within_s=20)

    @property
    def twice(self) -> int:
        """Answers beyond the one that each person was to have."""
        return sum(count - 1 for count in Counter(sent.chat_id for sent in self.answers()).values())

    @property
    def unanswered(self) -> int:
        return len(self.asked_at_s.keys() - {sent.chat_id for sent in self.answers()})

    @property
    def are_alive(self) -> bool:
        """Whether both processes are those that were started."""
        return self.engine.returncode is None and self.bot.is_alive

    def told_of_traceback(self) -> bool:
        return "Traceback" in self.bot.log() + self.log.read_text()


async def idle(redis: Redis) -> bool:
    return (await EngineClient(redis).depth())[Lane.CHAT] == 0


@asynccontextmanager
async def town(
    server: OwnValkey,
    redis: Redis,
    folder: Path,
    **settings: str,
) -> AsyncIterator[Town]:
    """A town in which somebody has had a poem already."""
    registry, _ = small_registry(folder / "models", gru=1)
    async with (
        FakeTelegram().serve() as telegram,
        engine_process(
            registry, server.url, EngineClient(redis), program=SLOW_ENGINE, **settings
        ) as engine,
        bot_process(folder, YUEFU_REDIS_URL=server.url, YUEFU_TELEGRAM_API=telegram.url) as bot,
    ):
        found = Town(
            telegram=telegram, redis=redis, engine=engine, bot=bot, log=folder / "engine.log"
        )
        await found.all_have_poems(await found.ask(), within_s=60)
        yield found


# Fault 5


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(240)
async def test_fault_5_whoever_waits_while_redis_is_emptied_is_answered(
    own_server: OwnValkey, own_redis: Redis, tmp_path: Path
):
    # Four rows for forty people: nearly all of them wait in the queue.
    async with town(own_server, own_redis, tmp_path, **FEW_ROWS) as people:
        waiting, waited = await people.wait_in_queue(40)
        await own_redis.flushall()
        emptied_s, shown = time.monotonic(), len(people.poems())
        after = await people.ask()
        # Those that were being written come in any case.
        await people.telegram.until(lambda: len(people.poems()) > shown + ROWS)
        recovery_s = time.monotonic() - emptied_s
        await people.all_have_poems([*waiting, *after])
        await people.settled()
        alive = people.are_alive
    print(
        f"\nfault 5: redis emptied while {waited} people waited, of them unanswered "
        f"{people.unanswered}, answered twice {people.twice}, the first of them "
        f"answered after {recovery_s:.2f} s, processes restarted {0 if alive else 1}"
    )
    assert (people.unanswered, people.twice, alive) == (0, 0, True)
    assert waited > len(waiting) / 2
    assert recovery_s <= 5


async def _handled(people: Town, count: int) -> bool:
    """Whether the bot has put what so many people asked for."""
    done = people.bot.log().count("kind=PoemRequest") + people.bot.log().count('"PoemRequest"')
    return done > count and not await people.redis.xlen(keys.inbox(PLATFORM))


# Fault 6

FROZEN_S = 30


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(240)
async def test_fault_6_while_redis_is_frozen_people_hear_that_the_poet_rests(
    own_server: OwnValkey, own_redis: Redis, tmp_path: Path
):
    async with town(own_server, own_redis, tmp_path) as people:
        at_work = await people.ask(20)
        await until(lambda: _some_run(own_redis))
        own_server.freeze()
        frozen = await people.ask_for_s(FROZEN_S)
        own_server.thaw()
        recovery_s = await people.answered_after_s([*at_work, *frozen])
        alive = people.are_alive
    told = people.told_after_s(RESTING, frozen)
    print(
        f"\nfault 6: redis frozen for {FROZEN_S} s, people who asked meanwhile {len(frozen)}, told "
        f"that the poet rests {len(told)}, the last after {max(told):.2f} s; those at work "
        f"{len(at_work)}; unanswered {people.unanswered}, answered twice {people.twice}, all "
        f"answered {recovery_s:.2f} s after the thaw, processes restarted {0 if alive else 1}"
    )
    assert len(told) == len(frozen)
    assert (people.unanswered, people.twice, alive) == (0, 0, True)


async def test_fault_6_what_a_frozen_redis_cannot_store_stays_with_telegram(
    own_server: OwnValkey, own_redis: Redis
):
    told: dict[int, float] = {}

    async def tell(update: dict[str, Any]) -> None:
        told.setdefault(update["update_id"], time.monotonic())

    async def heard(update: int) -> None:
        async def is_told() -> bool:
            return update in told

        await until(is_told)

    async with (
        FakeTelegram().serve() as telegram,
        httpx.AsyncClient(base_url=f"{telegram.url}/bot{TOKEN}/") as http,
    ):
        poller = Poller(inbox := Inbox(own_redis, PLATFORM), http, tell=tell, poll_s=0)
        own_server.freeze()
        asked = {}
        for number in range(3):
            update = await telegram.say("/poem 月")
            asked[update] = time.monotonic()
            if number == 0:
                polling = asyncio.create_task(poller.poll())
            await heard(update)
        kept = set(telegram.pending)
        own_server.thaw()
        await polling
        await poller.poll()
        stored = await inbox.backlog()
    slowest = max(told[update] - asked_s for update, asked_s in asked.items())
    print(
        f"\nfault 6: redis frozen, updates {len(asked)}, told that the poet rests {len(told)}, the "
        f"last after {slowest:.2f} s, confirmed before they were stored {len(asked) - len(kept)}, "
        f"stored after the thaw {stored}"
    )
    assert (len(told), len(kept), stored) == (3, 3, 3)
    assert slowest <= 2


async def _some_run(redis: Redis) -> bool:
    return not await idle(redis)


# Fault 7


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(240)
async def test_fault_7_with_redis_out_of_memory_the_engine_drains_and_people_are_told(
    own_server: OwnValkey, own_redis: Redis, tmp_path: Path
):
    async with town(own_server, own_redis, tmp_path, **FEW_ROWS) as people:
        waiting, waited = await people.wait_in_queue(20)
        await own_redis.config_set("maxmemory", 1)
        refused = await people.ask(10)
        await people.telegram.until(lambda: len(people.told_after_s(BUSY, refused)) == len(refused))
        await people.all_have_poems(waiting)
        await people.settled()
        # Longer than a heartbeat lives.
        await asyncio.sleep(6)
        refused += await people.ask()
        await people.telegram.until(lambda: len(people.told_after_s(BUSY, refused)) == len(refused))
        await own_redis.config_set("maxmemory", 0)
        await people.all_have_poems(await people.ask())
        await people.settled()
        alive = people.are_alive
    told = people.told_after_s(BUSY, refused)
    print(
        f"\nfault 7: redis out of memory while {waited} people waited, all of them answered, "
        f"{len(refused)} who asked then told within {max(told):.2f} s, unanswered "
        f"{people.unanswered}, answered twice {people.twice}, processes restarted "
        f"{0 if alive else 1}"
    )
    assert (people.unanswered, people.twice, alive) == (0, 0, True)
    assert waited > 0
    assert max(told) <= 1


async def test_fault_7_with_memory_full_no_job_slips_in_whatever_its_quotas(redis: Redis):
    quota = Quota(whose=Whose.PERSON, name="p", in_flight=3, rates=(Rate(count=9, window_s=60),))
    client = EngineClient(redis)
    assert (await client.put(a_job("before"), [quota])).status is Admitted.ACCEPTED
    await redis.config_set("maxmemory", 1)
    try:
        statuses = [(await client.put(a_job(f"{n}"), [quota])).status for n in range(5)]
        statuses += [(await client.put(a_job(f"free {n}"))).status for n in range(5)]
    finally:
        await redis.config_set("maxmemory", 0)
    print(f"\nfault 7: redis out of memory, jobs let in {statuses.count(Admitted.ACCEPTED)} of 10")
    assert set(statuses) == {Admitted.FULL}


FULL_S = 10


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(240)
async def test_fault_7_with_the_disk_full_people_hear_that_the_poet_rests(
    own_server: OwnValkey, own_redis: Redis, tmp_path: Path
):
    async with town(own_server, own_redis, tmp_path) as people:
        own_server.fill_disk()
        at_work = await people.ask(3)
        await until(lambda: _is_full(own_redis))
        rested = await people.ask_for_s(FULL_S)
        own_server.free_disk()
        recovery_s = await people.answered_after_s([*at_work, *rested])
        alive = people.are_alive
    told = people.told_after_s(RESTING, rested)
    print(
        f"\nfault 7: redis out of disk for {FULL_S} s, people who asked meanwhile {len(rested)}, "
        f"told that the poet rests {len(told)}, the last after {max(told):.2f} s, unanswered "
        f"{people.unanswered}, answered twice {people.twice}, all answered {recovery_s:.2f} s "
        f"after there was room, processes restarted {0 if alive else 1}"
    )
    assert len(told) == len(rested)
    assert (people.unanswered, people.twice, alive) == (0, 0, True)
    assert max(told) <= 1


async def _is_full(redis: Redis) -> bool:
    return bool((await redis.info("persistence"))["aof_last_write_status"] != "ok")
