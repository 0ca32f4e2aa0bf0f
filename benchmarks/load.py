"""How long a chat waits for its poem when others ask too: continuous batching and what it replaces.

Requests arrive by chance (Poisson) at shares of what the engine's writer can do. It
lets a poem join at the next step and leave when it is complete. Beside it, with the same writer,
the same cell and the same requests: a batch that is gathered for 20 ms and then runs as a whole,
each row as long as the longest, as servers batch that do not know what they serve; and one poem at
a time.

    python -m benchmarks.load lstm --slots 64 --json load.json

The rate that each sustains is the highest at which 99 of 100 wait no longer than 250 ms, or, on a
machine on which the longest poem in a full batch takes longer than `LONGEST_SHARE` of that, than so
much as makes it that share. All rates are shares of what is written with a queue that never ends.

Time is that of this process on its core: everything is really computed, while the time in which it
has nothing to do is skipped, and that in which others have the core does not count.
"""

import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import traffic
from engine import logs
from engine.checkpoint import Checkpoint, load
from engine.jobs import Job
from engine.linear import Precision, pick
from engine.registry import Registry
from engine.scheduler import Scheduler
from engine.sequence import Draft
from engine.settings import USUAL_SLOTS, EngineSettings, load_settings
from engine.writer import Writer

LOADS = (0.05, 0.5, 0.8, 0.9, 0.95)
"""Shares of capacity at which latencies are shown."""
WINDOW_S = 0.020
"""How long a static batch is gathered."""
BOUND_MS = 250.0
"""What 99 of 100 poems may take."""
LONGEST_SHARE = 0.45
"""Of that, what the longest poem in a full batch may take; 56 steps of 2 ms."""
SEED = 1
"""Of the requests; the same ones come at every rate, as far as they come."""
PROBES = 6
"""Halvings in the search for the rate that is sustained."""
ROUNDS = 12
"""So many times as long as the longest poem in a full batch takes requests arrive, at the least."""
WARM_UP = 0.1
"""Of the poems, the first part that is not counted."""
HOPELESS = 2
"""Where a poem has waited for so many times the bound, the queue grows without end."""


class Clock:
    """Time as a process on a core of its own would have it."""

    def __init__(self) -> None:
        self._skipped_s = -time.process_time()

    @property
    def now_s(self) -> float:
        """Seconds since this clock was made."""
        return time.process_time() + self._skipped_s

    def skip_to(self, then_s: float) -> None:
        """Sleep without the wait."""
        self._skipped_s += max(0.0, then_s - self.now_s)


class _WholeBatches(Scheduler):
    """Rows leave when all are complete, and not before."""

    def advance(self) -> list[int]:
        super().advance()
        over = all(one.begun + one.length <= self._step for one in self.running)
        return [*range(len(self.running) - 1, -1, -1)] if over else []


