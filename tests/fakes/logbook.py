"""What is logged while a test looks, as those see it who search the log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from tests.fakes.waiting import until

Line = Any
"""A line's fields by name."""


@contextmanager
def logged_lines() -> Iterator[Sequence[Line]]:
    """Every line of ours, in order, with what its context adds to it."""
    with capture_logs([merge_contextvars]) as lines:
        yield lines


def about(lines: Sequence[Line], cause: str) -> Sequence[Line]:
    """The lines that whoever searches for an id finds."""
    return [line for line in lines if any(str(value) == cause for value in line.values())]


async def line_of(lines: Sequence[Line], action: str) -> Line:
    """The first line of an action, once there is one."""

    async def found() -> Line:
        return next((line for line in lines if line.get("action") == action), None)

    return await until(found, within_s=30)
