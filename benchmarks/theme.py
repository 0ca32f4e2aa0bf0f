"""What makes poems follow a theme: the encoder, the bias, or both.

The encoder gives the state that a poem begins from (`engine.theme`); the bias adds to each
character's logit how much company it keeps with the theme (PPMI). All ways are measured on poems
of the frozen test split with their own keywords (perplexity, told the form and the keywords), and
on poems written on the themes below: how relevant they are, how many name a character of the
theme, how likely the model, told of nothing, thinks them, and how often a character comes back.

    python -m benchmarks.theme lstm --data .pack/dataset.npz
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks import ours
from benchmarks.ours import SLOTS, Ask
from benchmarks.telling import nats
from engine.checkpoint import Checkpoint, load
from engine.jobs import USUAL_TEMPERATURE
from engine.registry import Registry
from engine.runner import THEME_MOST, THEME_WEIGHT, Runner
from engine.sequence import Sequence
from engine.settings import EngineSettings, load_settings
from engine.theme import ThemeEncoder
from engine.verse.forms import FormName
from trainer.corpus import Split
from trainer.dataset import Dataset
from trainer.metrics import repetition
from trainer.theme import Themed, perplexity, themed

THEMES = (
    "邊塞",
    "離別",
    "思鄉",
    "春雨",
    "秋夜",
    "登高",
    "山寺",
    "美人",
    "飲酒",
    "梅花",
    "漁父",
    "宮怨",
    "送友",
    "詠史",
    "江南",
    "雪",
    "柳",
    "蟬",
    "牡丹",
    "隱居",
)
SEEDS, CHOSEN_SEEDS = range(1, 17), range(1, 5)
"""Qijue on each theme: the first candidate, and the best of several, which cost more."""
WEIGHTS = (1.0, 2.0, 3.0)
"""Of the bias; the engine's is among them."""
CANDIDATES = EngineSettings.model_fields["candidates"].default
"""As people get their poems."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to follow a theme."""

    checkpoint: Checkpoint
    """With its encoder or without."""
    weight: float
    """The bias's; 0 for none."""

    @property
    def name(self) -> str:
        """What it uses."""
        parts = ["encoder"] * (self.checkpoint.theme is not None)
        parts += [f"bias {self.weight:g}"] * (self.weight > 0)
        return " and ".join(parts) or "none"

    def perplexity(self, data: Themed) -> float:
        """On poems with their own keywords, the form known."""
        of = self.checkpoint
        encoder = None if of.theme is None else ThemeEncoder.of(of.shape, of.theme)
        bias = (lambda themes: _bias(of, themes) * self.weight) if self.weight else None
        return perplexity(of.model(), data, encoder=encoder, bias=bias)

    def poems(self, seeds: Iterable[int], *, candidates: int) -> Mapping[str, float]:
        """What poems on `THEMES` are like at the usual temperature, one a seed."""
        asks = [
            Ask(form=FormName.QIJUE, opening="", seed=seed * 1009 + number, theme=theme)
            for seed in seeds
            for number, theme in enumerate(THEMES)
        ]
        outcomes = ours.write(
            self.checkpoint,
            asks,
            temperature=USUAL_TEMPERATURE,
            candidates=candidates,
            runner=_Biased(self.checkpoint, self.weight),
        )
        written = [(a, poem.lines) for a, poem in zip(asks, outcomes, strict=True) if poem]
        encode = self.checkpoint.vocabulary.encode
        both = [(encode(ask.theme), tuple(encode("".join(lines)))) for ask, lines in written]
        near = [
            self.checkpoint.tradition.association(theme, [i for i in poem if i not in theme])
            for theme, poem in both
        ]
        return {
            "poems": len(written),
            "relevance": sum(near) / len(near),
            "names it": sum(not set(theme).isdisjoint(poem) for theme, poem in both) / len(both),
            "nats": nats(self.checkpoint, FormName.QIJUE, [poem for _, poem in both]),
            "repetition": sum(repetition(lines) for _, lines in written) / len(written),
        }


class _Biased(Runner):
    """The bias with a weight of its own."""

    def __init__(self, checkpoint: Checkpoint, weight: float) -> None:
        super().__init__(checkpoint, slots=SLOTS)
        self._weight = weight

    def _theme_bias(self, sequence: Sequence) -> Tensor:
        return super()._theme_bias(sequence) * (self._weight / THEME_WEIGHT)


def _bias(checkpoint: Checkpoint, themes: Tensor) -> Tensor:
    """The bias of weight 1, (B, K) to (B, V)."""
    company = np.stack([checkpoint.tradition.company(row) for row in themes.tolist()])
    return torch.from_numpy(company).clamp_max(THEME_MOST)


def main(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder, id, or a cell's name.")],
    data: Annotated[Path, typer.Option(help="A file of `corpus pack`.")],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Print the figures of every way, one JSON object."""
    torch.set_num_threads(threads)
    loaded = load(Registry.at(load_settings(EngineSettings)).find(checkpoint))
    if loaded.theme is None:
        typer.echo(f"{loaded.id} has no encoder: `python -m trainer theme` makes one", err=True)
        sys.exit(2)
    test = themed(Dataset.load(data), Split.TEST)
    figures: dict[str, object] = {"checkpoint": loaded.id}
    for has_encoder in (False, True):
        of = loaded if has_encoder else replace(loaded, theme=None)
        for weight in (0.0, *WEIGHTS):
            way = Way(checkpoint=of, weight=weight)
            found = {"perplexity": way.perplexity(test), "first": way.poems(SEEDS, candidates=1)}
            if weight in (0.0, THEME_WEIGHT):
                found[f"best of {CANDIDATES}"] = way.poems(CHOSEN_SEEDS, candidates=CANDIDATES)
            figures[way.name] = found
            typer.echo(f"{way.name}: {json.dumps(found)}", err=True)
    typer.echo(json.dumps(figures, indent=1))


if __name__ == "__main__":
    typer.run(main)
