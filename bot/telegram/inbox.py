"""Updates reach a durable inbox before Telegram forgets them.

The library's own polling confirms updates while they wait in memory, so that a killed process
loses them. Here a raw update is in Redis before the offset moves past it, and stays there until it
was dealt with. What comes twice is known by its id, kept for 48 hours: ids may jump backwards
after a quiet week, so "greater than the last one" would not do.
"""

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx
import structlog
from redis.asyncio import Redis

from bot import keys
from bot.errors import InboxError, PollerConflictError, PollFailedError, TokenRefusedError
from bot.stream import Entry, Stream

POLL_S = 25
"""How long Telegram holds a request open while nothing comes."""
ALLOWED_UPDATES = ("message", "channel_post", "callback_query", "message_reaction")
"""All that commands, buttons and votes need; Telegram keeps the rest to itself."""
BACKLOG_MAX = 10_000
"""Updates in the inbox beyond which Telegram, which has more room, keeps what is new."""

_BATCH = 100
_BACKOFF_S = (1.0, 30.0)

# KEYS: inbox. ARGV: prefix of the marks, their TTL in s, then id and JSON of each update.
# Marks and entries are written together, so no crash parts them. Returns the inbox's length.
_STORE = """
for i = 3, #ARGV, 2 do
  if redis.call('SET', ARGV[1] .. ARGV[i], 1, 'NX', 'EX', ARGV[2]) then
    redis.call('XADD', KEYS[1], '*', 'update', ARGV[i + 1])
  end
end
return redis.call('XLEN', KEYS[1])
"""

log = structlog.get_logger(__name__)


def raw_update(entry: Entry) -> bytes:
    """The update in an entry of the inbox, as JSON."""
    return entry.fields[b"update"]


class Inbox:
    """The durable inbox of one bot. Calls wait for Redis if it is away."""

    def __init__(self, redis: Redis, platform: str) -> None:
        """Read from the very beginning: what a process before this one left comes first."""
        self._redis = redis
        self._platform = platform
        self._stream = Stream(redis, keys.inbox(platform))
        self._store = redis.register_script(_STORE)

    async def store(self, updates: Sequence[dict[str, Any]]) -> int:
        """Keep those of `updates` that are new; how many the inbox holds now."""
        args: list[Any] = [keys.seen(self._platform), keys.SEEN_TTL_S]
        for update in updates:
            # ASCII: JSON from outside may carry lone surrogates, which UTF-8 cannot.
            args += [update["update_id"], json.dumps(update)]
        return int(await self._store(keys=[self._stream.key], args=args))

    async def backlog(self) -> int:
        """How many updates the inbox holds."""
        return int(await self._redis.xlen(self._stream.key))

    async def take(self, count: int = 64) -> list[Entry]:
        """Updates not taken before, oldest first; waits a moment if there are none."""
        return await self._stream.take(count)

    async def done(self, entry: Entry) -> None:
        """The update was dealt with: forget it."""
        await self._stream.forget(entry.id)

    async def bury(self, entry: Entry, why: str) -> None:
        """Set the update aside for an operator; the log says `why`, and nothing of its content."""
        async with self._redis.pipeline() as pipe:
            dead = keys.dead(self._platform)
            fields: dict[Any, Any] = {"update": raw_update(entry), "why": why}
            pipe.xadd(dead, fields, maxlen=keys.DEAD_MAX)
            pipe.expire(dead, keys.DEAD_TTL_S)
            pipe.xdel(self._stream.key, entry.id)
            await pipe.execute()
        log.error("! buried", action="update.bury", entry=entry.id, why=why)


class Poller:
    """Fetches updates into the inbox, for as long as nobody else does."""

    def __init__(self, inbox: Inbox, http: httpx.AsyncClient, *, poll_s: int = POLL_S) -> None:
        """`http` has the bot's own address, with the token in it, as its base."""
        self._inbox = inbox
        self._http = http
        self._poll_s = poll_s
        self._offset: int | None = None

    async def run(self) -> None:
        """Fetch until cancelled.

        Raises:
            PollerConflictError: another program polls with this token.
            TokenRefusedError: Telegram does not know the token.
        """
        pause_s = _BACKOFF_S[0]
        while True:
            try:
                await self.poll()
                pause_s = _BACKOFF_S[0]
            except PollFailedError as error:
                log.warning("↻ poll failed", action="poll.again", error=str(error))
                await asyncio.sleep(error.retry_after_s or pause_s)
                pause_s = min(pause_s * 2, _BACKOFF_S[1])

    async def poll(self) -> None:
        """Fetch once.

        The offset confirms what has been stored. It is dropped once Telegram has nothing more,
        which is as good, and leaves ids free to start anew anywhere.
        """
        updates = await self._fetch()
        if not updates:
            self._offset = None
            return
        backlog = await self._inbox.store(updates)
        self._offset = max(update["update_id"] for update in updates) + 1
        log.debug("updates", action="poll", count=len(updates), backlog=backlog)
        if backlog > BACKLOG_MAX:
            raise PollFailedError("the inbox is full", retry_after_s=_BACKOFF_S[0])

    async def _fetch(self) -> list[dict[str, Any]]:
        parameters = {
            "timeout": self._poll_s,
            "limit": _BATCH,
            "allowed_updates": list(ALLOWED_UPDATES),
        } | ({} if self._offset is None else {"offset": self._offset})
        try:
            answer = await self._http.post("getUpdates", json=parameters)
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            # Without its text, which names the address: the token is part of that.
            raise PollFailedError(type(error).__name__) from None
        if answer.status_code != HTTPStatus.OK or not isinstance(body, dict):
            raise _poll_error(answer.status_code, body)
        return [
            update
            for update in body.get("result", ())
            if isinstance(update, dict) and isinstance(update.get("update_id"), int)
        ]


def _poll_error(status: int, body: object) -> InboxError:
    if status == HTTPStatus.CONFLICT:
        return PollerConflictError()
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND):
        return TokenRefusedError()
    parameters = body.get("parameters") if isinstance(body, dict) else None
    retry_after_s = parameters.get("retry_after") if isinstance(parameters, dict) else None
    return PollFailedError(f"HTTP {status}", retry_after_s=retry_after_s)
