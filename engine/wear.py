"""What a checkpoint writes so often that it wears out, and how stale a poem is for that.

A model that leans towards what its readers like comes back to the same turns. Which ones, it tells
itself: it writes some thousand poems, and the pairs of neighbouring characters in them are counted.
A poem is as stale as its pairs are common, so of candidates that are liked as much the one is shown
that keeps what is read varied; decision 43.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log1p
from typing import Self

SPAN = 300
"""Poems that a reader is thought to remember."""
_FEWEST = 2
"""Pairs that came less often are not kept: three quarters of all, and each came by chance."""


class WearError(ValueError):
    """A file does not hold what a checkpoint wears out."""


def ngrams(lines: Sequence[str], n: int) -> list[str]:
    """The character n-grams of a poem, within its lines."""
    return [line[i : i + n] for line in lines for i in range(len(line) - n + 1)]


@dataclass(frozen=True, kw_only=True)
class Wear:
    """See the module's docstring."""

    poems: int
    """How many poems were counted."""
    pairs: Mapping[str, int]
    """How often each pair came in them, the commonest first."""

    @classmethod
    def of(cls, poems: Iterable[Sequence[str]]) -> Self:
        """Count the pairs in the lines of poems."""
        counted, counts = 0, Counter[str]()
        for lines in poems:
            counted += 1
            counts.update(ngrams(lines, 2))
        kept = ((pair, count) for pair, count in counts.items() if count >= _FEWEST)
        return cls(poems=counted, pairs=dict(sorted(kept, key=lambda its: (-its[1], its[0]))))

    def staleness(self, lines: Sequence[str]) -> float:
        """Mean over a poem's pairs of log(1 + how often they come in `SPAN` poems); 0 if never."""
        found = [self._worn.get(pair, 0.0) for pair in ngrams(lines, 2)]
        return sum(found) / max(1, len(found))

    @cached_property
    def _worn(self) -> Mapping[str, float]:
        return {pair: log1p(SPAN * count / self.poems) for pair, count in self.pairs.items()}

    def to_bytes(self) -> bytes:
        """The file's contents; the same wear gives the same bytes."""
        fields = {"poems": self.poems, "pairs": dict(self.pairs)}
        return (json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            WearError: it is something else.
        """
        try:
            fields = json.loads(data)
            poems, pairs = fields["poems"], fields["pairs"]
            sound = poems > 0 and all(
                len(pair) == 2 and isinstance(count, int) and count > 0
                for pair, count in pairs.items()
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WearError(f"not counted pairs: {error}") from error
        if not sound:
            raise WearError("not counted pairs")
        return cls(poems=poems, pairs=pairs)
