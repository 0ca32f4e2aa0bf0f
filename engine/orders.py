"""What people order engines to do: go back to the champion before.

An order names the champion that it wants replaced. So it is carried out once, however often it is
read: an engine with another champion has nothing to do with it, and of several on one registry the
first one's compare-and-set leaves nothing for the others. It is short-lived; whoever gave it
withdraws it when it is done.
"""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from engine import keys
from engine.jobs import Cell


class Obstacle(StrEnum):
    """Why an engine cannot go back."""

    NOTHING = "nothing"
    """There is no previous champion."""
    DAMAGED = "damaged"
    """The previous champion cannot be loaded."""
    UNWRITABLE = "unwritable"
    """The engine may not write in its registry."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order to put a cell's previous champion back in service."""

    cell: Cell
    """The cell."""
    expected: str
    """The id of the checkpoint that shall no longer be its champion."""
    id: str = field(default_factory=lambda: uuid4().hex)
    """Under which it is answered."""


async def give(redis: Redis, order: Order) -> None:
    """Have engines see `order`, in place of an earlier one for its cell, for a minute."""
    await redis.set(keys.rollback(order.cell), json.dumps(asdict(order)), ex=keys.ORDER_TTL_S)


async def withdraw(redis: Redis, order: Order) -> None:
    """Have no engine see an order for that cell any more."""
    await redis.delete(keys.rollback(order.cell))


async def standing(redis: Redis) -> list[Order]:
    """The orders that stand now, at most one a cell."""
    texts = await redis.mget([keys.rollback(cell) for cell in Cell])
    found = [json.loads(text) for text in texts if text is not None]
    return [Order(**fields | {"cell": Cell(fields["cell"])}) for fields in found]


async def refuse(redis: Redis, order: Order, obstacle: Obstacle) -> None:
    """Tell whoever gave `order` why it cannot be carried out."""
    await redis.set(keys.refusal(order.id), obstacle, ex=keys.ORDER_TTL_S)


async def refusal(redis: Redis, order: Order) -> Obstacle | None:
    """Why `order` cannot be carried out, if an engine said so."""
    text: Any = await redis.get(keys.refusal(order.id))
    return None if text is None else Obstacle(text.decode())
