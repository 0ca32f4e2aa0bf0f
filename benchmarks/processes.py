"""What processes use of the machine, as Linux tells in /proc."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def used_s(pid: int, *, thread: int | None = None) -> float:
    """Seconds of cores that a process has used, or one thread of it.

    Raises:
        OSError: it is not there any more.
    """
    folder = Path(f"/proc/{pid}") if thread is None else Path(f"/proc/{pid}/task/{thread}")
    user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def resident_bytes(pid: int) -> int:
    """Bytes of memory that a process has.

    Raises:
        OSError: it is not there any more.
    """
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def all_used_s() -> float:
    """Seconds of cores that all processes of this machine have used."""
    total = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _waiting, irq, softirq, *_ = map(int, total)
    return (user + nice + system + irq + softirq) / _TICKS
