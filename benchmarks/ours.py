"""Yuefu's own checkpoints under the benchmarks: writing, scoring, continuing a poem."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.jobs import Job, Poem
from engine.model import Model, places, shift
from engine.runner import Runner
from engine.verse.forms import FORMS, FormName
from engine.verse.frame import acrostic_frame
from engine.vocabulary import UNKNOWN
from engine.writer import Writer
from trainer.dataset import Indices, Verses
from trainer.evaluate import Score, tone_labels

SLOTS = 64


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One poem to be written."""

    form: FormName
    """Its form."""
    opening: str = ""
    """What it shall begin with."""
    heads: str = ""
    """What its lines shall begin with, one character each, instead."""
    seed: int
    """Its seed."""
    theme: str = ""
    """What it shall be about, if anything."""


def write(
    checkpoint: Checkpoint,
    asks: Iterable[Ask],
    *,
    temperature: float,
    candidates: int,
    runner: Runner | None = None,
) -> list[Poem | None]:
    """Write poems through the engine's writer, in the order asked; None where it refused.

    A `runner` of `SLOTS` rows stands in for the engine's own.
    """
    writer = Writer(checkpoint, slots=SLOTS)
    writer.runner = runner or writer.runner
    jobs = [
        _job(checkpoint, number, ask, temperature=temperature, candidates=candidates)
        for number, ask in enumerate(asks)
    ]
    found = writer.write(jobs).values()
    return [outcome if isinstance(outcome, Poem) else None for outcome in found]


def search(checkpoint: Checkpoint, asks: Iterable[Ask], *, beams: int) -> list[Poem | None]:
    """The likeliest poems that beam search finds, in the order asked; one beam is greedy."""
    writer = Writer(checkpoint, slots=beams)
    return [
        writer.likeliest(_job(checkpoint, number, ask, temperature=1.0, candidates=1), beams=beams)
        for number, ask in enumerate(asks)
    ]


def _job(
    checkpoint: Checkpoint, number: int, ask: Ask, *, temperature: float, candidates: int
) -> Job:
    return Job(
        id=str(number),
        client="benchmarks",
        chat="benchmarks",
        form=ask.form,
        cell=checkpoint.shape.cell,
        temperature=temperature,
        seed=ask.seed,
        opening=ask.opening,
        frame=acrostic_frame(ask.form, ask.heads) if ask.heads else "",
        theme=ask.theme,
        candidates=candidates,
    )


@torch.inference_mode()
def score_together(
    checkpoints: Sequence[Checkpoint], form: FormName, verses: Verses, *, told: bool
) -> Score:
    """Score poems of one form by the mean of several models' probabilities (a uniform mixture).

    The checkpoints share a vocabulary. Otherwise as `trainer.evaluate.score`.
    """
    models = [checkpoint.model() for checkpoint in checkpoints]
    vocabulary, types = checkpoints[0].vocabulary, checkpoints[0].unknown_types
    labels = tone_labels(vocabulary)
    nats, unknown = 0.0, int((verses.tokens == UNKNOWN).sum())
    for first in range(0, len(verses), 128):
        tokens = torch.from_numpy(verses.tokens[first : first + 128].astype("int64"))
        rhyme = torch.from_numpy(verses.rhymes[first : first + 128].astype("int64"))
        tone = labels[tokens] * told
        logs = [_logs(model, form, tokens, tone, rhyme * told) for model in models]
        chosen = torch.stack(logs).logsumexp(0) - math.log(len(models))  # (B, T)
        nats -= float(chosen.sum())
    return Score(
        nats=nats + unknown * math.log(max(types, 1)),
        characters=verses.tokens.size,
        unknown=unknown,
    )


def _logs(model: Model, form: FormName, tokens: Tensor, tone: Tensor, rhyme: Tensor) -> Tensor:
    """The log probability of each character of whole poems, (B, T)."""
    before, above = shift(tokens, FORMS[form].line_length, model.shape.vocabulary)
    features = model(before, above, torch.tensor(places(form)), tone, rhyme)
    logs = model.logits(features).log_softmax(-1)  # (B, T, V)
    return logs.gather(-1, tokens[..., None])[..., 0]


@torch.inference_mode()
def next_lines(model: Model, form: FormName, tokens: Indices, line: int) -> Tensor:
    """The likeliest line, character by character, after the first `line` lines, (N, line length).

    The model is told the form only; `<unk>` is not considered.
    """
    length = FORMS[form].line_length
    first = line * length
    poem = torch.from_numpy(tokens[:, : first + length].astype("int64"))
    place = torch.tensor(places(form))[: first + length]
    tone, rhyme = torch.zeros_like(poem), torch.zeros_like(poem[:, 0])
    for position in range(first, first + length):
        # What stands from `position` on is still the poem's own: the model never reads it.
        until = position + 1
        before, above = shift(poem[:, :until], length, model.shape.vocabulary)
        features = model(before, above, place[:until], tone[:, :until], rhyme)[:, -1]
        logits = model.logits(features)
        logits[:, UNKNOWN] = -torch.inf
        poem[:, position] = logits.argmax(1)
    return poem[:, first:]
