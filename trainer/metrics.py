"""What can be counted in poems: rules kept, repetition, diversity, novelty, relevance, likeness.

Every function is pure and knows no model, so real poems are measured by the same figures as
written ones. A poem is given as its lines, without punctuation. n-grams never cross a line.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from engine.verse.checker import Rule, check
from engine.verse.forms import FORMS, FormName
from engine.verse.script import fold
from engine.vocabulary import UNKNOWN, Vocabulary
from engine.wear import ngrams
from trainer.dataset import Verses

Lines = Sequence[str]
Hashes = npt.NDArray[np.uint64]

TONE_RULES = frozenset(
    {Rule.TONE, Rule.OPPOSITION, Rule.ADHESION, Rule.LONE_LEVEL, Rule.LEVEL_ENDING}
)
"""What can be wrong with a poem's tones: together they are its whole tonal pattern."""


# --- rules ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """A poem as it is to be judged."""

    lines: tuple[str, ...]
    """Its lines."""
    opening: str = ""
    """What it was asked to begin with."""
    form: FormName | None = None
    """The form that was asked for; None where any will do."""


def rule_rates(specimens: Iterable[Specimen]) -> dict[str, float]:
    """The share of poems that keep each rule of `engine.verse.checker`.

    Besides the rules: `tones`, the whole tonal pattern (`TONE_RULES`); `even_rhyme`, the rhyme of
    every second line, whatever the first does; and `all`. Polyphones are judged permissively. A
    poem in no form, or in another than asked, keeps no rule: there is no template to judge it by.
    """
    kept: Counter[str] = Counter()
    count = 0
    for specimen in specimens:
        kept.update(_kept(specimen))
        count += 1
    names = [*map(str, Rule), "tones", "even_rhyme", "all"]
    return {name: kept[name] / max(1, count) for name in names}


def _kept(specimen: Specimen) -> Iterator[str]:
    """The names of what a poem keeps."""
    verdict = check(specimen.lines, opening=specimen.opening)
    if verdict.form is None or specimen.form not in (None, verdict.form):
        return
    broken = verdict.broken()
    yield from (str(rule) for rule in Rule if rule not in broken)
    if not broken & TONE_RULES:
        yield "tones"
    if all(found.rule is not Rule.RHYME or found.line == 1 for found in verdict.violations):
        yield "even_rhyme"
    if verdict.ok:
        yield "all"


# --- repetition and diversity ---------------------------------------------------------------


def repetition(lines: Lines) -> float:
    """The share of a poem's characters that stood before in it (1 - its type-token ratio)."""
    text = "".join(lines)
    return 1 - len(set(text)) / len(text) if text else 0.0


def distinct(poems: Iterable[Lines], n: int) -> float:
    """distinct-n (Li et al. 2016): different n-grams of all poems together over all n-grams.

    It falls as the sample grows, so only samples of one size can be compared.
    """
    counts = Counter(gram for lines in poems for gram in ngrams(lines, n))
    return len(counts) / max(1, counts.total())


def likeness(poems: Sequence[Lines]) -> float:
    """Mean Jaccard similarity (Jaccard 1912) of the bigram sets of every two poems.

    Of poems that share an opening it says how alike they are: 0 is best, 1 is one poem again and
    again. NaN for fewer than two poems.
    """
    sets = [frozenset(ngrams(lines, 2)) for lines in poems]
    pairs = [len(a & b) / max(1, len(a | b)) for a, b in combinations(sets, 2)]
    return math.fsum(pairs) / len(pairs) if pairs else math.nan


# --- novelty --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """How much of some poems stands in the training lines already."""

    copied_poems: float
    """Share of poems with at least one whole line of the training set."""
    longest_copy: float
    """Mean over lines of the longest substring that a training line has too, in characters."""
    copied_fourgrams: float
    """Share of 4-grams that some training line has."""


class KnownLines:
    """Every substring of the training lines, as sorted 64-bit hashes.

    Two substrings share a hash by chance once in some 10^12 look-ups.
    """

    def __init__(self, lines: Iterable[npt.NDArray[np.uint32]]) -> None:
        """Index lines, given as arrays of code points (N, length); 0 stands for no character."""
        self._blocks = list(lines)
        self._whole = np.unique(
            np.concatenate([_hashes(block, block.shape[1]).ravel() for block in self._blocks])
        )
        # Made when first asked for: who only looks for whole lines need not wait.
        self._part = lru_cache(maxsize=None)(self._index)

    @classmethod
    def of(cls, verses: Mapping[FormName, Verses], vocabulary: Vocabulary) -> "KnownLines":
        """Index the lines of a dataset's poems."""
        codes = np.array([0, *(ord(char) for char in vocabulary.chars[1:])], dtype=np.uint32)
        return cls(
            codes[part.tokens.reshape(-1, FORMS[form].line_length)] for form, part in verses.items()
        )

    def has_line(self, line: str) -> bool:
        """Whether `line` is one of the lines."""
        return bool(_isin(_hashes(_codes(line), len(line))[0], self._whole).all())

    def found(self, line: str, n: int) -> npt.NDArray[np.bool_]:
        """Which n-grams of `line` stand in a line, from the left."""
        if n > len(line):
            return np.zeros(0, dtype=np.bool_)
        return _isin(_hashes(_codes(line), n)[0], self._part(n))

    def longest(self, line: str) -> int:
        """The length of the longest substring of `line` that stands in a line."""
        return next((n for n in range(len(line), 0, -1) if self.found(line, n).any()), 0)

    def _index(self, n: int) -> Hashes:
        """The hashes of all n-grams of the lines, sorted, each once."""
        long = [block for block in self._blocks if block.shape[1] >= n]
        nothing = np.zeros(0, dtype=np.uint64)
        return np.unique(np.concatenate([nothing, *(_without_gaps(block, n) for block in long)]))


