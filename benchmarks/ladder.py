"""How fast a step is, rung by rung, from the way of a course to the engine's; and how exact.

All rungs write qijue with the weights of one bundled checkpoint, on one core and in one process,
in turn, so that what else the machine does meets them all. Quoted are medians over the rounds.

    python -m benchmarks.ladder lstm --data .pack/dataset.npz --json ladder.json

prints the table; `--data` adds how far each precision is from fp32 on poems of the test set.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from engine import linear
from engine.bench import FORM, LENGTH, planned, seconds, write
from engine.cell import Folded
from engine.checkpoint import Checkpoint, load
from engine.jobs import USUAL_TEMPERATURE, Cell
from engine.kernel_step import KernelStep, reach
from engine.linear import Precision
from engine.model import LAYERS, Model, Shape, places
from engine.registry import Registry
from engine.rows import MASK, RHYME, TONE, Rows
from engine.runner import Runner
from engine.sequence import Given
from engine.sequence import Sequence as Poem
from engine.settings import EngineSettings, load_settings
from engine.tensor_step import TensorStep
from engine.verse.forms import FORMS
from trainer.corpus import Era, Split
from trainer.dataset import Dataset

PEAK = (512, 1024, 2048)
"""Rows, inputs and outputs of the product by which a precision's limit is told."""
GPU_BATCHES = (256, 4096)
_TOP_P, _TOP_K = 0.9, 50

Write = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to write poems."""

    name: str
    """As in the table."""
    batch: int
    """Poems that it writes at a time."""
    write: Write
    """Writes them."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a rung came to."""

    name: str
    batch: int
    poems_per_second: float
    """The median."""
    ratio: float
    """Over the course way in the same round, the median."""
    step_us: float
    """One step of all rows, the median."""
    of_peak: float | None
    """Share of what the precision's products alone could do; None where it has no precision."""


# --- the ways ---


def course(model: Model) -> Write:
    """The way of a course: the whole prefix through the model again for each character."""
    tools = _Told(model, 1)

    def write() -> None:
        tokens = torch.empty(1, 0, dtype=torch.long)
        for place in range(LENGTH):
            features = model(*tools.prefix(tokens, place + 1))
            probabilities = model.logits(features[:, -1]).softmax(-1)
            tokens = torch.cat([tokens, probabilities.multinomial(1)], 1)

    return write


def modules(model: Model, batch: int) -> Write:
    """Torch's own layers a step at a time, with a sorted top-k and top-p sampler."""
    tools = _Told(model, batch)

    def write() -> None:
        tokens = torch.empty(batch, 0, dtype=torch.long)
        states: list[Tensor | tuple[Tensor, Tensor] | None] = [None] * LAYERS
        for place in range(LENGTH):
            x = tools.embed(tokens, place)
            for number, layer in enumerate(model.layers):
                x, states[number] = layer(x, states[number])
            logits = model.logits(model.project(x[:, 0]))
            tokens = torch.cat([tokens, _by_sorting(logits / USUAL_TEMPERATURE)], 1)

    return write


def _by_sorting(logits: Tensor) -> Tensor:
    """One index a row, as libraries of text generation draw it, (B, V) to (B, 1)."""
    least = logits.topk(_TOP_K).values[:, -1:]
    ordered, index = logits.masked_fill(logits < least, -torch.inf).sort(descending=True)
    probabilities = ordered.softmax(-1)
    kept = probabilities.cumsum(-1) - probabilities < _TOP_P
    chosen = (probabilities * kept).multinomial(1)
    return index.gather(1, chosen)


class _Told:
    """What a model is told beside the characters; untold here are tones and rhyme."""

    def __init__(self, model: Model, batch: int) -> None:
        self.model, self.batch = model, batch
        self.place = torch.tensor(places(FORM))
        self.untold = torch.zeros(batch, LENGTH, dtype=torch.long)
        self.start = torch.full((batch, FORMS[FORM].line_length), model.shape.vocabulary)

    def prefix(self, tokens: Tensor, count: int) -> tuple[Tensor, ...]:
        """The arguments of the model for the first `count` places."""
        before = torch.cat([self.start[:, :1], tokens], 1)
        above = torch.cat([self.start, tokens], 1)[:, :count]
        return before, above, self.place[:count], self.untold[:, :count], self.untold[:, 0]

    def embed(self, tokens: Tensor, place: int) -> Tensor:
        """What the first layer reads at one place, (B, 1, E)."""
        model, start = self.model, self.start[:, 0]
        before = tokens[:, -1] if place else start
        line = FORMS[FORM].line_length
        above = tokens[:, place - line] if place >= line else start
        x = model.characters(before) + model.above(model.characters(above))
        x = x + model.place(self.place[place]) + model.tone(self.untold[:, 0])
        x = x + model.rhyme(self.untold[:, 0])  # (B, E)
        embedded: Tensor = x.unsqueeze(1)
        return embedded


