"""The language model: characters in, logits of the next character out, told what is wanted.

One model file for the three cells. Letters: B batch, T time, V vocabulary, E embedding, H hidden,
L layers.

    x_t = E[c_{t-1}] + A E[above_t] + P[place_t] + G[tone_t] + R[rhyme]          (B, E)
    h_t = cell_2(cell_1(x_t))                                                     (B, H)
    logits_t = E[:V] (W h_t + w) + b                                              (B, V)

`above_t` is the character above the one to write: the same column, one line up. In parallel
couplets (对仗) it says most about what comes next, and it is known without any search. Embedding
and softmax share E (Press & Wolf 2017); dropout masks are the same at every step of a poem
(Gal & Ghahramani 2016). Everything but the recurrence adds up before the first layer, so an
engine can fold it into look-up tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from engine.jobs import Cell
from engine.verse.forms import FORMS, FormName
from engine.vocabulary import RHYME_INDEX, TONE_INDEX

LAYERS = 2
_FORM_OFFSET: dict[FormName, int] = {}
_places = 0
for _form in FORMS.values():
    _FORM_OFFSET[_form.name] = _places
    _places += _form.length
PLACES = _places
"""How many places all forms have together: each has an embedding of its own."""


def places(form: FormName) -> range:
    """The place indices of a form: form, line and column in one number."""
    offset = _FORM_OFFSET[form]
    return range(offset, offset + FORMS[form].length)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What fixes the shape of every weight."""

    cell: Cell
    """The recurrent cell."""
    vocabulary: int
    """V."""
    embedding: int
    """E."""
    hidden: int
    """H."""

    @property
    def gates(self) -> int:
        """How many gate vectors of size H the cell computes."""
        return {Cell.RNN: 1, Cell.GRU: 3, Cell.LSTM: 4}[self.cell]

    @property
    def parts(self) -> int:
        """How many vectors of size H a layer's state has."""
        return 2 if self.cell is Cell.LSTM else 1


_MODULES: dict[Cell, type[nn.RNNBase]] = {Cell.RNN: nn.RNN, Cell.GRU: nn.GRU, Cell.LSTM: nn.LSTM}


class Model(nn.Module):
    """See the module's docstring. Training runs whole poems; the engine steps by itself."""

    def __init__(self, shape: Shape, *, dropout: float = 0.0, initialise: bool = True) -> None:
        """Make a model of `shape`; one whose weights will be loaded needs no `initialise`."""
        super().__init__()
        self.shape = shape
        self.dropout = dropout
        e, h = shape.embedding, shape.hidden
        self.characters = nn.Embedding(shape.vocabulary + 1, e)  # the last row is `start`
        self.above = nn.Linear(e, e, bias=False)
        self.place = nn.Embedding(PLACES, e)
        self.tone = nn.Embedding(len(TONE_INDEX), e)
        self.rhyme = nn.Embedding(len(RHYME_INDEX), e)
        module = cast("Any", _MODULES[shape.cell])
        self.layers = nn.ModuleList(
            module(e if layer == 0 else h, h, batch_first=True) for layer in range(LAYERS)
        )
        self.project = nn.Linear(h, e)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))
        if initialise:
            self._initialise()

    def _initialise(self) -> None:
        for embedding in (self.characters, self.place, self.tone, self.rhyme):
            nn.init.normal_(embedding.weight, std=0.05)
        for layer in self.layers:
            for name, weight in layer.named_parameters():
                if "weight_hh" in name:
                    for gate in weight.chunk(self.shape.gates):
                        nn.init.orthogonal_(gate)
                elif "weight_ih" in name:
                    nn.init.xavier_uniform_(weight)
                else:
                    nn.init.zeros_(weight)
            if self.shape.cell is Cell.LSTM:  # start by remembering (Jozefowicz et al. 2015)
                h = self.shape.hidden
                nn.init.ones_(layer.get_parameter("bias_ih_l0").data[h : 2 * h])

    def forward(
        self,
        previous: Tensor,
        above: Tensor,
        place: Tensor,
        tone: Tensor,
        rhyme: Tensor,
        *,
        state: Tensor | None = None,
    ) -> Tensor:
        """Features for the next character at every place, to be given to `logits`.

        Args:
            previous: the character before, (B, T).
            above: the character above, (B, T); `start` in the first line.
            place: the place to write, as `places` numbers it, (T,).
            tone: the tone class wanted there, as `TONE_INDEX` has it, (B, T).
            rhyme: the rhyme group wanted, as `RHYME_INDEX` has it, (B,).
            state: what a poem begins with, (L, P, B, H) of P parts (an LSTM has two); else zeros.

        Returns:
            (B, T, E)
        """
        x = self.characters(previous) + self.above(self.characters(above))  # (B, T, E)
        x = x + self.place(place) + self.tone(tone) + self.rhyme(rhyme)[:, None]
        for number, layer in enumerate(self.layers):
            first = None if state is None else _first(state[number])
            x, _ = layer(self._drop(x), first)  # (B, T, H)
        features: Tensor = self._drop(self.project(self._drop(x)))
        return features

    def logits(self, features: Tensor) -> Tensor:
        """Logits of the next character, (..., E) to (..., V)."""
        return nn.functional.linear(features, self.characters.weight[:-1], self.bias)

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout with one mask for all steps of a poem, (B, T, D) to the same."""
        if not self.training or self.dropout == 0.0:
            return x
        keep = 1.0 - self.dropout
        mask = torch.empty(x.shape[0], 1, x.shape[2], device=x.device, dtype=x.dtype)
        return x * mask.bernoulli_(keep).div_(keep)


def _first(parts: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """A layer's first state as torch's modules take it, (P, B, H) to (1, B, H) or two of them."""
    return (parts[:1], parts[1:]) if len(parts) == 2 else parts


def shift(tokens: Tensor, line_length: int, start: int) -> tuple[Tensor, Tensor]:
    """What stands before and above each character of whole poems, (B, T) to two of (B, T)."""
    before = torch.full_like(tokens, start)
    before[:, 1:] = tokens[:, :-1]
    above = torch.full_like(tokens, start)
    above[:, line_length:] = tokens[:, :-line_length]
    return before, above


def parameter_count(model: nn.Module, names: Sequence[str] = ()) -> int:
    """How many parameters a model has, or the named ones of it."""
    return sum(p.numel() for name, p in model.named_parameters() if not names or name in names)
