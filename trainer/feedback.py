"""Ratings become data: what the model may learn from, and how much of it.

Ratings choose among our own poems; no text that a person wrote gets any further than this module.
A snapshot is a pure function of the ratings that are there: no clock, no order, no chance. So
what is undone or forgotten leaves the next one as if it had never been.

In the order in which things happen:

    quarantine  whoever rates faster than one can read, and newcomers who fill a chat, are left out
    trust       who contradicts what curators agree on weighs less, in the end nothing
    caps        no person and no chat decides alone (weights are scaled down)
    values      what a rating says beyond how its rater and everybody usually rate
    quality     what all values of a poem say together
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import fsum, sqrt
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from bot.anthology.ratings import TrainingRating
from engine.files import replace_file
from engine.jobs import Cell
from engine.verse.forms import FORMS, FormName, cut_lines
from engine.verse.frame import glyphs_of
from engine.verse.script import clean

GIVEN = "□"
"""Stands in a snapshot where a person had fixed the character."""

VERSION = 1
"""The version of the files below. A reader refuses one it does not know."""

_DECIMALS = 6
_NAME = 16
"""Characters of a digest that name a file, and of a poem's key."""
_SETTLED = 1e-9
_STAR = 0.25
"""What two neighbouring numbers of stars differ by, of the worth between 0 and 1."""

_Pair = tuple[str, str]
"""Two ids or pseudonyms: of a poem and its rater, or of a rater and a chat."""
_Verses = Mapping[str, tuple[str, ...] | None]
"""The lines of each poem without what a person gave; None where training may not see them."""


class SnapshotError(ValueError):
    """A file is no snapshot, or not the one that it says it is."""


class Reason(StrEnum):
    """Why a rating is left out; the first that applies is counted."""

    BURST = "burst"
    """Its rater gave more in a short time than anybody can read."""
    BRIGADE = "brigade"
    """Newcomers gave many in its chat in a short time."""
    GIVEN = "given"
    """A person gave most of the poem, or nobody can tell what they gave."""
    DISTRUSTED = "distrusted"
    """Its rater contradicts what curators agree on."""
    CAP = "cap"
    """The caps leave it no weight."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How much ratings count. The defaults are for tens to thousands of ratings."""

    curator_weight: float = 3.0
    """What a rating of a curator whom the operator named weighs; anybody else's weighs 1."""
    rater_share: float = 0.1
    """The most that one person who is no curator may weigh, of the weight of all."""
    chat_share: float = 0.5
    """The most that the ratings of one chat may weigh together, of the weight of all; curators'
    are not counted."""
    least_base: float = 200.0
    """The weight of all is taken for at least this, so that the first few raters count."""
    burst_most: int = 30
    """Ratings that one person can give within `burst_within` having read the poems."""
    burst_within: timedelta = timedelta(minutes=10)
    """The stretch of time in which a person's ratings are counted."""
    brigade_most: int = 40
    """Ratings that newcomers can give in one chat within `brigade_within`."""
    brigade_within: timedelta = timedelta(hours=1)
    """The stretch of time in which newcomers' ratings are counted."""
    newcomer: timedelta = timedelta(days=1)
    """How long after their first rating somebody is new."""
    most_given: float = 0.5
    """The most of a poem's characters that a person may have given."""
    gold_agreement: float = 0.8
    """How often a person is expected to agree with gold items before they have met any; must be
    above one half, which is chance."""
    gold_prior: float = 5.0
    """How many gold items that expectation is worth."""
    least_trust: float = 0.2
    """Who is trusted no more than this is left out."""
    rater_prior: float = 5.0
    """How many of a person's ratings everybody's manner of rating is worth."""
    unvaried: int = 5
    """Who has given as many ratings, all alike, tells nothing of the poems."""
    most_value: float = 2.0
    """Values are cut to this on both sides, in spreads: the one 👎 of a person who likes
    everything else is not worth ten."""
    poem_prior: float = 3.0
    """The weight of ratings at which a poem's quality is half of what they say."""
    held_out_one_in: int = 5
    """One poem in as many is kept from training."""