@dataclass(kw_only=True)
class Way:
    """A way to serve those who come."""

    name: str
    """What it is called."""
    writer: Writer
    """Who writes."""
    window_s: float | None = 0.0
    """How long a batch is gathered; None where nobody waits for a batch."""

    def admit(self, waiting: deque[tuple[float, Job]], now_s: float) -> list[Job]:
        """Who of those that wait, with the times at which they came, may begin now."""
        if self.window_s is None:
            most = len(waiting)
        else:
            most = self.writer.scheduler.slots // self.writer.candidates
            gathered = len(waiting) >= most or waiting[0][0] + self.window_s <= now_s
            if not (self.writer.idle and gathered):
                return []
        return [waiting.popleft()[1] for _ in range(min(most, len(waiting)))]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long poems took from request to outcome."""

    rate: float
    """Requests a second."""
    p50_ms: float
    """Half took no longer."""
    p99_ms: float
    """Nor did 99 of 100."""
    rows: float
    """Rows that were written in a step, on average."""


def ways(checkpoint: Checkpoint, *, slots: int, candidates: int, precision: Precision) -> list[Way]:
    """The three ways."""

    def writer(slots: int) -> Writer:
        return Writer(checkpoint, slots=slots, candidates=candidates, precision=precision)

    static = writer(slots)
    static.scheduler = _WholeBatches(slots)
    return [
        Way(name="continuous", writer=writer(slots), window_s=None),
        Way(name="static", writer=static, window_s=WINDOW_S),
        Way(name="one at a time", writer=writer(candidates)),
    ]


def capacity(way: Way, *, seconds: float) -> float:
    """Poems a second with a queue that never ends."""
    writer, asked = way.writer, traffic.jobs(way.writer.checkpoint.shape.cell, seed=0)
    waiting: deque[tuple[float, Job]] = deque()
    poems, clock = 0, Clock()
    while (took_s := clock.now_s) < seconds or not poems:
        if writer.scheduler.waiting == 0:
            missing = writer.scheduler.slots - len(waiting)
            waiting += [(-WINDOW_S, job) for job in islice(asked, missing)]
            for job in way.admit(waiting, 0.0):
                writer.add(job)
        poems += len(writer.step())
    _empty(writer)
    return poems / took_s


def serve(way: Way, *, rate: float, seconds: float, give_up_s: float) -> Latency | None:
    """What those wait who come at `rate` for so long; None where the queue grows without end."""
    chance, at_s = Random(round(1000 * rate)), 0.0
    arrivals: deque[tuple[float, Job]] = deque()
    for job in traffic.jobs(way.writer.checkpoint.shape.cell, seed=SEED):
        at_s += chance.expovariate(rate)
        if at_s > seconds and len(arrivals) > 1:
            break
        arrivals.append((at_s, job))
    return _drive(way, arrivals, rate=rate, give_up_s=give_up_s)


def _drive(
    way: Way, arrivals: deque[tuple[float, Job]], *, rate: float, give_up_s: float
) -> Latency | None:
    """Let requests arrive when they are due, and step while there is something to write."""
    writer, waiting = way.writer, deque[tuple[float, Job]]()
    came_s = {job.id: at_s for at_s, job in arrivals}
    took_s: dict[str, float] = {}
    rows: list[int] = []
    clock = Clock()
    while len(took_s) < len(came_s):
        now_s = clock.now_s
        while arrivals and arrivals[0][0] <= now_s:
            waiting.append(arrivals.popleft())
        if waiting:
            if now_s - waiting[0][0] > give_up_s:
                _empty(writer)
                return None
            for job in way.admit(waiting, now_s):
                writer.add(job)
        if writer.idle:
            clock.skip_to(_next_s(arrivals, waiting))
            continue
        ended = writer.step()
        rows.append(len(writer.scheduler.running) + len(ended))
        now_s = clock.now_s
        took_s |= {outcome.job_id: now_s - came_s[outcome.job_id] for outcome in ended}
    counted = [took_s[job_id] for job_id in islice(came_s, round(WARM_UP * len(came_s)), None)]
    return Latency(
        rate=rate,
        p50_ms=1000 * quantile(counted, 0.5),
        p99_ms=1000 * quantile(counted, 0.99),
        rows=sum(rows) / len(rows),
    )


def _next_s(arrivals: deque[tuple[float, Job]], waiting: deque[tuple[float, Job]]) -> float:
    """When the next request comes, or the time ends in which a batch is gathered."""
    ends_s = [arrivals[0][0]] if arrivals else []
    ends_s += [waiting[0][0] + WINDOW_S] if waiting else []
    return min(ends_s)


def _empty(writer: Writer) -> None:
    """Let go of everything that is still to be written."""
    while not writer.idle:
        for job_id in {one.job.id for one in writer.scheduler.running}:
            writer.drop(job_id)
        writer.step()


def alone(way: Way, *, poems: int) -> float:
    """The median of what the first so many poems take in an empty system, in ms."""
    asked = islice(traffic.jobs(way.writer.checkpoint.shape.cell, seed=SEED), poems)
    took_ms: list[float] = []
    for job in asked:
        clock = Clock()
        way.writer.write([job])
        took_ms.append(1000 * clock.now_s)
    return quantile(took_ms, 0.5)


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which that share of some values is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def full_step_ms(writer: Writer) -> float:
    """What a step with every row taken takes, at the median."""
    asked = traffic.jobs(writer.checkpoint.shape.cell, seed=2)
    took_ms: list[float] = []
    for _ in range(2 * traffic.LONGEST):
        traffic.keep_busy(writer, asked)
        clock = Clock()
        writer.step()
        took_ms.append(1000 * clock.now_s)
    _empty(writer)
    return quantile(took_ms[traffic.LONGEST :], 0.5)


def sustained(way: Way, *, most: float, bound_ms: float, seconds: float) -> float:
    """The highest rate up to `most` at which 99 of 100 take no longer than `bound_ms`."""
    low, high = 0.0, most
    for _ in range(PROBES):
        middle = (low + high) / 2
        found = serve(way, rate=middle, seconds=seconds, give_up_s=HOPELESS * bound_ms / 1000)
        if found is not None and found.p99_ms <= bound_ms:
            low = middle
        else:
            high = middle
    return low


_PARTS = {
    "cell and sampling": ("runner", ("step",)),
    "rows in and out": ("runner", ("join", "leave", "words")),
    "planning": ("_planner", ("draft",)),
    "judging": ("", ("_judge", "_conclude")),
}
"""Where the time of a writer goes: by name, which part of it, and what that does."""


def shares(writer: Writer, *, seconds: float) -> dict[str, float]:
    """Microseconds a candidate by part, with a queue that never ends."""
    took_s: defaultdict[str, float] = defaultdict(float)
    unwatched: list[tuple[object, str, Callable[..., Any]]] = []

    def watch(where: object, name: str, label: str) -> None:
        does: Callable[..., Any] = getattr(where, name)

        def watched(*args: Any) -> Any:
            part = Clock()
            found = does(*args)
            took_s[label] += part.now_s
            return found

        unwatched.append((where, name, does))
        setattr(where, name, watched)

    for label, (part, names) in _PARTS.items():
        for name in names:
            watch(getattr(writer, part) if part else writer, name, label)
    watch(Draft, "candidate", "planning")
    asked = traffic.jobs(writer.checkpoint.shape.cell, seed=3)
    rows, clock = 0, Clock()
    while clock.now_s < seconds:
        traffic.keep_busy(writer, asked)
        writer.step()
        rows += len(writer.scheduler.running)
    total_s = clock.now_s
    for where, name, does in unwatched:
        setattr(where, name, does)
    candidates = rows / traffic.MEAN_LENGTH
    found = took_s | {"bookkeeping": total_s - sum(took_s.values())}
    return {label: 1e6 * part_s / candidates for label, part_s in found.items()}


def measure(
    checkpoint: Checkpoint, *, slots: int, candidates: int, precision: Precision, seconds: float
) -> dict[str, Any]:
    """Every figure, shown as it is found."""
    served = ways(checkpoint, slots=slots, candidates=candidates, precision=precision)
    continuous = served[0]
    full_ms = full_step_ms(continuous.writer)
    bound_ms = max(BOUND_MS, traffic.LONGEST * full_ms / LONGEST_SHARE)
    seconds = max(seconds, ROUNDS * traffic.LONGEST * full_ms / 1000)
    most = {way.name: capacity(way, seconds=seconds) for way in served}
    # Not first: the first steps load what was compiled.
    parts = shares(continuous.writer, seconds=seconds)
    _empty(continuous.writer)
    whole = most[continuous.name]
    empty_ms = alone(continuous, poems=max(2, round(LOADS[0] * whole * seconds)))
    _out.print(
        f"{checkpoint.id} in {precision}, {slots} slots, {candidates} candidates: "
        f"step {full_ms:.2f} ms, capacity "
        + ", ".join(f"{name} {rate:.1f}/s" for name, rate in most.items())
        + f"; empty system {empty_ms:.1f} ms; bound {bound_ms:.0f} ms"
    )
    latencies = [
        {"load": load_, "way": way.name, **(asdict(found) if found else {})}
        for load_ in LOADS
        for way in served
        for found in [
            serve(way, rate=load_ * whole, seconds=seconds, give_up_s=HOPELESS * bound_ms / 1000)
        ]
    ]
    _show(latencies)
    rates = {
        way.name: sustained(way, most=1.1 * most[way.name], bound_ms=bound_ms, seconds=seconds)
        for way in served
    }
    light = next(found for found in latencies if found["way"] == continuous.name)
    figures = {
        "checkpoint": checkpoint.id,
        "precision": precision,
        "slots": slots,
        "candidates": candidates,
        "full_step_ms": full_ms,
        "microseconds_a_candidate": parts,
        "bookkeeping_of_a_step": parts["bookkeeping"] / parts["cell and sampling"],
        "capacity": most,
        "empty_p50_ms": empty_ms,
        "light_p50_of_empty": light["p50_ms"] / empty_ms,
        "latencies": latencies,
        "bound_ms": bound_ms,
        "sustained": rates,
        "sustained_of_capacity": rates[continuous.name] / whole,
        "sustained_of_static": _ratio(rates, continuous.name, "static"),
        "sustained_of_one_at_a_time": _ratio(rates, continuous.name, "one at a time"),
    }
    for name, value in figures.items():
        if name.startswith(("micro", "book", "light", "sustained")):
            _out.print(f"{name}: {value}")
    return figures


def _ratio(rates: dict[str, float], one: str, other: str) -> float | None:
    return rates[one] / rates[other] if rates[other] else None


def _show(latencies: list[dict[str, Any]]) -> None:
    table = Table("load", "way", "p50 ms", "p99 ms", "rows")
    for found in latencies:
        figures = [f"{found[name]:.1f}" for name in ("p50_ms", "p99_ms", "rows") if name in found]
        table.add_row(f"{found['load']:.2f}", found["way"], *(figures or ["the queue grows"]))
    _out.print(table)


_out = Console()


def main(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder, id, or a cell's name.")],
    *,
    slots: Annotated[int, typer.Option(min=1)] = USUAL_SLOTS,
    candidates: Annotated[int, typer.Option(min=1, help="Written for each poem.")] = 1,
    precision: Annotated[str, typer.Option(help="fp32, bf16, int8, or auto.")] = "auto",
    seconds: Annotated[float, typer.Option(help="For each figure.")] = 6.0,
    json_: Annotated[Path | None, typer.Option("--json", help="Where figures are kept.")] = None,
) -> None:
    """Measure, on one core."""
    torch.set_num_threads(1)
    logs.configure(level="WARNING", secrets=[])
    loaded = load(Registry.at(load_settings(EngineSettings)).find(checkpoint))
    figures = measure(
        loaded,
        slots=slots,
        candidates=candidates,
        precision=pick(precision, "cpu"),
        seconds=seconds,
    )
    if json_ is not None:
        json_.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
