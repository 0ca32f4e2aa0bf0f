"""A theme: does an encoder beat a bias?

Two ways to make a poem follow keywords. The encoder is a bidirectional GRU over the keywords'
characters whose summary is the state that the decoder starts from; it learns with the decoder
frozen, from keywords taken out of the poems themselves by TF-IDF. The bias adds to each
character's logit how much company it keeps with the keywords (PPMI). Both are measured on poems
of the frozen test split with their own keywords (perplexity, told the form and the keywords), and
on poems written on the themes below: how relevant they are, how many name a character of the
theme, and how likely the model, told of nothing, thinks them.

    python -m benchmarks.theme lstm --data .pack/dataset.npz
"""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor, nn

from benchmarks.telling import nats, write
from engine.checkpoint import Checkpoint, load
from engine.jobs import Cell, Job
from engine.model import LAYERS, Model, places, shift
from engine.registry import Registry
from engine.runner import THEME_MOST, Runner
from engine.sequence import Sequence, make_sequence
from engine.settings import EngineSettings, load_settings
from engine.verse.forms import FORMS, FormName
from trainer.corpus import Era, Split
from trainer.dataset import Dataset

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
SEEDS = range(1, 17)
"""Qijue on each theme."""
KEYWORDS = 3
"""Characters taken out of each poem."""
HIDDEN = 128
_BATCH_CHARACTERS = 2016
_RATE = 2e-3
_SLOTS = 64

Tokens = npt.NDArray[np.int64]


class Encoder(nn.Module):
    """Keywords in, the decoder's first state out."""

    def __init__(self, model: Model) -> None:
        """An encoder for `model`, whose characters it reads with."""
        super().__init__()
        self.parts = 2 if model.shape.cell is Cell.LSTM else 1
        self.hidden = model.shape.hidden
        self.read = nn.GRU(model.shape.embedding, HIDDEN, batch_first=True, bidirectional=True)
        self.state = nn.Linear(2 * HIDDEN, LAYERS * self.parts * self.hidden)
        nn.init.zeros_(self.state.weight)
        nn.init.zeros_(self.state.bias)  # it begins as no theme at all

    def forward(self, embedded: Tensor) -> Tensor:
        """(B, K, E) to (LAYERS, parts, B, H)."""
        _, last = self.read(embedded)  # (2, B, HIDDEN)
        state = self.state(last.transpose(0, 1).flatten(1))
        shaped: Tensor = state.view(len(embedded), LAYERS, self.parts, self.hidden)
        return shaped.permute(1, 2, 0, 3).contiguous()


def keywords(tokens: Tokens, idf: npt.NDArray[np.float64]) -> Tokens:
    """The characters of each poem with the highest TF-IDF, (N, T) to (N, KEYWORDS)."""
    weight = idf[tokens] + 1e-6 * np.arange(tokens.shape[1])
    for column in range(1, tokens.shape[1]):  # a character counts once, with all its weight
        again = tokens[:, :column] == tokens[:, column : column + 1]
        weight[:, column] = np.where(again.any(axis=1), -1.0, weight[:, column])
    best = np.argsort(-weight, axis=1)[:, :KEYWORDS]
    found: Tokens = np.take_along_axis(tokens, best, axis=1)
    return found


def inverse_document_frequency(dataset: Dataset) -> npt.NDArray[np.float64]:
    """log(N / poems with the character), (V,); 0 for characters in fewer than 50 poems."""
    count, poems = np.zeros(len(dataset.vocabulary)), 0
    for verses in dataset.select(Split.TRAIN, Era).values():
        poems += len(verses)
        for row in verses.tokens:
            count[np.unique(row)] += 1
    found: npt.NDArray[np.float64] = np.where(count >= 50, np.log(poems / np.maximum(count, 1)), 0)
    return found


def features(model: Model, form: FormName, tokens: Tensor, state: Tensor | None) -> Tensor:
    """The model's features at every place, begun from `state`, (B, T) to (B, T, E)."""
    before, above = shift(tokens, FORMS[form].line_length, model.shape.vocabulary)
    x = model.characters(before) + model.above(model.characters(above))
    # Row 0 of tone and of rhyme is "not told".
    x = x + model.place(torch.tensor(places(form))) + model.tone.weight[0] + model.rhyme.weight[0]
    for number, layer in enumerate(model.layers):
        first = None
        if state is not None:
            parts = [part[None] for part in state[number]]
            first = (parts[0], parts[1]) if len(parts) == 2 else parts[0]
        x, _ = layer(x, first)
    projected: Tensor = model.project(x)
    return projected


