"""Where a registry keeps its checkpoints and aliases: a folder, or any place that fsspec reaches.

In both, a checkpoint is a folder of its files, there once its manifest is, and never changed but
for its signature; the aliases of a cell are one small file beside them. So either can be copied to
the other.

Of a place elsewhere, checkpoints are fetched once into a folder of this machine, verified on the
way and again whenever they are loaded. Aliases are read there at every look. What holds when two
change them at once:

    a folder, file://       one after the other, under a lock; on a network disk if it has locks
    s3://                   the second is refused by the store (If-Match, If-None-Match)
    any other               the first aliases of a cell: the same, where fsspec can create only;
                            later ones are read again just before they are written, so the second
                            is refused unless both write within that moment: then the last wins
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

import fsspec

from engine.checkpoint import MANIFEST, SIGNATURE, reader, signed, verified, write_folder
from engine.errors import CheckpointError, MissingError
from engine.files import replace_file
from engine.jobs import Cell

_CONDITION_FAILED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}

T = TypeVar("T")


def alias_file(cell: Cell) -> str:
    """The name of the file of a cell's aliases."""
    return f"{cell}.json"


class DepotError(CheckpointError):
    """The place that the registry is at cannot be reached, or refuses."""


class RaceError(CheckpointError):
    """Somebody else changed the aliases at the same time, so nothing was written."""


@dataclass
class Exchange:
    """The text of a cell's aliases as it is and as it shall be."""

    old: str | None
    """None where there is none yet."""
    new: str | None = None
    """None leaves it as it is."""


class Depot(Protocol):
    """A place for checkpoints and aliases."""

    @property
    def folder(self) -> Path:
        """The folder of this machine where its checkpoints lie, or will once they are fetched."""

    def names(self) -> list[str]:
        """The ids of all checkpoints there, sorted."""

    def fetch(self, name: str) -> Path | None:
        """The folder of a checkpoint, on this machine now; None if there is no such one."""

    def file(self, name: str, file: str) -> bytes:
        """A file of a checkpoint; for that alone nothing is fetched.

        Raises:
            FileNotFoundError: there is no such file.
        """

    def renew_signature(self, name: str) -> bool:
        """Fetch a checkpoint's signature anew; whether it is another one than before."""

    def publish(self, checkpoint: Path) -> None:
        """Put a checkpoint there that was written under `folder`; its manifest comes last."""

    def publish_signature(self, name: str) -> None:
        """Put the signature that a checkpoint has under `folder` in the place of any other."""

    def read(self, cell: Cell) -> str | None:
        """The text of a cell's aliases."""

    def exchange(self, cell: Cell) -> AbstractContextManager[Exchange]:
        """Hold a cell's aliases while new ones are worked out, and write those at the end.

        Raises:
            RaceError: they have changed meanwhile.
        """


