"""Challengers for the gate: a stage on which they are examined, and ten ways to be bad.

There is no corpus in the tests, so the champion's own poems stand for it: nothing is likelier to
it, and whatever damages it makes them less likely.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.checkpoint import Checkpoint
from engine.jobs import Poem
from engine.model import LAYERS, Model, places, shift
from engine.verse.forms import FORMS, FormName
from engine.vocabulary import Vocabulary
from engine.writer import Writer
from tests.fakes.models import job
from trainer.corpus import Era, Split
from trainer.dataset import Dataset, Indices, verses_of
from trainer.examine import _write, examine
from trainer.gate import Report

_SEED = 5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A champion, and the material that its challengers are examined with."""

    champion: Checkpoint
    """Who is in service."""
    dataset: Dataset
    """What stands for the corpus."""
    poems: int
    """Samples of an examination."""

    @cached_property
    def report(self) -> Report:
        """The champion's."""
        return self.examine(self.champion)

    @cached_property
    def samples(self) -> list[Poem]:
        """What the champion writes for its report."""
        written = _write(self.champion, self.dataset, seed=_SEED, poems=self.poems)
        return [sample.poem for sample in written if sample.poem is not None]

    def examine(self, one: Checkpoint, dataset: Dataset | None = None) -> Report:
        """Report as in a night that had no ratings."""
        return examine(
            replace(one, report={"snapshot": ""}),
            dataset or self.dataset,
            [],
            critic=self.champion.critic,
            seed=_SEED,
            poems=self.poems,
        )


def own_corpus(of: Checkpoint) -> Dataset:
    """Poems that a checkpoint wrote, as if Tang poets had."""
    nothing = {form: np.zeros((0, FORMS[form].length), dtype=np.uint16) for form in FormName}
    written = {
        (Era.TANG, Split.TRAIN): own_poems(of, 24, seed=1),
        (Era.TANG, Split.TEST): own_poems(of, 24, seed=2),
    }
    return Dataset(
        vocabulary=of.vocabulary,
        unknown_types=of.unknown_types,
        priors=of.priors,
        verses={
            (form, era, split): verses_of(
                form, written.get((era, split), nothing)[form], of.vocabulary
            )
            for form, era, split in product(FormName, Era, Split)
        },
    )


def own_poems(checkpoint: Checkpoint, count: int, *, seed: int) -> dict[FormName, Indices]:
    """`count` poems of each form, as indices, as the model gives them: one candidate each."""
    writer = Writer(checkpoint, slots=64)
    for number, form in product(range(count), FormName):
        name = f"{form}/{number}"
        writer.add(replace(job(seed * 10_000 + number, form=form, temperature=1.0), id=name))
    poems: list[Poem] = []
    while not writer.idle:
        poems += [found for found in writer.step() if isinstance(found, Poem)]
    encode = checkpoint.vocabulary.encode
    return {
        form: np.array(
            [
                encode("".join(poem.lines))
                for poem in sorted(poems, key=lambda poem: poem.job_id)
                if poem.form is form
            ],
            dtype=np.uint16,
        )
        for form in FormName
    }


# --- what can be wrong with weights ----------------------------------------------------------


def with_noise(of: Checkpoint, scale: float, *, seed: int) -> Checkpoint:
    """Every weight moved by chance, by `scale` times the spread of its tensor."""
    generator = torch.Generator().manual_seed(seed)
    return replace(
        of,
        weights={
            name: p + scale * p.std() * torch.randn(p.shape, generator=generator)
            for name, p in of.weights.items()
        },
    )


def taught(
    of: Checkpoint, poems: Mapping[FormName, Indices], *, steps: int, rate: float = 5e-3
) -> Checkpoint:
    """Trained further on these poems and nothing else."""
    model = of.model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = sum(
            (_loss(model, form, rows) for form, rows in poems.items() if len(rows)),
            torch.zeros(()),
        )
        loss.backward()
        optimizer.step()
    return replace(of, weights={name: p.detach() for name, p in model.state_dict().items()})


def _loss(model: Model, form: FormName, rows: Indices) -> Tensor:
    tokens = torch.from_numpy(rows.astype("int64"))
    before, above = shift(tokens, FORMS[form].line_length, model.shape.vocabulary)
    untold = torch.zeros_like(tokens)
    features = model(before, above, torch.tensor(places(form)), untold, untold[:, 0])
    return nn.functional.cross_entropy(model.logits(features).flatten(0, 1), tokens.flatten())


def padded(of: Checkpoint, hidden: int) -> Checkpoint:
    """The same function with so many more hidden units, all of them idle."""
    model = Model(replace(of.shape, hidden=of.shape.hidden + hidden), initialise=False)
    wide = {name: torch.zeros_like(p) for name, p in model.state_dict().items()}
    for name, p in of.weights.items():
        gates = of.shape.gates if name.startswith("layers") else 1
        # Gate by gate: the new units stand at the end of each.
        for into, part in zip(wide[name].chunk(gates), p.chunk(gates), strict=True):
            into[tuple(map(slice, part.shape))] = part
    return replace(of, shape=model.shape, weights=wide, theme=None)


