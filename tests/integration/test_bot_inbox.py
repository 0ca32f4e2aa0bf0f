"""Updates are in the inbox before Telegram may forget them, each once."""

import asyncio
import json

import httpx
import pytest

from bot import keys
from bot.errors import PollerConflictError, PollFailedError, TokenRefusedError
from bot.inbox import Inbox, raw_update
from bot.telegram.inbox import Poller
from tests.fakes.telegram import TOKEN, message_update

PLATFORM = "telegram"


@pytest.fixture
async def http(fake):
    async with httpx.AsyncClient(base_url=f"{fake.url}/bot{TOKEN}/") as client:
        yield client


@pytest.fixture
def poller(redis, http):
    return Poller(Inbox(redis, PLATFORM), http, poll_s=0)


async def stored(redis):
    return [
        json.loads(fields[b"update"])["update_id"]
        for _, fields in await redis.xrange(keys.inbox(PLATFORM))
    ]


async def test_updates_are_confirmed_only_by_the_poll_after_they_were_stored(redis, fake, poller):
    first = await fake.say("/poem 月")
    await poller.poll()
    assert await stored(redis) == [first]
    assert list(fake.pending) == [first]
    await poller.poll()
    assert fake.pending == {}


async def test_a_poller_that_died_before_confirming_stores_nothing_twice(redis, fake, http, poller):
    update = await fake.say("/poem 月")
    await poller.poll()
    await Poller(Inbox(redis, PLATFORM), http, poll_s=0).poll()
    assert await stored(redis) == [update]


async def test_ids_may_start_anew_below_the_last(redis, fake, poller):
    await fake.add(message_update(900_000_000, "/poem 月"))
    for _ in range(2):
        await poller.poll()
    await fake.add(message_update(5, "/poem 山"))
    await fake.add(message_update(6, "/poem 水"))
    for _ in range(2):
        await poller.poll()
    assert await stored(redis) == [900_000_000, 5, 6]
    assert fake.pending == {}


async def test_an_inbox_gives_what_was_left_undone_first(redis):
    inbox = Inbox(redis, PLATFORM)
    await inbox.store({number: message_update(number, "/help") for number in (1, 2, 3)})
    taken = await inbox.take()
    await inbox.done(taken[1])
    await inbox.store({4: message_update(4, "/help")})
    ids = [
        json.loads(raw_update(entry))["update_id"] for entry in await Inbox(redis, PLATFORM).take()
    ]
    assert ids == [1, 3, 4]
    [new] = await inbox.take()
    assert json.loads(raw_update(new))["update_id"] == 4


async def test_a_lone_surrogate_reaches_the_inbox_as_it_came(redis, fake, poller):
    await fake.say("/poem \ud83d")
    await poller.poll()
    [entry] = await Inbox(redis, PLATFORM).take()
    assert json.loads(raw_update(entry))["message"]["text"] == "/poem \ud83d"


async def test_what_is_buried_leaves_the_inbox_and_can_be_looked_at(redis):
    inbox = Inbox(redis, PLATFORM)
    await inbox.store({1: message_update(1, "/help")})
    [entry] = await inbox.take()
    await inbox.bury(entry, "KeyError")
    assert await stored(redis) == []
    [(_, fields)] = await redis.xrange(keys.dead(PLATFORM))
    assert fields[b"why"] == b"KeyError"
    assert 0 < await redis.ttl(keys.dead(PLATFORM)) <= keys.DEAD_TTL_S


async def test_marks_of_updates_pass_away(redis):
    await Inbox(redis, PLATFORM).store({1: message_update(1, "/help")})
    assert 0 < await redis.ttl(keys.seen(PLATFORM, 1)) <= keys.SEEN_TTL_S


async def test_a_second_poller_ends_the_first(redis, fake, http):
    first = Poller(Inbox(redis, PLATFORM), http, poll_s=20)
    polling = asyncio.create_task(first.run())
    await fake.until(lambda: fake.polls == 1)
    await Poller(Inbox(redis, PLATFORM), http, poll_s=0).poll()
    with pytest.raises(PollerConflictError):
        await polling


async def test_a_wrong_token_is_refused(redis, fake):
    async with httpx.AsyncClient(base_url=f"{fake.url}/bot1:wrong/") as client:
        with pytest.raises(TokenRefusedError):
            await Poller(Inbox(redis, PLATFORM), client).run()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, text="oops"),
        httpx.Response(502, json={"ok": False}),
        httpx.Response(200, text='{"ok": true, "result": [{"upd'),
        httpx.Response(200, json=[]),
    ],
)
async def test_a_garbled_answer_is_worth_another_try(redis, answer):
    transport = httpx.MockTransport(lambda _request: answer)
    async with httpx.AsyncClient(base_url="http://127.0.0.1/", transport=transport) as client:
        with pytest.raises(PollFailedError):
            await Poller(Inbox(redis, PLATFORM), client).poll()


async def test_a_flood_says_how_long_to_wait(redis):
    body = {"ok": False, "error_code": 429, "parameters": {"retry_after": 9}}
    transport = httpx.MockTransport(lambda _request: httpx.Response(429, json=body))
    async with httpx.AsyncClient(base_url="http://127.0.0.1/", transport=transport) as client:
        with pytest.raises(PollFailedError) as caught:
            await Poller(Inbox(redis, PLATFORM), client).poll()
    assert caught.value.retry_after_s == 9


async def test_what_is_no_update_is_passed_over(redis, fake, poller):
    fake.script.append([{"no": "id"}, message_update(3, "/help")])
    await poller.poll()
    assert await stored(redis) == [3]


async def test_a_full_inbox_leaves_the_rest_with_telegram(redis, fake, poller, monkeypatch):
    monkeypatch.setattr("bot.telegram.inbox.BACKLOG_MAX", 1)
    for _ in range(3):
        await fake.say("/help")
    with pytest.raises(PollFailedError, match="full"):
        await poller.poll()
    assert len(await stored(redis)) == 3
