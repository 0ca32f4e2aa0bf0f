"""What readers like, learnt from what they rated.

A rating is taken for the sum of what its poem is worth to readers and of noise:

    value = f(poem) + noise,   f ~ GP(0, K),   K = Σ s² K_block

a Gaussian process (Rasmussen & Williams 2006, ch. 2) whose kernel is a sum of linear ones, each
over one block of what can be seen in a poem, scaled to a mean diagonal of 1: its characters, the
company that they keep (`Tradition.vectors`), the reranker's figures, and the critic's reading.
Linear kernels make the mean of f linear in what is seen, so it folds into the few vectors of
`engine.preference.Preference`; and little data give a small f, not a wild one. How much each
block says (s²) is weighed by how likely it makes the ratings (ibid., ch. 5), over a short list.

Raters who are wrong on purpose give themselves away: what they say contradicts what all the
others' ratings predict for the same poems. A rater's ratings are weighed by the slope of their
values over that prediction, between 0 and 1 (compare Raykar et al. 2010).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch

from engine.checkpoint import Checkpoint
from engine.preference import Preference, chars_that_count, figures_of
from engine.rerank import Candidate, Features, Weights, describe, score
from engine.taste import Taste
from engine.verse.forms import FORMS, FormName, cut_lines
from trainer.feedback import Example
from trainer.gate import wins

Matrix = npt.NDArray[np.float64]

FEWEST = 30
"""With fewer ratings nothing is learnt: a week of a small group."""
MOST = 3000
"""Ratings that are looked at; the work grows with their cube, and this many take seconds."""
TO_WEIGH = 500
"""Ratings by which the shares of the blocks are chosen; examples are in no order that matters."""
FEWEST_TO_READ = 200
"""With fewer ratings the critic's reading, 384 figures, is left out."""

_SCALES = (0.01, 0.05, 0.2)
"""What a block may say: its share of the variance of a rater's values."""
_POEM = 0.1
"""The share that is the poem's own and in none of the blocks: all its raters see it."""
_NOISE = 0.7
"""The share that is the rater's, at the least."""
_SLOPE_SPREAD = 0.5
"""Standard deviation of raters' slopes about 1, before anything is known of them."""
_ROUNDS = 3
"""How often trust and taste are worked out in turn."""


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """A preference, and what is worth telling of how it came about."""

    preference: Preference
    """What readers like."""
    shares: Mapping[str, float]
    """By block, its share of the variance of ratings."""
    trust: Mapping[int, float]
    """By rater, what a rating of theirs weighs."""
    evidence: float
    """Log marginal likelihood of the ratings, in nats, beyond that of readers without taste."""


def fit_preference(checkpoint: Checkpoint, examples: Sequence[Example]) -> Learnt | None:
    """Learn from the ratings that are not held out; None where they are too few to say anything.

    The same examples give the same preference, whatever their order.
    """
    known = sorted(
        (one for one in examples if not one.held_out), key=lambda one: (one.poem, one.rater)
    )[:MOST]
    if len(known) < FEWEST:
        return None
    seen = _look(checkpoint, known)
    trust = dict.fromkeys(sorted({one.rater for one in known}), 1.0)
    for _ in range(_ROUNDS):
        task = _Task.of(known, seen, trust)
        shares = _shares(task.of_first(TO_WEIGH))
        trust = _trust(known, task, shares)
    task = _Task.of(known, seen, trust)
    return Learnt(
        preference=_fold(checkpoint, task, seen, shares),
        shares=shares,
        trust=trust,
        evidence=task.evidence(shares) - task.evidence(dict.fromkeys(shares, 0.0)),
    )


# --- what can be seen in poems ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What is seen in each example's poem, each block centred, (N, D) each."""

    blocks: Mapping[str, Matrix]
    means: Mapping[str, Matrix]
    """What was taken off each to centre it, (D,)."""
    chars: npt.NDArray[np.int64]
    """The characters that the columns of the first block stand for."""


