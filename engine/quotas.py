"""How many jobs one party may ask for: at a time, and within windows of time that slide."""

from dataclasses import dataclass
from enum import StrEnum


class Whose(StrEnum):
    """Whom a quota is for."""

    PERSON = "person"
    CHAT = "chat"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """So many jobs within any window of this length."""

    count: int
    """The most that are let in, at least 1."""
    window_s: float
    """The window's length in seconds."""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What one party may ask for."""

    whose: Whose
    """What kind of party it is."""
    name: str
    """A pseudonym of the party."""
    in_flight: int = 0
    """Jobs that it may have waiting and running; 0 is no limit."""
    rates: tuple[Rate, ...] = ()
    """How fast it may ask."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The limit that kept a job out."""

    whose: Whose
    """Whose quota it is of."""
    most: int
    """How many jobs it admits."""
    window_s: float | None = None
    """Within which time in seconds; None where it is at a time."""
