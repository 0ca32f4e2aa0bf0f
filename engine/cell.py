"""The recurrence and the softmax of a model, one step at a time, folded for speed.

The recurrence is written out by hand (Hochreiter & Schmidhuber 1997; Cho et al. 2014, in cuDNN's
variant, which is torch's): the inputs of the first layer are sums of embeddings, so their product
with the input weights is folded into tables when the model is loaded, and a step is one table
look-up and one product a layer. torch's own modules would check and repack their weights anew in
each step, which takes longer than the step.

Letters: B batch, V vocabulary, E embedding, G gates, H hidden, P parts of the state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.jobs import Cell
from engine.model import Model


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a step is told of each row, (B,) each."""

    previous: Tensor
    above: Tensor
    place: Tensor
    tone: Tensor
    rhyme: Tensor


class Folded:
    """The weights of one model as a step wants them, and the step with torch's operations."""

    def __init__(
        self,
        model: Model,
        *,
        order: Tensor,
        dtype: torch.dtype = torch.float32,
        tables: torch.dtype = torch.float32,
    ) -> None:
        """Fold `model`; in `dtype` are the products that `step` computes.

        In `tables` are the two tables by character: the largest thing that a step reads, by far.
        In `order`, (V,), is which index of the vocabulary each character is that a step reads and
        writes.
        """
        with_start = torch.cat([order, order.new_tensor([model.shape.vocabulary])])
        self.dtype = dtype
        self.cell = model.shape.cell
        self.hidden = model.shape.hidden
        self.parts = model.shape.parts
        first, *rest = model.layers
        w_in = first.get_parameter("weight_ih_l0")  # (G H, E)
        self.characters = characters = model.characters.weight[with_start]  # (V + 1, E)
        # (V + 1, G H), (places, G H) and so on: their sum is W_ih x + b_ih.
        self.previous = (characters @ w_in.t()).to(tables)
        self.above = (model.above(characters) @ w_in.t()).to(tables)
        self.place = model.place.weight @ w_in.t() + first.get_parameter("bias_ih_l0")
        self.tone = model.tone.weight @ w_in.t()
        self.rhyme = model.rhyme.weight @ w_in.t()
        self.inner = [
            self._cast(layer.get_parameter("weight_ih_l0"), layer.get_parameter("bias_ih_l0"))
            for layer in rest
        ]
        self.recurrent = [
            self._cast(layer.get_parameter("weight_hh_l0"), layer.get_parameter("bias_hh_l0"))
            for layer in model.layers
        ]
        self.project = self._cast(model.project.weight, model.project.bias)
        self.output = self._cast(characters[:-1], model.bias[order])

    def _cast(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight.to(self.dtype), bias.to(self.dtype)

    def step(self, state: Tensor, told: Told) -> tuple[Tensor, Tensor]:
        """One character: state (parts, B, H) to logits (B, V) and the state after it."""
        x = self.previous[told.previous].float() + self.above[told.above].float()
        x = x + self.place[told.place] + self.tone[told.tone] + self.rhyme[told.rhyme]  # (B, G H)
        after: list[Tensor] = []
        h = x
        for layer, (weight, bias) in enumerate(self.recurrent):
            if layer > 0:
                h = self._linear(h, *self.inner[layer - 1])
            parts = self._parts(state, layer)
            h, *others = self._advance(h, self._linear(parts[0], weight, bias), parts)
            after += [h, *others]
        logits = self._linear(self._linear(h, *self.project), *self.output)
        return logits, torch.stack(after)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(B, K) to (B, N), fp32 in and out."""
        return torch.nn.functional.linear(x.to(self.dtype), weight, bias).float()

    def _parts(self, state: Tensor, layer: int) -> Sequence[Tensor]:
        return [state[layer * self.parts + part] for part in range(self.parts)]

    def _advance(self, x: Tensor, r: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
        """New state of a layer from its input part `x` and recurrent part `r`, (B, G H) each."""
        if self.cell is Cell.RNN:
            return [torch.tanh(x + r)]
        if self.cell is Cell.GRU:
            x_reset, x_update, x_new = x.chunk(3, 1)
            r_reset, r_update, r_new = r.chunk(3, 1)
            reset, update = torch.sigmoid(x_reset + r_reset), torch.sigmoid(x_update + r_update)
            new = torch.tanh(x_new + reset * r_new)
            return [new + update * (parts[0] - new)]
        into, forget, new, out = (x + r).chunk(4, 1)
        memory = torch.sigmoid(forget) * parts[1] + torch.sigmoid(into) * torch.tanh(new)
        return [torch.sigmoid(out) * torch.tanh(memory), memory]
