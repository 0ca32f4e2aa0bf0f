"""A recipe: every number that decides how a model is trained, with the reasons beside them."""

from dataclasses import dataclass
from typing import Literal

from engine.jobs import Cell
from trainer.corpus import Era


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training on some of the corpus."""

    eras: tuple[Era, ...]
    """Whose poems."""
    epochs: float
    """How many times each poem is seen; a fraction is allowed."""
    rate: tuple[float, float] = (1.0, 1.0)
    """The share of the recipe's learning rate at the start and at the end; linear between."""
    negatives: int | None = None
    """Characters drawn for a sampled softmax; None for the full one."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train one model. A checkpoint's report holds the recipe that made it."""

    cell: Cell
    """The recurrent cell."""
    embedding: int = 512
    """E."""
    hidden: int = 512
    """H."""
    dropout: float = 0.1
    """Share of features hidden from each poem, everywhere the model drops any."""
    stages: tuple[Stage, ...]
    """Stretches of training, in order."""
    batch_characters: int = 2016
    """Characters in a batch, whatever the form: 36 qilu, 72 qijue."""
    learning_rate: float = 2e-3
    """The peak; stages say what share of it they use."""
    warmup_steps: int = 200
    """Steps over which the rate first rises from 0."""
    weight_decay: float = 0.02
    """AdamW's, on matrices only."""
    clip: float = 1.0
    """Largest norm of the whole gradient."""
    averaging: float = 0.998
    """Decay of the moving average of the weights, which is what is evaluated and kept."""
    told: float = 0.5
    """Share of poems whose rhyme and tones the model is told while it learns."""
    told_tone: float = 0.8
    """Of those poems, the share of places whose tone is told; the rest stays open."""
    evaluate_every: int = 500
    """Steps between two scorings of the dev split."""
    patience: int = 8
    """Stop after so many evaluations of the last stage without a better one."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16 runs matrix products in half the bits; weights and sums stay fp32."""
    seed: int = 1
    """Seed of initial weights, order of poems, dropout and what is told."""
