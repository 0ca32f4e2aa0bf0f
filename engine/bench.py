"""How fast this machine writes: what `python -m engine bench` prints.

Poems here are single candidates of the form qijue at the usual temperature, planned beforehand;
what `serve` does beside (checks, the critic, Redis) is not in it.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from engine.checkpoint import Checkpoint
from engine.jobs import USUAL_TEMPERATURE, Job
from engine.linear import Precision
from engine.runner import Runner
from engine.sequence import Sequence, make_sequence
from engine.verse.forms import FORMS, FormName

_FORM = FormName.QIJUE
_STEPS = FORMS[_FORM].length


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast one batch is written."""

    precision: Precision
    """In what numbers."""
    batch: int
    """Poems side by side."""
    poems_per_second: float
    """Of all of them together, the median."""
    step_us: float
    """What one step of all rows takes, the median."""
    ready_s: float
    """What it took to make the runner."""


def measure(
    checkpoint: Checkpoint,
    *,
    precisions: tuple[Precision, ...],
    batches: tuple[int, ...],
    device: str,
    rounds: int,
) -> Iterator[Speed]:
    """The speed of every precision and batch, `rounds` times each."""
    sequences = [_sequence(checkpoint, seed) for seed in range(max(batches))]
    for precision in precisions:
        began = time.perf_counter()
        runner = Runner(checkpoint, slots=max(batches), device=device, precision=precision)
        ready_s = time.perf_counter() - began
        for batch in batches:
            took = [_seconds(runner, sequences[:batch]) for _ in range(rounds)]
            median = statistics.median(took)
            yield Speed(
                precision=precision,
                batch=batch,
                poems_per_second=batch / median,
                step_us=median / _STEPS * 1e6,
                ready_s=ready_s,
            )


def _seconds(runner: Runner, sequences: list[Sequence]) -> float:
    """What it takes to write some poems, from joining to their last words."""
    began = time.perf_counter()
    for sequence in sequences:
        runner.join(sequence)
    for _ in range(_STEPS):
        runner.step()
    for row in reversed(range(len(sequences))):
        runner.words(row, _STEPS)
        runner.leave(row)
    return time.perf_counter() - began


def _sequence(checkpoint: Checkpoint, seed: int) -> Sequence:
    job = Job(
        id=str(seed),
        client="bench",
        chat="bench",
        form=_FORM,
        cell=checkpoint.shape.cell,
        temperature=USUAL_TEMPERATURE,
        seed=seed,
    )
    return make_sequence(job, checkpoint.vocabulary, checkpoint.priors)
