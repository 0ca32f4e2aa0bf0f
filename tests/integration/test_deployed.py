"""What is shipped in `deploy/` works: with its users each process does its own work and no more."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis

from bot import keys as bot_keys
from bot.budget import Allowance, Budget, Halt, Pace
from bot.inbox import Inbox
from bot.leftovers import Leftovers
from bot.mark import mark, mark_once
from bot.message import Address, Message
from bot.outbox import Outbox
from bot.shelf import Shelf
from bot.vigil import WatchfulEngine
from engine import dead, keys, orders
from engine.bulletin import Bulletin, latest, publish
from engine.client import EngineClient, Quota, Rate, Whose
from engine.heartbeat import Heartbeat, beat, living
from engine.jobs import Cell, Lane
from engine.orders import Obstacle, Order
from engine.queue import Lease, Queue
from tests.fakes.bot import bot_process
from tests.fakes.deployed import DeployedValkey, deployed_valkey
from tests.fakes.jobs import a_job, a_poem
from tests.fakes.serving import engine_process, small_registry
from tests.fakes.telegram import FakeTelegram
from trainer import keys as trainer_keys
from trainer.lock import NoLockError, holding

PLATFORMS = ("telegram", "discord")
ENGINE, TRAINER, OPERATOR = ("engine",), ("trainer",), ("operator",)
USERS = (*PLATFORMS, *ENGINE, *TRAINER, "keda", *OPERATOR)
CHAT_JOBS = keys.jobs(Lane.CHAT)
ORDER = Order(cell=Cell.GRU, expected="gru-test", id="order")
HEARTBEAT = Heartbeat(worker="worker", cells={Cell.GRU: "gru-test"}, slots=1, since_ms=0)
QUOTA = Quota(whose=Whose.PERSON, name="p", in_flight=1000, rates=(Rate(count=1000, window_s=60),))
MESSAGE = Message(id="t:1", address=Address(chat="telegram:1"), text="a message")
PACE = Pace(every_ms=1, burst=1000)
REFUSALS = (
    "No permissions",
    "NOPERM",
    "has no permissions",
    # Of Redis 7.0, in scripts.
    "The user executing the script can't",
    "DEBUG command not allowed",
)
_NUMBERS = count()


@dataclass(frozen=True)
class World:
    """Everybody who has a password, logged in."""

    logins: dict[str, Redis]

    async def has_put(self, platform: str = "telegram") -> str:
        """The id of a job that a platform has put."""
        job = a_job(f"test:{next(_NUMBERS)}", client=platform)
        await EngineClient(self.logins[platform]).put(job, (QUOTA,))
        return job.id

    async def has_leased(self) -> Lease:
        """A job that the engine has taken."""
        await self.has_put()
        [lease, *_] = await Queue(self.logins["engine"], worker="worker").take(1)
        return lease

    async def has_buried(self) -> str:
        """The id of what the engine buried last."""
        await Queue(self.logins["engine"], worker="worker").bury(await self.has_leased(), "a test")
        return [entry.id async for entry in dead.listed(self.logins["operator"])][-1]

    async def holds(self) -> dict[bytes, bytes]:
        """Every key, and what is in it; by whoever may read all."""
        operator = self.logins["operator"]
        names = [name async for name in operator.scan_iter(count=1000)]
        async with operator.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.dump(name)
            return dict(zip(names, await pipe.execute(), strict=True))


@pytest.fixture(scope="module")
def server() -> Iterator[DeployedValkey]:
    with deployed_valkey() as valkey:
        yield valkey


@pytest.fixture
async def world(server: DeployedValkey) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        logins = {user: await stack.enter_async_context(server.login(user)) for user in USERS}
        yield World(logins)


async def _nothing(_: World) -> None:
    """Nothing has to be there."""


@dataclass(frozen=True)
class Verb:
    """Something that some of the users may do."""

    name: str
    whose: tuple[str, ...]
    do: Callable[[Redis, Any], Awaitable[Any]]
    """Does it as whoever has logged in, to what is there for it."""
    needs: Callable[[World], Awaitable[Any]] = _nothing
    """Has that be there, by those who may."""


async def _hold_a_night(redis: Redis) -> None:
    async with holding(redis) as hold:
        await hold.check()
        await redis.set(trainer_keys.ended("2026-11-21"), "done", ex=trainer_keys.ENDED_TTL_S)
        await redis.exists(trainer_keys.ended("2026-11-21"))


async def _retry(redis: Redis, entry_id: str) -> None:
    await dead.retry(redis, await dead.find(redis, entry_id))


async def _keep_an_inbox(redis: Redis, platform: str) -> None:
    inbox = Inbox(redis, platform)
    number = next(_NUMBERS)
    await inbox.store({number: {"update_id": number}, number + 10**6: {}})
    for entry, deal_with in zip(
        await inbox.take(), (inbox.done, lambda it: inbox.bury(it, "of a test")), strict=False
    ):
        await deal_with(entry)
    await inbox.backlog()


async def _keep_an_outbox(redis: Redis, platform: str) -> None:
    outbox = Outbox(redis, platform)
    await outbox.put(MESSAGE)
    for letter in await outbox.take(64):
        await outbox.begin(letter)
        await outbox.withdraw(letter)
        await outbox.finish(letter)


async def _keep_to_the_pace(redis: Redis, platform: str) -> None:
    allowance = Allowance(everywhere=PACE, chat=PACE, group=PACE)
    await Budget(redis, platform, allowance).wait("1", group=True)
    await Halt(redis, platform).hold(0.001)
    await Halt(redis, platform).over()


async def _keep_a_lease(redis: Redis, platform: str) -> None:
    # Not by its own class, which would wait for it without end.
    key = bot_keys.lease(platform)
    hold = redis.register_script("return redis.call('SET', KEYS[1], 'x', 'NX', 'PX', 1)")
    await hold(keys=[key], args=[])
    await redis.register_script("return redis.call('GET', KEYS[1])")(keys=[key], args=[])


async def _keep_counters(redis: Redis, platform: str) -> None:
    key = bot_keys.tallies(platform)
    await redis.zadd(key, {"poem": time.time()}, nx=True)
    await redis.zrange(key, 0, time.time(), byscore=True, offset=0, num=64)
    await redis.zrem(key, "poem")


async def _keep_marks(redis: Redis, platform: str) -> None:
    await mark_once(redis, bot_keys.refused(platform, "1"), ttl_s=60)
    await mark(redis, bot_keys.ticket(platform, "1"), "ticket", ttl_s=60)
    await redis.get(bot_keys.ticket(platform, "1"))
    await redis.get(bot_keys.commands(platform))
    await redis.set(bot_keys.commands(platform), "mark")


async def _keep_notices(redis: Redis) -> None:
    key = bot_keys.notices("telegram")
    await redis.hset(key, "menu", "digest")
    await redis.hgetall(key)
    await redis.hdel(key, "menu")


async def _watch_over_a_job(redis: Redis) -> None:
    engine = WatchfulEngine(redis)
    await engine.put(a_job("test:watched"), (QUOTA,))
    await engine.look()


async def _keep_a_shelf(redis: Redis) -> None:
    shelf = Shelf(redis, "telegram")
    await shelf.add("wish", a_poem(a_job()))
    await shelf.poems("wish")
    await shelf._make_room(1)


def _verbs_of(platform: str) -> list[Verb]:
    """What one platform does."""
    whose = (platform,)
    return [
        Verb("outcomes", whose, lambda it, _: EngineClient(it).outcomes(platform, "x", wait_ms=1)),
        Verb("done", whose, lambda it, _: it.xdel(keys.replies(platform), "1-1")),
        Verb("inbox", whose, lambda it, _: _keep_an_inbox(it, platform)),
        Verb("outbox", whose, lambda it, _: _keep_an_outbox(it, platform)),
        Verb("pace", whose, lambda it, _: _keep_to_the_pace(it, platform)),
        Verb("lease", whose, lambda it, _: _keep_a_lease(it, platform)),
        Verb("counters", whose, lambda it, _: _keep_counters(it, platform)),
        Verb("marks", whose, lambda it, _: _keep_marks(it, platform)),
        Verb("forget", whose, lambda it, _: Leftovers(it, platform).forget(f"{platform}:4242")),
    ]


def _raw(whose: tuple[str, ...], *words: str) -> Verb:
    """A command as it is sent by somebody who does not use our code."""
    return Verb(" ".join(words), whose, lambda it, _: it.execute_command(*words))


VERBS = [
    *_verbs_of("telegram"),
    *_verbs_of("discord"),
    Verb("notices", ("telegram",), lambda it, _: _keep_notices(it)),
    Verb("shelf", ("telegram",), lambda it, _: _keep_a_shelf(it)),
    Verb(
        "outcomes for inline questions",
        ("telegram",),
        lambda it, _: EngineClient(it).outcomes("telegram.inline", "x"),
    ),
    # Jobs, from where they are put to where they are finished.
    Verb("put", PLATFORMS, lambda it, _: EngineClient(it).put(a_job("test:put"), (QUOTA,))),
    Verb("cancel", PLATFORMS, lambda it, job: EngineClient(it).cancel(job), World.has_put),
    Verb("watch over what was asked", PLATFORMS, lambda it, _: _watch_over_a_job(it)),
    Verb("take", ENGINE, lambda it, _: Queue(it, worker="other").take(64), World.has_put),
    Verb(
        "renew", ENGINE, lambda it, job: Queue(it, worker="worker").renew([job]), World.has_leased
    ),
    Verb(
        "finish",
        ENGINE,
        lambda it, job: Queue(it, worker="worker").finish(job, a_poem(job.job)),
        World.has_leased,
    ),
    Verb(
        "bury",
        ENGINE,
        lambda it, job: Queue(it, worker="worker").bury(job, "of a test"),
        World.has_leased,
    ),
    Verb(
        "look who was cancelled",
        (*ENGINE, *OPERATOR),
        lambda it, job: Queue(it, worker="worker").cancelled([job]),
        World.has_leased,
    ),
    Verb("find what is buried", (*PLATFORMS, *OPERATOR), dead.find, World.has_buried),
    Verb(
        "retry what was buried",
        OPERATOR,
        _retry,
        World.has_buried,
    ),
    # What processes tell each other.
    Verb("beat", ENGINE, lambda it, _: beat(it, HEARTBEAT)),
    Verb("living", (*PLATFORMS, *ENGINE, *OPERATOR), lambda it, _: living(it)),
    Verb("order a rollback", PLATFORMS, lambda it, _: orders.give(it, ORDER)),
    Verb("withdraw an order", PLATFORMS, lambda it, _: orders.withdraw(it, ORDER)),
    Verb("read orders", (*ENGINE, *OPERATOR), lambda it, _: orders.standing(it)),
    Verb("refuse an order", ENGINE, lambda it, _: orders.refuse(it, ORDER, Obstacle.NOTHING)),
    Verb("read a refusal", (*PLATFORMS, *OPERATOR), lambda it, _: orders.refusal(it, ORDER)),
    Verb("publish a bulletin", TRAINER, lambda it, _: publish(it, Bulletin(told_ms=1))),
    Verb("read the bulletin", (*PLATFORMS, *OPERATOR), lambda it, _: latest(it)),
    Verb("hold a night", TRAINER, lambda it, _: _hold_a_night(it)),
    # What is done beside our code, to get around it.
    _raw((*PLATFORMS, *OPERATOR), "XADD", CHAT_JOBS, "*", "id", "x", "client", "x", "job", "{}"),
    _raw((*ENGINE, "keda", *OPERATOR), "XINFO", "GROUPS", CHAT_JOBS),
    _raw((*PLATFORMS, *ENGINE, *OPERATOR), "XLEN", CHAT_JOBS),
    _raw((*ENGINE, *OPERATOR), "XLEN", keys.DEAD),
    _raw(ENGINE, "XREADGROUP", "GROUP", keys.GROUP, "x", "STREAMS", CHAT_JOBS, ">"),
    _raw(ENGINE, "XDEL", CHAT_JOBS, "1-1"),
    _raw(ENGINE, "XADD", keys.replies("telegram"), "*", "outcome", "{}"),
    _raw((), "XADD", "yuefu:night", "*", "x", "x"),
    _raw((), "DEL", CHAT_JOBS),
    _raw((), "XTRIM", CHAT_JOBS, "MAXLEN", "0"),
    _raw((), "SET", "elsewhere", "1"),
    _raw((), "GET", "elsewhere"),
    _raw((), "EVAL", f"return redis.call('DEL', '{CHAT_JOBS}')", "0"),
    _raw(OPERATOR, "SCAN", "0"),
    _raw(OPERATOR, "ACL", "LOAD"),
    _raw(OPERATOR, "CLIENT", "LIST"),
    _raw(OPERATOR, "CONFIG", "GET", "maxmemory-policy"),
    _raw(("keda", *OPERATOR), "INFO"),
    *(
        _raw((), *command.split())
        for command in (
            "ACL LIST",
            "ACL SETUSER thief on nopass +@all ~*",
            "BGREWRITEAOF",
            "CLIENT KILL TYPE normal",
            "CLIENT PAUSE 1",
            "CLIENT UNBLOCK 1",
            "CLUSTER RESET",
            "CONFIG SET maxmemory 1",
            "DEBUG SLEEP 0",
            "FAILOVER",
            "FLUSHALL",
            "FLUSHDB",
            "FUNCTION FLUSH",
            "KEYS *",
            "MIGRATE 127.0.0.1 1 x 0 1",
            "MODULE LIST",
            "MONITOR",
            "PUBLISH x x",
            "REPLICAOF 127.0.0.1 1",
            "SAVE",
            "SCRIPT FLUSH",
            "SHUTDOWN ABORT",
            "SUBSCRIBE x",
            "SWAPDB 0 1",
        )
    ),
]


async def _is_refused(attempt: Awaitable[Any]) -> bool:
    """Whether the server says that this user may not."""
    try:
        await attempt
    except exceptions.ExecAbortError:
        # A transaction of which a command was refused before.
        return True
    except (exceptions.RedisError, NoLockError) as error:
        return any(sign in str(error) for sign in REFUSALS)
    return False


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.whose], ids=lambda verb: verb.name)
async def test_whose_work_it_is_may_do_it(world: World, verb: Verb):
    for user in verb.whose:
        there = await verb.needs(world)
        await verb.do(world.logins[user], there)


async def test_fault_34_nobody_may_do_the_work_of_another(world: World):
    """Each user tries what only others may: it is refused, and nothing has changed."""
    tried, allowed = 0, []
    for verb in VERBS:
        for user in set(USERS) - set(verb.whose):
            there = await verb.needs(world)
            before = await world.holds()
            refused = await _is_refused(verb.do(world.logins[user], there))
            after = await world.holds()
            tried += 1
            # What has a time to live may end meanwhile.
            if not refused or not after.items() <= before.items():
                allowed.append(f"{user}: {verb.name}")
    print(f"\nfault 34: {tried} times a user tried what is another's: allowed {len(allowed)}")
    assert allowed == [], "\n".join(allowed)


@pytest.mark.timeout(120)
async def test_bot_and_engine_work_with_the_users_and_secrets_that_are_shipped(tmp_path: Path):
    """Real processes, each with its own password from a file; the server had nothing to refuse."""
    registry, _ = small_registry(tmp_path / "models")
    with deployed_valkey() as server:
        secrets = {
            "YUEFU_REDIS_URL_FILE": "redis-telegram.url",
            "YUEFU_PSEUDONYM_KEY_FILE": "pseudonym-key",
        }
        async with (
            server.login("telegram") as bots,
            server.login("operator") as operator,
            FakeTelegram().serve() as fake,
            engine_process(registry, server.url("engine"), EngineClient(bots)),
            bot_process(
                tmp_path,
                YUEFU_TELEGRAM_API=fake.url,
                YUEFU_CURATORS="telegram:1",
                **{name: str(server.secrets / file) for name, file in secrets.items()},
            ) as bot,
        ):
            for text in ("/poem 月", "/model", "/privacy", "/top", "/rollback gru"):
                await fake.say(text, chat_id=1)
            await fake.until(lambda: len(fake.texts(1)) >= 5, timeout_s=40)
            await fake.type_inline("山")
            await fake.until(lambda: bool(fake.inline))
            assert await bot.stop() == 0
            assert any(text.startswith("月") for text in fake.texts(1))
            assert await operator.execute_command("ACL", "LOG") == []


async def test_a_password_is_changed_while_processes_work(server: DeployedValkey):
    """The old one is good until it is retired, so nobody is without one in between."""
    async with server.login("operator") as operator, server.login("trainer") as old:
        server.secrets_sh("rotate", "trainer")
        await operator.execute_command("ACL", "LOAD")
        async with server.login("trainer") as new:
            await publish(old, Bulletin(told_ms=1))
            await publish(new, Bulletin(told_ms=2))
            server.secrets_sh("retire", "trainer")
            await operator.execute_command("ACL", "LOAD")
            await publish(new, Bulletin(told_ms=3))
            await old.connection_pool.disconnect()
            with pytest.raises(exceptions.ConnectionError, match="invalid username-password"):
                await publish(old, Bulletin(told_ms=4))


async def test_what_scales_the_engines_sees_how_many_jobs_wait(world: World):
    """Those that run, have ended or were cancelled do not count, and never hide the number."""
    engine = Queue(world.logins["engine"], worker="worker")
    platform = EngineClient(world.logins["telegram"])

    async def lag() -> Any:
        [group] = await world.logins["keda"].xinfo_groups(CHAT_JOBS)
        return group["lag"]

    while leases := await engine.take(64):
        for lease in leases:
            await engine.finish(lease, a_poem(lease.job))
    assert await lag() == 0
    for _ in range(5):
        await platform.cancel(await world.has_put())
    for _ in range(11):
        await world.has_put()
    assert await lag() == 16
    running = await engine.take(9)
    assert (len(running), await lag()) == (9, 2)
    await engine.finish(running[0], a_poem(running[0].job))
    assert await lag() == 2
