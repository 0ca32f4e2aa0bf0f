"""Poems by the course's model: sampling, the likeliest sign, or beam search. No rules.

Given a first character, it writes signs until it ends the text itself. Whether what
comes out, cut at its own punctuation, is a poem in some form, the checker says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.course import HIDDEN, LAYERS, CourseModel
from engine.jobs import Cell
from engine.vocabulary import UNKNOWN, Vocabulary

_LONGEST = 100  # signs; the longest form has 64 with its punctuation
_GAP = "□"  # what prints an <unk>; the checker takes it for no character


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How signs are chosen."""

    temperature: float | None = None
    """Of plain sampling; None takes the likeliest sign."""
    noise: float = 0.0
    """Standard deviation σ of a random initial state; 0 begins from zeros."""
    beam: int = 0
    """Texts kept side by side in a beam search; 0 for none."""

    @property
    def by_chance(self) -> bool:
        """Whether the same first character can give another poem."""
        return bool(self.noise) or (self.temperature is not None and not self.beam)

    @property
    def title(self) -> str:
        """In a few words."""
        start = f", state σ {self.noise}" if self.noise else ""
        if self.beam:
            return f"beam {self.beam}{start}"
        how = "argmax" if self.temperature is None else f"sampled at {self.temperature}"
        return how + start


@torch.inference_mode()
def recite(
    model: CourseModel, vocabulary: Vocabulary, heads: Sequence[str], manner: Manner, *, seed: int
) -> list[str]:
    """A text for each first character, as the model punctuates it."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.tensor([vocabulary.index(head) for head in heads])
    state = _initial(model.cell, len(heads), manner.noise, generator)
    if manner.beam:
        rows = [
            _beam(model, first[row], _row(state, row), manner.beam) for row in range(len(heads))
        ]
    else:
        rows = _sample(model, first, state, manner.temperature, generator)
    return [_print(model, vocabulary, row) for row in rows]


def _sample(
    model: CourseModel,
    first: Tensor,
    state: Any,
    temperature: float | None,
    generator: torch.Generator,
) -> list[list[int]]:
    signs = model.signs
    starts = torch.full_like(first, signs.start)
    features, state = model(torch.stack([starts, first], dim=1), state)  # (B, 2, H)
    written = [first]
    for _ in range(_LONGEST):
        logits = model.logits(features[:, -1])  # (B, S)
        if temperature is None:
            chosen = logits.argmax(1)
        else:
            p = (logits / temperature).softmax(1)
            chosen = torch.multinomial(p, 1, generator=generator)[:, 0]
        # A text that has ended goes on ending.
        chosen = torch.where(written[-1] == signs.end, signs.end, chosen)
        written.append(chosen)
        if bool((chosen == signs.end).all()):
            break
        features, state = model(chosen[:, None], state)
    rows: list[list[int]] = torch.stack(written, dim=1).tolist()
    return rows


def length_penalty(length: int, alpha: float = 0.75) -> float:
    """What the log probability of a text of `length` signs is divided by (Wu et al. 2016, (14))."""
    return float(((5 + length) / 6) ** alpha)


def _beam(model: CourseModel, first: Tensor, state: Any, width: int) -> list[int]:
    """The best complete text by normalised log probability, of `width` kept side by side."""
    signs = model.signs
    features, state = model(torch.stack([torch.tensor(signs.start), first])[None], state)
    texts, logs = [[int(first)]], torch.zeros(1)
    best: list[int] = texts[0]
    best_score = -torch.inf
    for _ in range(_LONGEST):
        step = model.logits(features[:, -1]).log_softmax(1) + logs[:, None]  # (beam, S)
        top = step.flatten().topk(width)
        origins, chosen = top.indices // signs.count, top.indices % signs.count
        texts = [
            [*texts[origin], sign]
            for origin, sign in zip(origins.tolist(), chosen.tolist(), strict=True)
        ]
        for text, log in zip(texts, top.values.tolist(), strict=True):
            score = log / length_penalty(len(text))
            if text[-1] == signs.end and score > best_score:
                best, best_score = text, score
        alive = (chosen != signs.end).nonzero()[:, 0]
        # Logs only fall: what cannot beat the best even at the longest length can be left.
        reachable = float(top.values[alive].max()) / length_penalty(_LONGEST) if len(alive) else 0.0
        if not len(alive) or reachable < best_score:
            break
        texts, logs = [texts[row] for row in alive.tolist()], top.values[alive]
        features, state = model(chosen[alive, None], _rows(state, origins[alive]))
    return best


def _initial(cell: Cell, rows: int, noise: float, generator: torch.Generator) -> Any:
    """The state before the first sign, N(0, σ²) or zeros, as torch's layers take it."""
    parts = [
        noise * torch.randn(LAYERS, rows, HIDDEN, generator=generator)
        for _ in range(2 if cell is Cell.LSTM else 1)
    ]
    return tuple(parts) if cell is Cell.LSTM else parts[0]


def _rows(state: Any, rows: Tensor) -> Any:
    """Some rows of a state, (L, B, H) or two of them."""
    if isinstance(state, tuple):
        return tuple(part[:, rows].contiguous() for part in state)
    return state[:, rows].contiguous()


def _row(state: Any, row: int) -> Any:
    return _rows(state, torch.tensor([row]))


def _print(model: CourseModel, vocabulary: Vocabulary, row: Sequence[int]) -> str:
    signs = model.signs
    marks = {signs.comma: "，", signs.stop: "。", signs.start: _GAP, UNKNOWN: _GAP}
    ended = row[: row.index(signs.end)] if signs.end in row else row
    return "".join(marks.get(sign) or vocabulary.chars[sign] for sign in ended)
