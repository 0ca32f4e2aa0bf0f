"""The record of every night: what was done when, what came of it, and why.

    nights/
        since                     when this trainer was first asked to run nights
        snapshots/DIGEST16.json   what nights learnt from (`trainer.feedback.Snapshot`)
        reports/CHECKPOINT.json   what looking at a checkpoint found, for the next night
        2026-11-21/
            record.json           `NightRecord`: the one thing that a resumed night goes by
            gru/loss.svg          the loss of the fit
            gru/gate.svg          the challenger's figures beside the champion's
            …                     what phases hand to each other, removed when the night has ended

A night is named by the local date that it is the night of; a second one by hand on that date has
`.2` behind it. Its seed and the time that its checkpoint bears are fixed when it begins.
"""

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar
from zlib import crc32

from pydantic import ConfigDict, TypeAdapter, ValidationError

from engine.bulletin import NightOutcome, Phase
from engine.files import replace_file
from engine.jobs import Cell

DATASET = "dataset.npz"
"""The file in a night's folder that holds the corpus while the night runs."""

_LENIENT_NUMBERS = ConfigDict(ser_json_inf_nan="constants")
"""A figure may be NaN, and the record says so."""


class RecordError(RuntimeError):
    """A night's record cannot be read."""


class State(StrEnum):
    """Where a night stands."""

    RUNNING = "running"
    """It was begun and has not ended; a trainer may be at it, or has died."""
    DONE = "done"
    """It came to its end, whatever came of it."""
    FAILED = "failed"
    """Something went wrong: look at the errors."""
    ABANDONED = "abandoned"
    """It was killed, and the next one began before anybody went on with it."""


@dataclass(frozen=True, kw_only=True)
class PhaseRun:
    """One phase of one night."""

    name: Phase
    """Which."""
    cell: Cell | None = None
    """For which cell; None for what is done once."""
    begun: datetime
    """When it was begun last, in UTC."""
    ended: datetime | None = None
    """When it was done; None while it is under way, or where it was cut off."""
    attempts: int = 1
    """How often it was begun."""

    @property
    def seconds(self) -> float:
        """How long it took; 0 while it is not done."""
        return (self.ended - self.begun).total_seconds() if self.ended else 0.0


