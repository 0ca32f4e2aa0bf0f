"""A Bot API on loopback that behaves as Telegram's does, for real clients to talk to.

Kept from the original: an offset confirms, and so deletes, every update below it; without one,
what was not confirmed comes again; a second poller ends the first with 409; 401 for a wrong token,
429 with `retry_after`, 403 from a chat that blocked the bot, 400 for a lost topic, and with
`migrate_to_chat_id` from a group that moved; what `sendMessage` accepts; `editMessageText`, which
refuses a message that it does not know and one that would stay as it is; `answerCallbackQuery`,
which knows a query only for a while; a webhook, which is taken only if it can be connected to, is
called as `tests.fakes.delivery` tells, and makes `getUpdates` a conflict. Like a Bot API server of
one's own, it calls by plain http, too. And `sendChatAction`.
"""

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import web

from tests.fakes.delivery import Delivery

TOKEN = "123456:A-token-that-only-the-tests-know"
USERNAME = "yuefu_test_bot"
TEXT_MAX = 4096
CAPTION_MAX = 1024
CALLBACK_DATA_MAX = 64
CALLBACK_ANSWER_MAX = 200
COMMAND_HELP_MAX = 256
PROFILE_TEXT_MAX = {"description": 512, "short_description": 120}
BOT = {"id": 123456, "is_bot": True, "first_name": "Yuefu", "username": USERNAME}
# What Telegram takes for a command: Latin letters only.
_COMMAND = re.compile(r"/[A-Za-z0-9_]{1,32}(?:@(\w+))?(?!\S)")
_COMMAND_NAME = re.compile(r"[a-z0-9_]{1,32}")
_RIGHTS = {
    "administrator": (
        "can_be_edited",
        "can_manage_chat",
        "can_delete_messages",
        "can_manage_video_chats",
        "can_restrict_members",
        "can_promote_members",
        "can_change_info",
        "can_invite_users",
        "can_post_stories",
        "can_edit_stories",
        "can_delete_stories",
    ),
    "restricted": (
        "is_member",
        "can_change_info",
        "can_invite_users",
        "can_pin_messages",
        "can_send_messages",
        "can_send_polls",
        "can_send_other_messages",
        "can_add_web_page_previews",
        "can_manage_topics",
        "can_send_audios",
        "can_send_documents",
        "can_send_photos",
        "can_send_videos",
        "can_send_video_notes",
        "can_send_voice_notes",
        "can_edit_tag",
        "can_react_to_messages",
    ),
}
ENTITY_TYPES = frozenset({"bold", "italic", "underline", "spoiler", "code", "pre"})
_LOW_HALVES = frozenset(bytes([byte]) for byte in range(0xDC, 0xE0))
_DETECTED = re.compile(
    r"(?:https?|tg|ftp|mailto|ton)://\S*|[\w.-]+@[\w-]+\.\w+|@\w+|#\w+|\$[A-Z]{1,8}\b"
    r"|\b[\w-]+\.(?:com|org|net|me|cn|io|ru)\b\S*|\+\d[\d -]{6,}|/\w+@\w+"
)
_START_PARAMETER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONFLICT = "conflict"
_JSON_PARAMETERS = frozenset(
    {
        "allowed_updates",
        "button",
        "commands",
        "entities",
        "link_preview_options",
        "reply_markup",
        "reply_parameters",
        "results",
        "scope",
    }
)


