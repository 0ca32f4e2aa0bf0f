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
from typing import Any, Self

import structlog
from redis.asyncio import Redis

from bot import keys
from bot.message import Message
from bot.stream import Entry, Stream
from bot.trace import Trace
from engine.jobs import cause_of
from engine.script import EVEN_IF_FULL

_SENDING = b"sending"
_SENT = b"sent"

# KEYS: outbox. ARGV: of each message itself and its trace, as JSON. Two fields, so that a version
# of the bot that knows no traces can read the message all the same.
_PUT = f"""{EVEN_IF_FULL}
for i = 1, #ARGV, 2 do
  redis.call('XADD', KEYS[1], '*', 'message', ARGV[i], 'trace', ARGV[i + 1])
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

    entry: Entry
    """Its entry in the stream."""
    message: Message
    """The message."""
    trace: Trace | None
    """What is known of the update whose answer ends with it; None of any other message."""

    @property
    def cause(self) -> str:
        """The id that every line of the log about it has."""
        return cause_of(self.message.id) if self.trace is None else self.trace.cause

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """Read what was put.

        Raises:
            KeyError, TypeError, ValueError: it is no message.
        """
        message = Message.from_json(entry.fields[b"message"])
        trace = entry.fields.get(b"trace")
        return cls(entry=entry, message=message, trace=Trace.from_json(trace) if trace else None)


Fit = Callable[[Message], Sequence[Message]]
"""Makes of a message as many as a platform needs to show it, each with an id of its own."""


def _as_it_is(message: Message) -> Sequence[Message]:
    return (message,)


def _unmoved() -> None:
    pass


class Outbox:
    """The outbox of one platform. Calls wait for Redis if it is away."""

    def __init__(
        self,
        redis: Redis,
        platform: str,
        *,
        fit: Fit = _as_it_is,
        on_drop: Callable[[], None] = _unmoved,
    ) -> None:
        """Read from the very beginning: what a process before this one left comes first.

        `on_drop` hears of every entry that is no message.
        """
        self._fit = fit
        self._on_drop = on_drop
        self._redis = redis
        self._platform = platform
        self._stream = Stream(redis, keys.outbox(platform))
        self._put = redis.register_script(_PUT)
        self._begin = redis.register_script(_BEGIN)
        self._finish = redis.register_script(_FINISH)

    async def put(self, message: Message, trace: Trace | None = None) -> None:
        """Have `message` shown. Putting one again is harmless: the ledger knows its id.

        `trace` is that of the update whose answer ends with it, or with the last of its parts.
        """
        parts = [part.to_json() for part in self._fit(message)]
        traces = [""] * (len(parts) - 1) + [trace.to_json() if trace else ""]
        args = [text for pair in zip(parts, traces, strict=True) for text in pair]
        await self._put(keys=[self._stream.key], args=args)

    async def backlog(self) -> int:
        """How many messages the outbox holds."""
        return int(await self._redis.xlen(self._stream.key))

    async def take(self, count: int) -> list[Letter]:
        """Up to `count` messages not taken before, oldest first; waits a moment if there are none.

        An entry that is no message is dropped: no version of the bot can show it.
        """
        letters: list[Letter] = []
        for entry in await self._stream.take(count):
            try:
                letters.append(Letter.read(entry))
            except (KeyError, TypeError, ValueError) as error:
                log.warning("! dropped", action="outbox.drop", error=type(error).__name__)
                self._on_drop()
                await self._stream.forget(entry.id)
        return letters

    async def begin(self, letter: Letter) -> bool:
        """Note that the message is about to be shown; False if it must not be.

        It must not where it was shown before, or perhaps was and nobody asked for it.
        """
        before: Any = await self._begin(
            keys=[self._mark(letter)], args=[_SENDING, keys.SHOWN_TTL_S]
        )
        if before == _SENDING and letter.message.until_ms is not None:
            log.warning("? perhaps shown", action="outbox.unsure")
            return False
        return bool(before != _SENT)

    async def withdraw(self, letter: Letter) -> None:
        """Note that the message was surely not shown, after all."""
        await self._redis.delete(self._mark(letter))

    async def finish(self, letter: Letter) -> None:
        """Note that the message was shown, or never will be, and take it off the outbox."""
        await self._finish(
            keys=[self._mark(letter), self._stream.key],
            args=[_SENT, keys.SHOWN_TTL_S, letter.entry.id],
        )

    def _mark(self, letter: Letter) -> str:
        return keys.shown(self._platform, letter.message.id)
