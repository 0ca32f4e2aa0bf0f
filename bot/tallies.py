"""The counters below poems, brought up to date without flooding anybody.

A vote only notes that a message is out of date; a while later it is changed once, however many
votes came meanwhile. The notes are in Redis, so a restart forgets none.
"""

import asyncio
import json
import time
from dataclasses import asdict
from typing import Any

from redis.asyncio import Redis

from bot import keys
from bot.anthology import Anthology
from bot.buttons import poem_buttons
from bot.message import Address, Message
from bot.outbox import Outbox

PAUSE_S = 2.0
"""The time between a vote and the change of its counter, in which other votes may join it."""

_LOOK_S = 0.5
_BATCH = 64


class Tallies:
    """The counters of one platform."""

    def __init__(
        self,
        *,
        redis: Redis,
        platform: str,
        anthology: Anthology,
        outbox: Outbox,
    ) -> None:
        """Counts come from `anthology`, changes go to `outbox`."""
        self._redis = redis
        self._key = keys.tallies(platform)
        self._anthology = anthology
        self._outbox = outbox

    async def note(self, address: Address, message: int, poem: str) -> None:
        """The counter below `message`, which shows `poem`, is out of date."""
        member = json.dumps({"address": asdict(address), "message": message, "poem": poem})
        # NX: a stream of votes must not put the change off for ever.
        await self._redis.zadd(self._key, {member: time.time() + PAUSE_S}, nx=True)

    async def run(self) -> None:
        """Change counters until cancelled."""
        while True:
            await self.settle()
            await asyncio.sleep(_LOOK_S)

    async def settle(self) -> None:
        """Change the counters whose time has come."""
        due: Any = await self._redis.zrange(
            self._key, 0, time.time(), byscore=True, offset=0, num=_BATCH
        )
        for member in due:
            # Before the count is read, so that a vote in between is noted anew.
            await self._redis.zrem(self._key, member)
            await self._change(json.loads(member))

    async def _change(self, noted: dict[str, Any]) -> None:
        address, message = Address(**noted["address"]), int(noted["message"])
        tally = await self._anthology.ratings.tally(noted["poem"])
        await self._outbox.put(
            Message(
                # The same count may be shown again later, so it needs a name of its own; and one
                # that stands in the log, so it does not name the chat.
                id=f"tally:{noted['poem']}:{time.time_ns()}",
                address=address,
                text="",
                edits=message,
                buttons=poem_buttons(noted["poem"], tally),
            )
        )
