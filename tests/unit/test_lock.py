"""What `make` installs, with hashes, is what the lock pins; torch alone has none."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def lines(name):
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_what_is_installed_is_what_is_locked():
    """After a change of requirements.lock: `make hashes`."""
    pinned = [line for line in lines("requirements.lock") if not line.startswith("torch==")]
    assert [
        line.partition(" --hash")[0].rstrip() for line in lines("requirements.hashes")
    ] == pinned


def test_nothing_that_is_installed_is_without_a_hash():
    assert all(_HASH.search(line) for line in lines("requirements.hashes"))