USUAL = Rules()
"""What a night goes by."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One rating as training uses it."""

    poem: str
    """The poem's key (`key_of`)."""
    lines: tuple[str, ...]
    """Its lines; `GIVEN` where a person had fixed the character."""
    form: FormName
    """Its form."""
    cell: Cell
    """The family of the model that wrote it."""
    checkpoint: str
    """The checkpoint that wrote it."""
    rater: int
    """Who rated it: a number, from 0, that means somebody inside this snapshot only."""
    curator: bool
    """Whether the operator named them."""
    worth: float
    """What the rating says of the poem by itself, 0 to 1 (`bot.anthology.ratings.WORTH`)."""
    value: float
    """What it says beyond how its rater usually rates, in spreads: above 0 is liked."""
    weight: float
    """How much it counts, above 0: after trust, 1 for a person and more for a curator, scaled
    down where a person or a chat would weigh too much."""
    held_out: bool
    """Whether training never reads the poem, so that the gate can ask there. Every rating of one
    poem is held out, or none."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What there was to learn from, at one time."""

    examples: tuple[Example, ...]
    """By poem, then by rater."""
    quality: Mapping[str, float]
    """The Bayesian mean of each poem's values, of held-out poems too. 0 says nothing."""
    left_out: Mapping[str, int]
    """How many ratings were left out, by `Reason`; each of them."""
    digest: str
    """The sha256 of all that, in hex digits."""

    def save(self, folder: Path) -> Path:
        """Write it into `folder`, whole or not at all; the same snapshot gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        path = _path(folder, self.digest)
        contents = _contents(self.examples, self.quality, self.left_out)
        replace_file(path, _canonical({"digest": self.digest, "snapshot": contents}))
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            SnapshotError: it is no snapshot of this version, or its digest is another.
            OSError: it cannot be read.
        """
        try:
            file = json.loads(path.read_bytes())
            digest, contents = file["digest"], file["snapshot"]
            if contents["version"] != VERSION or digest != _digest(contents):
                raise SnapshotError(f"{path.name} is damaged, or of another version")
            return cls(
                examples=_EXAMPLES.validate_python(contents["examples"]),
                quality=contents["quality"],
                left_out=contents["left_out"],
                digest=digest,
            )
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise SnapshotError(f"{path.name} is no snapshot") from error


_EXAMPLES = TypeAdapter(tuple[Example, ...])


def take_snapshot(ratings: Iterable[TrainingRating], rules: Rules = USUAL) -> Snapshot:
    """What `ratings`, of which a person has one a poem at most, come to by `rules`."""
    read = sorted(ratings, key=lambda rating: (key_of(rating.poem), rating.rater))
    verses = {rating.poem: _verse(rating, rules) for rating in read}
    trust = _trust(read, rules)
    fates = _fates(read, verses, trust, rules)
    kept = [rating for rating, fate in zip(read, fates, strict=True) if fate is None]
    counted = _weighed(kept, trust, rules)
    fates += [Reason.CAP] * (len(kept) - len(counted))
    examples = _examples(counted, verses, rules)
    quality = _quality(examples, rules)
    left_out = {reason.value: fates.count(reason) for reason in Reason if reason in fates}
    return Snapshot(
        examples=examples,
        quality=quality,
        left_out=left_out,
        digest=_digest(_contents(examples, quality, left_out)),
    )


def key_of(poem: str) -> str:
    """The key of a poem by its id in the anthology: 16 hex digits of the id's sha256.

    An id may tell when the poem was asked for, and that of a daily poem holds a pseudonym.
    """
    return hashlib.sha256(poem.encode()).hexdigest()[:_NAME]


def prune(folder: Path, keep: Collection[str], newest: int = 30) -> int:
    """Delete all snapshots in `folder` but the newest and those of the digests `keep`; how many.

    Snapshots tell nobody's name, but what is no longer needed need not be kept either.
    """
    kept = {_path(folder, digest) for digest in keep}
    files = sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    old = [path for path in files[: max(0, len(files) - newest)] if path not in kept]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


# --- what is left out -----------------------------------------------------------------------