Method = Callable[[dict[str, Any]], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One message that the fake took, and so showed."""

    chat_id: int
    text: str
    message_id: int
    at_s: float
    parameters: dict[str, Any]
    photo: str | None = None
    file: str | None = None
    """The text of the file that it brings."""

    @property
    def styled(self) -> list[tuple[str, str]]:
        """What is shown in a style: which, and the text that its offsets cover."""
        units = self.text.encode("utf-16-le")
        return [
            (entity["type"], units[2 * start : 2 * end].decode("utf-16-le"))
            for entity, start, end in _bounds(self.parameters)
        ]

    @property
    def detected(self) -> list[str]:
        """What Telegram makes links, mentions and tags of unasked."""
        return detected_in(self.text)

    @property
    def keyboard(self) -> list[list[dict[str, str]]]:
        """The rows of buttons below it."""
        rows: list[list[dict[str, str]]] = (self.parameters.get("reply_markup") or {}).get(
            "inline_keyboard", []
        )
        return rows

    @property
    def buttons(self) -> list[str]:
        """What the buttons below it bring back."""
        return [button["callback_data"] for row in self.keyboard for button in row]

    @property
    def labels(self) -> list[str]:
        """What the buttons below it show."""
        return [button["text"] for row in self.keyboard for button in row]


@dataclass(frozen=True, kw_only=True)
class Typed:
    """One time that the bot showed that it types."""

    chat_id: int
    at_s: float
    parameters: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class InlineAnswer:
    """What was offered to somebody who typed after the bot's name."""

    query: str
    texts: list[str]
    parameters: dict[str, Any]

    @property
    def start(self) -> str:
        """What the button above the results starts the bot with."""
        return str(self.parameters["button"]["start_parameter"])


class ApiError(Exception):
    """An answer that is not ok."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters


@dataclass(kw_only=True)
class FakeTelegram:
    """The fake's state; tests write to it directly."""

    token: str = TOKEN
    """The only token that it knows."""
    url: str = ""
    """Where it listens."""
    pending: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Updates not confirmed yet, by id."""
    script: deque[list[dict[str, Any]]] = field(default_factory=deque)
    """Answers of getUpdates to give as they are, before `pending`: for what should not happen."""
    sent: list[Sent] = field(default_factory=list)
    """Every message shown, in order."""
    edits: list[Sent] = field(default_factory=list)
    """Every change of a message that was made, in order."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Every picture that was uploaded, by the name that Telegram gave it."""
    queries: set[str] = field(default_factory=set)
    """Taps that can still be answered."""
    answered: list[tuple[str, str]] = field(default_factory=list)
    """Every answer to a tap: its id and the text."""
    typed: list[Typed] = field(default_factory=list)
    """Every time that the bot showed that it types, in order."""
    asked_at_s: list[float] = field(default_factory=list)
    """When it was asked to show, to change or to type something, whatever it answered."""
    inline: list[InlineAnswer] = field(default_factory=list)
    """Every answer to an inline query, in order."""
    refusals: list[tuple[str, str]] = field(default_factory=list)
    """What it refused for what was in it (400): method and description."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Every request but getUpdates: method and parameters."""
    polls: int = 0
    """Requests for updates so far."""
    without_pictures: set[int] = field(default_factory=set)
    """Groups in which nobody may send pictures."""
    blocked: set[int] = field(default_factory=set)
    """Chats that blocked the bot."""
    lost_topics: set[int] = field(default_factory=set)
    """Topics that were deleted."""
    moved: dict[int, int] = field(default_factory=dict)
    """Groups that became supergroups: old id to new."""
    flood: deque[int] = field(default_factory=deque)
    """The next requests to show, change or type something get 429, with these seconds to wait."""
    floods_at_s: list[float] = field(default_factory=list)
    """When it answered so."""
    admins: dict[int, set[int]] = field(default_factory=dict)
    """Who runs each group."""
    privacy: bool = False
    """Whether groups keep from the bot what is not meant for it, as is usual."""
    latency_s: float = 0.0
    """From the moment a message is shown until the answer is sent."""
    in_flight: int = 0
    """Messages shown whose answer is not out yet."""
    webhook: Delivery | None = None
    """The webhook, and how its calls fare."""
    webhook_second_s: float = 0.01
    """How long a second takes between the calls of a webhook."""
    menus: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """The names in each menu, by scope (`chat 42`, `all_private_chats`) and language code."""
    profile: dict[tuple[str, str], str] = field(default_factory=dict)
    """What the bot says of itself: by `description` or `short_description` and language code."""
    _next_update: int = 1000
    _next_message: int = 1
    _poller: asyncio.Task[Any] | None = None
    _delivering: asyncio.Task[None] | None = None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    # --- what tests do ---

    async def say(self, text: str | None, *, chat_id: int = 7, **extra: Any) -> int:
        """Somebody writes `text`; the update's id."""
        update_id = self._next_update
        update = message_update(update_id, text, chat_id=chat_id, **extra)
        self._next_update += 1
        if not self.privacy or self._is_meant(update["message"]):
            await self.add(update)
        return update_id

    async def reply(self, text: str, sent: Sent) -> int:
        """Somebody answers one of the bot's messages; the update's id."""
        there = message_update(sent.message_id, sent.text, chat_id=sent.chat_id)["message"]
        there["from"] = BOT
        return await self.say(text, chat_id=sent.chat_id, reply_to_message=there)

    async def tap(
        self,
        message_id: int,
        data: str,
        *,
        chat_id: int = 7,
        person: int | None = None,
        language: str = "zh-hans",
    ) -> int:
        """Somebody taps a button of a message; the update's id."""
        update_id = self._next_update
        self.queries.add(f"query-{update_id}")
        update = tap_update(update_id, message_id, data, chat_id=chat_id, language=language)
        if person is not None:
            update["callback_query"]["from"]["id"] = person
        sent = self.find(chat_id, message_id)
        if sent is not None and "message_thread_id" in sent.parameters:
            thread = int(sent.parameters["message_thread_id"])
            update["callback_query"]["message"] |= {
                "message_thread_id": thread,
                "is_topic_message": True,
            }
        await self.add(update)
        return update_id

    async def type_inline(
        self, text: str, *, person: int = 7, language: str = "zh-hans", stale: bool = False
    ) -> str:
        """Somebody typed `text` after the bot's name; the query's id."""
        update_id = self._next_update
        query = f"query-{update_id}"
        if not stale:
            self.queries.add(query)
        user = {"id": person, "is_bot": False, "first_name": "R", "language_code": language}
        asked = {"id": query, "from": user, "query": text, "offset": "", "chat_type": "group"}
        await self.add({"update_id": update_id, "inline_query": asked})
        return query

    async def react(self, message_id: int, emoji: str, *, chat_id: int, person: int) -> int:
        """Somebody's reactions are now those of `emoji`, one a character; the update's id."""
        update_id = self._next_update
        reaction = {
            "chat": message_update(0, None, chat_id=chat_id)["message"]["chat"],
            "message_id": message_id,
            "user": {"id": person, "is_bot": False, "first_name": "Reader"},
            "date": 1_700_000_000,
            "old_reaction": [],
            "new_reaction": [{"type": "emoji", "emoji": one} for one in emoji],
        }
        await self.add({"update_id": update_id, "message_reaction": reaction})
        return update_id

    def _is_meant(self, message: dict[str, Any]) -> bool:
        """Whether a bot in privacy mode hears of a message (core.telegram.org/bots/features)."""
        text = message.get("text")
        if message["chat"]["id"] > 0 or text is None:
            return True
        if message.get("reply_to_message", {}).get("from", {}).get("id") == BOT["id"]:
            return True
        command = _COMMAND.match(text)
        if command is None:
            return False
        # A bare command is for the bot that spoke last; there is no other here.
        spoke = any(sent.chat_id == message["chat"]["id"] for sent in self.sent)
        return spoke if command[1] is None else command[1] == USERNAME

    async def become(
        self,
        status: str,
        *,
        chat_id: int,
        was: str = "member",
        person: int | None = None,
        language: str = "zh-hans",
    ) -> int:
        """The bot itself, or a person, is now `status` in a chat; the update's id."""
        update_id = self._next_update
        there = message_update(0, None, chat_id=chat_id, language=language)["message"]
        user = BOT if person is None else {"id": person, "is_bot": False, "first_name": "Reader"}
        changed = {
            "chat": there["chat"],
            "from": there["from"],
            "date": 1_700_000_000,
            "old_chat_member": _member(was, user),
            "new_chat_member": _member(status, user),
        }
        kind = "my_chat_member" if person is None else "chat_member"
        await self.add({"update_id": update_id, kind: changed})
        return update_id

    async def add(self, update: dict[str, Any]) -> None:
        """An update arrives."""
        self.pending[update["update_id"]] = update
        self._next_update = max(self._next_update, update["update_id"] + 1)
        await self._tell()

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 30) -> None:
        """Wait until `condition` holds of this fake."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    async def conflict(self) -> None:
        """Another program polls with the token, once, and so ends the poll under way."""
        await self.until(lambda: self._poller is not None)
        assert self._poller is not None
        self._poller.cancel(_CONFLICT)

    def texts(self, chat_id: int | None = None) -> list[str]:
        """The texts shown, in one chat or in all."""
        return [sent.text for sent in self.sent if chat_id in (None, sent.chat_id)]

    def now(self, sent: Sent) -> Sent:
        """A message that was shown, as people see it now."""
        return self.find(sent.chat_id, sent.message_id) or sent

    def find(self, chat_id: int, message_id: int) -> Sent | None:
        """A message as people see it now."""
        versions = [
            sent
            for sent in (*self.sent, *self.edits)
            if (sent.chat_id, sent.message_id) == (chat_id, message_id)
        ]
        return versions[-1] if versions else None

    # --- what the Bot API does ---

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        """Listen on a free port of loopback."""
        app = web.Application()
        app.router.add_route("*", "/bot{token}/{method}", self._answer)
        # Without it, the long poll of a client that was killed would live on as a second poller.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await self._drop_webhook()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            if request.match_info["token"] != self.token:
                raise ApiError(401, "Unauthorized")
            method = self._methods().get(request.match_info["method"])
            if method is None:
                raise ApiError(404, "Not Found")
            result = await method(await _parameters(request))
        except ApiError as error:
            if error.code == HTTPStatus.BAD_REQUEST:
                self.refusals.append((request.match_info["method"], error.description))
            body = {"ok": False, "error_code": error.code, "description": error.description}
            if error.parameters:
                body["parameters"] = error.parameters
            return web.json_response(body, status=error.code)
        return web.json_response({"ok": True, "result": result})

    def _methods(self) -> dict[str, Method]:
        return {
            "getMe": self._get_me,
            "deleteWebhook": self._delete_webhook,
            "getWebhookInfo": self._get_webhook_info,
            "setWebhook": self._set_webhook,
            "setMyCommands": self._set_my_commands,
            "deleteMyCommands": self._delete_my_commands,
            "setMyDescription": partial(self._set_my_text, "description"),
            "setMyShortDescription": partial(self._set_my_text, "short_description"),
            "getUpdates": self._get_updates,
            "sendMessage": self._send_message,
            "sendPhoto": self._send_photo,
            "sendDocument": self._send_document,
            "editMessageText": self._edit_message_text,
            "editMessageReplyMarkup": self._edit_message_reply_markup,
            "getChatAdministrators": self._get_chat_administrators,
            "answerCallbackQuery": self._answer_callback_query,
            "answerInlineQuery": self._answer_inline_query,
            "sendChatAction": self._send_chat_action,
        }

    async def _get_me(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("getMe", parameters))
        return {
            "id": int(self.token.partition(":")[0]),
            "is_bot": True,
            "first_name": "Yuefu",
            "username": USERNAME,
        }

    async def _delete_webhook(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("deleteWebhook", parameters))
        await self._drop_webhook()
        self._drop_pending(parameters)
        return True

    async def _set_webhook(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("setWebhook", parameters))
        await self._tell()
        url, secret = parameters["url"], parameters.get("secret_token", "")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,256}", secret):
            raise ApiError(400, "Bad Request: secret token contains unallowed characters")
        await _try_to_connect(url)
        await self._drop_webhook()
        self._drop_pending(parameters)
        self.webhook = Delivery(
            url=url,
            secret=secret,
            max_connections=int(parameters.get("max_connections", 40)),
            allowed_updates=parameters.get("allowed_updates", []),
            pending=self.pending,
            changed=self._changed,
            second_s=self.webhook_second_s,
        )
        self._delivering = asyncio.create_task(self.webhook.run())
        await self._tell()
        return True

    async def _drop_webhook(self) -> None:
        self.webhook = None
        if self._delivering is not None:
            self._delivering.cancel()
            await asyncio.gather(self._delivering, return_exceptions=True)
            self._delivering = None

    def _drop_pending(self, parameters: dict[str, Any]) -> None:
        if str(parameters.get("drop_pending_updates")).lower() == "true":
            self.pending.clear()

    async def _get_webhook_info(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("getWebhookInfo", parameters))
        info = {
            "url": self.webhook.url if self.webhook else "",
            "has_custom_certificate": False,
            "pending_update_count": len(self.pending),
        }
        if self.webhook and self.webhook.error:
            info |= {
                "last_error_date": int(time.time()) + 1,
                "last_error_message": self.webhook.error,
            }
        return info

    async def _set_my_commands(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("setMyCommands", parameters))
        menu = parameters["commands"]
        for command in menu:
            if not _COMMAND_NAME.fullmatch(command["command"]):
                raise ApiError(400, "Bad Request: BOT_COMMAND_INVALID")
            if not 1 <= len(command["description"]) <= COMMAND_HELP_MAX:
                raise ApiError(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
        self.menus[self._menu(parameters)] = [command["command"] for command in menu]
        await self._tell()
        return True

    async def _delete_my_commands(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("deleteMyCommands", parameters))
        self.menus.pop(self._menu(parameters), None)
        await self._tell()
        return True

    def _menu(self, parameters: dict[str, Any]) -> tuple[str, str]:
        """The menu that a call is about."""
        scope = parameters.get("scope", {"type": "default"})
        if scope.get("chat_id") in self.blocked:
            raise ApiError(400, "Bad Request: chat not found")
        where = f" {scope['chat_id']}" if "chat_id" in scope else ""
        return f"{scope['type']}{where}", _language_code(parameters)

    async def _set_my_text(self, which: str, parameters: dict[str, Any]) -> Any:
        self.calls.append((which, parameters))
        text = parameters.get(which, "")
        if len(text) > PROFILE_TEXT_MAX[which]:
            raise ApiError(400, "Bad Request: text is too long")
        self.profile[which, _language_code(parameters)] = text
        await self._tell()
        return True

    async def _get_updates(self, parameters: dict[str, Any]) -> Any:
        if self.webhook is not None:
            raise ApiError(
                409,
                "Conflict: can't use getUpdates method while webhook is active; "
                "use deleteWebhook to delete the webhook first",
            )
        if self._poller is not None:
            self._poller.cancel(_CONFLICT)
        current = asyncio.current_task()
        assert current is not None
        self._poller = current
        self.polls += 1
        await self._tell()
        try:
            return await self._updates(parameters)
        except asyncio.CancelledError as error:
            if error.args != (_CONFLICT,):
                raise
            current.uncancel()
            raise ApiError(
                409,
                "Conflict: terminated by other getUpdates request; "
                "make sure that only one bot instance is running",
            ) from None
        finally:
            if self._poller is current:
                self._poller = None

    async def _updates(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        offset = int(parameters.get("offset", 0))
        for update_id in [known for known in self.pending if known < offset]:
            del self.pending[update_id]
        self._keep_only(parameters.get("allowed_updates"))
        await self._tell()
        try:
            await self.until(
                lambda: bool(self.script or self.pending),
                timeout_s=max(float(parameters.get("timeout", 0)), 0.001),
            )
        except TimeoutError:
            return []
        if self.script:
            return self.script.popleft()
        limit = int(parameters.get("limit", 100))
        return [self.pending[update_id] for update_id in sorted(self.pending)][:limit]

    def _keep_only(self, kinds: list[str] | None) -> None:
        """What a poller did not ask for is not even kept."""
        if kinds is not None:
            wanted = {"update_id", *kinds}
            for update_id, update in list(self.pending.items()):
                if update.keys() - wanted:
                    del self.pending[update_id]

    async def _send_message(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("sendMessage", parameters))
        return await self._show(parameters.get("text", ""), parameters)

    async def _send_document(self, parameters: dict[str, Any]) -> Any:
        file = parameters.pop("document").decode()
        self.calls.append(("sendDocument", parameters))
        self._refuse_caption(parameters)
        return await self._show(parameters.get("caption", ""), parameters, file=file)

    async def _show(self, text: str, parameters: dict[str, Any], *, file: str | None = None) -> Any:
        chat_id = int(parameters["chat_id"])
        self._refuse(chat_id, text, parameters)
        sent = Sent(
            chat_id=chat_id,
            text=text,
            message_id=self._next_message,
            at_s=time.monotonic(),
            parameters=parameters,
            file=file,
        )
        self._next_message += 1
        self.sent.append(sent)
        await self._take_its_time()
        return _message(sent)

    async def _send_photo(self, parameters: dict[str, Any]) -> Any:
        """A picture: uploaded, or one that Telegram has already, by its name."""
        self.calls.append(("sendPhoto", parameters))
        self._refuse_caption(parameters)
        chat_id, photo = int(parameters["chat_id"]), parameters["photo"]
        self._refuse(chat_id, "a picture", parameters)
        if chat_id in self.without_pictures:
            raise ApiError(400, "Bad Request: not enough rights to send photos to the chat")
        if isinstance(photo, bytes):
            self.files[f"file-{len(self.files)}"] = photo
            photo = f"file-{len(self.files) - 1}"
        if photo not in self.files:
            raise ApiError(400, "Bad Request: wrong file identifier/HTTP URL specified")
        sent = Sent(
            chat_id=chat_id,
            text=parameters.get("caption", ""),
            photo=photo,
            message_id=self._next_message,
            at_s=time.monotonic(),
            parameters=parameters,
        )
        self._next_message += 1
        self.sent.append(sent)
        await self._take_its_time()
        return _message(sent)

    async def _take_its_time(self) -> None:
        """What was asked for is done, and the answer is on its way."""
        self.in_flight += 1
        await self._tell()
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.in_flight -= 1

    async def _edit_message_text(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("editMessageText", parameters))
        chat_id, text = int(parameters["chat_id"]), parameters.get("text", "")
        self._refuse(chat_id, text, parameters)
        message_id = int(parameters["message_id"])
        before = self.find(chat_id, message_id)
        if before is None:
            raise ApiError(400, "Bad Request: message to edit not found")
        edited = replace(before, text=text, at_s=time.monotonic(), parameters=parameters)
        if (edited.text, edited.styled, edited.keyboard) == (
            before.text,
            before.styled,
            before.keyboard,
        ):
            raise ApiError(
                400,
                "Bad Request: message is not modified: specified new message content and reply "
                "markup are exactly the same as a current content and reply markup of the message",
            )
        self.edits.append(edited)
        await self._take_its_time()
        return _message(edited)

    async def _edit_message_reply_markup(self, parameters: dict[str, Any]) -> Any:
        before = self.find(int(parameters["chat_id"]), int(parameters["message_id"]))
        if before is not None:
            unchanged = {"text": before.text, "entities": before.parameters.get("entities")}
            return await self._edit_message_text(parameters | unchanged)
        raise ApiError(400, "Bad Request: message to edit not found")

    async def _get_chat_administrators(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("getChatAdministrators", parameters))
        people = self.admins.get(int(parameters["chat_id"]), set())
        return [
            {
                "status": "creator",
                "is_anonymous": False,
                "user": {"id": person, "is_bot": False, "first_name": "Reader"},
            }
            for person in people
        ]

    async def _answer_inline_query(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("answerInlineQuery", parameters))
        results = parameters["results"]
        if parameters["inline_query_id"] not in self.queries:
            raise ApiError(
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
            )
        if len({result["id"] for result in results}) < len(results) or len(results) > 50:
            raise ApiError(400, "Bad Request: RESULT_ID_DUPLICATE")
        if not _START_PARAMETER.fullmatch(parameters["button"]["start_parameter"]):
            raise ApiError(400, "Bad Request: START_PARAM_INVALID")
        for content in (result["input_message_content"] for result in results):
            _refuse_text(content["message_text"], content)
        self.inline.append(
            InlineAnswer(
                query=parameters["inline_query_id"],
                texts=[result["input_message_content"]["message_text"] for result in results],
                parameters=parameters,
            )
        )
        await self._tell()
        return True

    async def _answer_callback_query(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("answerCallbackQuery", parameters))
        query, text = parameters["callback_query_id"], parameters.get("text", "")
        if len(text) > CALLBACK_ANSWER_MAX:
            raise ApiError(400, "Bad Request: MESSAGE_TOO_LONG")
        if query not in self.queries:
            raise ApiError(
                400,
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
            )
        # Telegram takes a second answer as well, so the query is kept.
        self.answered.append((query, text))
        await self._take_its_time()
        return True

    async def _send_chat_action(self, parameters: dict[str, Any]) -> Any:
        self.calls.append(("sendChatAction", parameters))
        chat_id = int(parameters["chat_id"])
        self._refuse_chat(chat_id)
        if parameters["action"] != "typing":
            raise ApiError(400, "Bad Request: wrong parameter action in request")
        self.typed.append(Typed(chat_id=chat_id, at_s=time.monotonic(), parameters=parameters))
        await self._tell()
        return True

    def _refuse_chat(self, chat_id: int) -> None:
        self.asked_at_s.append(time.monotonic())
        if self.flood:
            wait_s = self.flood.popleft()
            self.floods_at_s.append(time.monotonic())
            raise ApiError(429, f"Too Many Requests: retry after {wait_s}", retry_after=wait_s)
        if chat_id in self.blocked:
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        if chat_id in self.moved:
            raise ApiError(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=self.moved[chat_id],
            )

    def _refuse(self, chat_id: int, text: str, parameters: dict[str, Any]) -> None:
        self._refuse_chat(chat_id)
        if int(parameters.get("message_thread_id", 0)) in self.lost_topics:
            raise ApiError(400, "Bad Request: message thread not found")
        _refuse_text(text, parameters)
        self._refuse_parameters(parameters)

    def _refuse_caption(self, parameters: dict[str, Any]) -> None:
        if len(parameters.get("caption", "").encode("utf-16-le")) // 2 > CAPTION_MAX:
            raise ApiError(400, "Bad Request: message caption is too long")

    def _refuse_parameters(self, parameters: dict[str, Any]) -> None:
        for row in (parameters.get("reply_markup") or {}).get("inline_keyboard", []):
            if any(not 1 <= len(b["callback_data"].encode()) <= CALLBACK_DATA_MAX for b in row):
                raise ApiError(400, "Bad Request: BUTTON_DATA_INVALID")
        reply = parameters.get("reply_parameters")
        if reply and not reply.get("allow_sending_without_reply"):
            raise ApiError(400, "Bad Request: message to be replied not found")

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def message_update(
    update_id: int,
    text: str | None,
    *,
    chat_id: int = 7,
    language: str | None = "zh-hans",
    **extra: Any,
) -> dict[str, Any]:
    """An update as Telegram writes it: a message of one person, in a group if `chat_id` < 0."""
    chat: dict[str, Any] = {"id": chat_id, "type": "private", "first_name": "Reader"}
    if chat_id < 0:
        chat = {"id": chat_id, "type": "supergroup", "title": "Readers"}
    person = {"id": abs(chat_id), "is_bot": False, "first_name": "Reader"}
    if language is not None:
        person["language_code"] = language
    message = {
        "message_id": update_id,
        "date": 1_700_000_000,
        "chat": chat,
        "from": person,
        **({} if text is None else {"text": text}),
        **extra,
    }
    return {"update_id": update_id, "message": message}


def tap_update(
    update_id: int, message_id: int, data: str, *, chat_id: int = 7, language: str = "zh-hans"
) -> dict[str, Any]:
    """An update as Telegram writes it: a tap on a button of one of the bot's messages."""
    message = message_update(update_id, "…", chat_id=chat_id)["message"]
    return {
        "update_id": update_id,
        "callback_query": {
            "id": f"query-{update_id}",
            "from": message["from"] | {"language_code": language},
            "message": message | {"message_id": message_id, "from": BOT},
            "chat_instance": "1",
            "data": data,
        },
    }


