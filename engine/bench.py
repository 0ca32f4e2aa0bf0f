"""How fast this machine writes: what `python -m engine bench` prints.

Poems here are single candidates of the form qijue at the usual temperature, planned beforehand;
what `serve` does beside (checks, the critic, Redis) is not in it.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from engine.checkpoint import Checkpoint
from engine.jobs import USUAL_TEMPERATURE, Job
from engine.linear import Precision
from engine.rows import Words
from engine.runner import Runner
from engine.sequence import Sequence as Poem
from engine.sequence import make_sequence
from engine.verse.forms import FORMS, FormName

FORM = FormName.QIJUE
"""What is written."""
LENGTH = FORMS[FORM].length
"""Its characters, and so the steps of a poem."""


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
    poems = planned(checkpoint, max(batches))
    for precision in precisions:
        began = time.perf_counter()
        runner = Runner(checkpoint, slots=max(batches), device=device, precision=precision)
        ready_s = time.perf_counter() - began
        for batch in batches:
            run = partial(write, runner, poems[:batch])
            took = [seconds(run) for _ in range(rounds)]
            median = statistics.median(took)
            yield Speed(
                precision=precision,
                batch=batch,
                poems_per_second=batch / median,
                step_us=median / LENGTH * 1e6,
                ready_s=ready_s,
            )


def seconds(run: Callable[[], object]) -> float:
    """What one run takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def write(runner: Runner, poems: Sequence[Poem]) -> list[Words]:
    """Write some poems of one form side by side, from joining to their last words."""
    length = poems[0].length
    rows = [runner.join(poem) for poem in poems]
    for _ in range(length):
        runner.step()
    words = [runner.words(row, length) for row in rows]
    for row in reversed(rows):
        runner.leave(row)
    return words


def planned(
    checkpoint: Checkpoint,
    count: int,
    *,
    form: FormName = FORM,
    temperature: float = USUAL_TEMPERATURE,
) -> list[Poem]:
    """Poems that may begin as they like, ready to be written."""
    return [
        make_sequence(
            Job(
                id=str(seed),
                client="bench",
                chat="bench",
                form=form,
                cell=checkpoint.shape.cell,
                temperature=temperature,
                seed=seed,
            ),
            checkpoint.vocabulary,
            checkpoint.priors,
        )
        for seed in range(count)
    ]
