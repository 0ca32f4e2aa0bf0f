"""Which of two checkpoints do readers like better? They say so by rating what both write.

A challenger that passed the gate writes a share of the poems; what readers think of these and of
the champion's decides. Each poem is one vote, however many rated it, and one person's votes are
capped, so that nobody decides alone. Of each checkpoint we then know likes and dislikes, hence how
likely its poems are liked: a Beta distribution, from Beta(1, 1) before any vote (Gelman et al.,
Bayesian Data Analysis, 2.1). `rule` is asked every night, so chance has as many tries as there are
nights; `PROMOTE_ABOVE` is what makes up for that (decision 25).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from bot.anthology.ratings import TrainingRating
from trainer.feedback import Example, key_of

PROMOTE_ABOVE = 0.99
"""P(better) of a night that promotes. A trial is looked at up to thirty times: with 0.95 an equal
challenger would be promoted in 11 to 24 % of trials, with this in 3 to 8 % (decision 25)."""
DROP_BELOW = 0.05
"""P(better) of a night that drops. Dropped too early, an equal challenger costs nothing; kept too
long, a worse one costs its readers: so this one makes up for nothing."""
ROLL_BACK_BELOW = 0.01
"""P(better) of a champion that is rolled back. It is asked every night, after each promotion anew,
of a day's votes on each side: at 0.05 every twentieth night would undo what readers taught."""
FEWEST = 20
"""Votes that each side needs before anything is ruled: fewer are an evening of one chat."""
NIGHTS = 30
"""A trial that is still open then is undecided; the challenger is dropped, and its place is free
for one that has learnt from a month more."""
PER_RATER = 10.0
"""Votes for each side that one person has at most, unless the operator named them a curator: two
people at least are behind every ruling."""

_GRID = 4096


class Ruling(StrEnum):
    """What becomes of a challenger."""

    PROMOTE = "promote"
    """Readers like it better: it becomes champion."""
    DROP = "drop"
    """Readers like it less, or could not decide in all the time there is."""
    GO_ON = "go on"
    """Nobody can tell yet."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What readers think of one checkpoint."""

    likes: float
    """Votes for it; a poem's vote is parted by what its ratings are worth."""
    dislikes: float
    """Votes against it."""

    @property
    def votes(self) -> float:
        """Both."""
        return self.likes + self.dislikes


def recent(
    examples: Iterable[Example], ratings: Iterable[TrainingRating], *, since: datetime
) -> tuple[Example, ...]:
    """The examples of poems that were rated `since` then: of the time when both were read."""
    rated = {key_of(rating.poem) for rating in ratings if rating.at >= since}
    return tuple(one for one in examples if one.poem in rated)


def arm(examples: Iterable[Example], checkpoints: Collection[str]) -> Arm:
    """What the ratings of a snapshot say of the poems of some checkpoints, taken for one."""
    own = [one for one in examples if one.checkpoint in checkpoints]
    given = Counter(one.rater for one in own)
    votes: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in own:
        cap = 1.0 if one.curator else min(1.0, PER_RATER / given[one.rater])
        votes[one.poem].append((cap * min(1.0, one.weight), one.worth))
    shares = list(map(_vote, votes.values()))
    return Arm(
        likes=sum(weight * worth for weight, worth in shares),
        dislikes=sum(weight * (1 - worth) for weight, worth in shares),
    )


def _vote(ratings: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """What one poem weighs, one at most, and what it is worth: the mean of its ratings."""
    weight = sum(weight for weight, _ in ratings)
    return min(1.0, weight), sum(weight * worth for weight, worth in ratings) / weight


def p_better(challenger: Arm, champion: Arm) -> float:
    """How probable it is that the challenger's poems are liked more often than the champion's."""
    ours, theirs = _posterior(challenger), _posterior(champion)
    below = theirs.cumsum() - theirs / 2
    return float(ours @ below)


def _posterior(of: Arm) -> npt.NDArray[np.float64]:
    """The share of liked poems: its probabilities at the middles of `_GRID` equal steps."""
    share = (np.arange(_GRID) + 0.5) / _GRID
    logs = of.likes * np.log(share) + of.dislikes * np.log1p(-share)
    density = np.exp(logs - logs.max())
    found: npt.NDArray[np.float64] = density / density.sum()
    return found


def rule(challenger: Arm, champion: Arm, *, nights: int) -> Ruling:
    """What becomes of a challenger that has been on trial for `nights`."""
    if _both_heard(challenger, champion):
        probability = p_better(challenger, champion)
        if probability > PROMOTE_ABOVE:
            return Ruling.PROMOTE
        if probability < DROP_BELOW:
            return Ruling.DROP
    return Ruling.DROP if nights >= NIGHTS else Ruling.GO_ON


def disappoints(champion: Arm, previous: Arm) -> bool:
    """Whether readers clearly like a promoted champion less than the one before it."""
    return _both_heard(champion, previous) and p_better(champion, previous) < ROLL_BACK_BELOW


def _both_heard(one: Arm, other: Arm) -> bool:
    return min(one.votes, other.votes) >= FEWEST
