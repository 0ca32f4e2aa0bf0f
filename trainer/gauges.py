"""The trainer's metrics: what it is doing, and what its nights left behind.

What nights left behind is read from their records, which outlive this process: a trainer that was
started again, or had another run its nights, tells the same.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.bulletin import Phase
from engine.jobs import Cell
from engine.metrics import new_registry
from trainer.nightly import ONCE, Progress
from trainer.record import NightRecord, Nights, State

_NOBODY = ""
"""The label of what is done once, for no cell."""
_PLACES = [(phase, cell) for phase in Phase for cell in ((None,) if phase in ONCE else Cell)]


class Gauges(Collector):
    """The metrics of one trainer; what hears of a night may be asked in another thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """No night is known yet."""
        self.registry = new_registry()
        self._clock = clock
        self._ended: Sequence[NightRecord] = ()
        self._place: tuple[Phase, Cell | None] | None = None
        self._sign_s = clock()
        self.registry.register(self)

    @property
    def silent_s(self) -> float:
        """Seconds since anything was heard of the trainer's work."""
        return self._clock() - self._sign_s

    def look(self, nights: Nights) -> None:
        """Read what nights have left behind.

        Raises:
            RecordError: a record cannot be read; what was known is told further.
        """
        records = [record for record in nights.records() if record.ended is not None]
        self._ended = sorted(records, key=_end_of)

    def hear(self, progress: Progress) -> None:
        """A night is under way, and so far."""
        self._sign_s, self._place = self._clock(), (progress.phase, progress.cell)

    def rest(self) -> None:
        """No night is under way here; the trainer has looked whether one is due."""
        self._sign_s, self._place = self._clock(), None

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        yield self._phases()
        yield self._nights()
        yield self._challengers()
        yield from self._last_night()

    def _phases(self) -> Metric:
        family = GaugeMetricFamily(
            "yuefu_night_phase", "1 for what a night is doing now.", labels=["phase", "cell"]
        )
        for phase, cell in _PLACES:
            family.add_metric([phase, cell or _NOBODY], int((phase, cell) == self._place))
        return family

    def _nights(self) -> Metric:
        family = CounterMetricFamily(
            "yuefu_nights", "Nights on record that have ended.", labels=["state"]
        )
        counts = Counter(record.state for record in self._ended)
        for state in State:
            if state is not State.RUNNING:
                family.add_metric([state], counts[state])
        return family

    def _challengers(self) -> Metric:
        family = CounterMetricFamily(
            "yuefu_challengers",
            "Challengers that nights made, by what became of them.",
            labels=["cell", "outcome"],
        )
        counts = Counter(
            (cell, its.outcome)
            for record in self._ended
            for cell, its in record.cells.items()
            if its.challenger is not None and its.outcome is not None
        )
        for (cell, outcome), count in sorted(counts.items()):
            family.add_metric([cell, outcome], count)
        return family

    def _last_night(self) -> Iterator[Metric]:
        """What is told of one night; nothing where there was none."""
        last = self._ended[-1:]
        good = [record for record in self._ended if record.state is State.DONE][-1:]
        for name, meaning, value in (
            ("seconds", "Working time of the last night.", [one.spent_s for one in last]),
            ("ratings", "Ratings that the last night learnt from.", [one.ratings for one in last]),
            (
                "last_end_timestamp_seconds",
                "When the last night ended, well or badly.",
                [_end_of(one) for one in last],
            ),
            (
                "last_success_timestamp_seconds",
                "When the last night ended that nothing went wrong in.",
                [_end_of(one) for one in good],
            ),
        ):
            family = GaugeMetricFamily(f"yuefu_night_{name}", meaning, labels=[])
            for number in value:
                family.add_metric([], number)
            yield family


def _end_of(record: NightRecord) -> float:
    """When a night ended, in Unix seconds; 0 while it has not."""
    return record.ended.timestamp() if record.ended is not None else 0.0