def _by_tensors(checkpoint: Checkpoint, slots: int) -> Runner:
    """A runner whose steps are torch's operations."""
    runner = Runner(checkpoint, slots=slots)
    runner._step = TensorStep(runner._folded, runner._rows)  # noqa: SLF001
    return runner


def rungs(checkpoint: Checkpoint, batch: int) -> list[tuple[Rung, Precision | None]]:
    """All of them, from the bottom, each with the precision of its products if it has one."""
    model = checkpoint.model()
    found: list[tuple[Rung, Precision | None]] = [
        (Rung(name="the prefix again for each character", batch=1, write=course(model)), None),
        (Rung(name="torch's layers, sorting", batch=1, write=modules(model, 1)), None),
        (Rung(name="torch's layers, sorting", batch=batch, write=modules(model, batch)), None),
    ]
    many = planned(checkpoint, batch)
    plain = partial(write, _by_tensors(checkpoint, batch), many)
    found.append((Rung(name="folded, torch's operations", batch=batch, write=plain), None))
    for precision in reversed(linear.available()):
        for count in (1, batch):
            runner = Runner(checkpoint, slots=count, precision=precision)
            run = partial(write, runner, many[:count])
            found.append((Rung(name=f"the engine, {precision}", batch=count, write=run), precision))
    return found + on_gpu(checkpoint)


def on_gpu(checkpoint: Checkpoint) -> list[tuple[Rung, Precision | None]]:
    """The engine's recorded steps; none where there is no CUDA device."""
    if not torch.cuda.is_available():
        return []
    found: list[tuple[Rung, Precision | None]] = []
    for count in GPU_BATCHES:
        runner = Runner(checkpoint, slots=count, device="cuda", precision=Precision.BF16)
        run = partial(write, runner, planned(checkpoint, count))
        found.append((Rung(name="the engine, bf16 on a GPU", batch=count, write=run), None))
    return found


# --- how fast ---


def work(shape: Shape) -> int:
    """Multiplications of one character's step where all may stand: what cannot be looked up."""
    h, e = shape.hidden, shape.embedding
    return shape.gates * h * h * (2 * LAYERS - 1) + h * e + e * shape.vocabulary


def spared(checkpoint: Checkpoint, poems: Sequence[Poem]) -> float:
    """Multiplications of a mean step that are left out, for blocks in which nothing may stand."""
    rows = Rows(checkpoint, slots=len(poems), device=torch.device("cpu"))
    for poem in poems:
        rows.join(poem, state=None, bias=None)
    within = reach(rows.masks.numpy())
    looked_at = float(within[rows.numbers[:, MASK : MASK + LENGTH].numpy()].mean())
    return checkpoint.shape.embedding * checkpoint.shape.vocabulary * (1 - looked_at)


def peak(precision: Precision) -> Write:
    """One large product, to tell what a precision can do."""
    rows, inputs, outputs = PEAK
    multiply = linear.linear(
        precision, torch.randn(outputs, inputs), torch.zeros(outputs), bounded=True
    )
    x = torch.rand(rows, inputs).numpy()

    def run() -> None:
        multiply(x)

    return run


@torch.inference_mode()
def climb(checkpoint: Checkpoint, *, batch: int, rounds: int) -> list[Figures]:
    """Every rung in every round."""
    multiplied = work(checkpoint.shape) - spared(checkpoint, planned(checkpoint, batch))
    all_rungs = rungs(checkpoint, batch)
    limits = {precision: peak(precision) for precision in linear.available()}
    for run in (*(rung.write for rung, _ in all_rungs), *limits.values()):
        run()
    took: list[list[float]] = [[] for _ in all_rungs]
    products: dict[Precision, list[float]] = {precision: [] for precision in limits}
    for _ in range(rounds):
        for times, (rung, _) in zip(took, all_rungs, strict=True):
            times.append(seconds(rung.write))
        for precision, run in limits.items():
            products[precision].append(min(seconds(run) for _ in range(5)))
    rates = {one: np.prod(PEAK) / statistics.median(times) for one, times in products.items()}
    return [
        Figures(
            name=rung.name,
            batch=rung.batch,
            poems_per_second=rung.batch / statistics.median(times),
            ratio=statistics.median(
                base * rung.batch / its for base, its in zip(took[0], times, strict=True)
            ),
            step_us=statistics.median(times) / LENGTH * 1e6,
            of_peak=None
            if precision is None
            else multiplied * LENGTH * rung.batch / statistics.median(times) / rates[precision],
        )
        for times, (rung, precision) in zip(took, all_rungs, strict=True)
    ]


