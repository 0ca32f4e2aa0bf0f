"""Counts a corpus into the `Tradition` that travels with a checkpoint."""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from engine.tradition import ENDING_LENGTH, Tradition, Vectors
from engine.verse.forms import FORMS
from engine.vocabulary import UNKNOWN
from trainer.corpus import Era, Split
from trainer.dataset import Dataset

DIMENSIONS = 96
"""D: numbers that say which company a character keeps."""
KNOWN = 4096
"""Of the vocabulary, so many of the commonest characters get a vector: rarer ones stand in fewer
than thirty poems, too few to tell company from chance."""
ENDINGS = 4000
"""How many of the commonest endings are kept."""
_SMOOTHING = 0.75
"""Context counts are raised to this power, so that rare company does not seem dear
(Levy, Goldberg & Dagan 2015)."""
_DISCOUNT = 5.0
"""Meetings taken off each pair: what chance alone may bring."""


def build_tradition(dataset: Dataset) -> Tradition:
    """Lines of every split, for none may be repeated; company and endings of the training split."""
    endings = Counter(line[-ENDING_LENGTH:] for line in _lines(dataset, [Split.TRAIN]))
    return Tradition.of(
        _lines(dataset, list(Split)), _vectors(dataset), dict(endings.most_common(ENDINGS))
    )


def _lines(dataset: Dataset, splits: list[Split]) -> Iterator[str]:
    """The lines of the corpus, but for those with a character that the vocabulary lacks."""
    chars = dataset.vocabulary.chars
    for split in splits:
        for form, verses in dataset.select(split, Era).items():
            lines = verses.tokens.reshape(-1, FORMS[form].line_length)
            for line in lines[(lines != UNKNOWN).all(axis=1)].tolist():
                yield "".join(chars[index] for index in line)


def _vectors(dataset: Dataset) -> Vectors:
    """Characters as vectors whose products are about their PPMI, (V, D)."""
    size = min(KNOWN, len(dataset.vocabulary))
    met = _meetings(dataset, size)
    alone = met.diagonal().clone()  # poems that each character stands in
    met.fill_diagonal_(0.0)
    context = alone.pow(_SMOOTHING)
    share = context / context.sum().clamp_min(1e-9)  # of all company, smoothed
    ratio = (met - _DISCOUNT).clamp_min(0.0) / met.sum(1, keepdim=True).clamp_min(1.0) / share
    ppmi = ratio.clamp_min(1.0).log()
    ppmi = ((ppmi + ppmi.t()) / 2).nan_to_num(0.0)
    values, directions = torch.linalg.eigh(ppmi)
    values, directions = values[-DIMENSIONS:], directions[:, -DIMENSIONS:]
    vectors = torch.zeros(len(dataset.vocabulary), DIMENSIONS)
    vectors[:size, : directions.shape[1]] = directions * values.clamp_min(0.0).sqrt()
    found: Vectors = vectors.numpy()
    return found


def _meetings(dataset: Dataset, size: int) -> Tensor:
    """In how many poems of the training split two characters meet, (size, size)."""
    met = torch.zeros(size, size)
    for verses in dataset.select(Split.TRAIN, Era).values():
        for tokens in torch.split(torch.from_numpy(verses.tokens.astype("int64")), 4096):
            stands = torch.zeros(len(tokens), len(dataset.vocabulary))
            stands.scatter_(1, tokens, 1.0)
            stands[:, UNKNOWN] = 0.0
            met.addmm_(stands[:, :size].t(), stands[:, :size])
    return met
