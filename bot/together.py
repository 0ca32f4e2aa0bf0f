"""Tasks that only make sense together: where one fails, none goes on."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def together(*tasks: Coroutine[Any, Any, None]) -> None:
    """Run `tasks` until all have ended, or one fails; what failed first ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except BaseExceptionGroup as failed:
        # Whoever called knows it by its own type.
        raise failed.exceptions[0] from None
