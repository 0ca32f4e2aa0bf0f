"""How far people agree who gave stars to the same poems."""

from collections.abc import Mapping
from itertools import combinations

Counts = tuple[int, ...]
"""How many gave a poem one star, two stars, and so on."""


def alpha(poems: Mapping[Counts, int]) -> float | None:
    """Krippendorff's alpha for ordinal values: 1 is perfect agreement, 0 what chance would give.

    K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), sections C and E. By him,
    conclusions may be drawn from 0.8 on, and tentative ones from 0.667.

    Args:
        poems: How many poems were given stars in that way; with one giver they say nothing.

    Returns:
        None where nobody could have disagreed: no poem has two givers, or all gave the same.
    """
    paired = {counts: number for counts, number in poems.items() if sum(counts) > 1}
    size = max(map(len, paired), default=0)
    pairs = list(combinations(range(size), 2))
    # Values that stand in some pair, by value; o and n in the paper.
    totals = [
        sum(counts[value] * number for counts, number in paired.items()) for value in range(size)
    ]
    observed = sum(
        _difference(totals, low, high) * number * counts[low] * counts[high] / (sum(counts) - 1)
        for counts, number in paired.items()
        for low, high in pairs
    )
    expected = sum(
        _difference(totals, low, high) * totals[low] * totals[high] for low, high in pairs
    )
    return 1 - (sum(totals) - 1) * observed / expected if expected else None


def _difference(totals: list[int], low: int, high: int) -> float:
    """The ordinal metric: how many values lie between two, half of their own included, squared."""
    between = sum(totals[low : high + 1]) - (totals[low] + totals[high]) / 2
    return float(between * between)