def _bounds(parameters: dict[str, Any]) -> list[tuple[dict[str, Any], int, int]]:
    """Each entity, with the UTF-16 units at which it begins and has ended."""
    entities = parameters.get("entities") or []
    return [(one, one["offset"], one["offset"] + one["length"]) for one in entities]


def detected_in(text: str) -> list[str]:
    """What Telegram finds in a bare text and makes a link, a mention or a tag of."""
    return _DETECTED.findall(text)


def _refuse_text(text: str, parameters: dict[str, Any]) -> None:
    # White space at both ends is taken away.
    if not text.strip():
        raise ApiError(400, "Bad Request: message text is empty")
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise ApiError(400, "Bad Request: strings must be encoded in UTF-8")
    if len(text.encode("utf-16-le")) // 2 > TEXT_MAX:
        raise ApiError(400, "Bad Request: message is too long")
    _refuse_entities(text, parameters)


def _refuse_entities(text: str, parameters: dict[str, Any]) -> None:
    """Entities must lie in the text, be of a known type, and part no surrogate pair."""
    units = text.encode("utf-16-le")
    for entity, start, end in _bounds(parameters):
        if not 0 <= start < end <= len(units) // 2:
            raise ApiError(400, "Bad Request: ENTITY_BOUNDS_INVALID")
        if entity["type"] not in ENTITY_TYPES:
            raise ApiError(400, "Bad Request: can't parse MessageEntity: unsupported type")
        # The second half of a pair.
        if any(units[2 * at + 1 : 2 * at + 2] in _LOW_HALVES for at in (start, end)):
            raise ApiError(400, "Bad Request: entity begins in a middle of a UTF-16 symbol")