class Shelf:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def names(self) -> list[str]:
        """See `Depot`."""
        return sorted(path.parent.name for path in self.folder.glob(f"[!.]*/{MANIFEST}"))

    def fetch(self, name: str) -> Path | None:
        """See `Depot`."""
        return self.folder / name if (self.folder / name / MANIFEST).is_file() else None

    def file(self, name: str, file: str) -> bytes:
        """See `Depot`."""
        return (self.folder / name / file).read_bytes()

    def renew_signature(self, name: str) -> bool:
        """See `Depot`: here it is read every time."""
        return False

    def publish(self, checkpoint: Path) -> None:
        """See `Depot`: what is under `folder` is there already."""

    def publish_signature(self, name: str) -> None:
        """See `Depot`: what is under `folder` is there already."""

    def read(self, cell: Cell) -> str | None:
        """See `Depot`."""
        try:
            return self._aliases(cell).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    @contextmanager
    def exchange(self, cell: Cell) -> Iterator[Exchange]:
        """See `Depot`; nobody else gets them meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{cell}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = Exchange(old=self.read(cell))
            yield text
            if text.new is not None:
                replace_file(self._aliases(cell), text.new)

    def _aliases(self, cell: Cell) -> Path:
        return self.folder / alias_file(cell)


class Store:
    """A place elsewhere, by the URL that fsspec knows it under."""

    def __init__(self, url: str, folder: Path) -> None:
        """The place at `url`; what comes from there is kept in `folder`.

        Raises:
            DepotError: nothing that is installed reaches such a place.
        """
        self._url, self.folder = url, folder
        # What one process lists, another may have changed.
        self._files, self._root = self._ask(fsspec.url_to_fs, url, use_listings_cache=False)
        self._is_s3 = "s3" in self._files.protocol

    def __str__(self) -> str:
        return self._url

    def names(self) -> list[str]:
        """See `Depot`."""
        found = self._ask(self._files.find, self._root)
        parts = (PurePosixPath(path).relative_to(self._root).parts for path in found)
        return sorted(each[0] for each in parts if each[1:] == (MANIFEST,))

    def fetch(self, name: str) -> Path | None:
        """See `Depot`. Of two processes that fetch the same one, either's copy will do."""
        target = self.folder / name
        if (target / MANIFEST).is_file():
            return target
        try:
            write_folder(target, verified(f"{self}/{name}", partial(self.file, name)))
        except MissingError:
            return None
        except OSError as error:
            if not (target / MANIFEST).is_file():
                raise DepotError(f"{name} cannot be put into {self.folder}: {error}") from error
        return target

    def file(self, name: str, file: str) -> bytes:
        """See `Depot`."""
        data: bytes = self._ask(self._files.cat_file, self._path(f"{name}/{file}"))
        return data

    def renew_signature(self, name: str) -> bool:
        """See `Depot`."""
        now = signed(partial(self.file, name))
        if now is None or now == signed(reader(self.folder / name)):
            return False
        replace_file(self.folder / name / SIGNATURE, now.decode("latin-1"))
        return True

    def publish(self, checkpoint: Path) -> None:
        """See `Depot`. One that is there already stays as it is, but for a signature that it lacks.

        Raises:
            DepotError: another one of that name is there, or the place cannot be written to.
        """
        name = checkpoint.name
        contents = verified(str(checkpoint), reader(checkpoint))
        there = self._read(f"{name}/{MANIFEST}")
        if there not in (None, contents[MANIFEST]):
            raise DepotError(f"another checkpoint {name} is at {self} already")
        if there is None:
            for file, data in contents.items():
                self._put(name, file, data)
        elif SIGNATURE in contents and signed(partial(self.file, name)) is None:
            self._put(name, SIGNATURE, contents[SIGNATURE])

    def publish_signature(self, name: str) -> None:
        """See `Depot`."""
        self._put(name, SIGNATURE, reader(self.folder / name)(SIGNATURE))

    def _put(self, name: str, file: str, data: bytes) -> None:
        self._ask(self._files.pipe_file, self._path(f"{name}/{file}"), data)

    def read(self, cell: Cell) -> str | None:
        """See `Depot`."""
        found = self._read(alias_file(cell))
        return None if found is None else found.decode()

    @contextmanager
    def exchange(self, cell: Cell) -> Iterator[Exchange]:
        """See `Depot`."""
        name = alias_file(cell)
        # The tag first: if the text is a later one than the tag, the exchange fails, as it should.
        tag = self._tag(name) if self._is_s3 else None
        text = Exchange(old=self.read(cell))
        yield text
        if text.new is None:
            return
        try:
            self._replace(name, text, tag)
        except RaceError:
            # An answer that was lost on its way makes a client ask again, and be refused by itself.
            if self.read(cell) != text.new:
                raise

    def _replace(self, name: str, text: Exchange, tag: str | None) -> None:
        condition: dict[str, str] = {}
        if text.old is None:
            condition = {"mode": "create"}
        elif tag is not None:
            condition = {"IfMatch": tag}
        elif self._read(name) != text.old.encode():
            raise RaceError(f"{name} at {self} has changed meanwhile")
        data = (text.new or "").encode()
        self._ask(self._files.pipe_file, self._path(name), data, **condition)

    def _tag(self, name: str) -> str | None:
        """What S3 knows the present text by."""
        try:
            found: str = self._ask(self._files.info, self._path(name))["ETag"]
        except FileNotFoundError:
            return None
        return found

    def _read(self, name: str) -> bytes | None:
        try:
            data: bytes = self._ask(self._files.cat_file, self._path(name))
        except FileNotFoundError:
            return None
        return data

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ask(self, question: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        """Ask the file system; its errors, which may be of any kind, become ours.

        Raises:
            FileNotFoundError: there is no such file.
            RaceError: a condition was not met.
            DepotError: anything else.
        """
        try:
            return question(*args, **kwargs)
        except Exception as error:
            if _is_refusal(error):
                raise RaceError(f"the aliases at {self} have changed meanwhile") from error
            if isinstance(error, FileNotFoundError):
                raise
            raise DepotError(f"{self} cannot be used: {error}") from error


def _is_refusal(error: Exception) -> bool:
    """Whether a store refused to write because a condition was not met."""
    answer = getattr(error.__cause__, "response", {})
    return (
        isinstance(error, FileExistsError)
        or answer.get("Error", {}).get("Code") in _CONDITION_FAILED
    )