@dataclass(frozen=True, kw_only=True)
class CellNight:
    """What a night did for one cell."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT_NUMBERS

    champion: str = ""
    """The checkpoint in service once the trial was judged; empty where it did not come to that."""
    trial: str = ""
    """What readers decided of an earlier challenger or promotion; empty where nothing was asked."""
    on_trial: str | None = None
    """An earlier challenger whose trial goes on."""
    challenger: str | None = None
    """The checkpoint that was made."""
    trained: bool = False
    """Whether it has the weights that were trained; not where the gate refused those."""
    strength: float = 1.0
    """How much of what was learnt of readers it has: less where the gate refused more."""
    fitted: bool = False
    """Whether weights were trained, too, and not only the preference."""
    outcome: NightOutcome | None = None
    """What came of it; None while it is not known."""
    why: tuple[str, ...] = ()
    """The reasons, a line each: the gate's, or what went wrong."""
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What was measured, by "champion", "challenger" and "gate", and then by name."""

    def lines(self, cell: Cell) -> list[str]:
        """What came of it, for a person: what readers decided first, reasons last."""
        made = f" ({self.challenger})" if self.challenger else ""
        outcome = [f"{cell}: {self.outcome or 'not finished'}{made}"]
        trial = [f"{cell}: {self.trial}"] if self.trial else []
        return [*trial, *outcome, *(f"  {reason}" for reason in self.why)]


@dataclass(frozen=True, kw_only=True)
class NightRecord:
    """One night."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT_NUMBERS

    name: str
    """The name of its folder."""
    day: date
    """The local date that it is the night of."""
    begun: datetime
    """When it was begun first, in UTC and whole seconds: the time that its checkpoints bear."""
    seed: int
    """What all its random numbers stem from."""
    wanted: tuple[Cell, ...] = ()
    """The cells that were asked for; none for all that have a champion."""
    attempts: int = 1
    """How often it was begun or gone on with."""
    state: State = State.RUNNING
    """Where it stands."""
    ended: datetime | None = None
    """When it ended, in UTC."""
    snapshot: str | None = None
    """The digest of the ratings that it learnt from."""
    snapshot_file: str = ""
    """The name of the file in `Nights.snapshots` that holds them."""
    ratings: int = 0
    """How many those were."""
    fresh: int = 0
    """How many ratings were given or changed since the last night that was done."""
    lowest: int = 0
    """How many of these are the lowest that there is."""
    cells: Mapping[Cell, CellNight] = field(default_factory=dict)
    """What was done for each cell."""
    phases: tuple[PhaseRun, ...] = ()
    """What was done, in order."""
    error: str | None = None
    """What went wrong, in one line."""

    def phase(self, name: Phase, cell: Cell | None = None) -> PhaseRun | None:
        """A phase, if it was begun."""
        return next((run for run in self.phases if (run.name, run.cell) == (name, cell)), None)

    @property
    def spent_s(self) -> float:
        """Seconds that the phases that are done have taken."""
        return sum(run.seconds for run in self.phases)

    @property
    def lines(self) -> list[str]:
        """What came of it, for a person: a line a cell, or what went wrong."""
        if self.error is not None and not self.cells:
            return [f"{self.state}: {self.error}"]
        return [line for cell, its in self.cells.items() for line in its.lines(cell)] or [
            f"{self.state}"
        ]

    def to_json(self) -> str:
        """This record as JSON."""
        return _RECORD.dump_json(self, indent=1).decode() + "\n"

    @classmethod
    def load(cls, folder: Path) -> "NightRecord":
        """The record in a night's folder.

        Raises:
            RecordError: there is none, or it cannot be read.
        """
        try:
            return _RECORD.validate_json((folder / _FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise RecordError(f"the record in {folder} cannot be read: {error}") from error


_FILE = "record.json"
_RECORD = TypeAdapter(NightRecord)


class Book:
    """The record of the night under way; on disk before anything goes on."""

    def __init__(
        self,
        folder: Path,
        record: NightRecord,
        *,
        guard: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Keep `record` in `folder`.

        Args:
            folder: The night's.
            record: As it stands.
            guard: Raises where this trainer may not write any more.
            clock: The time in UTC.
        """
        self.folder, self.record = folder, record
        self._guard, self._clock = guard, clock

    def run(self, name: Phase, work: Callable[[], None], cell: Cell | None = None) -> None:
        """Do the work of a phase, unless it is done.

        `work` must leave what later phases need on disk: after a kill they meet only that.
        """
        before = self.record.phase(name, cell)
        if before is not None and before.ended is not None:
            return
        attempts = 1 if before is None else before.attempts + 1
        run = PhaseRun(name=name, cell=cell, begun=self._clock(), attempts=attempts)
        self._note(run)
        work()
        self._note(replace(run, ended=self._clock()))

    def note(self, **fields: object) -> None:
        """Set fields of the record."""
        self._write(replace(self.record, **fields))  # type: ignore[arg-type]

    def note_cell(self, cell: Cell, its: CellNight) -> None:
        """Set what is known of a cell."""
        self.note(cells={**self.record.cells, cell: its})

    def end(self, state: State, error: str | None = None) -> None:
        """The night has ended; what only its phases needed is removed, and then it is noted.

        In this order, for a disk that was full may have room for the record then.
        """
        for path in self.folder.iterdir():
            for inner in path.iterdir() if path.is_dir() else [path]:
                if inner.suffix != ".svg" and inner.name != _FILE:
                    _remove(inner)
        self.note(state=state, ended=self._clock(), error=error)

    def _note(self, run: PhaseRun) -> None:
        others = tuple(
            other
            for other in self.record.phases
            if (other.name, other.cell) != (run.name, run.cell)
        )
        self._write(replace(self.record, phases=(*others, run)))

    def _write(self, record: NightRecord) -> None:
        self._guard()
        replace_file(self.folder / _FILE, record.to_json())
        self.record = record


class Nights:
    """All nights of one data folder."""

    def __init__(self, folder: Path) -> None:
        """They have their folders in `folder`."""
        self.folder = folder
        self.snapshots = folder / "snapshots"

    def records(self) -> list[NightRecord]:
        """Every night's record, in the order in which they were begun.

        Raises:
            RecordError: one cannot be read.
        """
        found = [NightRecord.load(path.parent) for path in self.folder.glob(f"*/{_FILE}")]
        return sorted(found, key=lambda record: (record.begun, record.name))

    def of_day(self, day: date) -> list[NightRecord]:
        """The nights of one local date, in the order in which they were begun."""
        return [record for record in self.records() if record.day == day]

    def report_of(self, checkpoint: str) -> Path:
        """Where the last look at a checkpoint is kept, for nights to come."""
        return self.folder / "reports" / f"{checkpoint}.json"

    def forget_reports(self, cell: Cell, *, keep: Collection[str]) -> None:
        """Remove what is kept of a cell's checkpoints, but for some of them."""
        kept = {self.report_of(name) for name in keep}
        for path in (self.folder / "reports").glob(f"{cell}-*.json"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def since(self, now: datetime) -> datetime:
        """When nights were first asked for: `now`, and noted, where it is the first time."""
        path = self.folder / "since"
        try:
            return datetime.fromisoformat(path.read_text(encoding="utf-8").strip())
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, now.isoformat() + "\n")
            return now

    def open(
        self,
        day: date,
        *,
        wanted: Collection[Cell] = (),
        again: bool = False,
        guard: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> Book | None:
        """The night of `day`: gone on with if it was cut off, else begun.

        Args:
            day: The local date.
            wanted: The cells to teach; none for all that have a champion.
            again: Whether to begin another where that date's night has ended.
            guard: Raises where this trainer may not write any more.
            clock: The time in UTC.

        Returns:
            None where the date had its night and `again` is not set.
        """
        nights = self.of_day(day)
        open_ones = [record for record in nights if record.state is State.RUNNING]
        if open_ones:
            record = replace(open_ones[-1], attempts=open_ones[-1].attempts + 1)
        elif nights and not again:
            return None
        else:
            number = "" if not nights else f".{len(nights) + 1}"
            record = _begin(f"{day.isoformat()}{number}", day, tuple(wanted), clock())
        self._abandon_others(record, guard=guard, clock=clock)
        folder = self.folder / record.name
        folder.mkdir(parents=True, exist_ok=True)
        book = Book(folder, record, guard=guard, clock=clock)
        book.note()
        return book

    def _abandon_others(
        self,
        present: NightRecord,
        *,
        guard: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Close what was cut off and is not gone on with."""
        for record in self.records():
            if record.state is State.RUNNING and record.name != present.name:
                book = Book(self.folder / record.name, record, guard=guard, clock=clock)
                book.end(State.ABANDONED, "it was cut off, and the next night began")


def _begin(name: str, day: date, wanted: tuple[Cell, ...], now: datetime) -> NightRecord:
    return NightRecord(
        name=name,
        day=day,
        begun=now.astimezone(UTC).replace(microsecond=0),
        seed=crc32(name.encode()),
        wanted=wanted,
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
