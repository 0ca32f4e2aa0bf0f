"""A small network that tells poems of poets from poems of ours.

A bidirectional GRU reads the whole poem, which the model that writes it never does, and says how
likely a poet wrote it. Among candidates that all keep the rules, the one it doubts least is shown
(rejection by a discriminator: Azadi et al. 2018). Letters: B batch, T time, V vocabulary.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from engine.model import PLACES, places
from engine.verse.forms import FormName

EMBEDDING = 64
HIDDEN = 96


class Critic(nn.Module):
    """Poems in, log odds that a poet wrote them out."""

    def __init__(self, vocabulary: int, *, dropout: float = 0.0) -> None:
        """A critic of poems over `vocabulary` characters, `<unk>` included."""
        super().__init__()
        self.characters = nn.Embedding(vocabulary, EMBEDDING)
        self.place = nn.Embedding(PLACES, EMBEDDING)
        self.read = nn.GRU(EMBEDDING, HIDDEN, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(dropout)
        self.judge = nn.Linear(4 * HIDDEN, 1)

    def forward(self, tokens: Tensor, form: FormName) -> Tensor:
        """Log odds, (B, T) of one form to (B,)."""
        place = torch.tensor(places(form), device=tokens.device)
        x = self.drop(self.characters(tokens) + self.place(place))  # (B, T, E)
        read, _ = self.read(x)  # (B, T, 2 H)
        seen = torch.cat([read.mean(1), read.amax(1)], 1)  # (B, 4 H)
        odds: Tensor = self.judge(self.drop(seen))[:, 0]
        return odds

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Self:
        """The critic with these weights, ready to judge."""
        critic = cls(len(weights["characters.weight"]))
        critic.load_state_dict(dict(weights))
        return critic.eval()

    @torch.inference_mode()
    def odds(self, poems: list[tuple[int, ...]], form: FormName) -> list[float]:
        """Log odds of poems of one form, given as indices."""
        found: list[float] = self(torch.tensor(poems), form).tolist()
        return found
