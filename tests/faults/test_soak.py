"""Fault 36: hours at twice the load that can be served, with a fault at random every few seconds.

Valkey with its append-only file, two engines and the Telegram bot are processes of their own, the
Bot API is a fake. `SOAK_MINUTES=60 make soak` takes an hour, `make soak` ten minutes. What ends a
process comes in the first part only, so that in the last one memory can be watched.
"""

import asyncio
import os
import random
import time
from asyncio import to_thread
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

import pytest
from redis.asyncio import Redis

from benchmarks.processes import resident_bytes, used_s
from bot import keys, texts
from bot.language import Language
from engine import keys as engine_keys
from engine.client import EngineClient
from engine.jobs import Cell
from engine.queue import LANES
from engine.registry import Registry
from tests.fakes.bot import BotProcess, bot_process, sends_in_flight
from tests.fakes.crew import Crew, engine_crew
from tests.fakes.serving import small_registry
from tests.fakes.telegram import FakeTelegram
from tests.fakes.valkey import OwnValkey
from tests.fakes.waiting import until

PLATFORM = "telegram"
SEED = 36
LENGTH_S = 60 * float(os.environ.get("SOAK_MINUTES", "3"))
FAULT_EVERY_S = max(10.0, LENGTH_S / 30)
DEADLY_PART = 0.4
"""Of the length: engines and bots are killed in it."""
WATCHED = ((0.55, 0.65), (0.9, 1.0))
"""Parts of the length in which memory is compared."""
SAMPLE_S = 0.5
LOAD = 2.0
"""How many ask, to how many poems can be written."""
SLOW_ENGINE = ("-m", "tests.fakes.troubled", "slow", "25")
WORDS = (*["/poem 月"] * 8, "/help", "/poem hello")
RESTING = {text for language in Language for text in [texts.RESTING.say(language)]}
KINDS = ("bot", "valkey")
"""Of processes whose work for a request is told; an engine here does none."""
RSS_GROWTH = 0.05
KEPT_MAX = 64 * 1024
"""Bytes in Redis that may have no end to their life, however many have asked."""
DRAIN_S = 240.0
"""A poem is waited for a minute; the rest is for what lies in the outbox."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a process had and had used at one moment."""

    at_s: float
    memory: int
    """Bytes."""
    used_s: float
    """Of cores."""

    @classmethod
    def at(cls, pid: int, at_s: float) -> Self:
        """Look now."""
        return cls(at_s=at_s, memory=resident_bytes(pid), used_s=used_s(pid))


@dataclass(kw_only=True)
class Diary:
    """What processes had and used, looked at again and again."""

    looks: dict[str, list[Look]] = field(default_factory=dict)
    """By kind and process."""

    def note(self, kind: str, pid: int, at_s: float) -> None:
        """Look at one process, unless it has just died."""
        with suppress(OSError):
            look = Look.at(pid, at_s)
            self.looks.setdefault(f"{kind} {pid}", []).append(look)

    def lasting(self) -> dict[str, tuple[list[Look], list[Look]]]:
        """Of the processes that lived long enough, the looks of both parts of `WATCHED`."""
        found = {}
        for name, looks in self.looks.items():
            before, after = (
                [look for look in looks if first <= look.at_s / LENGTH_S <= last]
                for first, last in WATCHED
            )
            if before and after:
                found[name] = before, after
        return found

    def growth(self) -> dict[str, float]:
        """By how much they grew from one part to the other."""
        return {
            name: median(look.memory for look in after) / median(look.memory for look in before) - 1
            for name, (before, after) in self.lasting().items()
            if not name.startswith("valkey")  # which keeps a mark of every request for two days
        }

    def cores(self, kind: str) -> float:
        """What all of a kind used of cores, on average; for starting, too."""
        lives = [looks for name, looks in self.looks.items() if name.split()[0] == kind]
        return sum(looks[-1].used_s - looks[0].used_s for looks in lives) / LENGTH_S