def _fates(
    read: Sequence[TrainingRating],
    verses: _Verses,
    trust: Mapping[str, float],
    rules: Rules,
) -> list[Reason | None]:
    """Why each rating is left out; None where it is kept."""
    quarantine = _quarantine(read, rules)

    def fate(rating: TrainingRating) -> Reason | None:
        if (reason := quarantine.get((rating.poem, rating.rater))) is not None:
            return reason
        if verses[rating.poem] is None:
            return Reason.GIVEN
        return Reason.DISTRUSTED if trust.get(rating.rater, 1.0) <= rules.least_trust else None

    return [fate(rating) for rating in read]


def _quarantine(read: Sequence[TrainingRating], rules: Rules) -> dict[_Pair, Reason]:
    """Ratings that come too fast, by poem and rater. Curators may rate as fast as they like."""
    people = sorted((rating for rating in read if not rating.curator), key=lambda one: one.at)
    first: dict[str, datetime] = {}
    for rating in people:
        first.setdefault(rating.rater, rating.at)
    newcomers = [one for one in people if one.at - first[one.rater] < rules.newcomer]
    brigades = _crowded(
        newcomers, lambda one: one.chat, most=rules.brigade_most, within=rules.brigade_within
    )
    bursts = _crowded(
        people, lambda one: one.rater, most=rules.burst_most, within=rules.burst_within
    )
    return dict.fromkeys(brigades, Reason.BRIGADE) | dict.fromkeys(bursts, Reason.BURST)


def _crowded(
    ratings: Iterable[TrainingRating],
    whose: Callable[[TrainingRating], str],
    *,
    most: int,
    within: timedelta,
) -> set[_Pair]:
    """Those of `ratings`, which are in order of time, that are too many in any stretch of time."""
    groups: defaultdict[str, list[TrainingRating]] = defaultdict(list)
    for rating in ratings:
        groups[whose(rating)].append(rating)
    return {
        (rating.poem, rating.rater)
        for group in groups.values()
        for first in range(len(group) - most)
        if group[first + most].at - group[first].at < within
        for rating in group[first : first + most + 1]
    }


def _verse(rating: TrainingRating, rules: Rules) -> tuple[str, ...] | None:
    """The lines of a poem without what a person gave; None where too little is left.

    None as well where the poem has not what it was to have: then nobody can tell what is theirs.
    """
    given = glyphs_of(clean(rating.opening))
    text = "".join(rating.lines)
    if any(text[place : place + 1] != glyph for place, glyph in given.items()):
        return None
    if len(given) > rules.most_given * len(text):
        return None
    blanked = "".join(GIVEN if place in given else char for place, char in enumerate(text))
    return cut_lines(blanked, FORMS[rating.form].line_length)


# --- trust ----------------------------------------------------------------------------------


def _trust(read: Sequence[TrainingRating], rules: Rules) -> dict[str, float]:
    """How far each person is trusted who met gold items and is no curator, 0 to 1.

    Whoever agreed with a of n of them agrees as often as p = (a + k q) / (n + k): the posterior
    mean under a Beta prior of mean q = `gold_agreement` that is worth k = `gold_prior` items. They
    are trusted (p - 1/2) / (q - 1/2), from 0 to 1: fully while nothing is known of them, and not
    at all where they agree no oftener than chance. Gold items are usual in crowdsourcing (D.
    Oleson et al., "Programmatic gold: targeted and scalable quality assurance in crowdsourcing",
    HCOMP 2011).
    """
    gold = _gold(read)
    answers: defaultdict[str, list[bool]] = defaultdict(list)
    for rating in read:
        if not rating.curator and rating.poem in gold and rating.worth != 0.5:
            answers[rating.rater].append((rating.worth > 0.5) == gold[rating.poem])
    expected, prior = rules.gold_agreement, rules.gold_prior

    def trust(agreed: Sequence[bool]) -> float:
        agreement = (sum(agreed) + prior * expected) / (len(agreed) + prior)
        return min(1.0, max(0.0, (agreement - 0.5) / (expected - 0.5)))

    return {rater: trust(agreed) for rater, agreed in answers.items()}


