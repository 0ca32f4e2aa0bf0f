"""Which of several candidates is shown: the one that reads most like a poem.

Every candidate keeps the rules; here they are compared by what rules do not say. The likeliest is
not the best: it is bland. So likelihood counts only outside a band. The critic, which reads whole
poems and so hears whether lines go together, has the first word; beside it stand how worn the
company of the characters and the endings are, how often a character comes back, and how much the
poem has to do with what was asked for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.tradition import ENDING_LENGTH, Tradition
from engine.vocabulary import Vocabulary
from engine.wear import Wear


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What the reranker looks at."""

    lines: tuple[tuple[int, ...], ...]
    """The characters of each line, as indices."""
    nats: float
    """Mean negative log probability of the characters that the model chose, among those that the
    rules admit."""
    opening: tuple[int, ...]
    """The characters that were asked for, wherever they stand."""
    theme: tuple[int, ...]
    """The characters of the theme."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """A candidate in figures."""

    nats: float
    """As in `Candidate`."""
    company: float
    """Mean PPMI of the characters of neighbouring lines, nats: 0.24 with poets, 0.36 with us, for
    we lean on the words that go with everything."""
    repetition: float
    """Share of the characters that the poem has had before."""
    worn: float
    """How worn its endings are: mean over lines of log(1 + count), 0 for those that are rare."""
    relevance: float
    """Mean PPMI of what was asked for (opening, theme) with the rest of the poem, nats."""
    odds: float = 0.0
    """The critic's log odds that a poet wrote it; 0 where there is no critic."""
    liking: float = 0.0
    """How much readers would like it (`engine.preference`); 0 where nothing was learnt yet."""
    staleness: float = 0.0
    """How common its pairs are in what is written (`engine.wear`); 0 where none were counted."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a unit of each feature is worth; where the figures are from, says decision 14."""

    band: tuple[float, float] = (2.0, 3.4)
    """Nats a character between which likelihood does not matter."""
    blandness: float = -2.0
    """Per nat below the band."""
    strangeness: float = -3.0
    """Per nat above it."""
    company: float = -10.0
    """Per nat."""
    repetition: float = -15.0
    """From none to all."""
    worn: float = -0.1
    """Per unit of log count."""
    relevance: float = 5.0
    """Per nat."""
    odds: float = 1.0
    """Per nat of log odds."""
    liking: float = 6.0
    """Per unit of liking; decisions 24 and 43."""
    staleness: float = -20.0
    """Per unit of log count; decision 43."""


def describe(
    candidate: Candidate, vocabulary: Vocabulary, tradition: Tradition, wear: Wear | None = None
) -> Features:
    """The figures of a candidate; without `wear` nothing is stale."""
    chars = [index for line in candidate.lines for index in line]
    asked = {*candidate.opening, *candidate.theme}
    rest = [index for index in chars if index not in asked]
    lines = [vocabulary.decode(line) for line in candidate.lines]
    endings = [line[-ENDING_LENGTH:] for line in lines]
    return Features(
        nats=candidate.nats,
        company=tradition.company_of_neighbours(candidate.lines),
        repetition=1 - len(set(chars)) / len(chars),
        worn=sum(math.log1p(tradition.endings.get(ending, 0)) for ending in endings) / len(endings),
        relevance=tradition.association(sorted(asked), rest),
        staleness=0.0 if wear is None else wear.staleness(lines),
    )


def score(features: Features, weights: Weights) -> float:
    """How good a candidate looks; only differences mean anything."""
    low, high = weights.band
    return (
        weights.blandness * max(0.0, low - features.nats)
        + weights.strangeness * max(0.0, features.nats - high)
        + weights.company * features.company
        + weights.repetition * features.repetition
        + weights.worn * features.worn
        + weights.relevance * features.relevance
        + weights.odds * features.odds
        + weights.liking * features.liking
        + weights.staleness * features.staleness
    )


def order(scores: Sequence[float]) -> list[int]:
    """Candidates from the best to the worst; of equals the first."""
    return sorted(range(len(scores)), key=lambda index: -scores[index])
