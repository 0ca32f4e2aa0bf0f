"""What is known of an update while its answer is on its way, for the line that tells of it.

It travels with the job and with the message, so a process that takes over from another knows it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Trace:
    """How an answer came about. Moments are Unix times in milliseconds."""

    cause: str
    """What makes the update unique: the id that every line about it has."""
    came_ms: int
    """When it came into the inbox; of a poem that nobody asked for, when it was due."""
    command: str = ""
    """What was wanted, by the name of a command or a button; empty where nobody found out."""
    asked_ms: int | None = None
    """When the engine was asked for a poem; None where it was not."""

    def stages(self, *, put_ms: int, now_ms: int) -> dict[str, int]:
        """How many milliseconds each stage took, and all of them (`took_ms`).

        Clocks of several hosts are in this, so what is a little below 0 counts as 0.

        Args:
            put_ms: When the message came into the outbox.
            now_ms: When nothing more was to be done.
        """
        decided_ms = put_ms if self.asked_ms is None else self.asked_ms
        lasted = {
            "decide_ms": decided_ms - self.came_ms,
            "write_ms": put_ms - decided_ms,
            "show_ms": now_ms - put_ms,
            "took_ms": now_ms - self.came_ms,
        }
        return {stage: max(lasts_ms, 0) for stage, lasts_ms in lasted.items()}

    def to_json(self) -> str:
        """This trace as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote; raises as `from_fields`, and ValueError if it is no JSON."""
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, found: Mapping[str, Any]) -> Self:
        """Read the fields of a trace, which another version of the bot may have written.

        Raises:
            TypeError: it is none.
        """
        return cls(**{one.name: found[one.name] for one in fields(cls) if one.name in found})
