"""How Telegram calls a webhook; the fake Bot API does the same.

Kept from the original (`WebhookActor` of tdlib/telegram-bot-api): an update stays until its call
is answered 2xx; those of one chat wait for each other, those of several are called at once up to
`max_connections`; the first failure is tried again at once, later ones after a pause that doubles,
or after what `Retry-After` says; the secret is a header; the body is JSON, its length announced.
"""

import asyncio
import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PAUSE_MAX_S = 60


@dataclass(kw_only=True)
class Delivery:
    """The calls of one webhook, from its registration until another takes its place."""

    url: str
    """Where it is called."""
    secret: str
    """What every call brings."""
    max_connections: int
    """Calls at once."""
    allowed_updates: list[str]
    """Kinds of updates it wants."""
    pending: dict[int, dict[str, Any]]
    """Updates not delivered yet, by id; shared with whoever adds them."""
    changed: asyncio.Condition
    """Notified whenever `pending` or this has changed."""
    second_s: float
    """How long one of Telegram's seconds takes: tests have fewer of them."""
    statuses: list[int] = field(default_factory=list)
    """How each call was answered, 0 for not at all."""
    pauses_s: list[int] = field(default_factory=list)
    """How long each failed call was put off, in Telegram's seconds."""
    error: str = ""
    """What Telegram says of the last call that failed."""
    _busy: set[int] = field(default_factory=set)

    async def run(self) -> None:
        """Call until cancelled."""
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as calls:
            while True:
                async with self.changed:
                    await self.changed.wait_for(lambda: self._next() is not None)
                update = self._next()
                assert update is not None
                self._busy.add(_queue(update))
                calls.create_task(self._hand_over(http, update))

    def _next(self) -> dict[str, Any] | None:
        """The update to deliver now, if there is one and a connection to spare."""
        if len(self._busy) >= self.max_connections:
            return None
        waiting = map(self.pending.__getitem__, sorted(self.pending))
        return next((update for update in waiting if _queue(update) not in self._busy), None)

    async def _hand_over(self, http: aiohttp.ClientSession, update: dict[str, Any]) -> None:
        for failures in itertools.count():
            status, retry_after_s = await self._call(http, update)
            self.statuses.append(status)
            if 200 <= status < 300:
                break
            self.error = f"Wrong response from the webhook: {status}" if status else "Hung up"
            pause_s = retry_after_s or (min(2**failures, PAUSE_MAX_S) if failures else 0)
            self.pauses_s.append(pause_s)
            await self._tell()
            await asyncio.sleep(pause_s * self.second_s)
        self.pending.pop(update["update_id"], None)
        self._busy.discard(_queue(update))
        await self._tell()

    async def _call(self, http: aiohttp.ClientSession, update: dict[str, Any]) -> tuple[int, int]:
        """The status of an answer, and the seconds until the next try that it asks for."""
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.secret} if self.secret else {}
        with suppress(aiohttp.ClientError):
            async with http.post(self.url, json=update, headers=headers) as answer:
                return answer.status, int(answer.headers.get("Retry-After", 0))
        return 0, 0

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


def _queue(update: dict[str, Any]) -> int:
    """What an update waits its turn in: its chat; what has none waits for nobody."""
    for part in update.values():
        message = part.get("message", part) if isinstance(part, dict) else {}
        if isinstance(message.get("chat"), dict):
            return int(message["chat"]["id"])
    return int(update["update_id"])
