"""What people leave behind in Redis when something failed.

What cannot be read, shown or written is buried for an operator to look at, with the numbers of
those whom it is about. Whoever wants to be forgotten is taken out of there too. What is counted for
limits stays for its day: to be forgotten must not be a way around them.
"""

import re
from typing import Any

from redis.asyncio import Redis

from bot import keys
from engine.keys import DEAD

_BATCH = 500


class Leftovers:
    """The traces of people on one platform (`bot.clerks.privacy.Traces`)."""

    def __init__(self, redis: Redis, platform: str) -> None:
        """Look in `redis`."""
        self._redis = redis
        self._platform = platform

    async def forget(self, person: str) -> None:
        """Delete what was buried and names `person`, and what is noted of their own chat.

        An entry in which their number stands by chance goes too: nobody waits for it any more.
        """
        number = re.escape(person.partition(":")[2].encode())
        named = re.compile(rb"(?<!\w)" + number + rb"(?!\w)")
        for stream in (keys.dead(self._platform), DEAD):
            await self._clear(stream, named)
        await self._redis.delete(keys.refused(self._platform, person))

    async def _clear(self, stream: str, named: re.Pattern[bytes]) -> None:
        after = "-"
        while entries := await self._page(stream, after):
            hits = [entry for entry, fields in entries if any(map(named.search, fields.values()))]
            if hits:
                await self._redis.xdel(stream, *hits)
            after = f"({entries[-1][0].decode()}"

    async def _page(self, stream: str, after: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        # The reply's type in redis-py covers both protocols; the client's is pinned to RESP2.
        page: Any = await self._redis.xrange(stream, min=after, count=_BATCH)
        return list(page)