def _gold(read: Sequence[TrainingRating]) -> dict[str, bool]:
    """The poems of which curators are sure, each with whether it is a good one.

    Two or more agree within one star, or a single one gave one star or five; a vote says as much
    as those, but alone it is too quickly given. What they think is middling is no gold item.
    """
    opinions: defaultdict[str, list[TrainingRating]] = defaultdict(list)
    for rating in read:
        if rating.curator:
            opinions[rating.poem].append(rating)
    gold = {}
    for poem, given in opinions.items():
        worths = [rating.worth for rating in given]
        mean = fsum(worths) / len(worths)
        sure = given[0].stars in (1, 5) if len(given) == 1 else max(worths) - min(worths) <= _STAR
        if sure and abs(mean - 0.5) >= _STAR:
            gold[poem] = mean > 0.5
    return gold


# --- weights --------------------------------------------------------------------------------


def _weighed(
    kept: Sequence[TrainingRating], trust: Mapping[str, float], rules: Rules
) -> list[tuple[TrainingRating, float]]:
    """`kept`, each with its weight after trust and caps; without what these leave no weight.

    Caps are shares of what all weigh in the end, B. Clipping makes B less, and so the caps: what
    is sought is the greatest B that is `least_base` or the sum of the weights clipped by it.
    """
    raw = [
        rules.curator_weight if rating.curator else trust.get(rating.rater, 1.0) for rating in kept
    ]
    curators = fsum(weight for rating, weight in zip(kept, raw, strict=True) if rating.curator)
    people: defaultdict[_Pair, float] = defaultdict(float)
    for rating, weight in zip(kept, raw, strict=True):
        if not rating.curator:
            people[rating.rater, rating.chat] += weight
    clipped = _settled(people, curators, rules)
    scaled = (
        _rounded(weight if rating.curator else weight * clipped[pair] / people[pair])
        for rating, weight in zip(kept, raw, strict=True)
        for pair in [(rating.rater, rating.chat)]
    )
    return [(rating, weight) for rating, weight in zip(kept, scaled, strict=True) if weight > 0]


def _settled(people: Mapping[_Pair, float], curators: float, rules: Rules) -> dict[_Pair, float]:
    """The weights of `people` clipped by the greatest base that they and `curators` then have."""
    base = max(rules.least_base, curators + fsum(people.values()))
    while True:
        clipped = _clipped(people, base, rules)
        less = max(rules.least_base, curators + fsum(clipped.values()))
        if base - less <= _SETTLED * base:
            return clipped
        base = less


def _clipped(people: Mapping[_Pair, float], base: float, rules: Rules) -> dict[_Pair, float]:
    """The weight of each rater in each chat, first no rater and then no chat above its cap."""
    by_rater = _shrink(people, rules.rater_share * base, whose=lambda pair: pair[0])
    return _shrink(by_rater, rules.chat_share * base, whose=lambda pair: pair[1])


def _shrink(
    people: Mapping[_Pair, float], most: float, *, whose: Callable[[_Pair], str]
) -> dict[_Pair, float]:
    """`people`, where nobody weighs more than `most` in all."""
    totals: defaultdict[str, float] = defaultdict(float)
    for pair, weight in people.items():
        totals[whose(pair)] += weight
    return {
        pair: weight if totals[whose(pair)] <= most else weight * most / totals[whose(pair)]
        for pair, weight in people.items()
    }


# --- values ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Manner:
    """How somebody, or everybody, usually rates."""

    mean: float
    """Their mean worth."""
    variance: float
    """The variance of their worths."""

    def value_of(self, worth: float, rules: Rules) -> float:
        """What a rating of that worth says, in spreads above or below the mean."""
        if self.variance <= 0:
            return 0.0
        value = (worth - self.mean) / sqrt(self.variance)
        return max(-rules.most_value, min(rules.most_value, value))


