"""The registry: which checkpoints there are, and which of them are in service.

A depot, a folder or a place elsewhere (`engine.depot`), holds the checkpoints and, for each cell,
one small file of aliases: champion (in service), challenger (on trial) and previous (what a
rollback brings back). The bundled checkpoints stand behind it: a cell without a champion of its own
is served by the bundled one.

Aliases change by compare-and-set and in one step, so a reader sees old or new. Whoever changes
them may say which champion it knows of (`expected`), and under which number it holds the trainers'
lock (`fence`): one that lost the lock meanwhile has a lower number than its successor, and changes
nothing any more.
"""

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from engine.checkpoint import MANIFEST, Checkpoint, load, reader, sign_again, signed
from engine.depot import Depot, RaceError, Shelf, Store, alias_file
from engine.errors import CheckpointError, DamagedError, MissingError, UntrustedError
from engine.jobs import Cell
from engine.settings import BUNDLED_MODELS, EngineSettings
from engine.signing import Keyring, Signer

ROLES = ("champion", "challenger", "previous")
"""What a checkpoint can be to its cell: fields of `Aliases`."""


class NoModelError(CheckpointError):
    """No checkpoint of that cell or name is installed."""


class StaleAliasError(CheckpointError):
    """The aliases changed since they were looked at, so nothing was swapped."""


@dataclass(frozen=True, kw_only=True)
class Aliases:
    """The checkpoints of one cell that have a role, by id."""

    champion: str | None = None
    """In service; None means the bundled one, if there is one."""
    challenger: str | None = None
    """On trial."""
    previous: str | None = None
    """In service before the champion."""
    fence: int = 0
    """The highest fencing number under which they were changed."""
    trial_since: str | None = None
    """When the challenger's trial began, in ISO 8601 and UTC."""


_FIELDS = {field.name for field in fields(Aliases)}


