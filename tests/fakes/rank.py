"""One process of several that train together, as `torchrun` starts it.

    python -m tests.fakes.rank TASK FOLDER

FOLDER holds `data.npz`, and gets what came of it. `compare` trains a run to its end, and another
that is stopped on the way and resumed; `endless` trains until it is killed.
"""

import argparse
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.jobs import Cell
from trainer.corpus import Era
from trainer.dataset import Dataset, Verses
from trainer.distributed import Team, joined
from trainer.fit import Run, TrainingError
from trainer.recipe import Recipe, Stage

CERTAIN = Recipe(
    cell=Cell.GRU,
    embedding=16,
    hidden=24,
    dropout=0.0,
    told=0.0,
    batch_characters=400,
    warmup_steps=5,
    evaluate_every=10,
    precision="fp32",
    stages=(Stage(eras=(Era.TANG,), epochs=1), Stage(eras=(Era.SONG,), epochs=1, rate=(1.0, 0.1))),
)
"""A recipe that draws nothing on the way: one process and several must do the same."""
DRAWING = replace(
    CERTAIN,
    cell=Cell.LSTM,
    embedding=64,
    hidden=160,  # over a megabyte of weights, which DDP would put into another bucket
    dropout=0.2,
    told=0.5,
    batch_characters=120,  # from six short poems to two long ones: fewer than there are processes
    stages=(Stage(eras=(Era.TANG,), epochs=0.3, negatives=64), Stage(eras=(Era.SONG,), epochs=0.1)),
)
"""A recipe that draws all it can: each process its own."""
STOP = 13
"""The step after which a run is stopped that will be resumed; the next has rows for three."""
PATIENCE = timedelta(seconds=15)
"""How long one that does not answer is waited for; they need not start within the same second."""


BEGUN = "training"
"""The line that an endless run prints when it trains."""


class Stopped(BaseException):
    """The run was stopped on the way."""


def train(run: Run, *, until: int | None = None) -> dict[str, Tensor]:
    """Train to the end, or as if killed after step `until` and its save; the first gradients."""
    gradients: dict[str, Tensor] = {}

    def on_step(step: int) -> None:
        if not gradients:
            named = run.model.named_parameters()
            gradients.update({name: p.grad.clone() for name, p in named if p.grad is not None})
        if step == until:
            run.save()
            raise Stopped

    with suppress(Stopped):
        run.train(lambda _measure: None, on_step=on_step, save_every=10**9)
    return gradients


def outcome(run: Run) -> dict[str, Tensor]:
    """Everything that two runs must agree in to be the same."""
    measures = [[m.step, m.loss, m.dev] for m in run.progress.measures]
    return {
        **{f"weights/{name}": p for name, p in run.model.state_dict().items()},
        **{f"best/{name}": p for name, p in run.best.items()},
        "measures": torch.tensor(measures, dtype=torch.float64),
        "random": torch.get_rng_state(),
    }


def compare(team: Team, folder: Path) -> None:
    """Write what came of the runs to `RANK.safetensors`, and what was refused to `RANK.txt`."""
    data = Dataset.load(folder / "data.npz")
    certain = Run(CERTAIN, data, folder / "certain", team=team)
    results = {f"gradients/{name}": p for name, p in train(certain).items()}
    results |= {f"certain/{name}": p for name, p in outcome(certain).items()}
    whole = Run(DRAWING, data, folder / "whole", team=team)
    train(whole)
    results |= {f"whole/{name}": p for name, p in outcome(whole).items()}
    train(Run(DRAWING, data, folder / "stopped", team=team), until=STOP)
    resumed = Run(DRAWING, data, folder / "stopped", team=team)
    results["began"] = torch.tensor(resumed.progress.step)
    train(resumed)
    results |= {f"resumed/{name}": p for name, p in outcome(resumed).items()}
    save_file(results, folder / f"{team.rank}.safetensors")
    try:
        Run(CERTAIN, data if team.leads else half(data), folder / "other", team=team)
    except TrainingError as error:
        (folder / f"{team.rank}.txt").write_text(str(error), encoding="utf-8")


def half(data: Dataset) -> Dataset:
    """What a host has that fetched another corpus."""
    few = {
        key: Verses(tokens=part.tokens[::2], rhymes=part.rhymes[::2])
        for key, part in data.verses.items()
    }
    return replace(data, verses=few)


def endless(team: Team, folder: Path) -> None:
    """Train until killed."""
    long = replace(CERTAIN, stages=(Stage(eras=(Era.TANG,), epochs=10**6),), evaluate_every=10**9)
    run = Run(long, Dataset.load(folder / "data.npz"), folder / "endless", team=team)

    def on_step(step: int) -> None:
        if step == 2:
            print(BEGUN, flush=True)

    run.train(lambda _measure: None, on_step=on_step, save_every=10**9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("compare", "endless"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with joined("cpu", patience=PATIENCE) as team:
        {"compare": compare, "endless": endless}[options.task](team, options.folder)


if __name__ == "__main__":
    main()
