"""Waiting for what comes into a stream: the one thing that a script cannot do."""

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from engine import keys

Entry = tuple[bytes, list[bytes]]
"""An entry's id, and its names and values in turn."""

# In bytes it is no command that redis-py knows, so the reply stays as it is: names may repeat.
_READ = b"XREADGROUP"


async def wait_for(
    redis: Redis, consumer: str, stream: str, *, count: int, wait_ms: int
) -> list[Entry] | None:
    """What no consumer of `stream` has seen, at most `count`, in its order.

    Where there is none it waits `wait_ms`, at least 1, for the first to come. None where the stream
    or its group is not there: Redis was emptied, or nothing was ever put.
    """
    words = ("GROUP", keys.GROUP, consumer, "COUNT", count, "BLOCK", wait_ms, "STREAMS")
    try:
        reply: Any = await redis.execute_command(  # type: ignore[no-untyped-call]
            _READ, *words, stream, ">"
        )
    except ResponseError as error:
        if "NOGROUP" in str(error):
            return None
        raise
    found: dict[bytes, list[Entry]] = dict(reply or ())
    return found.get(stream.encode(), [])
