"""The data folder: whether it can be written to, by nobody else, and what has to be in it."""

import errno
import os
import shutil
from pathlib import Path

from bot import texts
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.doctor.variables import Case, is_exposed

LOW = 1 << 30
"""Bytes left on a disk below which somebody should look."""
FULL = 100 << 20
"""Bytes left below which it will soon be too late."""
SHARE = 0.1
"""A disk of which more than this is left is not low, however small it is: that was meant so."""

_KEY_MIN = 16
_UNITS = ("B", "KB", "MB", "GB")


def size(count: int) -> str:
    """So many bytes, for a person."""
    amount, units = float(count), iter(_UNITS)
    unit = next(units)
    while amount >= 1024 and unit != _UNITS[-1]:
        amount, unit = amount / 1024, next(units)
    return f"{amount:.0f} {unit}" if unit in ("B", "KB") else f"{amount:.1f} {unit}"


def check_data(case: Case) -> list[Finding]:
    """The folder itself."""
    if missing := case.needs("data.folder", "data"):
        return missing
    folder = case.settings.data
    if why := _why_unwritable(folder):
        said, remedy = texts.DATA_UNWRITABLE, texts.DATA_UNWRITABLE_DO
        return [wrong("data.folder", said, remedy, path=folder, why=why)]
    if not folder.exists():
        found = [skipped("data.folder", texts.DATA_NEW, path=folder)]
    else:
        found = [fine("data.folder", texts.DATA_WRITABLE, path=folder)]
        if is_exposed(folder):
            said, remedy = texts.DATA_EXPOSED, texts.DATA_EXPOSED_DO
            found.append(warning("data.exposed", said, remedy, path=folder))
    return [*found, check_disk("data.disk", folder)]


def existing(path: Path) -> Path:
    """`path`, or the folder above it that is there already."""
    return next(each for each in (path, *path.resolve().parents) if each.exists())


def check_disk(name: str, path: Path) -> Finding:
    """How much room the disk has that a path is on, or will be."""
    usage = shutil.disk_usage(existing(path))
    free, values = usage.free, {"path": path, "free": size(usage.free)}
    if free >= LOW or free > SHARE * usage.total:
        return fine(name, texts.DISK_ROOMY, **values)
    mark = wrong if free < FULL else warning
    return mark(name, texts.DISK_LOW, texts.DISK_LOW_DO, **values)


def _why_unwritable(folder: Path) -> str | None:
    """Why nothing can be written there; None if it can."""
    try:
        there = existing(folder)
    except OSError as error:
        return error.strerror
    if not there.is_dir():
        return os.strerror(errno.ENOTDIR)
    if not os.access(there, os.W_OK | os.X_OK):
        return os.strerror(errno.EACCES)
    return None


def check_key(case: Case) -> list[Finding]:
    """The key of the pseudonyms, without which nobody is recognised."""
    if missing := case.needs("data.key", "pseudonym_key", "data"):
        return missing
    given = case.settings.pseudonym_key
    if given is not None:
        said = texts.KEY_GIVEN
        return [_length(len(given.get_secret_value())) or fine("data.key", said)]
    path = case.settings.data / "pseudonym.key"
    try:
        if not path.exists():
            return [_absent(case, path)]
        short = _length(len(path.read_bytes()))
        exposed = is_exposed(path)
    except OSError as error:
        said, remedy = texts.KEY_UNREADABLE, texts.KEY_UNREADABLE_DO
        return [wrong("data.key", said, remedy, path=path, why=error.strerror)]
    found = [short or fine("data.key", texts.KEY_KEPT, path=path)]
    if exposed:
        said, remedy = texts.FILE_EXPOSED, texts.FILE_EXPOSED_DO
        found.append(warning("data.key", said, remedy, path=path))
    return found


def _length(count: int) -> Finding | None:
    if count >= _KEY_MIN:
        return None
    return warning("data.key", texts.KEY_SHORT, texts.KEY_SHORT_DO, count=count)


def _absent(case: Case, path: Path) -> Finding:
    if case.settings.database_url is None and (case.settings.data / "anthology.sqlite3").exists():
        return wrong("data.key", texts.KEY_LOST, texts.KEY_LOST_DO, path=path)
    return skipped("data.key", texts.KEY_NEW, path=path)