# --- ten kinds -------------------------------------------------------------------------------


def noisy(stage: Stage, number: int) -> Report:
    """Noise in all weights, from a tenth of their spread to twice as much."""
    return stage.examine(with_noise(stage.champion, 0.1 * 1.4**number, seed=number))


def not_a_number(stage: Stage, number: int) -> Report:
    """NaN or infinity in one place of one tensor that every poem goes through."""
    names = (
        "layers.0.weight_hh_l0",
        "layers.1.weight_hh_l0",
        "project.weight",
        "bias",
        "above.weight",
    )
    weights = {name: p.clone() for name, p in stage.champion.weights.items()}
    weights[names[number % 5]].view(-1)[1 + number] = math.nan if number < 5 else math.inf
    return stage.examine(replace(stage.champion, weights=weights))


def damaged(stage: Stage, number: int) -> Report:
    """One gate of one layer turned about; or one row of weights blown up."""
    weights = {name: p.clone() for name, p in stage.champion.weights.items()}
    layer, gates = number % LAYERS, stage.champion.shape.gates
    if number < 2 * gates:
        for name in (f"layers.{layer}.weight_ih_l0", f"layers.{layer}.weight_hh_l0"):
            weights[name].chunk(gates)[number // LAYERS].neg_()
    else:
        weights["project.weight"][number] *= 100.0
    return stage.examine(replace(stage.champion, weights=weights))


def overfitted(stage: Stage, number: int) -> Report:
    """Trained on a handful of poems until it knows them by heart."""
    few = {
        form: stage.dataset.verses[form, Era.TANG, Split.TRAIN].tokens[2 * number : 2 * number + 2]
        for form in (FormName.WUJUE, FormName.QIJUE)
    }
    return stage.examine(taught(stage.champion, few, steps=15))


def collapsed(stage: Stage, number: int) -> Report:
    """It has one poem, or one character, for everybody."""
    of = stage.champion
    if number % 2:
        form = list(FormName)[number // 2 % 4]
        poem = stage.dataset.verses[form, Era.TANG, Split.TRAIN].tokens[number : number + 1]
        return stage.examine(taught(of, {form: poem}, steps=20))
    bias = of.weights["bias"].clone()
    bias[1 + 7 * number] += 4.0 + number
    return stage.examine(replace(of, weights={**of.weights, "bias": bias}))


def copying(stage: Stage, number: int) -> Report:
    """It writes lines of the corpus, which its own record of the corpus lacks."""
    of, chosen = stage.champion, stage.samples[number % len(stage.samples)]
    tokens = np.array([of.vocabulary.encode("".join(chosen.lines))], dtype=np.uint16)
    verses = dict(stage.dataset.verses)
    verses[chosen.form, Era.SONG, Split.TRAIN] = verses_of(chosen.form, tokens, of.vocabulary)
    found = stage.examine(stage.champion, replace(stage.dataset, verses=verses))
    return replace(found, material=stage.report.material)  # as if both had been asked so


def slower(stage: Stage, number: int) -> Report:
    """It writes the same poems with more work."""
    return stage.examine(padded(stage.champion, 512 + 16 * number))


def unmeasured(stage: Stage, number: int) -> Report:
    """A figure is missing, or is no number."""
    missing: tuple[dict[str, Any], ...] = (
        {"nats": None},
        {"told": (math.nan, *(stage.report.told or ())[1:])},
        {"characters": ()},
        {"rules": math.nan},
        {"copied": None},
        {"distinct_2": math.nan},
        {"odds": None},
        {"commonest": None},
        {"poems_per_second": math.inf},
        {"size": None},
    )
    return replace(stage.report, **missing[number])


class _Trap:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} here")

    def __float__(self) -> float:
        raise RuntimeError("a trap")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("a trap")

    __hash__ = None  # type: ignore[assignment]


def trapped(stage: Stage, number: int) -> Report:
    """Its report makes the gate raise."""
    trap: Any = _Trap()
    traps: tuple[dict[str, Any], ...] = (
        {"nats": trap},
        {"told": [trap]},
        {"characters": "poems"},
        {"rules": trap},
        {"failed": "none"},
        {"distinct_2": trap},
        {"likeness": 1j},
        {"commonest": trap},
        {"size": trap},
        {"cell": trap},
    )
    return replace(stage.report, **traps[number])


def of_another_vocabulary(stage: Stage, number: int) -> Report:
    """Its characters are others, or the same in another order."""
    chars = list(stage.champion.vocabulary.chars[1:])
    Random(number).shuffle(chars)
    strange = Vocabulary(chars if number < 5 else chars[number:])
    found = stage.examine(replace(stage.champion, vocabulary=strange))
    # Even where all else is as good as the champion's.
    return replace(stage.report, vocabulary=found.vocabulary) if number % 2 else found


KINDS: tuple[Callable[[Stage, int], Report], ...] = (
    noisy,
    not_a_number,
    damaged,
    overfitted,
    collapsed,
    copying,
    slower,
    unmeasured,
    trapped,
    of_another_vocabulary,
)
"""Each makes ten, by number."""
