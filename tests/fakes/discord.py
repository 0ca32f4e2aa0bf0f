"""A Discord on loopback that behaves as the real one does, for real clients to talk to.

Kept from the original: the gateway with HELLO, IDENTIFY, READY, heartbeats, RESUME with what was
missed, compression, and its close codes; an interaction that is acknowledged within three seconds,
once, or never (10062, 40060); answers by its token for fifteen minutes (10015 before it was
acknowledged, 50027 after); the thinking message that an answer takes the place of; private
answers; nonces that are enforced; 429 with `Via` and `retry_after`; channels that nobody may write
in (50001) or that are gone (10003); what messages, commands and forms may hold; who is mentioned.
"""

import asyncio
import json
import re
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

from aiohttp import WSMsgType, web

TOKEN = "MTAwMDAwMDAwMDAwMDAwMDAx.a-token.that-only-the-tests-know"
APPLICATION = 1_000_000_000_000_000_001
ACKNOWLEDGE_S = 3.0
TOKEN_S = 15 * 60.0
HEARTBEAT_MS = 600_000
"""Discord asks for 41 s. A discord.py that is cancelled while it connects leaves a thread behind
that would beat once more, in a test process for a loop that is closed by then."""
CONTENT_MAX = 2000
EMBED_MAX = 4096
CUSTOM_ID_MAX = 100
FIELD_MAX = 4000
GUILD = 2_000_000_000_000_000_001
PERSON = 42
EPHEMERAL = 1 << 6

_EPOCH_MS = 1_420_070_400_000
_COMMAND, _COMPONENT, _MODAL = 2, 3, 5
_THINK, _UPDATE, _FORM = 5, 6, 9
_NAME = re.compile(r"[-_\w]{1,32}")

