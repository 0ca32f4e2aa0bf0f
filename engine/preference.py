"""What readers like, learnt from their ratings: a linear reading of a whole poem.

    liking = Σ u[c] / √T  +  w · figures  +  r · reading  +  bias

over the characters c of the poem, each once and without those that were asked for (nobody shall
be liked for their own words); T is its length, `figures` are the reranker's own and `reading` is
what the critic sees in it. It is one table of what each character is worth and two short vectors,
so it can be read by a person, and costs next to nothing beside the critic. The trainer fits it
(`trainer.preference`); among candidates that keep the rules it says which one readers would like.

The table also leans the model towards them while it writes: of all ways to write that readers
would like as much, p(poem) exp(β liking) is the one nearest to the model's own (Korbak et al.
2022), and where liking is a sum over characters, its first step is a bias on their logits.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from engine.critic import HIDDEN as CRITIC_HIDDEN
from engine.rerank import Features
from engine.vocabulary import UNKNOWN

READING = 4 * CRITIC_HIDDEN
"""How many figures the critic's reading of a poem has."""


def figures_of(features: Features) -> tuple[float, ...]:
    """What of the reranker's features a preference looks at.

    Not likelihood, which is the model's and not the poem's; not relevance, which is the asker's.
    """
    return features.company, features.repetition, features.worn, features.odds


FIGURES = 4
"""How many those are."""
LEANING = 6.0
"""Nats that a unit of liking adds to the logits of the characters that bring it."""
LEANING_MOST = 1.0
"""Nats that it adds to any character at the most: nobody can make the model say one word."""


def chars_that_count(poem: Sequence[int], asked: Collection[int] = ()) -> list[int]:
    """The characters of a poem by which it is liked: each once, none that was asked for."""
    return sorted({*poem} - {*asked, UNKNOWN})


class Preference(nn.Module):
    """See the module's docstring. Its parameters are set, never trained by gradients."""

    def __init__(self, vocabulary: int) -> None:
        """Indifferent to every poem over `vocabulary` characters."""
        super().__init__()
        self.characters = nn.Parameter(torch.zeros(vocabulary), requires_grad=False)
        self.figures = nn.Parameter(torch.zeros(FIGURES), requires_grad=False)
        self.reading = nn.Parameter(torch.zeros(READING), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(1), requires_grad=False)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Self:
        """The preference with these weights."""
        preference = cls(len(weights["characters"]))
        preference.load_state_dict(dict(weights))
        return preference.eval()

    @torch.inference_mode()
    def extremes(self, count: int) -> tuple[list[int], list[int]]:
        """The characters that readers like most, and those that they like least, as indices.

        As many of each at the most, the furthest first; none that is worth nothing.
        """
        worths = self.characters
        best, worst = worths.topk(count).indices.tolist(), (-worths).topk(count).indices.tolist()
        return (
            [index for index in best if worths[index] > 0],
            [index for index in worst if worths[index] < 0],
        )

    @torch.inference_mode()
    def leaning(self, length: int) -> Tensor:
        """What is added to the logits of each character in a poem of `length`, (V,)."""
        bias: Tensor = self.characters * (LEANING / length**0.5)
        return bias.clamp(-LEANING_MOST, LEANING_MOST)

    @torch.inference_mode()
    def liking(
        self,
        poems: Sequence[Sequence[int]],
        asked: Sequence[Collection[int]],
        features: Sequence[Features],
        reading: Tensor | None,
    ) -> list[float]:
        """How much readers would like each poem, in units of how much they differ.

        Args:
            poems: the characters of each poem, as indices.
            asked: of each, the characters that were asked for.
            features: of each, what the reranker sees.
            reading: what the critic sees, (B, `READING`); None where there is no critic.
        """
        figures = torch.tensor([figures_of(each) for each in features])  # (B, FIGURES)
        found = figures @ self.figures + self.bias
        if reading is not None:
            found = found + reading @ self.reading
        words = [
            float(self.characters[chars_that_count(poem, its)].sum()) / len(poem) ** 0.5
            for poem, its in zip(poems, asked, strict=True)
        ]
        liking: list[float] = (found + torch.tensor(words)).tolist()
        return liking
