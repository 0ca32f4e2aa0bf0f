"""Small models with random weights: wrong words, right shapes."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from engine import checkpoint
from engine.checkpoint import Checkpoint
from engine.critic import Critic
from engine.jobs import Cell, Job
from engine.model import Model, Shape
from engine.theme import ThemeEncoder
from engine.tradition import Tradition
from tests.fakes.jobs import a_job
from tests.fakes.poems import by_rule
from trainer.corpus import Era
from trainer.dataset import Dataset, build
from trainer.tradition import build_tradition


@cache
def small_dataset() -> Dataset:
    """A dataset of poems by rule, whose vocabulary holds all their characters."""
    poems = by_rule(160, seed=1) + by_rule(160, seed=2, era=Era.SONG)
    return build(poems, min_count=1)


@cache
def small_tradition() -> Tradition:
    """The tradition of `small_dataset`."""
    return build_tradition(small_dataset())


def write_model(
    parent: Path, cell: Cell = Cell.GRU, *, seed: int = 0, dataset: Dataset | None = None
) -> Path:
    """Write a checkpoint with random weights under `parent`."""
    data = dataset or small_dataset()
    torch.manual_seed(seed)
    shape = Shape(cell=cell, vocabulary=len(data.vocabulary), embedding=16, hidden=24)
    return checkpoint.save(
        parent,
        shape=shape,
        vocabulary=data.vocabulary,
        unknown_types=data.unknown_types,
        priors=data.priors,
        tradition=small_tradition(),
        weights=Model(shape).state_dict(),
        report={"test": {"perplexity": 1000.0}},
        critic=Critic(len(data.vocabulary)).state_dict(),
        theme=_random_encoder(shape).state_dict(),
    )


def _random_encoder(shape: Shape) -> ThemeEncoder:
    """One that has something to say, as an untrained one has not."""
    encoder = ThemeEncoder(shape)
    torch.nn.init.normal_(encoder.state.weight)
    return encoder


def small_checkpoint(folder: Path, cell: Cell = Cell.GRU, *, seed: int = 0) -> Checkpoint:
    """The same, loaded."""
    return checkpoint.load(write_model(folder, cell, seed=seed))


def job(number: int = 1, **fields: Any) -> Job:
    """A job of its own id and seed, for a free choice of opening; `fields` override."""
    usual = {"client": "test", "chat": "test", "seed": number, "opening": "", "context": {}}
    return a_job(f"test:{number}", **usual | fields)