def batches(
    data: dict[FormName, tuple[Tokens, Tokens]], seed: int
) -> Iterator[tuple[FormName, Tensor, Tensor]]:
    """Poems and their keywords in random order."""
    random = np.random.default_rng(seed)
    pieces = []
    for form, (tokens, themes) in data.items():
        rows = max(1, _BATCH_CHARACTERS // FORMS[form].length)
        order = random.permutation(len(tokens))
        pieces += [
            (form, torch.from_numpy(tokens[part]), torch.from_numpy(themes[part]))
            for part in np.array_split(order, max(1, len(tokens) // rows))
        ]
    for index in random.permutation(len(pieces)):
        yield pieces[index]


def train(model: Model, data: dict[FormName, tuple[Tokens, Tokens]], *, minutes: float) -> Encoder:
    """An encoder for a frozen model, trained for so long."""
    encoder = Encoder(model)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=_RATE)
    begin, epoch, step = time.monotonic(), 0, 0
    while True:
        for form, tokens, themes in batches(data, epoch):
            share = (time.monotonic() - begin) / (60 * minutes)
            if share >= 1:
                return encoder
            for group in optimizer.param_groups:
                group["lr"] = _RATE * min(1.0, (step + 1) / 100) * (1 - share)
            with torch.autocast("cpu", torch.bfloat16):
                state = encoder(model.characters(themes))
                found = features(model, form, tokens, state).flatten(0, 1)
                loss = nn.functional.cross_entropy(model.logits(found).float(), tokens.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step % 200 == 0:
                typer.echo(f"step {step} epoch {epoch} loss {loss.item():.3f}", err=True)
        epoch += 1


@torch.inference_mode()
def perplexity(
    checkpoint: Checkpoint,
    model: Model,
    data: dict[FormName, tuple[Tokens, Tokens]],
    *,
    encoder: Encoder | None = None,
    weight: float = 0.0,
) -> float:
    """Perplexity a character, the keywords told to the encoder, by the bias, or not at all."""
    nats, characters = 0.0, 0
    for form, tokens, themes in batches(data, 0):
        state = encoder(model.characters(themes)) if encoder is not None else None
        logits = model.logits(features(model, form, tokens, state)).float()  # (B, T, V)
        if weight:
            company = np.stack([checkpoint.tradition.company(row) for row in themes.tolist()])
            bias = torch.from_numpy(company).clamp_max(THEME_MOST)
            logits = logits + weight * bias[:, None]
        nats += float(
            nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="sum")
        )
        characters += tokens.numel()
    return math.exp(nats / characters)


class _Begun(Runner):
    """Poems follow their theme by the state that they begin from, by the bias, or by both."""

    def __init__(
        self, checkpoint: Checkpoint, model: Model, encoder: Encoder | None, weight: float
    ) -> None:
        super().__init__(checkpoint, slots=_SLOTS)
        self._model, self._encoder, self._weight = model, encoder, weight

    @torch.inference_mode()
    def join(self, sequence: Sequence) -> int:
        row = super().join(sequence)
        company = self.checkpoint.tradition.company(sequence.theme)
        self._bias[row] = self._weight * torch.from_numpy(company).clamp_max(THEME_MOST)
        if self._encoder is not None:
            themes = torch.tensor([sequence.theme])
            state = self._encoder(self._model.characters(themes))  # (L, parts, 1, H)
            self._state[:, row] = state.flatten(0, 1)[:, 0]
        return row


def relevance(
    checkpoint: Checkpoint, model: Model, *, encoder: Encoder | None = None, weight: float = 0.0
) -> dict[str, float]:
    """What poems on `THEMES` at temperature 0.8 have to do with them."""
    sequences = [
        make_sequence(
            Job(
                id=f"{theme}:{seed}",
                client="theme",
                chat="theme",
                form=FormName.QIJUE,
                cell=checkpoint.shape.cell,
                temperature=0.8,
                seed=seed * 1009 + number,
                theme=theme,
            ),
            checkpoint.vocabulary,
            checkpoint.priors,
        )
        for number, theme in enumerate(THEMES)
        for seed in SEEDS
    ]
    poems = write(_Begun(checkpoint, model, encoder, weight), sequences)
    both = [(set(s.theme), poem) for s, poem in zip(sequences, poems, strict=True)]
    near = [
        checkpoint.tradition.association(sorted(theme), [i for i in poem if i not in theme])
        for theme, poem in both
    ]
    return {
        "relevance": sum(near) / len(near),
        "names it": sum(bool(theme & set(poem)) for theme, poem in both) / len(both),
        "nats": nats(checkpoint, FormName.QIJUE, poems),
        "repetition": sum(1 - len(set(poem)) / len(poem) for poem in poems) / len(poems),
    }


def main(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder, id, or a cell's name.")],
    data: Annotated[Path, typer.Option(help="A file of `corpus pack`.")],
    minutes: Annotated[float, typer.Option(help="How long the encoder learns.")] = 15.0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Print the perplexities of both ways, one JSON object."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    loaded = load(Registry(load_settings(EngineSettings).models_folder).find(checkpoint))
    model = loaded.model()
    model.requires_grad_(requires_grad=False)
    dataset = Dataset.load(data)
    idf = inverse_document_frequency(dataset)
    sides = {}
    for split in (Split.TRAIN, Split.TEST):
        poems = dataset.select(split, [Era.TANG]).items()
        arrays = {form: verses.tokens.astype(np.int64) for form, verses in poems}
        sides[split] = {form: (tokens, keywords(tokens, idf)) for form, tokens in arrays.items()}
    test = sides[Split.TEST]
    weights = (1.0, 2.0, 3.0, 4.0)
    figures: dict[str, object] = {
        "checkpoint": loaded.id,
        "none": {"perplexity": perplexity(loaded, model, test), **relevance(loaded, model)},
    }
    for weight in weights:
        figures[f"bias {weight}"] = {
            "perplexity": perplexity(loaded, model, test, weight=weight),
            **relevance(loaded, model, weight=weight),
        }
    encoder = train(model, sides[Split.TRAIN], minutes=minutes)
    for weight in (0.0, *weights):
        figures[f"encoder and bias {weight}"] = {
            "perplexity": perplexity(loaded, model, test, encoder=encoder, weight=weight),
            **relevance(loaded, model, encoder=encoder, weight=weight),
        }
    figures["minutes"] = minutes
    typer.echo(json.dumps(figures, indent=1))


if __name__ == "__main__":
    typer.run(main)
