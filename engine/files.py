"""Folders for nobody else, and files of which no reader, and no kill, ever meets half."""

import os
from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone may look into; one that is there stays as it is."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, text: str) -> None:
    """Put `text` at `path` in one step: a temporary file, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)  # of a full disk it would keep what is left
        raise
    temporary.replace(path)
    sync_folder(path.parent)
