"""What it takes to answer an interaction, kept for as long as Discord takes such answers."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Self

from discord.utils import snowflake_time
from redis.asyncio import Redis

from bot import keys
from bot.discord.interactions import CAUSE, cause_of
from bot.discord.menu import PLATFORM
from bot.mark import mark
from bot.message import Message

VALID_S = 15 * 60
"""How long an interaction can be answered by its token."""

_MARGIN_S = 15
"""So much earlier a token counts as run out: what is being sent has to arrive in time."""


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What it takes to answer one interaction."""

    application: int
    """The application that was asked."""
    token: str
    """What Discord gave to answer with."""
    message: int | None
    """The message whose button was tapped; None where the answer is a message of its own."""

    @classmethod
    def of(cls, interaction: dict[str, Any]) -> Self:
        """The ticket of a raw interaction.

        Raises:
            KeyError, TypeError, ValueError: it has none.
        """
        message = interaction.get("message")
        return cls(
            application=int(interaction["application_id"]),
            token=str(interaction["token"]),
            message=int(message["id"]) if message else None,
        )


class Tickets:
    """The tickets of one bot, by the cause of what will be sent. Calls wait for Redis."""

    def __init__(self, redis: Redis) -> None:
        """Keep them in `redis`."""
        self._redis = redis

    async def keep(self, interaction: dict[str, Any]) -> None:
        """Keep the ticket of a raw interaction until it runs out.

        Raises:
            KeyError, TypeError, ValueError: it has none.
        """
        began_s = snowflake_time(int(interaction["id"])).timestamp()
        left_s = int(began_s + VALID_S - _MARGIN_S - time.time())
        if left_s > 0:
            ticket = Ticket.of(interaction)
            packed = json.dumps(asdict(ticket))
            key = keys.ticket(PLATFORM, cause_of(interaction))
            await mark(self._redis, key, packed, ttl_s=left_s)
            if ticket.message is not None:
                await mark(self._redis, _by_message(ticket.message), packed, ttl_s=left_s)

    async def find(self, message: Message) -> Ticket | None:
        """The ticket for a message that answers something, or that changes what was tapped."""
        if message.id.startswith(CAUSE):
            key = keys.ticket(PLATFORM, message.id.partition("/")[0])
        elif message.edits is not None:
            # A counter, say: it is changed in channels, too, that only those who tapped let us in.
            key = _by_message(message.edits)
        else:
            return None
        found = await self._redis.get(key)
        return Ticket(**json.loads(found)) if found else None


def _by_message(message: int) -> str:
    """Where the last ticket of whoever tapped a button of `message` is."""
    return keys.ticket(PLATFORM, f"message:{message}")
