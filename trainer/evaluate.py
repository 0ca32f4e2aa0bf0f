"""How well a model predicts verse that it has not seen.

Perplexity is exp of the mean negative log likelihood per Chinese character, punctuation left out.
The model is told the form only, never the poem's own rhyme or tones. A character outside the
vocabulary is charged log p(<unk>) plus the log of how many such characters the corpus has, as if
they were equally likely.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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
def nats_of(
    model: Model, form: FormName, verses: Verses, *, tones: Tensor | None = None
) -> npt.NDArray[np.float32]:
    """Negative log likelihood of every character of poems of one form, in nats, (N, T).

    With `tones` ((V,), as `tone_labels`) rhyme and tones are told. The model is used as it is:
    put it in evaluation mode first. `<unk>` costs what the model gives it, no more.
    """
    device = model.bias.device
    place = torch.tensor(places(form), device=device)
    found = np.zeros((len(verses), FORMS[form].length), dtype=np.float32)
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
            logits.flatten(0, 1), tokens.flatten(), reduction="none"
        )
        found[first : first + rows] = nats.view_as(tokens).cpu().numpy()
    return found


def score_poems(
    model: Model,
    form: FormName,
    verses: Verses,
    *,
    unknown_types: int,
    tones: Tensor | None = None,
) -> list[Score]:
    """Score poems of one form, each by itself, in their order; told as `nats_of` says."""
    nats = nats_of(model, form, verses, tones=tones).sum(axis=1, dtype=np.float64)
    unknown = (verses.tokens == UNKNOWN).sum(axis=1)
    nats += unknown * math.log(max(unknown_types, 1))
    return [
        Score(nats=float(its), characters=FORMS[form].length, unknown=int(count))
        for its, count in zip(nats, unknown, strict=True)
    ]


def score(
    model: Model,
    form: FormName,
    verses: Verses,
    *,
    unknown_types: int,
    tones: Tensor | None = None,
) -> Score:
    """Score poems of one form together; told as `nats_of` says."""
    return sum(score_poems(model, form, verses, unknown_types=unknown_types, tones=tones), NOTHING)


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
