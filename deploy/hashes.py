"""Write requirements.hashes: what requirements.lock pins, with the hashes of all that an index has.

    python deploy/hashes.py requirements.lock requirements.hashes     (`make hashes` does)

Whatever platform a file is for, so one list does for all. What is there already is not asked for
again, so no hash changes unless its version does. Torch is left out: which of its wheels one takes,
and what that needs of NVIDIA's, is chosen where it is installed.
"""

import sys
from pathlib import Path

from pip._internal.req.constructors import install_req_from_line
from piptools.repositories import PyPIRepository

HEADER = "# Made by `make hashes` of requirements.lock; do not edit.\n"


def pins(lock: str) -> list[str]:
    """The lines that pin something, but for torch."""
    lines = (line for line in lock.splitlines() if line and not line.startswith("#"))
    return [line for line in lines if not line.startswith("torch==")]


def blocks(hashed: str) -> dict[str, str]:
    """What is known already: pins, and each with its hashes."""
    found = hashed.replace(" \\\n    --hash=", "\t--hash=").splitlines()
    return {line.partition("\t")[0]: line for line in found if "\t" in line}


def ask(repository: PyPIRepository, pin: str) -> str:
    """A pin and its hashes."""
    with repository.allow_all_wheels():
        hashes = repository.get_hashes(install_req_from_line(pin))
    if not hashes:
        raise SystemExit(f"the index has no hashes of {pin}")
    return "\t".join([pin, *(f"--hash={one}" for one in sorted(hashes))])


def main(lock: Path, hashed: Path) -> None:
    """Bring the file of hashes up to date."""
    known = blocks(hashed.read_text(encoding="utf-8")) if hashed.exists() else {}
    repository = PyPIRepository([], cache_dir=str(hashed.parent / "build" / "hashes"))
    # Some of what is pinned is for other Pythons than this one.
    repository.finder._ignore_requires_python = True  # noqa: SLF001
    lines = [
        known.get(pin) or ask(repository, pin) for pin in pins(lock.read_text(encoding="utf-8"))
    ]
    text = HEADER + "".join(f"{line}\n" for line in lines).replace("\t--hash=", " \\\n    --hash=")
    hashed.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
