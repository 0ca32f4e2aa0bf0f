"""A smoothed character 5-gram as a baseline: interpolated modified Kneser-Ney.

Chen & Goodman 1999, section 3: each order is discounted by 0, D1, D2 or D3+ for counts of 0, 1, 2
or more, and interpolated with the order below; orders below the highest count in how many
different contexts an n-gram stands, not how often. The lowest is interpolated with 1/V.

A poem is its characters with a boundary sign between lines and four start signs before them. The
signs are read but never written, and tell the form: there are two kinds of boundary, inside a
couplet and after it, for either line length, and a start sign for each form.

n-grams are numbers: an n-gram is the pair of the (n-1)-gram that ends it and its first sign, found
by one sort of all places an order, so tens of millions of them fit where a dict would not.

Letters: N poems, T characters of one, P places of a text, V vocabulary, G n-grams, C contexts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from engine.verse.forms import FORMS, FormName
from engine.vocabulary import UNKNOWN
from trainer.dataset import Indices, Verses
from trainer.evaluate import Score

ORDER = 5
_ABSENT = -1
_STARTS = {form: 4 + index for index, form in enumerate(FormName)}
_SIGNS = 4 + len(_STARTS)
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What is known of the n-grams of one order."""

    keys: Numbers
    """Each n-gram's number for its pair, sorted, (G,)."""
    counts: Floats
    """How often each was seen, or in how many contexts, (G,)."""
    discounted: Floats
    """The same less the discount, (G,)."""
    total: Floats
    """The counts of all n-grams of a context together, (C,)."""
    rest: Floats
    """The share of `total` that discounting leaves to the order below, (C,)."""


class NGram:
    """A trained 5-gram."""

    def __init__(self, verses: Mapping[FormName, Verses], vocabulary: int) -> None:
        """Count the poems of `verses`; `vocabulary` is V."""
        self._v = vocabulary
        parts = [self._text(form, part.tokens).ravel() for form, part in verses.items()]
        self._orders = self._count(np.concatenate(parts))

    def logs(self, form: FormName, tokens: Indices) -> Floats:
        """Natural log of the probability of each character of poems of a form, (N, T) to (N, T)."""
        text = self._text(form, tokens)
        p = np.full(text.size, 1 / self._v)
        context = np.zeros(text.size, dtype=np.int64)
        number = text.ravel()
        for n, order in enumerate(self._orders, start=1):
            number = _find(order.keys, number if n == 1 else self._pairs(number, text.ravel(), n))
            p = _interpolate(order, number, context, p)
            context = np.roll(number, 1)
        characters = p.reshape(text.shape)[text < self._v].reshape(tokens.shape)
        return cast("Floats", np.log(characters))

    def score(self, form: FormName, verses: Verses, *, unknown_types: int) -> Score:
        """Score poems of one form as `trainer.evaluate` does."""
        unknown = int((verses.tokens == UNKNOWN).sum())
        nats = -float(self.logs(form, verses.tokens).sum())
        return Score(
            nats=nats + unknown * math.log(max(unknown_types, 1)),
            characters=verses.tokens.size,
            unknown=unknown,
        )

    def _text(self, form: FormName, tokens: Indices) -> Numbers:
        """Poems with their signs, (N, length) to (N, P)."""
        lines, length = FORMS[form].lines, FORMS[form].line_length
        inside = self._v + (0 if length == 5 else 2)
        body = np.empty((len(tokens), lines, length + 1), dtype=np.int64)
        body[:, :, :length] = tokens.reshape(-1, lines, length)
        body[:, 0::2, length], body[:, 1::2, length] = inside, inside + 1
        starts = np.full((len(tokens), ORDER - 1), self._v + _STARTS[form])
        # Nothing follows the last line, so no boundary does.
        return np.concatenate([starts, body.reshape(len(tokens), -1)[:, :-1]], axis=1)

    def _pairs(self, numbers: Numbers, text: Numbers, n: int) -> Numbers:
        """The pair of the (n-1)-gram that ends at each place and the sign before it, (P,).

        The first places take signs from the poem before; only start signs stand there, of which
        none is written and none but the last is a context.
        """
        pairs = numbers * (self._v + _SIGNS) + np.roll(text, n - 1)
        return np.where(numbers == _ABSENT, _ABSENT, pairs)

    def _count(self, text: Numbers) -> list[_Order]:
        """Number the n-grams of every order, then count them from the highest order down."""
        keys: list[Numbers] = []
        numbers: list[Numbers] = []
        contexts: list[Numbers] = []
        for n in range(1, ORDER + 1):
            pairs = text if n == 1 else self._pairs(numbers[-1], text, n)
            unique, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
            contexts.append(numbers[-1][first - 1] if n > 1 else np.zeros(len(unique), np.int64))
            keys.append(unique)
            numbers.append(inverse)
        orders: list[_Order] = []
        for n in range(ORDER, 0, -1):
            written = numbers[n - 1][text < self._v]
            counts = np.bincount(written, minlength=len(keys[n - 1])).astype(np.float64)
            if n < ORDER:
                counts = self._varieties(counts, keys[n - 1], keys[n], orders[0].counts, n)
            orders.insert(0, _order(keys[n - 1], counts, contexts[n - 1]))
        return orders

    def _varieties(
        self, counts: Floats, keys: Numbers, longer: Numbers, longer_counts: Floats, n: int
    ) -> Floats:
        """In how many contexts each n-gram stands, from the n-grams one longer, (G,).

        What begins with a start sign has but one, so its plain count stays.
        """
        base = self._v + _SIGNS
        ends = (longer // base)[longer_counts > 0]
        varieties = np.bincount(ends, minlength=len(keys)).astype(np.float64)
        if n == 1:
            return varieties
        begins = keys % base >= self._v + min(_STARTS.values())
        return np.where(begins, counts, varieties)


def _order(keys: Numbers, counts: Floats, contexts: Numbers) -> _Order:
    """Discount the counts of one order; `contexts` (G,) numbers each n-gram's context."""
    discounts = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3).astype(np.int64)]
    size = int(contexts.max()) + 1
    total = np.bincount(contexts, weights=counts, minlength=size)
    left = np.bincount(contexts, weights=discounts, minlength=size)
    return _Order(
        keys=keys,
        counts=counts,
        discounted=counts - discounts,
        total=total.astype(np.float64),
        rest=left / np.maximum(total, 1),
    )


def _discounts(counts: Floats) -> tuple[float, ...]:
    """D1, D2 and D3+ from how many n-grams have counts of 1 to 4 (equation 17)."""
    n1, n2, n3, n4 = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):  # too little text to estimate them
        return _USUAL_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return tuple(min(max(d, 0.0), most) for d, most in zip(found, (1.0, 2.0, 3.0), strict=True))


def _find(keys: Numbers, wanted: Numbers) -> Numbers:
    """The place of each wanted key among the sorted ones, `_ABSENT` where it is not there."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return cast("Numbers", np.where(keys[places] == wanted, places, _ABSENT))


def _interpolate(order: _Order, number: Numbers, context: Numbers, lower: Floats) -> Floats:
    """The probability at each place, from that of the order below, (P,)."""
    known = (context != _ABSENT) & (context < len(order.total))
    total = np.where(known, order.total[np.where(known, context, 0)], 0.0)
    rest = order.rest[np.where(known, context, 0)]
    mine = np.where(number == _ABSENT, 0.0, order.discounted[number])
    # A context that was never seen before a character says nothing: the order below decides.
    return np.where(total > 0, mine / np.maximum(total, 1) + rest * lower, lower)
