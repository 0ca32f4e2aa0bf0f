"""`queue.lua` on one Redis client: many calls to a run, and the calls of many callers in one.

A run costs a round trip and a start of the script, however many calls it makes. So calls that come
at the same time share one (`share`): while one run is under way the next one gathers, and batches
grow with the load by themselves. There is no timer, and a call that comes alone does not wait.
"""

import asyncio
import contextvars
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis

from engine import keys

MOST = 128
"""Calls in one run: a server that does one thing at a time must not do ours for long."""
FEW = 32
"""From so many on, what waits goes in two runs: server and worker begin with the first half while
the second is packed. It makes jobs go half as fast again where 64 are in flight."""

EVEN_IF_FULL = "#!lua flags=allow-oom\n"
"""The head of a script that runs though Redis's memory is full: for what keeps people from being
forgotten, or makes room. What makes work for others has no such head, and is refused."""
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"
"""A script that gives up what is held. KEYS: what is held. ARGV: its holder."""

_TOLD = ("GROUP", "JOB_TTL_S", "REPLIES_TTL_S", "PACE_TTL_S", "DEAD_LENGTH")
# As text: a command's words are, and Lua is slow to turn numbers into them.
_HEAD = "".join(f"local {name} = {json.dumps(str(getattr(keys, name)))}\n" for name in _TOLD)
_SOURCE = _HEAD + (Path(__file__).parent / "queue.lua").read_text(encoding="utf-8")

Key = str | bytes


class Call(NamedTuple):
    """One call of one verb; `queue.lua` says what each takes and returns."""

    verb: str
    """Which verb."""
    keys: Sequence[Key]
    """The keys that it is about."""
    args: Sequence[Key | int] = ()
    """What else it is told."""


_TAKES_MANY = frozenset({"forget"})
"""Verbs that do for each of their arguments what they do for one, and reply nothing."""


def _fold(calls: Sequence[Call]) -> list[tuple[Call, int]]:
    """Calls in their order, those that may be made in one as one, and how many each stands for."""
    folded: list[tuple[Call, int]] = []
    for call in calls:
        last, many = folded[-1] if folded else (None, 0)
        if last and call.verb in _TAKES_MANY and call[:2] == last[:2]:
            folded[-1] = (last._replace(args=(*last.args, *call.args)), many + 1)
        else:
            folded.append((call, 1))
    return folded


class Script:
    """The script on one client."""

    def __init__(
        self,
        redis: Redis,
        *,
        makes_room: bool,
        around: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        """Run it by `redis`.

        With `makes_room` it runs with Redis's memory full too; else each call that would write is
        then answered by an error. `around` is entered for each run that callers share: what it
        raises goes to all of them.
        """
        # Without a first line it would be refused at its first write only, where that needs memory;
        # and quotas begin with forgetting, which needs none and lets all that follows pass.
        flags = EVEN_IF_FULL if makes_room else "#!lua\n"
        self._run_once = redis.register_script(flags + _SOURCE)
        self._around = around
        self._waiting: list[tuple[Call, asyncio.Future[Any]]] = []
        self._sharing: asyncio.Task[None] | None = None

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Make these calls, in as few runs as may be, and return their replies.

        Raises:
            redis.exceptions.RedisError: the first error that a call met; the others were made.
        """
        parts = [calls[at : at + MOST] for at in range(0, len(calls), MOST)]
        replies = [reply for part in parts for reply in await self._run(part)]
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def share(self, call: Call) -> Any:
        """Make a call in one run with those that are made meanwhile, and return its reply.

        A caller that is cancelled may have been answered or not. One that is cancelled before its
        run has begun has its call taken back.

        Raises:
            redis.exceptions.RedisError: the error that the call met.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((call, future))
        if self._sharing is None or self._sharing.done():
            # Its log lines are no single caller's.
            context = contextvars.Context()
            self._sharing = loop.create_task(self._run_shared(), context=context)
        return await future

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        """One run: the reply to each call, or the error that it met."""
        folded = _fold(calls)
        names = [key for call, _ in folded for key in call.keys]
        args: list[Any] = []
        for call, _ in folded:
            args += (call.verb, len(call.keys), len(call.args), *call.args)
        replies: list[Any] = await self._run_once(keys=names, args=args)
        return [
            reply for (_, many), reply in zip(folded, replies, strict=True) for _ in range(many)
        ]

    async def _run_shared(self) -> None:
        """Run what waits until nothing does."""
        try:
            while self._waiting:
                size = min(MOST, max(FEW, len(self._waiting) // 2))
                batch = [one for one in self._waiting[:size] if not one[1].done()]
                del self._waiting[:size]
                if batch:
                    await self._answer(batch)
        finally:
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()

    async def _answer(self, batch: list[tuple[Call, asyncio.Future[Any]]]) -> None:
        """Run one batch. What stops all of a run is no fault of a call: all that wait are told."""
        try:
            async with self._around():
                replies = await self._run([call for call, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            batch = batch + self._waiting
            self._waiting.clear()
            replies = [error] * len(batch)
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
