"""Trains the encoder of themes: Tang poems, and keywords taken out of them by TF-IDF.

The decoder is frozen: it keeps writing what it wrote where there is no theme.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.model import Model, places, shift
from engine.theme import ThemeEncoder
from engine.verse.forms import FORMS, FormName
from trainer.corpus import Era, Split
from trainer.dataset import Dataset

Tokens = npt.NDArray[np.int64]
Themed = Mapping[FormName, tuple[Tokens, Tokens]]
"""By form, poems (N, T) and the keywords of each (N, KEYWORDS), the weightiest first."""
Bias = Callable[[Tensor], Tensor]
"""From keywords, (B, K), to what is added to the logits of the whole poem, (B, V)."""

KEYWORDS = 3
"""Characters taken out of each poem; while it learns, the encoder is shown one to all of them."""
EPOCHS = 2.0
"""How often it reads the Tang poems."""
_COMMON = 50
"""Characters in fewer poems are no keywords: few would ask for them."""
_BATCH_CHARACTERS = 2016
_RATE = 2e-3
_WARMUP_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Hint:
    """What keywords tell, on the poems of dev: perplexity a character, the form known."""

    without: float
    """Without them."""
    told: float
    """With them."""


def train_and_try(
    model: Model,
    dataset: Dataset,
    *,
    epochs: float = EPOCHS,
    on_step: Callable[[int, int], None] = lambda _step, _steps: None,
) -> tuple[ThemeEncoder, Hint]:
    """An encoder for `model`, and what it gains on the poems of dev."""
    encoder = train_encoder(
        model, themed(dataset, Split.TRAIN), epochs=epochs, seed=1, on_step=on_step
    )
    dev = themed(dataset, Split.DEV)
    hint = Hint(without=perplexity(model, dev), told=perplexity(model, dev, encoder=encoder))
    return encoder, hint


def themed(dataset: Dataset, split: Split) -> Themed:
    """The Tang poems of a split with their keywords."""
    weight = inverse_document_frequency(dataset)
    found = {}
    for form, verses in dataset.select(split, [Era.TANG]).items():
        tokens = verses.tokens.astype(np.int64)
        found[form] = (tokens, keywords(tokens, weight))
    return found


def inverse_document_frequency(dataset: Dataset) -> npt.NDArray[np.float64]:
    """log(N / poems with the character), (V,); 0 for characters in too few poems."""
    count, poems = np.zeros(len(dataset.vocabulary)), 0
    for verses in dataset.select(Split.TRAIN, Era).values():
        poems += len(verses)
        for row in verses.tokens:
            count[np.unique(row)] += 1
    found: npt.NDArray[np.float64] = np.where(
        count >= _COMMON, np.log(poems / np.maximum(count, 1)), 0
    )
    return found


def keywords(tokens: Tokens, weight: npt.NDArray[np.float64]) -> Tokens:
    """The characters of each poem with the highest TF-IDF, (N, T) to (N, KEYWORDS).

    In so short a text nearly every TF is 1, so the IDF of `weight`, (V,), decides; of equals the
    later one, which is nearer to the poem's end.
    """
    weights = weight[tokens] + 1e-6 * np.arange(tokens.shape[1])
    for column in range(1, tokens.shape[1]):  # a character that comes again is named once
        again = tokens[:, :column] == tokens[:, column : column + 1]
        weights[:, column] = np.where(again.any(axis=1), -1.0, weights[:, column])
    best = np.argsort(-weights, axis=1)[:, :KEYWORDS]
    found: Tokens = np.take_along_axis(tokens, best, axis=1)
    return found


def train_encoder(
    model: Model,
    data: Themed,
    *,
    epochs: float,
    seed: int,
    on_step: Callable[[int, int], None] = lambda _step, _steps: None,
) -> ThemeEncoder:
    """An encoder that has read `data` so often beside a `model` whose weights stay."""
    model.requires_grad_(requires_grad=False)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    encoder = ThemeEncoder(model.shape)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=_RATE)
    steps = max(1, round(epochs * sum(1 for _ in _batches(data, seed))))
    for step, (form, tokens, themes) in zip(range(steps), _epochs(data, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / _WARMUP_STEPS) * (1 - step / steps)
        some = random.permutation(themes.shape[1])[: random.integers(1, themes.shape[1] + 1)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = _logits(model, form, tokens, encoder(model.characters(themes[:, some])))
            loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        on_step(step + 1, steps)
    return encoder.eval()


@torch.inference_mode()
def perplexity(
    model: Model, data: Themed, *, encoder: ThemeEncoder | None = None, bias: Bias | None = None
) -> float:
    """Perplexity a character, the keywords told to the encoder, by the bias, or not at all."""
    nats, characters = 0.0, 0
    for form, tokens, themes in _batches(data, 0):
        state = encoder(model.characters(themes)) if encoder is not None else None
        logits = _logits(model, form, tokens, state).float()  # (B, T, V)
        if bias is not None:
            logits = logits + bias(themes)[:, None]
        nats += float(
            nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="sum")
        )
        characters += tokens.numel()
    return math.exp(nats / characters)


def _logits(model: Model, form: FormName, tokens: Tensor, state: Tensor | None) -> Tensor:
    """What the model expects at every place, told the form and begun from `state`, (B, T, V)."""
    before, above = shift(tokens, FORMS[form].line_length, model.shape.vocabulary)
    dark = torch.zeros_like(tokens)
    place = torch.tensor(places(form))
    return model.logits(model(before, above, place, dark, dark[:, 0], state=state))


def _epochs(data: Themed, seed: int) -> Iterator[tuple[FormName, Tensor, Tensor]]:
    """Batches without end."""
    while True:
        yield from _batches(data, seed)
        seed += 1


def _batches(data: Themed, seed: int) -> Iterator[tuple[FormName, Tensor, Tensor]]:
    """Poems (B, T) and their keywords (B, KEYWORDS) in random order, each once."""
    random = np.random.default_rng(seed)
    pieces = []
    for form, (tokens, themes) in data.items():
        rows = max(1, _BATCH_CHARACTERS // FORMS[form].length)
        shuffled = random.permutation(len(tokens))
        pieces += [
            (form, torch.from_numpy(tokens[part]), torch.from_numpy(themes[part]))
            for part in np.array_split(shuffled, max(1, len(tokens) // rows))
        ]
    for index in random.permutation(len(pieces)):
        yield pieces[index]
