"""A message is shown once, whatever becomes of the process or the platform in between."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from datetime import time as datetime_time

import pytest

from bot import keys
from bot.anthology import Anthology
from bot.anthology.schedules import Pause
from bot.budget import Halt
from bot.dispatch import IN_FLIGHT_MAX, IN_LINE_MAX, Dispatcher
from bot.errors import (
    BlockedError,
    ChatMovedError,
    MaybeShownError,
    NotShownError,
    UndeliverableError,
)
from bot.language import Language
from bot.message import Address, Message
from bot.metrics import Metrics
from bot.outbox import Outbox
from bot.pseudonyms import Pseudonyms
from bot.trace import Trace
from tests.fakes.waiting import until

PLATFORM = "test"
PSEUDONYMS = Pseudonyms(b"test")


def a_message(number, chat="test:1"):
    return Message(id=f"t:{number}", address=Address(chat=chat), text=f"message {number}")


class FakeSender:
    """A platform that shows what it is given, after raising what it is told to."""

    def __init__(self):
        self.shown = []
        self.edited = []
        self.asked = 0
        self.errors = []
        self.gates = {}
        self.over_the_limit = set()
        self.turns = None
        self.waiting = []

    async def wait_turn(self, message):
        self.waiting.append(message.address.chat)
        if message.address.chat in self.over_the_limit:
            await asyncio.Event().wait()
        if self.turns is not None:
            await self.turns.acquire()

    async def send(self, message):
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        if (gate := self.gates.get(message.address.chat)) is not None:
            await gate.wait()
        shown = self.shown if message.edits is None else self.edited
        shown.append((message.address.chat, message.id))


@pytest.fixture
def outbox(redis):
    return Outbox(redis, PLATFORM)


@pytest.fixture
async def anthology(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'anthology.sqlite3'}"
    async with Anthology.open(url, PSEUDONYMS) as opened:
        yield opened


@pytest.fixture
def sender():
    return FakeSender()


def a_dispatcher(redis, sender, anthology):
    return Dispatcher(
        outbox=Outbox(redis, PLATFORM),
        sender=sender,
        anthology=anthology,
        halt=Halt(redis, PLATFORM),
        metrics=Metrics(PLATFORM),
        pseudonyms=PSEUDONYMS,
    )


@asynccontextmanager
async def dispatching(redis, sender, anthology):
    """A dispatcher that has only just started, as after a crash."""
    dispatcher = a_dispatcher(redis, sender, anthology)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def drained(redis):
    async def empty():
        return await redis.xlen(keys.outbox(PLATFORM)) == 0

    await until(empty)


async def test_a_message_put_twice_is_shown_once(redis, outbox, sender, anthology):
    for _ in range(2):
        await outbox.put(a_message(1))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == [("test:1", "t:1")]


async def test_of_an_answer_in_parts_the_last_ends_it_and_an_older_bot_reads_each(redis):
    def in_two(message):
        return [replace(message, id=f"{message.id}/{number}") for number in (1, 2)]

    outbox = Outbox(redis, PLATFORM, fit=in_two)
    trace = Trace(cause="t:1", came_ms=1)
    await outbox.put(a_message(1), trace)
    await outbox.put(a_message(2))
    letters = await Outbox(redis, PLATFORM).take(9)
    assert [letter.trace for letter in letters] == [None, trace, None, None]
    assert [letter.cause for letter in letters] == ["t:1", "t:1", "t:2", "t:2"]
    for letter in letters:
        # The field as it was before there were traces.
        assert Message.from_json(letter.entry.fields[b"message"]) == letter.message


async def test_what_a_bot_without_traces_left_is_shown(redis, sender, anthology):
    await redis.xadd(keys.outbox(PLATFORM), {"message": a_message(1).to_json()})
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == [("test:1", "t:1")]


async def test_what_was_shown_before_a_crash_is_not_shown_again(redis, outbox, sender, anthology):
    await outbox.put(a_message(1))
    [letter] = await outbox.take(1)
    await outbox.begin(letter)
    await outbox.finish(letter)
    await outbox.put(a_message(1))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == []


async def test_what_was_on_its_way_at_a_crash_is_shown_again(redis, outbox, sender, anthology):
    await outbox.put(a_message(1))
    [letter] = await outbox.take(1)
    assert await outbox.begin(letter)
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == [("test:1", "t:1")]


async def test_messages_of_one_chat_are_shown_in_order_and_others_do_not_wait(
    redis, outbox, sender, anthology
):
    sender.gates["test:slow"] = gate = asyncio.Event()
    for number in range(3):
        await outbox.put(a_message(number, chat="test:slow"))
    await outbox.put(a_message(3, chat="test:quick"))
    async with dispatching(redis, sender, anthology):

        async def quick_is_shown():
            return sender.shown == [("test:quick", "t:3")]

        await until(quick_is_shown)
        gate.set()
        await drained(redis)
    assert sender.shown[1:] == [("test:slow", f"t:{number}") for number in range(3)]


async def test_a_chat_over_its_limit_keeps_nobody_else_waiting(redis, outbox, sender, anthology):
    sender.over_the_limit.add("test:busy")
    for number in range(2 * IN_FLIGHT_MAX):
        await outbox.put(a_message(number, chat="test:busy"))
    await outbox.put(a_message(99, chat="test:quiet"))
    async with dispatching(redis, sender, anthology):

        async def quiet_is_shown():
            return sender.shown == [("test:quiet", "t:99")]

        await until(quiet_is_shown)


async def test_whoever_is_told_to_stop_books_what_has_set_out(redis, outbox, sender, anthology):
    sender.gates["test:1"] = gate = asyncio.Event()
    await outbox.put(a_message(1))
    dispatcher = a_dispatcher(redis, sender, anthology)
    running = asyncio.create_task(dispatcher.run())

    async def set_out():
        return sender.asked

    await until(set_out)
    running.cancel()
    asyncio.get_running_loop().call_later(0.05, gate.set)
    await asyncio.gather(running, return_exceptions=True)
    assert sender.shown == [("test:1", "t:1")]
    assert await redis.xlen(keys.outbox(PLATFORM)) == 0


async def test_what_was_surely_not_shown_is_sent_again(redis, outbox, sender, anthology):
    sender.errors = [NotShownError("away", retry_after_s=0.01) for _ in range(3)]
    await outbox.put(a_message(1))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert (sender.asked, sender.shown) == (4, [("test:1", "t:1")])


async def test_a_halt_that_comes_while_a_message_waits_its_turn_makes_it_take_another(
    redis, outbox, sender, anthology
):
    halt = Halt(redis, PLATFORM)
    clock = asyncio.get_running_loop().time
    turns = []

    async def wait_turn(message):
        turns.append(clock())
        if len(turns) == 1:
            await halt.hold(0.2)

    sender.wait_turn = wait_turn
    await outbox.put(a_message(1))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert len(turns) == 2
    # Halts are counted in whole milliseconds.
    assert turns[1] - turns[0] >= 0.2 - 0.01
    assert sender.shown == [("test:1", "t:1")]


@pytest.mark.parametrize("error", [MaybeShownError("ReadTimeout"), UndeliverableError("no")])
async def test_what_may_have_been_shown_or_never_can_be_is_let_go(
    redis, outbox, sender, anthology, error
):
    sender.errors = [error]
    await outbox.put(a_message(1))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert (sender.asked, sender.shown) == (1, [])


async def test_a_message_follows_a_chat_that_moved(redis, outbox, sender, anthology):
    sender.errors = [ChatMovedError("test:2")]
    await outbox.put(replace(a_message(1), address=Address(chat="test:1", thread=5, reply_to=6)))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == [("test:2", "t:1")]


async def test_a_change_follows_a_chat_that_moved_as_a_message(redis, outbox, sender, anthology):
    sender.errors = [ChatMovedError("test:2")]
    await outbox.put(replace(a_message(1), edits=7))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.edited == []
    assert sender.shown == [("test:2", "t:1")]


# --- what nobody asked for ---


def unasked(number, chat="test:1", *, until_s=60.0):
    return replace(a_message(number, chat), until_ms=int((time.time() + until_s) * 1000))


async def test_what_nobody_asked_for_and_was_on_its_way_at_a_crash_is_not_shown_again(
    redis, outbox, sender, anthology
):
    await outbox.put(unasked(1))
    [letter] = await outbox.take(1)
    assert await outbox.begin(letter)
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == []


async def test_what_nobody_asked_for_and_only_waited_at_a_crash_is_shown(
    redis, outbox, sender, anthology
):
    await outbox.put(unasked(1))
    sender.over_the_limit.add("test:1")
    async with dispatching(redis, sender, anthology):
        await until(_answer(lambda: bool(sender.waiting)))
    sender.over_the_limit.clear()
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == [("test:1", "t:1")]


async def test_what_nobody_asked_for_and_was_surely_not_shown_is_sent_again(
    redis, outbox, sender, anthology
):
    sender.errors = [NotShownError("away", retry_after_s=0.01), ChatMovedError("test:2")]
    await outbox.put(unasked(1))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert (sender.asked, sender.shown) == (3, [("test:2", "t:1")])


async def test_what_nobody_asked_for_is_not_shown_late(redis, outbox, sender, anthology):
    await outbox.put(unasked(1, until_s=-1))
    await outbox.put(unasked(2))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == [("test:1", "t:2")]


async def test_an_answer_stands_behind_few_of_those_that_nobody_asked_for(
    redis, outbox, sender, anthology
):
    sender.turns = asyncio.Semaphore(0)
    for number in range(10 * IN_LINE_MAX):
        await outbox.put(unasked(number, chat=f"test:{number}"))
    await outbox.put(a_message(99, chat="test:person"))
    async with dispatching(redis, sender, anthology):
        await until(_answer(lambda: "test:person" in sender.waiting))
        for _ in range(IN_LINE_MAX + 1):
            sender.turns.release()
        await until(_answer(lambda: ("test:person", "t:99") in sender.shown))
        assert len(sender.shown) <= IN_LINE_MAX + 1
        for _ in range(10 * IN_LINE_MAX):
            sender.turns.release()
        await drained(redis)
    assert len(sender.shown) == 10 * IN_LINE_MAX + 1


def _answer(condition):
    async def ask():
        return condition()

    return ask


async def test_an_address_that_takes_no_message_gets_no_poem_of_the_day(
    redis, outbox, sender, anthology
):
    there = Address(chat="test:1", thread=5)
    elsewhere = replace(there, thread=6)
    for address in (there, elsewhere):
        await anthology.schedules.start(
            address, at=datetime_time(8), zone="UTC", language=Language.EN, now=datetime.now(UTC)
        )
    sender.errors = [BlockedError("kicked"), UndeliverableError("too long")]
    await outbox.put(replace(a_message(1), address=replace(there, reply_to=9)))
    await outbox.put(replace(a_message(2), address=elsewhere))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert (await anthology.schedules.find(there)).pause is Pause.REFUSED
    assert (await anthology.schedules.find(elsewhere)).pause is None


async def test_an_entry_that_is_no_message_is_dropped(redis, outbox, sender, anthology):
    for fields in ({"message": "{}"}, {"other": "1"}, {"message": "\x00"}):
        await redis.xadd(keys.outbox(PLATFORM), fields)
    await outbox.put(a_message(1))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == [("test:1", "t:1")]


async def test_an_anthology_that_is_away_costs_nobody_the_message(
    redis, outbox, sender, anthology, monkeypatch
):
    monkeypatch.setattr("bot.anthology.database._PAUSES_S", ())
    await anthology.poems._database._engine.dispose()
    monkeypatch.setattr(anthology.poems._database._engine.sync_engine.pool, "connect", _refuse)
    await outbox.put(replace(a_message(1), poem_id="t:1"))
    async with dispatching(redis, sender, anthology):
        await drained(redis)
    assert sender.shown == [("test:1", "t:1")]


def _refuse():
    raise ConnectionRefusedError
