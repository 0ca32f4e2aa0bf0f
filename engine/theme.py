"""A small network that lets a poem begin with its theme in mind.

A bidirectional GRU reads the characters of the theme, with the decoder's own embeddings, and its
summary is the state that the decoder starts from (Sutskever, Vinyals & Le 2014). Letters: B batch,
K characters of a theme, E embedding, H hidden, L layers, P parts of a cell's state.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from engine.model import LAYERS, Shape

HIDDEN = 128


class ThemeEncoder(nn.Module):
    """A theme's characters in, the decoder's first state out."""

    def __init__(self, shape: Shape) -> None:
        """An encoder for decoders of `shape`; it begins as no theme at all: the state is 0."""
        super().__init__()
        self.parts = shape.parts
        self.hidden = shape.hidden
        self.read = nn.GRU(shape.embedding, HIDDEN, batch_first=True, bidirectional=True)
        self.state = nn.Linear(2 * HIDDEN, LAYERS * self.parts * self.hidden)
        nn.init.zeros_(self.state.weight)
        nn.init.zeros_(self.state.bias)

    def forward(self, embedded: Tensor) -> Tensor:
        """The first state, (B, K, E) to (L, P, B, H), as `Model.forward` takes it."""
        _, last = self.read(embedded)  # (2, B, HIDDEN)
        state = self.state(last.transpose(0, 1).flatten(1))
        shaped: Tensor = state.view(len(embedded), LAYERS, self.parts, self.hidden)
        return shaped.permute(1, 2, 0, 3).contiguous()

    @classmethod
    def of(cls, shape: Shape, weights: Mapping[str, Tensor]) -> Self:
        """The encoder with these weights, ready to read."""
        encoder = cls(shape)
        encoder.load_state_dict(dict(weights))
        return encoder.eval()

    @torch.inference_mode()
    def begin(self, embedded: Tensor) -> Tensor:
        """The first state of one poem, (K, E) to (L P, H), as the runner holds it."""
        state: Tensor = self(embedded[None])
        return state[:, :, 0].flatten(0, 1)