def _look(checkpoint: Checkpoint, examples: Sequence[Example]) -> _Seen:
    poems = {one.poem: one for one in examples}
    features, readings = _features(checkpoint, list(poems.values()))
    bags = {}
    for name, one in poems.items():
        indices = checkpoint.vocabulary.encode("".join(one.lines))
        bags[name] = (chars_that_count(indices), len(indices) ** -0.5)
    chars = sorted({char for bag, _ in bags.values() for char in bag})
    column = {char: place for place, char in enumerate(chars)}
    words = np.zeros((len(examples), len(chars)))
    for row, one in enumerate(examples):
        bag, share = bags[one.poem]
        words[row, [column[char] for char in bag]] = share
    blocks = {
        "characters": words,
        "company": words @ checkpoint.tradition.vectors[chars].astype(np.float64),
        "figures": np.array([figures_of(features[one.poem]) for one in examples]),
    }
    if readings is not None and len(examples) >= FEWEST_TO_READ:
        blocks["reading"] = np.array([readings[one.poem] for one in examples])
    means = {name: block.mean(axis=0) for name, block in blocks.items()}
    return _Seen(
        blocks={name: block - means[name] for name, block in blocks.items()},
        means=means,
        chars=np.array(chars, dtype=np.int64),
    )


def _features(
    checkpoint: Checkpoint, poems: Sequence[Example]
) -> tuple[dict[str, Features], dict[str, Matrix] | None]:
    """What reranker and critic see in poems, by the poem's id."""
    taste = Taste.of(checkpoint)
    found: dict[str, Features] = {}
    readings: dict[str, Matrix] | None = None if taste.critic is None else {}
    for form in FormName:
        chosen = [one for one in poems if one.form is form]
        if not chosen:
            continue
        indices = [checkpoint.vocabulary.encode("".join(one.lines)) for one in chosen]
        plain = [_plain(checkpoint, form, each) for each in indices]
        complete, reading = taste.complete(indices, [()] * len(chosen), plain, form)
        found.update({one.poem: its for one, its in zip(chosen, complete, strict=True)})
        if reading is not None and readings is not None:
            readings.update(
                {one.poem: its for one, its in zip(chosen, reading.double().numpy(), strict=True)}
            )
    return found, readings


def _plain(checkpoint: Checkpoint, form: FormName, indices: Sequence[int]) -> Features:
    """What can be told without critic or preference; likelihood is said to be unremarkable."""
    candidate = Candidate(
        lines=cut_lines(tuple(indices), FORMS[form].line_length),
        nats=Weights().band[0],
        opening=(),
        theme=(),
    )
    return describe(candidate, checkpoint.vocabulary, checkpoint.tradition)


# --- the process -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Values to be explained by kernels."""

    kernels: Mapping[str, Matrix]
    """(N, N) each, with a mean diagonal of 1."""
    sizes: Mapping[str, float]
    """What each was divided by to get there."""
    same: Matrix
    """1 where two ratings are of one poem, (N, N)."""
    weights: Matrix
    """What each rating weighs, (N,)."""
    values: Matrix
    """The ratings, about their weighted mean, (N,)."""

    @classmethod
    def of(cls, examples: Sequence[Example], seen: _Seen, trust: Mapping[int, float]) -> "_Task":
        products = {name: block @ block.T for name, block in seen.blocks.items()}
        sizes = {name: max(float(np.trace(k)) / len(k), 1e-9) for name, k in products.items()}
        poems = np.array([one.poem for one in examples])
        weights = np.array([max(1e-3, one.weight * trust[one.rater]) for one in examples])
        values = np.array([one.value for one in examples])
        return cls(
            kernels={name: k / sizes[name] for name, k in products.items()},
            sizes=sizes,
            same=(poems[:, None] == poems[None, :]).astype(np.float64),
            weights=weights,
            values=values - float(weights @ values) / float(weights.sum()),
        )

    def of_first(self, count: int) -> "_Task":
        """The same for the first ratings only."""
        few = slice(0, count)
        return _Task(
            kernels={name: kernel[few, few] for name, kernel in self.kernels.items()},
            sizes=self.sizes,
            same=self.same[few, few],
            weights=self.weights[few],
            values=self.values[few],
        )

    def prior(self, shares: Mapping[str, float]) -> Matrix:
        """How f varies together over the examples, (N, N)."""
        total = np.zeros_like(self.same)
        for name, share in shares.items():
            total += share * self.kernels[name]
        return total

    def noisy(self, shares: Mapping[str, float]) -> Matrix:
        """How the ratings do, (N, N)."""
        noise = max(_NOISE, 1 - _POEM - sum(shares.values()))
        return self.prior(shares) + _POEM * self.same + np.diag(noise / self.weights)

    def evidence(self, shares: Mapping[str, float]) -> float:
        """Log marginal likelihood in nats, without its constant."""
        factor = torch.linalg.cholesky(torch.from_numpy(self.noisy(shares)))
        values = torch.from_numpy(self.values)[:, None]
        white = torch.linalg.solve_triangular(factor, values, upper=False)
        return -0.5 * float(white.square().sum()) - float(factor.diagonal().log().sum())


