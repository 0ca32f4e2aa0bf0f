"""How well a model predicts verse that it has not seen.

Perplexity is exp of the mean negative log likelihood per Chinese character, punctuation left out.
The model is told the form only, never the poem's own rhyme or tones. A character outside the
vocabulary is charged log p(<unk>) plus the log of how many such characters the corpus has, as if
they were equally likely.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.model import Model, places, shift
from engine.verse.forms import FORMS, FormName
from engine.vocabulary import UNKNOWN, Vocabulary
from trainer.dataset import Verses

_CHARACTERS_AT_ONCE = 16384


@dataclass(frozen=True, kw_only=True)
class Score:
    """A sum of log likelihoods, which adds up over forms."""

    nats: float
    """Negative log likelihood of all characters, in nats."""
    characters: int
    """How many characters."""
    unknown: int
    """How many of them are outside the vocabulary."""

    @property
    def perplexity(self) -> float:
        """E to the mean; NaN where there is nothing to score."""
        return math.exp(self.nats / self.characters) if self.characters else math.nan

    def __add__(self, other: "Score") -> "Score":
        return Score(
            nats=self.nats + other.nats,
            characters=self.characters + other.characters,
            unknown=self.unknown + other.unknown,
        )


NOTHING = Score(nats=0.0, characters=0, unknown=0)


def tone_labels(vocabulary: Vocabulary) -> Tensor:
    """The tone each character tells of itself as `TONE_INDEX` has it, 0 for a polyphone, (V,)."""
    table = torch.from_numpy(vocabulary.tone_table)
    level, oblique = table[1], table[2]
    return (level & ~oblique).long() + 2 * (oblique & ~level).long()


def polyphones(vocabulary: Vocabulary) -> Tensor:
    """Characters that can have either tone, bool, (V,)."""
    table = torch.from_numpy(vocabulary.tone_table)
    return table[1] & table[2]


@torch.inference_mode()
def score(
    model: Model,
    form: FormName,
    verses: Verses,
    *,
    unknown_types: int,
    tones: Tensor | None = None,
) -> Score:
    """Score poems of one form; with `tones` ((V,), as `tone_labels`) rhyme and tones are told."""
    device = model.bias.device
    place = torch.tensor(places(form), device=device)
    total = NOTHING
    rows = max(1, _CHARACTERS_AT_ONCE // FORMS[form].length)
    for first in range(0, len(verses), rows):
        tokens = torch.from_numpy(verses.tokens[first : first + rows].astype("int64")).to(device)
        before, above = shift(tokens, FORMS[form].line_length, model.shape.vocabulary)
        tone, rhyme = torch.zeros_like(tokens), torch.zeros_like(tokens[:, 0])
        if tones is not None:
            tone = tones.to(device)[tokens]
            rhyme = torch.from_numpy(verses.rhymes[first : first + rows].astype("int64")).to(device)
        logits = model.logits(model(before, above, place, tone, rhyme)).float()  # (B, T, V)
        nats = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens.flatten(), reduction="sum"
        )
        unknown = int((tokens == UNKNOWN).sum())
        total += Score(
            nats=float(nats) + unknown * math.log(max(unknown_types, 1)),
            characters=tokens.numel(),
            unknown=unknown,
        )
    return total


def score_forms(
    model: Model,
    verses: Mapping[FormName, Verses],
    *,
    unknown_types: int,
    tones: Tensor | None = None,
) -> dict[FormName, Score]:
    """`score` for each form; the model is put in evaluation mode and back."""
    training = model.training
    model.eval()
    scores = {
        form: score(model, form, part, unknown_types=unknown_types, tones=tones)
        for form, part in verses.items()
    }
    model.train(training)
    return scores


def total(scores: Mapping[FormName, Score]) -> Score:
    """The sum over forms."""
    return sum(scores.values(), NOTHING)
