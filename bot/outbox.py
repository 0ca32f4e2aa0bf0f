"""The durable outbox of one platform, and the ledger that keeps a message from being shown twice.

A message stays in the outbox until it was shown or given up. The ledger says "sending" from just
before the platform is asked until just after it answered, then "sent". So a process that dies in
between leaves "sending" behind: the next one shows the message again, since a message shown twice
is better than a person left without an answer; but not one that nobody asked for
(`Message.until_ms`), since nobody would miss it. Nothing is shown twice outside that window.

A change of a message that was shown, and the answer to a tap, are messages like any other here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis

from bot import keys
from bot.message import Message
from bot.stream import Stream
from engine.script import EVEN_IF_FULL

_SENDING = b"sending"
_SENT = b"sent"

# KEYS: outbox. ARGV: messages as JSON.
_PUT = f"""{EVEN_IF_FULL}
for _, message in ipairs(ARGV) do
  redis.call('XADD', KEYS[1], '*', 'message', message)
end
"""
# KEYS: mark. ARGV: what it shall be, its TTL in s. Returns what it was.
_BEGIN = f"""{EVEN_IF_FULL}
return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX', 'GET')
"""
# KEYS: mark, outbox. ARGV: what the mark shall be, its TTL in s, entry.
_FINISH = f"""{EVEN_IF_FULL}
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('XDEL', KEYS[2], ARGV[3])
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One message, taken out of the outbox but not off it."""

    entry: str
    """The id of its stream entry."""
    message: Message
    """The message."""


Fit = Callable[[Message], Sequence[Message]]
"""Makes of a message as many as a platform needs to show it, each with an id of its own."""


def _as_it_is(message: Message) -> Sequence[Message]:
    return (message,)


class Outbox:
    """The outbox of one platform. Calls wait for Redis if it is away."""

    def __init__(self, redis: Redis, platform: str, *, fit: Fit = _as_it_is) -> None:
        """Read from the very beginning: what a process before this one left comes first."""
        self._fit = fit
        self._redis = redis
        self._platform = platform
        self._stream = Stream(redis, keys.outbox(platform))
        self._put = redis.register_script(_PUT)
        self._begin = redis.register_script(_BEGIN)
        self._finish = redis.register_script(_FINISH)

    async def put(self, message: Message) -> None:
        """Have `message` shown. Putting one again is harmless: the ledger knows its id."""
        parts = [part.to_json() for part in self._fit(message)]
        await self._put(keys=[self._stream.key], args=parts)

    async def take(self, count: int) -> list[Letter]:
        """Up to `count` messages not taken before, oldest first; waits a moment if there are none.

        An entry that is no message is dropped: no version of the bot can show it.
        """
        letters: list[Letter] = []
        for entry in await self._stream.take(count):
            try:
                message = Message.from_json(entry.fields[b"message"])
            except (KeyError, TypeError, ValueError) as error:
                log.warning("! dropped", action="outbox.drop", error=type(error).__name__)
                await self._stream.forget(entry.id)
            else:
                letters.append(Letter(entry=entry.id, message=message))
        return letters

    async def begin(self, letter: Letter) -> bool:
        """Note that the message is about to be shown; False if it must not be.

        It must not where it was shown before, or perhaps was and nobody asked for it.
        """
        before: Any = await self._begin(
            keys=[self._mark(letter)], args=[_SENDING, keys.SHOWN_TTL_S]
        )
        if before == _SENDING and letter.message.until_ms is not None:
            log.warning("? perhaps shown", action="outbox.unsure", id=letter.message.id)
            return False
        return bool(before != _SENT)

    async def withdraw(self, letter: Letter) -> None:
        """Note that the message was surely not shown, after all."""
        await self._redis.delete(self._mark(letter))

    async def finish(self, letter: Letter) -> None:
        """Note that the message was shown, or never will be, and take it off the outbox."""
        await self._finish(
            keys=[self._mark(letter), self._stream.key],
            args=[_SENT, keys.SHOWN_TTL_S, letter.entry],
        )

    def _mark(self, letter: Letter) -> str:
        return keys.shown(self._platform, letter.message.id)
