"""Waiting for a condition instead of for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(poll: Callable[[], Awaitable[T]], *, within_s: float = 30.0) -> T:
    """Ask again and again until the answer is true, and return it.

    Raises:
        TimeoutError: it was not within `within_s` seconds.
    """
    deadline = time.monotonic() + within_s
    while not (answer := await poll()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s")
        await asyncio.sleep(0.01)
    return answer
