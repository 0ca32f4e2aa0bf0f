"""Figures that are measured once: two processes work, and a folder remembers.

A figure is known by its measure, its arguments and the fingerprint of the poems. Asked for again
it comes from the folder, so that a run that was stopped goes on, and one part costs one part.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks import measures
from benchmarks.measures import Bench, Figures
from engine import logs
from engine.files import replace_file


@dataclass(frozen=True, kw_only=True)
class Part:
    """One call of a measure."""

    name: str
    """What the report calls it: `perplexity/gru`."""
    measure: str
    """The function of `benchmarks.measures`."""
    arguments: dict[str, Any]
    """Its arguments but the bench, as JSON has them."""


class Folder:
    """The figures measured so far."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Figures under `path`, of the poems with this fingerprint."""
        self.path, self.fingerprint = path, fingerprint
        path.mkdir(parents=True, exist_ok=True)

    def get(self, part: Part) -> Figures | None:
        """The figures of a part, if they are there."""
        try:
            contents = json.loads(self._file(part).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        figures: Figures = contents["figures"]
        return figures

    def put(self, part: Part, figures: Figures) -> None:
        """Remember the figures of a part."""
        contents = {"part": part.name, "arguments": part.arguments, "figures": figures}
        replace_file(self._file(part), json.dumps(contents, ensure_ascii=False, indent=1) + "\n")

    def _file(self, part: Part) -> Path:
        identity = json.dumps([part.measure, part.arguments, self.fingerprint], sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return self.path / f"{part.name.replace('/', '.').replace(' ', '-')}-{digest}.json"


def measure_all(
    parts: Sequence[Part],
    folder: Folder,
    pack: Path,
    *,
    again: Iterable[str] = (),
    processes: int = 2,
    tell: Callable[[str], None],
) -> dict[str, Figures]:
    """The figures of every part, by its name; `again` names the beginnings of what is stale."""
    stale = tuple(again)
    known = {
        part.name: folder.get(part) for part in parts if not part.name.startswith(stale or "\0")
    }
    missing = [part for part in parts if known.get(part.name) is None]
    for part, figures, seconds in _measured(missing, pack, processes):
        folder.put(part, figures)
        known[part.name] = figures
        tell(f"{part.name}: {seconds:.0f} s")
    return {part.name: known[part.name] or {} for part in parts}


def _measured(
    parts: Sequence[Part], pack: Path, processes: int
) -> Iterator[tuple[Part, Figures, float]]:
    if not parts:
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_prepare
    ) as pool:
        running = {pool.submit(_measure, part, pack): part for part in parts}
        for done in as_completed(running):
            figures, seconds = done.result()
            yield running[done], figures, seconds


def _prepare() -> None:
    """In a worker: one thread, and no word of poems that were begun again."""
    torch.set_num_threads(1)
    logs.configure(level="WARNING", secrets=frozenset())


def _measure(part: Part, pack: Path) -> tuple[Figures, float]:
    """In a worker: one part, and how long it took in seconds."""
    start = perf_counter()
    figures: Figures = getattr(measures, part.measure)(_bench(pack), **part.arguments)
    return figures, perf_counter() - start


@lru_cache(maxsize=1)
def _bench(pack: Path) -> Bench:
    return Bench(pack)
