"""How the cost of a poem grows with the batch and with the size of the model, on one core.

    python -m benchmarks.growth lstm --json growth.json --picture docs/curves/growth.svg

Batches are of one bundled checkpoint; sizes are of random weights, whose words do not matter here.
Every figure is the median over rounds that take all points in turn.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.chart import draw_growth
from benchmarks.ladder import work
from engine.bench import LENGTH, planned, seconds, write
from engine.checkpoint import Checkpoint, load
from engine.jobs import Cell
from engine.linear import Precision, available
from engine.model import Model
from engine.registry import Registry
from engine.runner import Runner
from engine.settings import EngineSettings, load_settings

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
HIDDEN = (128, 256, 384, 512, 768, 1024)
_SIDE_BY_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Point:
    """One size of batch and model."""

    precision: Precision
    """In what numbers."""
    batch: int
    """Poems side by side."""
    hidden: int
    """H."""
    work: int
    """Multiplications of a character."""
    step_us: float
    """What a step of all rows takes."""

    @property
    def poems_per_second(self) -> float:
        """Of one core."""
        return self.batch / (self.step_us * LENGTH / 1e6)


@torch.inference_mode()
def measure(
    checkpoints: Mapping[int, Checkpoint], batches: Sequence[int], rounds: int
) -> list[Point]:
    """Every precision, batch and checkpoint, which are given by their hidden size."""
    ways = []
    for hidden, checkpoint in checkpoints.items():
        many = planned(checkpoint, max(batches))
        for precision in available():
            runner = Runner(checkpoint, slots=max(batches), precision=precision)
            ways += [
                (precision, batch, hidden, checkpoint, partial(write, runner, many[:batch]))
                for batch in batches
            ]
    took: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for times, way in zip(took, ways, strict=True):
            times.append(seconds(way[-1]))
    return [
        Point(
            precision=precision,
            batch=batch,
            hidden=hidden,
            work=work(checkpoint.shape),
            step_us=statistics.median(times) / LENGTH * 1e6,
        )
        for times, (precision, batch, hidden, checkpoint, _) in zip(took, ways, strict=True)
    ]


def resized(checkpoint: Checkpoint, hidden: int) -> Checkpoint:
    """One like it with random weights and another hidden size."""
    shape = replace(checkpoint.shape, hidden=hidden)
    weights = Model(shape).state_dict()
    return replace(checkpoint, shape=shape, weights=weights, critic=None, theme=None)


def main(
    cell: Annotated[Cell, typer.Argument(help="The champion of which cell.")] = Cell.LSTM,
    *,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    out: Annotated[Path | None, typer.Option("--json", help="Where the figures go.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where the picture goes, as SVG.")] = None,
) -> None:
    """Print every point, a line each."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    checkpoint = load(Registry.at(load_settings(EngineSettings)).champion(cell))
    by_batch = measure({checkpoint.shape.hidden: checkpoint}, BATCHES, rounds)
    sizes = {hidden: resized(checkpoint, hidden) for hidden in HIDDEN}
    by_hidden = measure(sizes, (_SIDE_BY_SIDE,), rounds)
    for point in (*by_batch, *by_hidden):
        typer.echo(
            f"{point.precision}  batch {point.batch:4}  hidden {point.hidden:5}  "
            f"{point.step_us:9,.0f} µs a step  {point.poems_per_second:8,.0f} poems/s"
        )
    if picture is not None:
        draw_growth(
            [asdict(point) | {"rate": point.poems_per_second} for point in by_batch],
            [asdict(point) | {"rate": point.poems_per_second} for point in by_hidden],
            picture,
        )
    if out is not None:
        told = {"batch": list(map(asdict, by_batch)), "hidden": list(map(asdict, by_hidden))}
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
