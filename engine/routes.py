"""Who writes a job: the champion of its cell, or for a share of the jobs the challenger on trial.

A function of the job's id and of nothing else that changes, so a job that is leased a second time,
by whatever engine, is written by the same model, as long as the same ones are in service.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, TypeVar

Who = TypeVar("Who")
"""What stands for a model: the id of its checkpoint, or a writer that has loaded it."""

_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Lineup(Generic[Who]):
    """The models that serve one cell."""

    champion: Who
    """Writes what the challenger does not."""
    challenger: Who | None = None
    """On trial, if there is one."""
    share: float = 0.0
    """Of all jobs, the part from 0 to 1 that the challenger writes."""

    def choose(self, job_id: str) -> Who:
        """Who writes the job of that id."""
        if self.challenger is not None and is_tried(job_id, self.share):
            return self.challenger
        return self.champion

    @property
    def all(self) -> tuple[Who, ...]:
        """Everybody in it, the champion first."""
        return (self.champion,) if self.challenger is None else (self.champion, self.challenger)


def is_tried(job_id: str, share: float) -> bool:
    """Whether a challenger that has `share` of all jobs has the job of that id among them."""
    digest = blake2b(job_id.encode(errors="surrogatepass"), digest_size=_BYTES).digest()
    return int.from_bytes(digest, "big") < round(share * (1 << (8 * _BYTES)))
