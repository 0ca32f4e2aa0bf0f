"""Fault 18, and a bot that is killed while Telegram calls it.

The Bot API is a fake that calls as Telegram does; the bot is a process of its own; Valkey is real;
the engine answers with made-up poems.
"""

import asyncio
import itertools
import json
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from bot import keys
from tests.fakes.bot import BotProcess, bot_process
from tests.fakes.engine import fake_engine
from tests.fakes.ports import free_port
from tests.fakes.telegram import FakeTelegram, message_update

PLATFORM = "telegram"
MIB = 1 << 20
CHUNK = 1 << 16
FORGED = 240
FORGED_BYTES = 10 * MIB
AT_ONCE = 12
"""Forged calls under way at once."""

DIES = """
import os, signal
from bot.__main__ import main
from bot.inbox import Inbox

store = Inbox.store


async def store_and_die(self, updates):
    await store(self, updates)
    os.kill(os.getpid(), signal.SIGKILL)


Inbox.store = store_and_die
main()
"""
"""A bot that dies between keeping an update and saying so."""


@pytest.fixture
async def fake():
    async with FakeTelegram().serve() as telegram:
        yield telegram


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def settings(fake, valkey_url, port):
    return {
        "YUEFU_REDIS_URL": valkey_url,
        "YUEFU_TELEGRAM_API": fake.url,
        "YUEFU_WEBHOOK_URL": f"http://127.0.0.1:{port}",
        "YUEFU_LISTEN": f"127.0.0.1:{port}",
    }


def memory(pid):
    """What a process holds in memory, and the most that it ever held, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return tuple(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def forgeries(secret):
    """Calls that no Telegram made: the headers of each, without end."""
    secrets = (None, "", "wrong", secret[:-1], secret + "x", secret)
    lengths = (f"Content-Length: {FORGED_BYTES}", "Transfer-Encoding: chunked")
    for given, length in itertools.cycle(itertools.product(secrets, lengths)):
        header = "" if given is None else f"X-Telegram-Bot-Api-Secret-Token: {given}\r\n"
        yield (
            "POST /telegram HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"{header}{length}\r\n\r\n"
        )


async def forge(port, head):
    """Send a forged update in a body of ten megabytes, all that is taken of it; the status."""
    chunked = "chunked" in head
    update = json.dumps(message_update(1, "/help", chat_id=666)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode())
        with suppress(ConnectionError):
            for number in range(FORGED_BYTES // CHUNK):
                part = (update if number == 0 else b"").ljust(CHUNK)
                writer.write(b"%x\r\n%b\r\n" % (CHUNK, part) if chunked else part)
                await writer.drain()
        with suppress(ConnectionError):
            return (await reader.readline()).split()[1:2]
        return None
    finally:
        writer.close()


@pytest.mark.only_by_make_faults
async def test_fault_18_forged_calls_are_not_accepted_and_not_kept(
    fake, redis, settings, port, tmp_path
):
    accepted = 0
    async with fake_engine(redis), bot_process(tmp_path, **settings) as bot:
        await fake.until(lambda: fake.webhook is not None)
        heads = forgeries(fake.webhook.secret)

        async def forge_some(count):
            nonlocal accepted
            for _ in range(count // AT_ONCE):
                answers = await asyncio.gather(*(forge(port, next(heads)) for _ in range(AT_ONCE)))
                accepted += answers.count([b"200"])

        await fake.say("/help", chat_id=1)
        # What the first requests load stays loaded.
        await forge_some(2 * AT_ONCE)
        before, _ = memory(bot.pid)
        await forge_some(FORGED)
        after, most = memory(bot.pid)
        accepted += await redis.xlen(keys.inbox(PLATFORM))
        await fake.say("/help", chat_id=2)
        await fake.until(lambda: len(fake.sent) == 2)
        assert await bot.stop() == 0
    print(
        f"fault 18: {FORGED} forged calls of {FORGED_BYTES / MIB:.0f} MiB, {AT_ONCE} at once: "
        f"accepted {accepted}, memory {before / MIB:.1f} MiB, "
        f"afterwards {(after - before) / MIB:+.2f} MiB, at most {(most - before) / MIB:+.2f} MiB"
    )
    assert accepted == 0
    assert fake.texts(666) == []
    # One of these bodies, kept, would be ten.
    assert most - before < 8 * MIB
    assert "Traceback" not in bot.log()


async def test_fault_2_a_bot_killed_before_it_said_that_it_has_an_update_answers_it_once(
    fake, redis, settings, tmp_path
):
    count = 40
    for chat_id in range(1, count + 1):
        await fake.say("/poem 月", chat_id=chat_id)
    bot = BotProcess(tmp_path, **settings)
    async with fake_engine(redis) as engine, AsyncExitStack() as stack:
        stack.push_async_callback(bot.kill)
        dying = await bot.start("-c", DIES, "telegram")
        assert await dying.wait() == -signal.SIGKILL
        kept, confirmed = await redis.xlen(keys.inbox(PLATFORM)), count - len(fake.pending)
        await bot.start()
        await fake.until(lambda: len(fake.sent) >= count and not fake.pending)
        # Whatever might be shown twice would be on its way by the time this is answered.
        await fake.say("/help", chat_id=count + 1)
        await fake.until(lambda: bool(fake.texts(count + 1)))
    answers = Counter(sent.chat_id for sent in fake.sent)
    print(
        f"fault 2: {count} updates, killed with {kept} kept and {confirmed} confirmed: "
        f"answered {len(answers) - 1}, twice {len(fake.sent) - len(answers)}, "
        f"jobs {len(engine.jobs)}"
    )
    assert (kept > 0, confirmed) == (True, 0)
    assert len(answers) == len(fake.sent) == count + 1
    assert len(engine.jobs) == count