@dataclass(kw_only=True)
class Soak:
    """People who ask for poems, the processes that write and tell, and whatever befalls them."""

    server: OwnValkey
    redis: Redis
    telegram: FakeTelegram
    bot: BotProcess
    engines: Crew
    registry: Registry
    champions: list[str]
    """Checkpoints that take turns."""
    chance: random.Random
    chats: int = 0
    """Each asks once."""
    in_flight: int = 0
    """Messages that were on their way when a bot was killed."""
    befell: Counter[str] = field(default_factory=Counter)
    diary: Diary = field(default_factory=Diary)

    async def ask(self, text: str) -> None:
        """Somebody else asks."""
        self.chats += 1
        await self.telegram.say(text, chat_id=self.chats)

    def answered(self) -> Counter[int]:
        """How often each chat was answered; that the poet rests is no answer."""
        return Counter(sent.chat_id for sent in self.telegram.sent if sent.text not in RESTING)

    async def capacity(self) -> float:
        """Poems a second that can be written."""
        count = 60
        for _ in range(count):
            await self.ask("/poem 月")
        await self.telegram.until(lambda: len(self.answered()) == self.chats, timeout_s=60)
        first, *_, last = sorted(sent.at_s for sent in self.telegram.sent)
        return (count - 1) / (last - first)

    async def ask_without_end(self, rate: float, began_s: float) -> None:
        """So many a second, whatever happens."""
        asked = 0
        while True:
            while asked < rate * (time.monotonic() - began_s):
                await self.ask(self.chance.choice(WORDS))
                asked += 1
            await asyncio.sleep(1 / rate)

    async def watch(self, began_s: float) -> None:
        """Look at all processes until cancelled."""
        while True:
            at_s = time.monotonic() - began_s
            self.diary.note("bot", self.bot.pid, at_s)
            self.diary.note("valkey", self.server.pid, at_s)
            for name in self.engines.names:
                self.diary.note("engine", int(name.rpartition("-")[2]), at_s)
            await asyncio.sleep(SAMPLE_S)

    async def suffer(self, began_s: float) -> None:
        """One fault after the other; every kind that may come does before any comes again."""
        faults: list[Callable[[], Awaitable[None]]] = []
        deadly = True
        for number in range(1, int(LENGTH_S / FAULT_EVERY_S)):
            at_s = number * FAULT_EVERY_S
            await asyncio.sleep(began_s + at_s - time.monotonic())
            if deadly and at_s > DEADLY_PART * LENGTH_S:
                deadly, faults = False, []
            if not faults:
                faults = [*self.harmless, *(self.deadly if deadly else ())]
                self.chance.shuffle(faults)
            fault = faults.pop()
            self.befell[fault.__name__] += 1
            await fault()

    @property
    def deadly(self) -> list[Callable[[], Awaitable[None]]]:
        """What ends an engine or a bot."""
        return [self.engine_killed, self.bot_killed]

    @property
    def harmless(self) -> list[Callable[[], Awaitable[None]]]:
        """What they live through."""
        return [
            self.redis_killed,
            self.redis_frozen,
            self.too_many_requests,
            self.platform_slow,
            self.model_promoted,
        ]

    async def engine_killed(self) -> None:
        self.engines.kill(self.chance.choice(self.engines.names))

    async def bot_killed(self) -> None:
        await self.bot.kill()
        self.in_flight += await sends_in_flight(self.redis, PLATFORM)
        await self.bot.start()

    async def redis_killed(self) -> None:
        self.server.kill()
        await to_thread(self.server.start)

    async def redis_frozen(self) -> None:
        self.server.freeze()
        try:
            await asyncio.sleep(min(FAULT_EVERY_S / 2, 30))
        finally:
            self.server.thaw()

    async def too_many_requests(self) -> None:
        self.telegram.flood.extend(self.chance.choices([1, 2], k=round(FAULT_EVERY_S / 4)))

    async def platform_slow(self) -> None:
        self.telegram.latency_s = 1.0
        await asyncio.sleep(FAULT_EVERY_S / 2)
        self.telegram.latency_s = 0.0

    async def model_promoted(self) -> None:
        self.champions.reverse()
        await to_thread(self.registry.promote, self.champions[0])

    async def drained(self) -> None:
        """Wait until nobody waits, and nothing does."""
        await self.telegram.until(
            lambda: not self.telegram.pending and len(self.answered()) == self.chats,
            timeout_s=DRAIN_S,
        )

        async def nothing_waits() -> bool:
            return not await self.pending()

        await until(nothing_waits, within_s=30)

    async def pending(self) -> int:
        """Entries left in any stream that is worked off."""
        streams = [keys.inbox(PLATFORM), keys.outbox(PLATFORM)]
        streams += [engine_keys.jobs(lane) for lane in LANES]
        streams += [one async for one in self.redis.scan_iter(match=engine_keys.replies("*"))]
        return sum([await self.redis.xlen(stream) for stream in streams])

    async def kept_for_ever(self) -> int:
        """Bytes in Redis of what has no end to its life."""
        names = [one async for one in self.redis.scan_iter(count=1000)]
        ends = [await self.redis.ttl(name) for name in names]
        lasting = [name for name, ttl_s in zip(names, ends, strict=True) if ttl_s < 0]
        return sum([await self.redis.memory_usage(name) or 0 for name in lasting])