@torch.inference_mode()
def choosing_share(
    checkpoint: Checkpoint, precision: Precision, *, batch: int, rounds: int
) -> float:
    """How much of a step goes into masks, sampling and entering what was chosen."""
    step, rows = _step(checkpoint, precision, batch)
    for sequence in planned(checkpoint, batch):
        rows.join(sequence, state=None, bias=None)
    whole, choosing = [], []
    for number in range(rounds * LENGTH):
        rows.numbers[:, 0] = number % LENGTH
        began = time.perf_counter()
        logits = step.expect()
        looked = time.perf_counter()
        step.choose(logits)
        whole.append(time.perf_counter() - began)
        choosing.append(whole[-1] - (looked - began))
    return statistics.median(choosing) / statistics.median(whole)


def _step(checkpoint: Checkpoint, precision: Precision, slots: int) -> tuple[KernelStep, Rows]:
    rows = Rows(checkpoint, slots=slots, device=torch.device("cpu"))
    tables = torch.float32 if precision is Precision.FP32 else torch.bfloat16
    folded = Folded(checkpoint.model(), tables=tables, order=rows.order)
    return KernelStep(folded, rows, precision), rows


# --- how exact ---


@torch.inference_mode()
def divergence(checkpoint: Checkpoint, dataset: Dataset, count: int) -> dict[Precision, float]:
    """Mean KL divergence from fp32 of each precision, in nats a character, on poets' poems.

    The model is told the form only, and may write whatever has a known reading.
    """
    tokens = dataset.verses[FORM, Era.TANG, Split.TEST].tokens[:count].astype("int64")
    others = [one for one in linear.available() if one is not Precision.FP32]
    steps = {one: _reading(checkpoint, one, tokens) for one in (Precision.FP32, *others)}
    nats = dict.fromkeys(others, 0.0)
    vocabulary = checkpoint.vocabulary
    may_stand = np.flatnonzero(vocabulary.tone_table[0][vocabulary.by_sound])
    for _ in range(LENGTH):
        logs = {}
        for precision, step in steps.items():
            logits = step.expect()
            logs[precision] = torch.from_numpy(logits[:, may_stand]).double().log_softmax(-1)
            step.choose(logits)
        exact = logs[Precision.FP32]
        for precision in others:
            nats[precision] += float((exact.exp() * (exact - logs[precision])).sum())
    return {precision: total / tokens.size for precision, total in nats.items()}


def _reading(checkpoint: Checkpoint, precision: Precision, tokens: np.ndarray) -> KernelStep:
    """A step whose rows are given every character of some poems."""
    step, rows = _step(checkpoint, precision, len(tokens))
    chars = checkpoint.vocabulary.chars
    for row, (sequence, poem) in enumerate(
        zip(planned(checkpoint, len(tokens)), tokens.tolist(), strict=True)
    ):
        given = {place: Given(glyph=chars[index], index=index) for place, index in enumerate(poem)}
        rows.join(replace(sequence, given=given), state=None, bias=None)
        rows.numbers[row, TONE : TONE + LENGTH] = 0
        rows.numbers[row, MASK : MASK + LENGTH] = 0
        rows.numbers[row, RHYME] = 0
    return step


# --- telling ---


def _table(figures: Sequence[Figures]) -> Table:
    table = Table()
    for title in ("", "batch", "poems/s", "×", "step µs", "of the peak"):
        table.add_column(title, justify="left" if not title else "right")
    for one in figures:
        share = "" if one.of_peak is None else f"{one.of_peak:.0%}"
        speed = f"{one.poems_per_second:,.1f}"
        table.add_row(
            one.name, str(one.batch), speed, f"{one.ratio:.1f}", f"{one.step_us:,.0f}", share
        )
    return table


def main(
    cell: Annotated[Cell, typer.Argument(help="The champion of which cell.")] = Cell.LSTM,
    *,
    batch: Annotated[int, typer.Option(min=2, help="Poems side by side.")] = 64,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    data: Annotated[Path | None, typer.Option(help="A file of `corpus pack`, for the KL.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Where the figures go too.")] = None,
) -> None:
    """Climb the ladder on one core."""
    torch.set_num_threads(1)
    checkpoint = load(Registry.at(load_settings(EngineSettings)).champion(cell))
    figures = climb(checkpoint, batch=batch, rounds=rounds)
    shares = {
        one: choosing_share(checkpoint, one, batch=batch, rounds=rounds)
        for one in linear.available()
    }
    nats = {} if data is None else divergence(checkpoint, Dataset.load(data), 256)
    console = Console()
    console.print(_table(figures))
    console.print("share of a step that goes into masks and sampling:", shares)
    console.print("KL from fp32, nats a character:", nats or "not measured: no --data")
    if not torch.cuda.is_available():
        console.print("GPU: skipped, there is none here")
    told = {
        "checkpoint": checkpoint.id,
        "rungs": [one.__dict__ for one in figures],
        "choosing": shares,
        "kl": nats,
    }
    if out is not None:
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
