"""What the trainer tells chats: what it is doing now, and what came of the last night.

It travels through Redis (`engine.keys.NIGHT`), for trainer and bot share neither process nor
folder. This module knows no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from engine import keys
from engine.jobs import Cell

SILENT_MS = 60_000
"""A trainer that has not said for so long that it is at work has stopped or died."""


class Phase(StrEnum):
    """The phases of a night: the first two once, the others for every cell."""

    SNAPSHOT = "snapshot"
    """Ratings are read and weighed."""
    DATASET = "dataset"
    """The corpus becomes arrays."""
    TRIAL = "trial"
    """What readers think decides of a challenger, and of a champion that was promoted lately."""
    PREFERENCE = "preference"
    """What readers like is learnt from their ratings."""
    FAVOURITES = "favourites"
    """The champion writes many poems; those that readers would like best are kept."""
    FIT = "fit"
    """The champion's weights are trained on corpus and favourites."""
    CHALLENGER = "challenger"
    """All of it becomes a checkpoint."""
    EXAMINATION = "examination"
    """Champion and challenger are examined."""
    OUTCOME = "outcome"
    """The gate judges, and the registry is told."""


class NightOutcome(StrEnum):
    """What came of a night for one cell."""

    PROMOTED = "promoted"
    """A challenger is in service."""
    ON_TRIAL = "on trial"
    """A challenger writes a share of the poems."""
    REFUSED = "refused"
    """The gate did not let the challenger pass."""
    TRIAL_GOES_ON = "trial goes on"
    """An earlier challenger is on trial still; no other was made."""
    NOTHING_NEW = "nothing new"
    """There was nothing to learn from, so no challenger was made."""
    FAILED = "failed"
    """Something went wrong; nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class Bulletin:
    """What the trainer has to tell."""

    told_ms: int
    """Unix time in milliseconds at which it said so."""
    phase: Phase | None = None
    """What it is doing; None while no night is under way."""
    cell: Cell | None = None
    """For which cell; None in what is done once."""
    share: float = 0.0
    """About how much of the night is done, 0 to 1."""
    last: str | None = None
    """The name of the last night that ended, which is its local date."""
    failed: bool = False
    """Whether something went wrong in it."""
    outcomes: Mapping[Cell, NightOutcome] = field(default_factory=dict)
    """What came of it, by cell."""

    def is_at_work(self, now_ms: int) -> bool:
        """Whether a night is under way, as far as anybody knows."""
        return self.phase is not None and now_ms - self.told_ms < SILENT_MS


_BULLETIN = TypeAdapter(Bulletin)


async def publish(redis: Redis, bulletin: Bulletin) -> None:
    """Tell chats."""
    await redis.set(keys.NIGHT, _BULLETIN.dump_json(bulletin), ex=keys.NIGHT_TTL_S)


async def latest(redis: Redis) -> Bulletin | None:
    """What was told last; None where nothing was, or by a trainer of another version."""
    text = await redis.get(keys.NIGHT)
    try:
        return None if text is None else _BULLETIN.validate_json(text)
    except ValidationError:
        return None