def _everybody(counted: Sequence[tuple[TrainingRating, float]]) -> _Manner:
    """How all of them together rate, each rating by its weight, so that the caps hold here too."""
    total = fsum(weight for _, weight in counted)
    mean = fsum(weight * rating.worth for rating, weight in counted) / total
    squares = fsum(weight * (rating.worth - mean) ** 2 for rating, weight in counted)
    return _Manner(mean=mean, variance=squares / total)


def _manner(worths: Sequence[float], everybody: _Manner, rules: Rules) -> _Manner:
    """How the rater of these n worths usually rates, drawn towards how everybody does.

    With m and s² the mean and variance of everybody, x the rater's own mean, S the sum of the
    squares about it, and k = `rater_prior`, as if the rater had given k more ratings of that mean
    and variance:

        mean     = (k m + n x) / (k + n)
        variance = (k s² + S + k n (x - m)² / (k + n)) / (k + n)

    That is the posterior of a normal distribution under its conjugate prior (A. Gelman et al.,
    Bayesian Data Analysis, 3rd ed., section 3.3), whose mean and variance are estimated from all
    raters: empirical Bayes (B. Efron and C. Morris, "Data analysis using Stein's estimator and its
    generalizations", JASA 70 (1975) 311-319). To centre and scale ratings rater by rater is J.
    Herlocker et al., "An algorithmic framework for performing collaborative filtering", SIGIR 1999.
    """
    n, k = len(worths), rules.rater_prior
    own = fsum(worths) / n
    squares = fsum((worth - own) ** 2 for worth in worths)
    if n >= rules.unvaried and squares == 0:
        return _Manner(mean=own, variance=0.0)
    between = k * n * (own - everybody.mean) ** 2 / (k + n)
    return _Manner(
        mean=(k * everybody.mean + n * own) / (k + n),
        variance=(k * everybody.variance + squares + between) / (k + n),
    )


def _examples(
    counted: Sequence[tuple[TrainingRating, float]], verses: _Verses, rules: Rules
) -> tuple[Example, ...]:
    """What training is told of each rating that counts."""
    if not counted:
        return ()
    everybody = _everybody(counted)
    worths: defaultdict[str, list[float]] = defaultdict(list)
    for rating, _ in counted:
        worths[rating.rater].append(rating.worth)
    manners = {rater: _manner(given, everybody, rules) for rater, given in worths.items()}
    numbers = {rater: number for number, rater in enumerate(sorted(manners))}
    return tuple(
        Example(
            poem=key_of(rating.poem),
            lines=verses[rating.poem] or (),
            form=rating.form,
            cell=rating.cell,
            checkpoint=rating.checkpoint,
            rater=numbers[rating.rater],
            curator=rating.curator,
            worth=rating.worth,
            value=_rounded(manners[rating.rater].value_of(rating.worth, rules)),
            weight=weight,
            held_out=int(key_of(rating.poem), 16) % rules.held_out_one_in == 0,
        )
        for rating, weight in counted
    )


def _quality(examples: Sequence[Example], rules: Rules) -> dict[str, float]:
    """The Bayesian mean of each poem's values v with weights w: sum(w v) / (sum(w) + k).

    The posterior mean where both the values of a poem and the qualities of poems are normal, the
    latter about 0, and k = `poem_prior` is the ratio of their variances (Efron and Morris 1975).
    """
    given: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        given[example.poem].append(example)
    return {
        poem: _rounded(
            fsum(example.weight * example.value for example in of_poem)
            / (fsum(example.weight for example in of_poem) + rules.poem_prior)
        )
        for poem, of_poem in given.items()
    }


# --- files ----------------------------------------------------------------------------------


def _rounded(number: float) -> float:
    """A number as it stands in files; never -0.0, which is written otherwise than 0.0."""
    return round(number, _DECIMALS) + 0.0


def _contents(
    examples: Sequence[Example], quality: Mapping[str, float], left_out: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "version": VERSION,
        "examples": [vars(example) for example in examples],
        "quality": dict(quality),
        "left_out": dict(left_out),
    }


def _canonical(value: object) -> str:
    """The one way in which a value is written as JSON."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _digest(contents: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(contents).encode()).hexdigest()


def _path(folder: Path, digest: str) -> Path:
    return folder / f"{digest[:_NAME]}.json"