Method = Callable[[web.Request, Any], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One message as people see it, or saw it before it changed."""

    id: int
    channel_id: int
    text: str
    at_s: float
    interaction: int | None
    """The interaction that it answers; None for a message of its own."""
    private: bool
    """Whether only one person sees it."""
    payload: dict[str, Any]

    @property
    def buttons(self) -> list[str]:
        """What the buttons below it bring back."""
        rows = self.payload.get("components") or []
        return [button["custom_id"] for row in rows for button in row["components"]]

    @property
    def pictures(self) -> list[bytes]:
        """The pictures in it."""
        return list(self.payload.get("pictures") or [])

    @property
    def rings(self) -> bool:
        """Whether somebody may be told that they were mentioned."""
        allowed = self.payload.get("allowed_mentions")
        return allowed is None or bool(
            allowed.get("parse") or allowed.get("users") or allowed.get("roles")
        )


@dataclass(kw_only=True)
class Asked:
    """One interaction, and what became of it."""

    id: int
    token: str
    raw: dict[str, Any]
    began_s: float
    heard_s: float | None = None
    """When it was acknowledged."""
    kind: int | None = None
    """How it was."""
    private: bool = False
    """Whether its answer is for one person."""
    thinking: int | None = None
    """The message that says so, until an answer takes its place."""
    original: int | None = None
    """The message that `@original` means."""


class ApiError(Exception):
    """An answer that is not ok."""

    def __init__(self, status: int, code: int, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, **extra}


@dataclass(kw_only=True)
class Session:
    """One session of the gateway, with or without a connection."""

    id: str
    socket: "Socket | None" = None
    events: list[dict[str, Any]] = field(default_factory=list)

    async def dispatch(self, name: str, data: dict[str, Any]) -> None:
        """An event: sent at once, or when the session is resumed."""
        event = {"op": 0, "t": name, "s": len(self.events) + 1, "d": data}
        self.events.append(event)
        if self.socket is not None:
            await self.socket.send(event)


@dataclass(kw_only=True)
class Socket:
    """One connection to the gateway."""

    ws: web.WebSocketResponse
    compressor: Any = None

    async def send(self, payload: dict[str, Any]) -> None:
        """Send as the client asked for: compressed as one stream, or as text."""
        text = json.dumps(payload)
        if self.ws.closed:
            return
        if self.compressor is None:
            await self.ws.send_str(text)
        else:
            packed = self.compressor.compress(text.encode())
            await self.ws.send_bytes(packed + self.compressor.flush(zlib.Z_SYNC_FLUSH))


@dataclass(kw_only=True)
class FakeDiscord:
    """The fake's state; tests write to it directly."""

    token: str = TOKEN
    """The only token that it knows."""
    url: str = ""
    """Where its API is."""
    gateway_url: str = ""
    """Where its gateway is."""
    asked: dict[int, Asked] = field(default_factory=dict)
    """Every interaction, by id."""
    sent: list[Shown] = field(default_factory=list)
    """Every message shown that says something, in order; thinking is none."""
    edits: list[Shown] = field(default_factory=list)
    """Every change of such a message, in order."""
    deleted: set[int] = field(default_factory=set)
    """Messages that were taken away."""
    forms: list[tuple[Asked, dict[str, Any]]] = field(default_factory=list)
    """Every form that was shown, in order."""
    commands: list[dict[str, Any]] = field(default_factory=list)
    """The commands as they were last published."""
    publications: int = 0
    """How often they were."""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    """Every request: method, path, body."""
    flood: deque[float] = field(default_factory=deque)
    """The next messages get 429, with these seconds to wait."""
    floods_at_s: list[float] = field(default_factory=list)
    """When it answered so."""
    closed_channels: set[int] = field(default_factory=set)
    """Channels that the bot may not write in."""
    gone_channels: set[int] = field(default_factory=set)
    """Channels that are no more."""
    broken: deque[int] = field(default_factory=deque)
    """The next messages are shown, and answered by this status all the same."""
    latency_s: float = 0.0
    """From the moment a message is shown until the answer is sent."""
    away: bool = False
    """Whether the gateway refuses connections."""
    identified: int = 0
    """Sessions that began."""
    resumed: int = 0
    """Sessions that went on."""
    heartbeats: int = 0
    """Heartbeats that it acknowledged."""
    sessions: dict[str, Session] = field(default_factory=dict)
    """Sessions that can be resumed, by id."""
    _last_id: int = 0
    _nonces: dict[tuple[int, str], Shown] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    # --- what tests do ---

    async def command(
        self,
        name: str,
        text: str | None = None,
        *,
        told: dict[str, str] | None = None,
        **where: Any,
    ) -> int:
        """Somebody gives a slash command; the interaction's id.

        `told` is what stands in its fields, and `text` in one that it had once.
        """
        fields = (told or {}) | ({} if text is None else {"text": text})
        options = [{"type": 3, "name": name, "value": value} for name, value in fields.items()]
        data = {"id": "1", "type": 1, "name": name, "options": options}
        return await self.ask(_COMMAND, data, **where)

    async def choose(self, title: str, about: str | Shown, **where: Any) -> int:
        """Somebody chooses a command in the menu of a message, ours or one with that text."""
        if isinstance(about, Shown):
            where = {"channel_id": about.channel_id} | where
            target = _message(about.id, about.channel_id, self.now(about).text)
        else:
            target = _message(self._next_id(), int(where.get("channel_id", 7)), about)
            target["author"] = _user(PERSON + 1)
        data = {
            "id": "1",
            "type": 3,
            "name": title,
            "target_id": target["id"],
            "resolved": {"messages": {target["id"]: target}},
        }
        return await self.ask(_COMMAND, data, **where)

    async def tap(self, shown: Shown, custom_id: str, **where: Any) -> int:
        """Somebody taps a button of a message; the interaction's id."""
        data = {"component_type": 2, "custom_id": custom_id, "id": 1}
        now = self.now(shown)
        message = _message(shown.id, shown.channel_id, now.text) | {
            "components": now.payload.get("components") or []
        }
        where = {"channel_id": shown.channel_id} | where
        return await self.ask(_COMPONENT, data, message=message, **where)

    async def fill_in(self, number: int, **values: str) -> int:
        """Somebody sends off the form that was shown as number `number`, with `values` in it."""
        asked, form = self.forms[number]
        labels = [
            {
                "type": 18,
                "id": place,
                "component": {
                    "type": 4,
                    "id": place,
                    "custom_id": label["component"]["custom_id"],
                    "value": values.get(
                        label["component"]["custom_id"], label["component"].get("value", "")
                    ),
                },
            }
            for place, label in enumerate(form["components"], start=1)
        ]
        data = {"custom_id": form["custom_id"], "components": labels}
        place = {name: asked.raw[name] for name in ("locale",)}
        return await self.ask(_MODAL, data, channel_id=int(asked.raw["channel_id"]), **place)

    async def ask(
        self,
        kind: int,
        data: dict[str, Any],
        *,
        channel_id: int = 7,
        locale: str = "zh-CN",
        guild: bool = False,
        person: int | None = None,
        permissions: int = 0,
        age_s: float = 0.0,
        parent_id: int | None = None,
        **extra: Any,
    ) -> int:
        """An interaction, told to every session; its id. In each channel it is somebody else."""
        person = channel_id if person is None else person
        interaction_id = self._next_id(age_s=age_s)
        channel: dict[str, Any] = {"id": str(channel_id), "type": 1, "flags": 0}
        if guild:
            channel |= {"type": 0, "name": "poems", "position": 0, "guild_id": str(GUILD)}
        if parent_id is not None:
            channel = _thread(channel_id, parent_id)
        raw = {
            "id": str(interaction_id),
            "application_id": str(APPLICATION),
            "type": kind,
            "token": f"token-{interaction_id}",
            "version": 1,
            "locale": locale,
            "channel_id": str(channel_id),
            "channel": channel,
            "data": data,
            "entitlements": [],
            "attachment_size_limit": 10485760,
            "app_permissions": "0",
            "context": 0 if guild else 1,
            "authorizing_integration_owners": {"0": str(GUILD)} if guild else {"1": str(person)},
            **extra,
        }
        user = _user(person)
        if guild:
            raw |= {
                "guild_id": str(GUILD),
                "guild": {"id": str(GUILD), "features": [], "locale": "en-US"},
                "member": _member(user, permissions),
            }
        else:
            raw |= {"user": user}
        self.asked[interaction_id] = Asked(
            id=interaction_id,
            token=raw["token"],
            raw=raw,
            began_s=time.monotonic() - age_s,
        )
        await self.tell(raw)
        return interaction_id

    async def tell(self, raw: dict[str, Any]) -> None:
        """Tell every session of an interaction, whatever it is."""
        for session in list(self.sessions.values()):
            await session.dispatch("INTERACTION_CREATE", raw)

    async def break_off(self, *, resumable: bool = True) -> None:
        """Every connection to the gateway ends without a word, and the sessions too if asked."""
        for session in list(self.sessions.values()):
            if session.socket is not None:
                await session.socket.ws.close(code=4000)
        if not resumable:
            self.sessions.clear()

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 30) -> None:
        """Wait until `condition` holds of this fake."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    @property
    def connections(self) -> int:
        """Sessions that are connected now."""
        return sum(session.socket is not None for session in self.sessions.values())

    @property
    def unheard(self) -> list[int]:
        """Interactions that nobody acknowledged: the person reads that the bot did not respond."""
        return [asked.id for asked in self.asked.values() if asked.heard_s is None]

    def texts(self, channel_id: int | None = None) -> list[str]:
        """The texts shown, in one channel or in all."""
        return [shown.text for shown in self.sent if channel_id in (None, shown.channel_id)]

    def answers(self, interaction_id: int) -> list[Shown]:
        """The messages that answer an interaction."""
        return [shown for shown in self.sent if shown.interaction == interaction_id]

    def now(self, shown: Shown) -> Shown:
        """A message as people see it now."""
        return self.find(shown.id) or shown

    def find(self, message_id: int) -> Shown | None:
        """A message as people see it now; None where there is none."""
        versions = [shown for shown in (*self.sent, *self.edits) if shown.id == message_id]
        return versions[-1] if versions and message_id not in self.deleted else None

    # --- the gateway ---

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            return web.Response(status=503)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        packed = request.query.get("compress") == "zlib-stream"
        socket = Socket(ws=ws, compressor=zlib.compressobj() if packed else None)
        await socket.send({"op": 10, "d": {"heartbeat_interval": HEARTBEAT_MS}})
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await self._hear(socket, json.loads(message.data))
        finally:
            for session in self.sessions.values():
                if session.socket is socket:
                    session.socket = None
            await self._tell()
        return ws

    async def _hear(self, socket: Socket, payload: dict[str, Any]) -> None:
        data = payload.get("d")
        match payload["op"]:
            case 1:
                self.heartbeats += 1
                await socket.send({"op": 11})
            case 2 if isinstance(data, dict):
                await self._identify(socket, data)
            case 6 if isinstance(data, dict):
                await self._resume(socket, data)
        await self._tell()

    async def _identify(self, socket: Socket, data: dict[str, Any]) -> None:
        if data["token"] != self.token:
            await socket.ws.close(code=4004, message=b"Authentication failed.")
            return
        self.identified += 1
        session = Session(id=f"session-{self.identified}", socket=socket)
        self.sessions[session.id] = session
        await session.dispatch(
            "READY",
            {
                "v": 10,
                "user": _user(APPLICATION, bot=True),
                "guilds": [],
                "session_id": session.id,
                "resume_gateway_url": self.gateway_url,
                "application": {"id": str(APPLICATION), "flags": 0},
            },
        )

    async def _resume(self, socket: Socket, data: dict[str, Any]) -> None:
        session = self.sessions.get(data["session_id"])
        if session is None or data["token"] != self.token:
            await socket.send({"op": 9, "d": False})
            return
        self.resumed += 1
        session.socket = socket
        for event in session.events[data["seq"] or 0 :]:
            await socket.send(event)
        await session.dispatch("RESUMED", {})

    # --- the API ---

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        """Listen on a free port of loopback."""
        app = web.Application()
        app.router.add_get("/gateway/", self._gateway)
        routes: dict[tuple[str, str], Method] = {
            ("GET", "/users/@me"): self._get_me,
            ("GET", "/oauth2/applications/@me"): self._get_application,
            ("GET", "/gateway/bot"): self._get_gateway,
            ("PUT", "/applications/{application}/commands"): self._put_commands,
            ("POST", "/channels/{channel}/messages"): self._post_message,
            ("PATCH", "/channels/{channel}/messages/{message}"): self._patch_message,
            ("POST", "/interactions/{interaction}/{token}/callback"): self._acknowledge,
            ("POST", "/webhooks/{application}/{token}"): self._follow_up,
            ("PATCH", "/webhooks/{application}/{token}/messages/{message}"): self._edit_answer,
            ("DELETE", "/webhooks/{application}/{token}/messages/{message}"): self._delete_answer,
        }
        for (method, path), handle in routes.items():
            app.router.add_route(method, f"/api/v10{path}", self._route(handle))
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host = f"127.0.0.1:{runner.addresses[0][1]}"
        self.url, self.gateway_url = f"http://{host}/api/v10", f"ws://{host}/gateway/"
        try:
            yield self
        finally:
            await self.break_off()
            await runner.cleanup()

    def _route(self, handle: Method) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            body = await _body(request)
            path = request.path.removeprefix("/api/v10")
            self.requests.append((request.method, path, body))
            by_token = path.startswith(("/interactions/", "/webhooks/"))
            try:
                if not by_token and request.headers.get("Authorization") != f"Bot {self.token}":
                    raise ApiError(401, 0, "401: Unauthorized")
                return _json(await handle(request, body))
            except ApiError as error:
                return self._refusal(error)
            finally:
                await self._tell()

        return answer

    @staticmethod
    def _refusal(error: ApiError) -> web.Response:
        headers = {}
        if error.status == 429:
            wait_s = error.body["retry_after"]
            # Without Via, a client takes it for a ban by whoever guards the API.
            headers = {"Via": "1.1 google", "Retry-After": str(wait_s)}
        return _json(error.body, status=error.status, headers=headers)

    async def _get_me(self, _request: web.Request, _body: Any) -> Any:
        return _user(APPLICATION, bot=True)

    async def _get_application(self, _request: web.Request, _body: Any) -> Any:
        return {
            "id": str(APPLICATION),
            "name": "Yuefu",
            "description": "",
            "icon": None,
            "bot_public": True,
            "bot_require_code_grant": False,
            "owner": _user(PERSON),
            "verify_key": "",
            "flags": 0,
        }

    async def _get_gateway(self, _request: web.Request, _body: Any) -> Any:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
        return {"url": self.gateway_url, "shards": 1, "session_start_limit": limit}

    async def _put_commands(self, _request: web.Request, body: Any) -> Any:
        for command in body:
            _check_command(command)
        for locale in (None, "zh-CN", "zh-TW"):
            names = [(command["type"], _localised(command, "name", locale)) for command in body]
            if len(names) != len(set(names)):
                raise _invalid(f"two commands of one name in {locale}")
        self.commands, self.publications = body, self.publications + 1
        return [
            command
            | {"id": str(number), "application_id": str(APPLICATION), "version": "1"}
            | {"description": command.get("description", ""), "default_member_permissions": None}
            for number, command in enumerate(body, start=1)
        ]

    async def _acknowledge(self, request: web.Request, body: Any) -> Any:
        asked = self.asked.get(int(request.match_info["interaction"]))
        if asked is None or asked.token != request.match_info["token"]:
            raise ApiError(404, 10062, "Unknown interaction")
        if asked.heard_s is not None:
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        if time.monotonic() - asked.began_s > ACKNOWLEDGE_S:
            raise ApiError(404, 10062, "Unknown interaction")
        self._check_acknowledgement(asked, body)
        asked.heard_s, asked.kind = time.monotonic(), body["type"]
        asked.private = bool((body.get("data") or {}).get("flags", 0) & EPHEMERAL)
        if body["type"] == _THINK:
            asked.thinking = asked.original = self._next_id()
        elif body["type"] == _UPDATE:
            asked.original = int(asked.raw["message"]["id"])
        else:
            self.forms.append((asked, body["data"]))
        return {
            "interaction": {
                "id": str(asked.id),
                "type": asked.raw["type"],
                "response_message_id": str(asked.original or asked.id),
                "response_message_loading": body["type"] == _THINK,
                "response_message_ephemeral": asked.private,
            },
        }

    def _check_acknowledgement(self, asked: Asked, body: dict[str, Any]) -> None:
        admitted = {_COMMAND: (_THINK, _FORM), _COMPONENT: (_THINK, _UPDATE), _MODAL: (_THINK,)}
        if body["type"] not in admitted[asked.raw["type"]]:
            raise _invalid("this kind of response is not for this kind of interaction")
        if body["type"] == _FORM:
            _check_form(body["data"])

    async def _follow_up(self, request: web.Request, body: Any) -> Any:
        asked = self._by_token(request)
        if asked.thinking is not None:
            # What comes first takes its place, and is as private as it was.
            return await self._answer(asked, asked.thinking, body)
        private = bool(body.get("flags", 0) & EPHEMERAL)
        return await self._show(asked.raw, self._next_id(), body, asked=asked, private=private)

    async def _edit_answer(self, request: web.Request, body: Any) -> Any:
        asked, name = self._by_token(request), request.match_info["message"]
        message_id = asked.original if name == "@original" else int(name)
        if message_id is None or message_id in self.deleted:
            raise ApiError(404, 10008, "Unknown Message")
        if message_id == asked.thinking:
            return await self._answer(asked, message_id, body)
        return await self._edit(message_id, body)

    async def _delete_answer(self, request: web.Request, _body: Any) -> Any:
        asked = self._by_token(request)
        if request.match_info["message"] != "@original" or asked.original is None:
            raise ApiError(404, 10008, "Unknown Message")
        self.deleted.add(asked.original)
        asked.thinking = asked.original = None
        return None

    async def _answer(self, asked: Asked, message_id: int, body: Any) -> Any:
        return await self._show(asked.raw, message_id, body, asked=asked, private=asked.private)

    def _by_token(self, request: web.Request) -> Asked:
        token = request.match_info["token"]
        asked = next((one for one in self.asked.values() if one.token == token), None)
        if asked is None or asked.heard_s is None:
            raise ApiError(404, 10015, "Unknown Webhook")
        if time.monotonic() - asked.began_s > TOKEN_S:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        return asked

    async def _post_message(self, request: web.Request, body: Any) -> Any:
        channel_id = int(request.match_info["channel"])
        key = (channel_id, str(body.get("nonce")))
        if body.get("enforce_nonce") and key in self._nonces:
            return _told(self._nonces[key])
        if len(str(body.get("nonce", ""))) > 25:
            raise _invalid("a nonce has 25 characters at most")
        where = {"channel_id": str(channel_id)}
        return await self._show(where, self._next_id(), body, nonce=key)

    async def _patch_message(self, request: web.Request, body: Any) -> Any:
        self._refuse_channel(int(request.match_info["channel"]))
        return await self._edit(int(request.match_info["message"]), body)

    async def _show(
        self,
        where: dict[str, Any],
        message_id: int,
        body: Any,
        *,
        asked: Asked | None = None,
        private: bool = False,
        nonce: tuple[int, str] | None = None,
    ) -> Any:
        channel_id = int(where["channel_id"])
        if asked is None:
            self._refuse_channel(channel_id)
        self._refuse(body)
        shown = Shown(
            id=message_id,
            channel_id=channel_id,
            text=_text(body),
            at_s=time.monotonic(),
            interaction=asked.id if asked else None,
            private=private,
            payload=body,
        )
        if not shown.text and not shown.pictures:
            raise ApiError(400, 50006, "Cannot send an empty message")
        self.sent.append(shown)
        if asked is not None and asked.thinking == message_id:
            asked.thinking = None
        if nonce is not None:
            self._nonces[nonce] = shown
        await self._take_its_time()
        return _told(shown)

    async def _edit(self, message_id: int, body: Any) -> Any:
        self._refuse(body)
        before = self.find(message_id)
        if before is None:
            raise ApiError(404, 10008, "Unknown Message")
        text = _text(body) if "content" in body or "embeds" in body else before.text
        payload = before.payload | body
        after = replace(before, text=text, at_s=time.monotonic(), payload=payload)
        self.edits.append(after)
        await self._take_its_time()
        return _told(after)

    async def _take_its_time(self) -> None:
        """What was asked for is done, and the answer is on its way, or lost."""
        await self._tell()
        await asyncio.sleep(self.latency_s)
        if self.broken:
            status = self.broken.popleft()
            raise ApiError(status, 0, f"{status}: Internal Server Error")

    def _refuse(self, body: dict[str, Any]) -> None:
        if self.flood:
            wait_s = self.flood.popleft()
            self.floods_at_s.append(time.monotonic())
            raise ApiError(
                429, 0, "You are being rate limited.", retry_after=wait_s, **{"global": False}
            )
        content = body.get("content") or ""
        if any(0xD800 <= ord(char) <= 0xDFFF for char in content):
            raise _invalid("content is no Unicode")
        if len(content) > CONTENT_MAX:
            raise _invalid("content: Must be 2000 or fewer in length.")
        if any(
            len(embed.get("description") or "") > EMBED_MAX for embed in body.get("embeds") or ()
        ):
            raise _invalid("embeds: Must be 4096 or fewer in length.")
        _check_components(body.get("components") or [])

    def _refuse_channel(self, channel_id: int) -> None:
        if channel_id in self.gone_channels:
            raise ApiError(404, 10003, "Unknown Channel")
        if channel_id in self.closed_channels:
            raise ApiError(403, 50001, "Missing Access")

    def _next_id(self, *, age_s: float = 0.0) -> int:
        """A snowflake, which tells the time; no two are the same."""
        ms = int((time.time() - age_s) * 1000) - _EPOCH_MS
        self._last_id += 1
        return (ms << 22) + self._last_id

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _body(request: web.Request) -> Any:
    """The body of a request; the pictures that came with it are under `pictures`."""
    if not request.can_read_body:
        return None
    if request.content_type == "application/json":
        return await request.json()
    form = await request.post()
    files = [part.file.read() for part in form.values() if isinstance(part, web.FileField)]
    return json.loads(str(form["payload_json"])) | {"pictures": files}


def _json(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    if body is None:
        return web.Response(status=204, headers=headers)
    # To the letter: discord.py reads no other type, not even with a charset.
    return web.Response(
        body=json.dumps(body).encode(),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def _invalid(why: str) -> ApiError:
    return ApiError(400, 50035, "Invalid Form Body", errors={"_errors": [{"message": why}]})


def _check_components(rows: list[dict[str, Any]]) -> None:
    if len(rows) > 5:
        raise _invalid("components: Must be 5 or fewer in length.")
    for row in rows:
        buttons = row["components"]
        if not 1 <= len(buttons) <= 5:
            raise _invalid("a row has one to five buttons")
        if any(not 1 <= len(button["custom_id"]) <= CUSTOM_ID_MAX for button in buttons):
            raise _invalid("custom_id: Must be between 1 and 100 in length.")
    ids = [button["custom_id"] for row in rows for button in row["components"]]
    if len(ids) != len(set(ids)):
        raise _invalid("Component custom id cannot be duplicated")


def _check_form(form: dict[str, Any]) -> None:
    fields = [label["component"] for label in form["components"]]
    if not 1 <= len(form["title"]) <= 45 or not 1 <= len(fields) <= 5:
        raise _invalid("a form has a title of 45 characters and five fields at most")
    for label in form["components"]:
        if label["type"] != 18 or not 1 <= len(label["label"]) <= 45:
            raise _invalid("a label has 45 characters at most")
    for text in fields:
        if max(len(text.get("value") or ""), text.get("max_length") or 0) > FIELD_MAX:
            raise _invalid("a field has 4000 characters at most")


def _check_command(command: dict[str, Any]) -> None:
    names = [command["name"], *(command.get("name_localizations") or {}).values()]
    if command["type"] != 1:
        if any(not 1 <= len(name) <= 32 for name in names) or "description" in command:
            raise _invalid("a menu's command has a name of 32 characters, and nothing else")
        return
    options = command.get("options", ())
    if sorted(options, key=lambda option: not option["required"]) != list(options):
        raise _invalid("Required options must be placed before non-required options")
    for named in (command, *options):
        names = [named["name"], *(named.get("name_localizations") or {}).values()]
        if any(not _NAME.fullmatch(name) or name != name.lower() for name in names):
            raise _invalid(f"no name for a command: {names}")
        described = [named["description"], *(named.get("description_localizations") or {}).values()]
        if any(not 1 <= len(text) <= 100 for text in described):
            raise _invalid("description: Must be between 1 and 100 in length.")
        _check_choices(named.get("choices") or [])


def _check_choices(choices: list[dict[str, Any]]) -> None:
    if len(choices) > 25:
        raise _invalid("choices: Must be 25 or fewer in length.")
    for choice in choices:
        names = [choice["name"], *(choice.get("name_localizations") or {}).values()]
        if any(not 1 <= len(name) <= 100 for name in names):
            raise _invalid("a choice has 100 characters at most")


def _localised(command: dict[str, Any], key: str, locale: str | None) -> str:
    return str((command.get(f"{key}_localizations") or {}).get(locale, command[key]))


def _text(body: dict[str, Any]) -> str:
    """What people read, wherever it stands."""
    parts = [body.get("content"), *(e.get("description") for e in body.get("embeds") or ())]
    return "\n".join(filter(None, parts))


def _told(shown: Shown) -> dict[str, Any]:
    return _message(shown.id, shown.channel_id, shown.text) | {
        "flags": EPHEMERAL if shown.private else 0
    }


def _message(message_id: int, channel_id: int, content: str) -> dict[str, Any]:
    return {
        "id": str(message_id),
        "channel_id": str(channel_id),
        "author": _user(APPLICATION, bot=True),
        "content": content,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "pinned": False,
        "type": 0,
        "components": [],
        "flags": 0,
    }


def _user(user_id: int, *, bot: bool = False) -> dict[str, Any]:
    return {
        "id": str(user_id),
        "username": "yuefu" if bot else "reader",
        "discriminator": "0",
        "global_name": None,
        "avatar": None,
        "bot": bot,
    }


def _member(user: dict[str, Any], permissions: int) -> dict[str, Any]:
    return {
        "user": user,
        "roles": [],
        "joined_at": "2026-01-01T00:00:00+00:00",
        "deaf": False,
        "mute": False,
        "flags": 0,
        "permissions": str(permissions),
    }


def _thread(channel_id: int, parent_id: int) -> dict[str, Any]:
    return {
        "id": str(channel_id),
        "type": 11,
        "name": "a thread",
        "parent_id": str(parent_id),
        "owner_id": str(PERSON),
        "guild_id": str(GUILD),
        "message_count": 0,
        "member_count": 1,
        "rate_limit_per_user": 0,
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 1440,
            "archive_timestamp": "2026-01-01T00:00:00+00:00",
            "locked": False,
        },
        "flags": 0,
    }
