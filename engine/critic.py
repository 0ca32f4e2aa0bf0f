"""A small network that tells poems of poets from poems of ours.

A bidirectional GRU reads the whole poem, which the model that writes it never does, and says how
likely a poet wrote it. Among candidates that all keep the rules, the one it doubts least is shown
(rejection by a discriminator: Azadi et al. 2018). Letters: B batch, T time, V vocabulary.
"""

from collections.abc import Mapping, Sequence
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
        return self.odds(self.reading(tokens, form))

    def reading(self, tokens: Tensor, form: FormName) -> Tensor:
        """What it sees in whole poems, (B, T) of one form to (B, 4 H)."""
        place = torch.tensor(places(form), device=tokens.device)
        x = self.drop(self.characters(tokens) + self.place(place))  # (B, T, E)
        read, _ = self.read(x)  # (B, T, 2 H)
        return torch.cat([read.mean(1), read.amax(1)], 1)

    def odds(self, reading: Tensor) -> Tensor:
        """Log odds by what it sees, (B, 4 H) to (B,)."""
        odds: Tensor = self.judge(self.drop(reading))[:, 0]
        return odds

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Self:
        """The critic with these weights, ready to judge."""
        critic = cls(len(weights["characters.weight"]))
        critic.load_state_dict(dict(weights))
        return critic.eval()

    @torch.inference_mode()
    def hear(self, poems: Sequence[Sequence[int]], form: FormName) -> tuple[Tensor, list[float]]:
        """Poems of one form, given as indices: what it sees in them, (B, 4 H), and log odds."""
        reading = self.reading(torch.tensor(poems), form)
        odds: list[float] = self.odds(reading).tolist()
        return reading, odds
