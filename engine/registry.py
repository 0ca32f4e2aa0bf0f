"""The registry: which checkpoints there are, and which of them are in service.

A folder holds the checkpoints and, for each cell, one small file of aliases: champion (in
service), challenger (on trial) and previous (what a rollback brings back). The bundled
checkpoints stand behind it: a cell without a champion of its own is served by the bundled one.
Aliases change by compare-and-set under a lock, and by rename, so a reader sees old or new.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.checkpoint import MANIFEST, CheckpointError, MissingError
from engine.files import replace_file
from engine.jobs import Cell
from engine.settings import BUNDLED_MODELS


class NoModelError(CheckpointError):
    """No checkpoint of that cell or name is installed."""


class StaleAliasError(CheckpointError):
    """The champion changed since it was looked at, so nothing was swapped."""


@dataclass(frozen=True, kw_only=True)
class Aliases:
    """The checkpoints of one cell that have a role, by id."""

    champion: str | None = None
    """In service; None means the bundled one, if there is one."""
    challenger: str | None = None
    """On trial."""
    previous: str | None = None
    """In service before the champion."""


class Registry:
    """The checkpoints under `folder`, with the bundled ones behind them."""

    def __init__(self, folder: Path, *, bundled: Path = BUNDLED_MODELS) -> None:
        self.folder, self.bundled = folder, bundled

    def checkpoints(self) -> list[Path]:
        """Every checkpoint folder, bundled ones first, in the order of their names."""
        return [
            manifest.parent
            for parent in (self.bundled, self.folder)
            for manifest in sorted(parent.glob(f"[!.]*/{MANIFEST}"))
        ]

    def champions(self) -> dict[Cell, Path]:
        """The checkpoint in service of each cell that has one."""
        found: dict[Cell, Path] = {}
        for cell in Cell:
            try:
                found[cell] = self.champion(cell)
            except NoModelError:
                continue
        return found

    def champion(self, cell: Cell) -> Path:
        """The checkpoint in service; NoModelError if the cell has none."""
        named = self.aliases(cell).champion
        if named is not None:
            return self._named(named)
        bundled = self._bundled(cell)
        if not bundled:
            others = ", ".join(found for found in Cell if self._bundled(found)) or "none"
            raise NoModelError(f"no {cell} model is installed; installed: {others}")
        return bundled[-1]

    def _bundled(self, cell: Cell) -> list[Path]:
        return [path.parent for path in sorted(self.bundled.glob(f"{cell}-*/{MANIFEST}"))]

    def in_order_of_trust(self, cell: Cell) -> list[Path]:
        """What to try to serve a cell with: champion, previous champion, then the bundled one."""
        aliases = self.aliases(cell)
        named = [name for name in (aliases.champion, aliases.previous) if name is not None]
        bundled = [path.name for path in self._bundled(cell)[-1:]]
        known = {path.name: path for path in self.checkpoints()}
        return [known[name] for name in dict.fromkeys(named + bundled) if name in known]

    def find(self, name: str) -> Path:
        """A checkpoint by cell, by id or by path; NoModelError if there is none."""
        if name in Cell.__members__.values():
            return self.champion(Cell(name))
        if (Path(name) / MANIFEST).is_file():
            return Path(name)
        return self._named(name)

    def _named(self, name: str) -> Path:
        for path in self.checkpoints():
            if path.name == name:
                return path
        raise NoModelError(f"no checkpoint {name} in {self.folder}")

    def aliases(self, cell: Cell) -> Aliases:
        """The roles of a cell; all None while none was given."""
        try:
            fields = json.loads(self._alias_file(cell).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Aliases()
        return Aliases(**fields)

    def challenge(self, checkpoint: str) -> None:
        """Make a checkpoint its cell's challenger."""
        with self._swap(self._cell_of(checkpoint)) as aliases:
            aliases.new = replace(aliases.old, challenger=checkpoint)

    def promote(self, checkpoint: str, *, expected: str | None = None) -> None:
        """Make a checkpoint its cell's champion; the champion of now becomes the previous one.

        Raises:
            NoModelError: there is no such checkpoint.
            StaleAliasError: `expected` is given and is not the id of the champion of now.
        """
        cell = self._cell_of(self._named(checkpoint).name)
        with self._swap(cell) as aliases:
            now = self._champion_id(cell)
            if expected is not None and expected != now:
                raise StaleAliasError(f"the {cell} champion is {now}, not {expected}")
            challenger = None if aliases.old.challenger == checkpoint else aliases.old.challenger
            aliases.new = Aliases(champion=checkpoint, challenger=challenger, previous=now)

    def rollback(self, cell: Cell) -> str:
        """Put the previous champion back in service and return its id.

        Raises:
            NoModelError: there is no previous one.
        """
        with self._swap(cell) as aliases:
            if aliases.old.previous is None:
                raise NoModelError(f"{cell} has no previous champion to go back to")
            back = self._named(aliases.old.previous).name
            aliases.new = replace(aliases.old, champion=back, previous=self._champion_id(cell))
        return back

    def _champion_id(self, cell: Cell) -> str | None:
        try:
            return self.champion(cell).name
        except NoModelError:
            return None

    def _cell_of(self, checkpoint: str) -> Cell:
        try:
            return Cell(checkpoint.partition("-")[0])
        except ValueError as error:
            raise MissingError(f"{checkpoint} is not the id of a checkpoint") from error

    def _alias_file(self, cell: Cell) -> Path:
        return self.folder / f"{cell}.json"

    @contextmanager
    def _swap(self, cell: Cell) -> "Iterator[_Swap]":
        """Hold the lock while `new` is worked out from `old`, then write it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{cell}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            swap = _Swap(old=self.aliases(cell))
            yield swap
            replace_file(self._alias_file(cell), json.dumps(asdict(swap.new), indent=1) + "\n")


class _Swap:
    def __init__(self, old: Aliases) -> None:
        self.old, self.new = old, old