class Registry:
    """The checkpoints of a depot, with the bundled ones behind them."""

    def __init__(
        self,
        depot: Path | Depot,
        *,
        bundled: Path = BUNDLED_MODELS,
        keyring: Keyring | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """The registry in a folder or another depot; `clock` tells when trials begin.

        Only what `keyring` vouches for is loaded or gets a role; by default it asks for no key.
        """
        self.depot = Shelf(depot) if isinstance(depot, Path) else depot
        self.bundled, self._clock = bundled, clock
        self.keyring = keyring or Keyring({})

    @classmethod
    def at(cls, settings: EngineSettings) -> "Registry":
        """The registry that the settings name.

        Raises:
            DepotError: nothing that is installed reaches it.
            SettingsError: what is said to be trusted are no keys.
        """
        keyring = Keyring.of(settings)
        if settings.models_url is None:
            return cls(settings.models_folder, keyring=keyring)
        return cls(Store(settings.models_url, settings.models_folder), keyring=keyring)

    @property
    def folder(self) -> Path:
        """Where its checkpoints lie on this machine, and where new ones are to be written."""
        return self.depot.folder

    def checkpoints(self) -> list[Path]:
        """Every checkpoint folder, bundled ones first, in the order of their names.

        From a place elsewhere, what is not here yet is fetched.
        """
        return [self._named(name) for name in self.names()]

    def names(self) -> list[str]:
        """The id of every checkpoint, bundled ones first, each in order."""
        return list(dict.fromkeys([*Shelf(self.bundled).names(), *self.depot.names()]))

    def load(self, path: Path) -> Checkpoint:
        """Read and verify one of the checkpoints, whose maker has to be trusted.

        Raises:
            CheckpointError: it cannot be used; `engine.checkpoint.load` says for what reasons.
        """
        try:
            return load(path, vouch=self.keyring.voucher)
        except UntrustedError:
            # It may have been signed since it was fetched.
            if path.parent != self.folder or not self.depot.renew_signature(path.name):
                raise
            return load(path, vouch=self.keyring.voucher)

    def load_named(self, name: str) -> Checkpoint:
        """The same, of the checkpoint that `find` finds; raises as both do."""
        return self.load(self.find(name))

    def report(self, name: str) -> dict[str, Any]:
        """The report of a checkpoint, by its id; for that alone nothing is fetched."""
        found: dict[str, Any] = json.loads(self._reader(name)("report.json"))
        return found

    def voucher(self, name: str) -> str:
        """Who vouches for a checkpoint (`Keyring.voucher`); for that alone nothing is fetched.

        Raises:
            UntrustedError: nobody does.
        """
        return self._voucher(name, self._reader(name))

    def _voucher(self, name: str, read: Callable[[str], bytes]) -> str:
        return self.keyring.voucher(name, read(MANIFEST), signed(read))

    def _reader(self, name: str) -> Callable[[str], bytes]:
        """Reads the files of a checkpoint."""
        is_bundled = (self.bundled / name / MANIFEST).is_file()
        return reader(self.bundled / name) if is_bundled else partial(self.depot.file, name)

    def sign(self, name: str, signer: Signer) -> None:
        """Sign a checkpoint of the depot, whoever made it.

        Raises:
            CheckpointError: there is no such one, or it is damaged.
        """
        path = self._named(name)
        if path.parent != self.folder:
            raise UntrustedError(f"{name} came with Yuefu, and needs no signature")
        sign_again(path, signer.sign)
        self.publish(path)
        self.depot.publish_signature(name)

    def publish(self, checkpoint: Path) -> None:
        """Put a checkpoint that was written into `folder` where others with this registry see it.

        Raises:
            DepotError: the depot is elsewhere, and cannot be written to.
        """
        if checkpoint.parent == self.folder:
            self.depot.publish(checkpoint)

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
        found = [self._folder(name) for name in (aliases.champion, aliases.previous) if name]
        found += self._bundled(cell)[-1:]
        return list(dict.fromkeys(path for path in found if path is not None))

    def challenger(self, cell: Cell) -> Path | None:
        """The checkpoint on trial, if there is one."""
        name = self.aliases(cell).challenger
        return self._folder(name) if name else None

    def previous(self, cell: Cell) -> Path:
        """What a rollback would bring back; NoModelError if there is nothing."""
        name = self.aliases(cell).previous
        if name is None:
            raise NoModelError(f"{cell} has no previous champion to go back to")
        return self._named(name)

    def find(self, name: str) -> Path:
        """A checkpoint by cell, by id or by path; NoModelError if there is none."""
        if name in Cell.__members__.values():
            return self.champion(Cell(name))
        if (Path(name) / MANIFEST).is_file():
            return Path(name)
        return self._named(name)

    def _named(self, name: str) -> Path:
        path = self._folder(name)
        if path is None:
            raise NoModelError(f"no checkpoint {name} in {self.depot}")
        return path

    def _folder(self, name: str) -> Path | None:
        """The folder of the checkpoint of that id, if there is one."""
        if Path(name).name != name:
            return None
        return Shelf(self.bundled).fetch(name) or self.depot.fetch(name)

    def aliases(self, cell: Cell) -> Aliases:
        """The roles of a cell; all None while none was given.

        Raises:
            DamagedError: their file cannot be read.
        """
        with self._readable(cell):
            return _parse(self.depot.read(cell))

    @contextmanager
    def _readable(self, cell: Cell) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, AttributeError) as error:
            place = f"{self.depot}/{alias_file(cell)}"
            raise DamagedError(f"the aliases in {place} cannot be read: {error}") from error

    def challenge(
        self,
        checkpoint: str,
        *,
        expected: str | None = None,
        fence: int | None = None,
        since: str | None = None,
    ) -> None:
        """Make a checkpoint its cell's challenger; one that is it already stays on its trial.

        Its trial begins now, or goes on `since` (UTC, ISO 8601) where it stands in for another.

        Raises:
            NoModelError: there is no such checkpoint.
            UntrustedError: nobody vouches for it.
            StaleAliasError: it is the champion; or see `promote`.
        """
        cell = self._candidate(checkpoint)
        with self._swap(cell, expected=expected, fence=fence) as aliases:
            if checkpoint == self._champion_id(cell):
                raise StaleAliasError(f"{checkpoint} is the {cell} champion already")
            if checkpoint != aliases.old.challenger:
                since = since or self._clock().isoformat(timespec="seconds")
                aliases.new = replace(aliases.new, challenger=checkpoint, trial_since=since)

    def drop_challenger(self, cell: Cell, *, fence: int | None = None) -> None:
        """End the trial of a cell, if there is one.

        Raises:
            StaleAliasError: see `promote`.
        """
        with self._swap(cell, fence=fence) as aliases:
            aliases.new = replace(aliases.new, challenger=None, trial_since=None)

    def promote(
        self, checkpoint: str, *, expected: str | None = None, fence: int | None = None
    ) -> None:
        """Make a checkpoint its cell's champion; the champion of now becomes the previous one.

        Raises:
            NoModelError: there is no such checkpoint.
            UntrustedError: nobody vouches for it.
            StaleAliasError: `expected` is given and is not the id of the champion of now, or a
                higher fencing number than `fence` was seen.
        """
        cell = self._candidate(checkpoint)
        with self._swap(cell, expected=expected, fence=fence) as aliases:
            was = self._champion_id(cell)
            # Promoting the champion again must not forget what a rollback would bring back.
            previous = aliases.old.previous if was == checkpoint else was
            aliases.new = _in_service(checkpoint, replace(aliases.new, previous=previous))

    def rollback(self, cell: Cell, *, expected: str | None = None, fence: int | None = None) -> str:
        """Put the previous champion back in service and return its id.

        The champion of now becomes the previous one, so that doing it again undoes it.

        Raises:
            NoModelError: there is no previous one.
            StaleAliasError: see `promote`.
        """
        with self._swap(cell, expected=expected, fence=fence) as aliases:
            back, was = self.previous(cell).name, self._champion_id(cell)
            aliases.new = _in_service(back, replace(aliases.new, previous=was))
        return back

    def retire(self, cell: Cell, *, keep: Collection[str] = (), newest: int) -> list[str]:
        """Delete a cell's old checkpoints from this machine; the ids of those that are gone.

        Those with a role stay, those to `keep`, the `newest` ones, and the bundled ones. What a
        depot elsewhere holds stays there: whoever owns it knows for how long.
        """
        aliases = self.aliases(cell)
        roles = {getattr(aliases, role) for role in ROLES}
        mine = [name for name in Shelf(self.folder).names() if name.startswith(f"{cell}-")]
        old = [name for name in mine[: max(0, len(mine) - newest)] if name not in {*roles, *keep}]
        for name in old:
            # Nobody shall meet half of one.
            hidden = self.folder / f".{name}.retired"
            (self.folder / name).rename(hidden)
            shutil.rmtree(hidden)
        return old

    def _candidate(self, checkpoint: str) -> Cell:
        """The cell of a checkpoint that may get a role, and that others can see by now."""
        path = self._named(checkpoint)
        cell = self._cell_of(path.name)
        self._voucher(path.name, reader(path))
        self.publish(path)
        return cell

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

    @contextmanager
    def _swap(
        self, cell: Cell, *, expected: str | None = None, fence: int | None = None
    ) -> "Iterator[_Swap]":
        """Hold the aliases while `new` is worked out from `old`, then write it.

        Raises:
            StaleAliasError: what is expected is not so, the fence is an old one, or somebody else
                changed them meanwhile.
        """
        try:
            with self.depot.exchange(cell) as text:
                with self._readable(cell):
                    old = _parse(text.old)
                self._check(cell, old, expected=expected, fence=fence)
                swap = _Swap(old=old, new=replace(old, fence=max(old.fence, fence or 0)))
                yield swap
                text.new = json.dumps(asdict(swap.new), indent=1) + "\n"
        except RaceError as error:
            raise StaleAliasError(str(error)) from error

    def _check(self, cell: Cell, old: Aliases, *, expected: str | None, fence: int | None) -> None:
        if fence is not None and fence < old.fence:
            raise StaleAliasError(f"fencing number {fence} is behind {old.fence} of {cell}")
        now = self._champion_id(cell)
        if expected is not None and expected != now:
            raise StaleAliasError(f"the {cell} champion is {now}, not {expected}")


@dataclass
class _Swap:
    """Aliases as they are and as they shall be."""

    old: Aliases
    new: Aliases


def _parse(text: str | None) -> Aliases:
    """What a file of aliases says; none where there is no file."""
    found = json.loads(text) if text is not None else {}
    # What a later version adds is none of ours.
    return Aliases(**{name: found[name] for name in _FIELDS & found.keys()})


def _in_service(champion: str, aliases: Aliases) -> Aliases:
    """`aliases` with that champion, whose own trial, if it was on one, is over."""
    if champion == aliases.challenger:
        aliases = replace(aliases, challenger=None, trial_since=None)
    return replace(aliases, champion=champion)
