"""What docs/admins.md says that each process tells, for tests that compare it with the code."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "admins.md"
_NAME = re.compile(r"\|\s*`(yuefu_[a-z_]+)")


def documented_metrics(heading: str) -> set[str]:
    """The metrics in the first column of the table below `heading`."""
    _, _, below = _PAGE.read_text(encoding="utf-8").partition(f"# {heading}\n")
    section = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]
    return set(_NAME.findall(section))
