"""What a platform lets us send: a budget that posts, edits and typing share, and its halts.

Both are kept in Redis, so that every process keeps them, a restarted one too. The budget is a
generic cell rate algorithm (ITU-T I.371): for each rate one number, the time at which everything
sent so far would have been sent at an even pace. It may lie ahead of now by the burst. Within any
window no more than `burst` and what the pace admits is sent, without a list of what was.
"""

import asyncio
from dataclasses import dataclass

from redis.asyncio import Redis

from bot import keys
from engine.script import EVEN_IF_FULL

# KEYS: halt, then for each rate its number: that over all chats first, then those of one chat.
# ARGV: for each rate ms between sends, burst, sends of the burst that must be left after this one.
# Returns {ms until all chats may send, ms until this one may}. Nothing is spent unless both are 0.
_SPEND = f"""{EVEN_IF_FULL}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local shared, own, spent = math.max(redis.call('PTTL', KEYS[1]), 0), 0, {{}}
for i = 2, #KEYS do
  local every, burst, left = unpack(ARGV, 3 * i - 5, 3 * i - 3)
  local even = math.max(tonumber(redis.call('GET', KEYS[i])) or 0, now)
  local wait = math.max(even - (burst - 1 - left) * every - now, 0)
  if i == 2 then shared = math.max(shared, wait) else own = math.max(own, wait) end
  spent[i] = even + every
end
if shared == 0 and own == 0 then
  for i = 2, #KEYS do
    redis.call('SET', KEYS[i], spent[i], 'PX', spent[i] - now)
  end
end
return {{shared, own}}
"""
# KEYS: halt. ARGV: ms.
_HOLD = f"""{EVEN_IF_FULL}
if tonumber(ARGV[1]) > redis.call('PTTL', KEYS[1]) then
  redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
end
"""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast something may go out."""

    every_ms: int
    """Between two sends in the long run."""
    burst: int
    """How many may go out at once after a while of quiet."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What one platform admits."""

    everywhere: Pace
    """Over all chats."""
    chat: Pace
    """In any one chat."""
    group: Pace
    """In a chat of many people, besides."""


class Halt:
    """Holds everything back while the platform asks us to wait, whichever process it asked."""

    def __init__(self, redis: Redis, platform: str) -> None:
        """The halt of one platform."""
        self._redis = redis
        self._key = keys.halt(platform)
        self._hold = redis.register_script(_HOLD)

    async def hold(self, seconds: float) -> None:
        """Hold back for `seconds` from now, or longer where that was asked for already."""
        await self._hold(keys=[self._key], args=[max(round(seconds * 1000), 1)])

    async def left_s(self) -> float:
        """For how many seconds everything is held back; 0 where nothing is."""
        return max(await self._redis.pttl(self._key), 0) / 1000

    async def over(self) -> None:
        """Wait until nothing is held back, also by those who asked meanwhile."""
        while left_s := await self.left_s():  # noqa: ASYNC110 - it is in Redis
            await asyncio.sleep(left_s)


class Budget:
    """What may be sent on one platform, as one process sees it. Calls wait for Redis if away."""

    def __init__(self, redis: Redis, platform: str, allowance: Allowance) -> None:
        """Keep `allowance`, together with every other process that does."""
        self._platform = platform
        self._allowance = allowance
        self._spend = redis.register_script(_SPEND)
        # Who waits for what all chats share does so in line, and only the first asks.
        self._line = asyncio.Lock()

    async def wait(self, chat: str, *, group: bool) -> None:
        """Wait until one more message or change of one may go to `chat`, and spend it.

        A chat that has used up its own part waits aside, and takes nothing of what all share. Its
        messages should ask one after the other: of those that ask at once any may come first.
        """
        while True:
            own_s = await self._wait_in_line(chat, group=group)
            if own_s == 0:
                return
            await asyncio.sleep(own_s)

    async def spare(self, chat: str, *, group: bool) -> bool:
        """Spend on what need not be sent, if no message waits or has to wait for it now.

        Half of each burst stays for messages.
        """
        if self._line.locked():
            return False
        return await self._ask(chat, group=group, spare=True) == (0, 0)

    async def _wait_in_line(self, chat: str, *, group: bool) -> float:
        """Wait for what all chats share; then how long this chat itself has to, 0 if it spent."""
        async with self._line:
            while True:
                shared_s, own_s = await self._ask(chat, group=group)
                if own_s > 0 or shared_s == 0:
                    return own_s
                await asyncio.sleep(shared_s)

    async def _ask(self, chat: str, *, group: bool, spare: bool = False) -> tuple[float, float]:
        """Spend, or say how long all chats and how long this one must wait, in seconds."""
        paces = {
            keys.budget(self._platform): self._allowance.everywhere,
            keys.budget(self._platform, "chat", chat): self._allowance.chat,
        }
        if group:
            paces[keys.budget(self._platform, "group", chat)] = self._allowance.group
        args = [
            number
            for pace in paces.values()
            for number in (pace.every_ms, pace.burst, pace.burst // 2 if spare else 0)
        ]
        shared_ms, own_ms = await self._spend(keys=[keys.halt(self._platform), *paces], args=args)
        return shared_ms / 1000, own_ms / 1000