def novelty(poems: Sequence[Lines], known: KnownLines) -> Novelty:
    """Measure poems, which have at least one line, against the training lines."""
    lines = [line for poem in poems for line in poem]
    fourgrams = np.concatenate([known.found(line, 4) for line in lines])
    return Novelty(
        copied_poems=sum(any(map(known.has_line, poem)) for poem in poems) / len(poems),
        longest_copy=sum(map(known.longest, lines)) / len(lines),
        copied_fourgrams=float(fourgrams.mean()) if len(fourgrams) else 0.0,
    )


_MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio (Knuth, TAOCP 3, 6.4)


def _windows(block: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """(N, length) to (N, length - n + 1, n)."""
    return np.lib.stride_tricks.sliding_window_view(block, n, axis=1)


def _hashes(block: npt.NDArray[np.uint32], n: int) -> Hashes:
    """A hash of each n-gram of each row, (N, length) to (N, length - n + 1)."""
    windows = _windows(block.astype(np.uint64), n)
    value = np.zeros(windows.shape[:2], dtype=np.uint64)
    for place in range(n):
        value = (value ^ windows[:, :, place]) * np.uint64(_MULTIPLIER)
        value ^= value >> np.uint64(29)
    return value


def _without_gaps(block: npt.NDArray[np.uint32], n: int) -> Hashes:
    """The hashes of the n-grams that hold no 0, all in one row."""
    whole = _windows(block != 0, n).all(axis=2)
    return _hashes(block, n)[whole]


def _codes(line: str) -> npt.NDArray[np.uint32]:
    """The code points of the folded line, (1, length)."""
    return np.array([[ord(fold(char)) for char in line]], dtype=np.uint32)


def _isin(wanted: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    if not len(known):
        return np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return cast("npt.NDArray[np.bool_]", known[places] == wanted)


# --- relevance ------------------------------------------------------------------------------


class Association:
    """How much more often than by chance two characters stand in one poem.

    Positive pointwise mutual information (Church & Hanks 1990; Bullinaria & Levy 2007):
    PPMI(a, b) = max(0, ln(N n_ab / (n_a n_b))), where n counts the poems, N in all, that hold a
    character or both.
    """

    def __init__(self, verses: Iterable[Verses], vocabulary: Vocabulary) -> None:
        """Count over the poems of some verses."""
        self._vocabulary = vocabulary
        self._poems = [_without_repeats(part.tokens) for part in verses]
        self._count = sum(map(len, self._poems))
        self._single = sum(map(self._holding, self._poems), np.zeros(len(vocabulary)))
        self._row = lru_cache(maxsize=4096)(self._ppmi)

    def relevance(self, lines: Lines, opening: str) -> float:
        """Mean PPMI of each character of the opening with each other character of the poem.

        NaN if the poem has no other character that is known, or the opening none.
        """
        heads = [index for index in map(self._vocabulary.index, opening) if index != UNKNOWN]
        rest = self._vocabulary.encode("".join(lines)[len(opening) :])
        others = [index for index in rest if index != UNKNOWN and index not in heads]
        if not heads or not others:
            return math.nan
        return float(np.mean([self._row(head)[others] for head in heads]))

    def _holding(self, poems: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """How many of the poems hold each character, (V,)."""
        counts = np.bincount(poems.ravel() + 1, minlength=len(self._vocabulary) + 1)
        return counts[1:].astype(np.float64)

    def _ppmi(self, head: int) -> npt.NDArray[np.float64]:
        """PPMI of one character with every other, (V,)."""
        together = sum(
            (self._holding(poems[(poems == head).any(axis=1)]) for poems in self._poems),
            np.zeros(len(self._vocabulary)),
        )
        expected = self._single * self._single[head] / max(1, self._count)
        with np.errstate(divide="ignore", invalid="ignore"):
            mutual = np.log(together / expected)
        row: npt.NDArray[np.float64] = np.where(together > 0, np.maximum(mutual, 0.0), 0.0)
        return row


def _without_repeats(tokens: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Each poem's characters in order, -1 where one comes again, (N, T)."""
    ordered = np.sort(tokens, axis=1).astype(np.int64)
    again = np.zeros(ordered.shape, dtype=np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return np.where(again, -1, ordered)


# --- likeness to a given line ---------------------------------------------------------------


def bleu(pairs: Iterable[tuple[str, str]], n: int) -> float:
    """BLEU-n (Papineni et al. 2002) of written lines against the real ones, by characters.

    BP exp(1/n sum_k ln p_k): p_k are clipped k-gram precisions over all pairs together, BP the
    brevity penalty. For k > 1 one is added to matches and totals (Lin & Och 2004), since single
    lines often share no 4-gram at all.

    Args:
        pairs: written line and real line.
        n: the longest n-gram counted, with equal weights.
    """
    found = list(pairs)
    written = sum(len(line) for line, _ in found)
    real = sum(len(line) for _, line in found)
    if not written:
        return 0.0
    logs = 0.0
    for k in range(1, n + 1):
        matches, possible = _matches(found, k)
        if k > 1:
            matches, possible = matches + 1, possible + 1
        if not matches:
            return 0.0
        logs += math.log(matches / possible)
    return math.exp(logs / n + min(0.0, 1 - real / written))


def _matches(pairs: Sequence[tuple[str, str]], k: int) -> tuple[int, int]:
    """k-grams of written lines that stand in the real ones, each as often as there, and all."""
    matches = possible = 0
    for written, real in pairs:
        mine, theirs = Counter(ngrams([written], k)), Counter(ngrams([real], k))
        matches += (mine & theirs).total()
        possible += mine.total()
    return matches, possible