def _shares(task: _Task) -> dict[str, float]:
    """What each block may say: the mean of all that could be, by how likely they make the ratings.

    The likeliest alone would change from night to night while there are few ratings, and with it
    the model's mind.
    """
    names = list(task.kernels)
    tried = list(product(_SCALES, repeat=len(names)))
    evidence = np.array([task.evidence(dict(zip(names, one, strict=True))) for one in tried])
    weights = np.exp(evidence - evidence.max())
    means = weights @ np.array(tried) / weights.sum()
    return dict(zip(names, map(float, means), strict=True))


def _trust(
    examples: Sequence[Example], task: _Task, shares: Mapping[str, float]
) -> dict[int, float]:
    """What each rater's word weighs by how it goes with what the others' ratings predict.

    The prediction leaves all the rater's own ratings out: with A the inverse of the covariance,
    the residuals of a group r are (A_rr)^-1 (A y)_r (ibid., 5.4.2, for groups).
    """
    inverse = np.linalg.inv(task.noisy(shares))
    whitened = inverse @ task.values
    raters = np.array([one.rater for one in examples])
    trust: dict[int, float] = {}
    for rater in sorted(set(raters.tolist())):
        rows = np.flatnonzero(raters == rater)
        if any(examples[row].curator for row in rows.tolist()):
            trust[rater] = 1.0
            continue
        values = task.values[rows]
        predicted = values - np.linalg.solve(inverse[np.ix_(rows, rows)], whitened[rows])
        precision = 1 / _SLOPE_SPREAD**2
        slope = (float(predicted @ values) / _NOISE + precision) / (
            float(predicted @ predicted) / _NOISE + precision
        )
        trust[rater] = min(1.0, max(0.0, slope))
    return trust


def _fold(
    checkpoint: Checkpoint, task: _Task, seen: _Seen, shares: Mapping[str, float]
) -> Preference:
    """The mean of f as vectors over what is seen."""
    alpha = np.linalg.solve(task.noisy(shares), task.values)  # (N,)
    slopes = {
        name: shares[name] / task.sizes[name] * (block.T @ alpha)
        for name, block in seen.blocks.items()
    }
    vocabulary = len(checkpoint.vocabulary)
    characters = checkpoint.tradition.vectors.astype(np.float64) @ slopes["company"]
    characters[seen.chars] += slopes["characters"]
    preference = Preference(vocabulary)
    with torch.no_grad():
        preference.characters.copy_(torch.from_numpy(characters))
        preference.figures.copy_(torch.from_numpy(slopes["figures"]))
        if "reading" in slopes:
            preference.reading.copy_(torch.from_numpy(slopes["reading"]))
        preference.bias.fill_(-sum(float(seen.means[name] @ slopes[name]) for name in slopes))
    return preference.eval()


# --- how well a checkpoint knows its readers --------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """How often a checkpoint puts what readers liked before what they did not."""

    share: float
    """Of the pairs; 0.5 is chance, NaN where there is no pair."""
    pairs: int
    """How many pairs of a poem that was liked and one that was not."""
    liked: tuple[float, ...] = ()
    """The scores of the poems that were liked, by poem."""
    disliked: tuple[float, ...] = ()
    """The scores of those that were not, by poem."""


def win_rate(checkpoint: Checkpoint, examples: Sequence[Example]) -> WinRate:
    """The win rate of a checkpoint's whole score on the poems that were held out.

    A poem is liked where the weighted mean of its ratings' values is above 0.
    """
    held_out = [one for one in examples if one.held_out]
    poems = {one.poem: one for one in held_out}
    features, _ = _features(checkpoint, list(poems.values()))
    standing = dict.fromkeys(poems, 0.0)
    for one in held_out:
        standing[one.poem] += one.weight * one.value
    weights = Weights()
    order = sorted(poems)
    liked = tuple(score(features[poem], weights) for poem in order if standing[poem] > 0)
    disliked = tuple(score(features[poem], weights) for poem in order if standing[poem] < 0)
    pairs = len(liked) * len(disliked)
    if not pairs:
        return WinRate(share=float("nan"), pairs=0)
    share = float(wins(np.array(liked), np.array(disliked)).mean())
    return WinRate(share=share, pairs=pairs, liked=liked, disliked=disliked)
