"""The engine's metrics: what it writes, how fast, with which models, and what waits.

What happens often is counted as it happens (`Gauges`). What can be seen at any time is looked up
when somebody asks: in the engine (`Gauges.show`), and of the queue in Redis (`engine.figures`).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.jobs import Cell, Lane, Reason
from engine.metrics import new_registry

POEM = "poem"
"""The outcome of a job that became one; else it is the value of a `Reason`, or `CANCELLED`."""
CANCELLED = "cancelled"
"""The outcome of a job that nobody wanted any more."""
UNKNOWN = "unknown"
"""The cell of a job that nobody could, or dared to, read."""
WINDOW = 10
"""Looks over which rates are taken; there is one a second (`engine.service.BEAT_EVERY_S`)."""

_STEP_S = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_JOB_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_WAIT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Serving(Protocol):
    """What an engine says of itself when it is asked."""

    @property
    def slots(self) -> int:
        """Rows that there are."""

    @property
    def rows(self) -> int:
        """Rows that are in use."""

    @property
    def cells(self) -> Mapping[Cell, str]:
        """The champion of each cell, by its id."""

    @property
    def challengers(self) -> Mapping[Cell, str]:
        """The challenger of each cell that has one, by its id."""


class Gauges:
    """The metrics of one engine."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.registry = new_registry()
        self.batch_rows = Histogram(
            "yuefu_engine_batch_rows",
            "Rows that one step wrote in.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self.step_seconds = Histogram(
            "yuefu_engine_step_seconds",
            "Time of one step: one character of every running candidate of one model.",
            buckets=_STEP_S,
            registry=self.registry,
        )
        self.jobs = Counter(
            "yuefu_jobs",
            "Jobs that ended, by outcome: poem, cancelled, or why there is none.",
            ["cell", "outcome"],
            registry=self.registry,
        )
        self.job_seconds = Histogram(
            "yuefu_job_seconds",
            "Time from taking a job to Redis having its outcome.",
            ["lane"],
            buckets=_JOB_S,
            registry=self.registry,
        )
        self.job_wait_seconds = Histogram(
            "yuefu_job_wait_seconds",
            "Time from asking for a poem to an engine taking the job; first attempts only.",
            ["lane"],
            buckets=_WAIT_S,
            registry=self.registry,
        )
        self.retries = Counter(
            "yuefu_job_retries",
            "Jobs taken that another engine died with, or let go.",
            registry=self.registry,
        )
        self.buried = Counter(
            "yuefu_jobs_buried",
            "Jobs set aside because they killed their engines or could not be read.",
            registry=self.registry,
        )
        self.reloads = Counter(
            "yuefu_engine_reloads",
            "Times that other models were put in service, or a checkpoint was refused.",
            ["result"],
            registry=self.registry,
        )
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A series that first appears with 1 in it is no increase to whoever reads it."""
        for cell in Cell:
            for outcome in (POEM, CANCELLED, *Reason):
                self.jobs.labels(cell, outcome)
        self.jobs.labels(UNKNOWN, Reason.BURIED)
        for lane in Lane:
            self.job_seconds.labels(lane)
            self.job_wait_seconds.labels(lane)
        for result in ("ok", "failed"):
            self.reloads.labels(result)

    def show(self, engine: Serving) -> None:
        """Tell of what this engine says of itself, too."""
        self.registry.register(_ServingCollector(engine))

    def stepped(self, rows: int, seconds: float) -> None:
        """Count one step."""
        self.batch_rows.observe(rows)
        self.step_seconds.observe(seconds)


class _ServingCollector(Collector):
    """What an engine says of itself."""

    def __init__(self, engine: Serving) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        engine = self._engine
        yield GaugeMetricFamily(
            "yuefu_engine_slots", "Candidates that are written side by side.", value=engine.slots
        )
        yield GaugeMetricFamily(
            "yuefu_engine_rows", "Candidates that are being written.", value=engine.rows
        )
        models = InfoMetricFamily(
            "yuefu_engine_checkpoint",
            "The checkpoints in service.",
            labels=["cell", "role", "checkpoint"],
        )
        for role, ids in (("champion", engine.cells), ("challenger", engine.challengers)):
            for cell, checkpoint in ids.items():
                models.add_metric([cell, role, checkpoint], {})
        yield models


class Rates:
    """How fast an engine writes, of its metrics, over the last `WINDOW` looks."""

    def __init__(self, gauges: Gauges, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from now."""
        self._gauges, self._clock = gauges, clock
        self._looks = deque([self._totals()], maxlen=WINDOW + 1)

    def look(self) -> tuple[float, float]:
        """Poems a second, and milliseconds a step; 0 where there was none."""
        self._looks.append(self._totals())
        seconds, poems, steps, stepping_s = (
            now - then for now, then in zip(self._looks[-1], self._looks[0], strict=True)
        )
        return poems / seconds if seconds else 0.0, 1000 * stepping_s / steps if steps else 0.0

    def _totals(self) -> tuple[float, float, float, float]:
        """The time in seconds, poems, steps, seconds of steps."""
        [jobs] = self._gauges.jobs.collect()
        poems = sum(one.value for one in jobs.samples if one.labels["outcome"] == POEM)
        [steps] = self._gauges.step_seconds.collect()
        found = {one.name: one.value for one in steps.samples if not one.labels}
        name = "yuefu_engine_step_seconds"
        return self._clock(), poems, found[f"{name}_count"], found[f"{name}_sum"]