@asynccontextmanager
async def soaking(server: OwnValkey, redis: Redis, folder: Path) -> AsyncIterator[Soak]:
    """The processes, all of them at work."""
    registry, champions = small_registry(folder / "models")
    async with (
        FakeTelegram().serve() as telegram,
        engine_crew(
            registry, server.url, *SLOW_ENGINE, YUEFU_SLOTS="2", YUEFU_CANDIDATES="1"
        ) as engines,
        bot_process(folder, YUEFU_REDIS_URL=server.url, YUEFU_TELEGRAM_API=telegram.url) as bot,
    ):
        await until(EngineClient(redis).cells, within_s=90)
        yield Soak(
            server=server,
            redis=redis,
            telegram=telegram,
            bot=bot,
            engines=engines,
            registry=registry,
            champions=champions,
            chance=random.Random(SEED),
        )


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(LENGTH_S + DRAIN_S + 300)
async def test_fault_36_a_soak_at_twice_the_load_loses_nothing_doubles_nothing_and_does_not_grow(
    own_server: OwnValkey, own_redis: Redis, tmp_path: Path
):
    async with soaking(own_server, own_redis, tmp_path) as soak:
        rate = LOAD * await soak.capacity()
        before, unhurried = await held(own_redis), soak.chats
        began_s = time.monotonic()
        others = [
            asyncio.create_task(soak.ask_without_end(rate, began_s)),
            asyncio.create_task(soak.watch(began_s)),
        ]
        await soak.suffer(began_s)
        await asyncio.sleep(began_s + LENGTH_S - time.monotonic())
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await soak.drained()
        pending, kept = await soak.pending(), await soak.kept_for_ever()
        marks = (await held(own_redis) - before - kept) / (soak.chats - unhurried)
        buried = await own_redis.xlen(engine_keys.DEAD) + await own_redis.xlen(keys.dead(PLATFORM))
        living = await EngineClient(own_redis).cells()
    answers, grown = soak.answered(), soak.diary.growth()
    lost, twice = soak.chats - len(answers), sum(answers.values()) - len(answers)
    growths = ", ".join(f"{name} {100 * growth:+.1f} %" for name, growth in grown.items())
    print(
        f"\nfault 36: {LENGTH_S / 60:.0f} minutes, {rate:.1f} requests a second where "
        f"{rate / LOAD:.1f} poems can be written, faults {dict(soak.befell)}; asked {soak.chats}, "
        f"lost {lost}, doubled {twice} (on their way as a bot was killed {soak.in_flight}), "
        f"pending {pending}, buried {buried}; growth of memory: {growths}; in Valkey for ever "
        f"{kept} bytes, for two days {marks:.0f} a request; ms of a core a request: "
        + ", ".join(f"{kind} {1000 * soak.diary.cores(kind) / rate:.1f}" for kind in KINDS)
    )
    assert lost == 0
    assert twice <= soak.in_flight
    assert (pending, buried) == (0, 0)
    assert living[Cell.GRU] == soak.champions[0]
    assert {name.split()[0] for name in grown} >= {"bot", "engine"}
    assert max(grown.values()) < RSS_GROWTH
    assert kept < KEPT_MAX
    assert "Traceback" not in soak.bot.log() + (tmp_path / "engine.log").read_text()


async def held(redis: Redis) -> int:
    """Bytes that Redis holds, but for what is on its way to clients."""
    info = await redis.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"])