async def _try_to_connect(url: str) -> None:
    """What Telegram does before it takes an address."""
    parts = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        raise ApiError(400, "Bad Request: bad webhook: Connection refused") from None
    writer.close()


def _member(status: str, user: dict[str, Any]) -> dict[str, Any]:
    """What Telegram tells of a member of a chat."""
    rights = dict.fromkeys(_RIGHTS.get(status, ()), False)
    return {"status": status, "user": user, "until_date": 0, "is_anonymous": False} | rights


def _language_code(parameters: dict[str, Any]) -> str:
    code = str(parameters.get("language_code", ""))
    if code and not re.fullmatch(r"[a-z]{2}", code):
        raise ApiError(400, "Bad Request: invalid language code specified")
    return code


def _message(sent: Sent) -> dict[str, Any]:
    told: dict[str, Any] = {"text": sent.text}
    if sent.photo is not None:
        size = {"file_unique_id": sent.photo, "width": 1080, "height": 1440}
        told = {"caption": sent.text, "photo": [size | {"file_id": sent.photo}]}
    return told | {
        "message_id": sent.message_id,
        "date": 1_700_000_000,
        "chat": {"id": sent.chat_id, "type": "private", "first_name": "Reader"},
    }


async def _parameters(request: web.Request) -> dict[str, Any]:
    """The parameters of a request, however the client chose to send them."""
    if request.content_type == "application/json":
        body: dict[str, Any] = await request.json()
        return body
    form = await request.post()
    return {name: _value(name, value) for name, value in {**request.query, **form}.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, web.FileField):
        return value.file.read()
    return json.loads(str(value)) if name in _JSON_PARAMETERS else str(value)
