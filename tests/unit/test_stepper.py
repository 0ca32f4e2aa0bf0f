"""What ends is told at once, or together where the rows are all taken."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from engine.jobs import Failure, Outcome, Reason
from engine.stepper import Stepper
from tests.fakes.jobs import a_job

JOBS = 40


class Quick:
    """A writer that is asked for many jobs at once and ends one at each step, in one row."""

    rows = 1

    def __init__(self) -> None:
        self.left = list(range(JOBS))

    @property
    def idle(self) -> bool:
        return not self.left

    @property
    def scheduler(self) -> Any:
        return SimpleNamespace(owed=len(self.left), lent=0)

    def add(self, _job: object) -> None:
        pass

    def step(self, *, spare: int) -> list[Outcome]:
        return [Failure(job_id=f"{self.left.pop()}", reason=Reason.INTERNAL)]


async def told(slots: int) -> list[int]:
    """How many outcomes were told at a time."""
    found: list[int] = []

    def ended(outcomes: list[Outcome]) -> None:
        found.append(len(outcomes))
        if sum(found) == JOBS:
            stepper.stop()

    stepper = Stepper(slots=slots, ended=ended, dropped=print, stepped=lambda *_: None)
    stepper.begin(a_job(), Quick())  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        await stepper.run()
    return found


async def test_where_rows_are_free_each_outcome_is_told_at_once():
    assert await told(slots=JOBS + 1) == [1] * JOBS


async def test_where_all_rows_are_taken_outcomes_gather(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.stepper.GATHER_S", 60.0)
    first, *others = await told(slots=10)
    # The first finds nothing to gather with; and where a row is free at last, none waits.
    assert first == 1
    assert others == [JOBS - 10, *[1] * 9]


async def test_what_has_gathered_for_long_is_told_though_all_rows_are_taken(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("engine.stepper.GATHER_S", 0.0)
    assert await told(slots=1) == [1] * JOBS
