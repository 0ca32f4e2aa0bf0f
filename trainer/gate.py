"""May a new checkpoint stand beside the champion? A pure function of reports.

`trainer.examine` looks at checkpoints and writes reports; here they are only compared. The gate is
built to say no: a check that cannot be made is a check that failed, whatever the reason, and an
error inside the gate is a no as well. What passes has shown that it is not worse than the
champion, nor much worse than the checkpoint that the cell's learning began from. Whether readers
like it better, only they can say: that is `trainer.trial`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of one checkpoint. None is a figure that is missing; the gate takes no NaN."""

    checkpoint: str
    """Its id."""
    cell: str
    """Its family."""
    vocabulary: str
    """The sha256 of its vocabulary.txt: indices mean the same characters only where it is equal."""
    material: str
    """What it was examined with: a digest of test poems, critic, openings, seeds and numbers.
    Figures of different material say nothing of each other."""
    held_out: str
    """A digest of the rated poems that training never read, which it was asked about."""
    snapshot: str | None = None
    """The digest of the ratings that it learnt from; empty where from none, None if not known."""

    nats: Sequence[float] | None = None
    """Negative log likelihood of each poem of the frozen clean test set, told the form only."""
    told: Sequence[float] | None = None
    """The same told rhyme and tones, as it is when it writes."""
    characters: Sequence[int] | None = None
    """How many characters each of these poems has."""

    rules: float | None = None
    """Share of the samples that keep every rule."""
    opened: float | None = None
    """Share of the samples that begin as asked."""
    copied: int | None = None
    """Lines of the samples that stand in the corpus."""
    failed: int | None = None
    """Jobs that gave no poem."""

    distinct_2: float | None = None
    """Different bigrams of all samples over all bigrams (`trainer.metrics.distinct`)."""
    repetition: float | None = None
    """Mean share of a sample's characters that stood before in it."""
    likeness: float | None = None
    """Mean likeness of samples that share form and opening, 0 to 1."""
    odds: float | None = None
    """Mean log odds of the samples by the critic, the same for all reports of one night."""
    samples: int | None = None
    """How many samples there are."""
    commonest: Mapping[str, float] | None = None
    """Share of the samples that hold each character; one that is in fewer than two is left out."""
    surprise: float | None = None
    """Nats a character of the held-out rated poems less those of the test set."""

    poems_per_second: float | None = None
    """How many samples it wrote a second of processor time."""
    size: int | None = None
    """Bytes of its files."""

    pairs: int | None = None
    """Held-out pairs of which readers liked one and not the other."""
    win_rate: float | None = None
    """Share of these that it orders as readers do; NaN where there is none."""
    liked: Sequence[float] | None = None
    """Its scores of the held-out poems that readers liked."""
    disliked: Sequence[float] | None = None
    """Its scores of those that they did not."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says."""

    passed: bool
    """Whether every check passed."""
    reasons: tuple[str, ...] = ()
    """One line a check that failed."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured, by name, for the record."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much worse is too much, and why so much.

    Bounds named `_drift` hold against the origin, the others against the champion: nights add up,
    and twenty that each lose a percent within their bound would have lost a fifth.

    Where chance is spoken of, it is the standard deviation of the difference between two reports of
    one bundled checkpoint with 160 samples of different seeds. (With the same seeds, as in a
    night, it is nought for the same weights, and less than that for like ones.)
    """

    perplexity: float = 1.01
    """Ratio to the champion's, at the upper end of a 95 % interval: what may be worse by more than
    a percent must not pass by luck."""
    perplexity_drift: float = 1.02
    """Ratio to the origin's, as measured: all nights together may cost two percent."""
    leak: float = 0.8
    """The ratio to the champion's may not be below this either: no honest night gains a fifth, but
    one that has read the test poems does. A person may still promote such a checkpoint by hand."""
    distinct_2: float = 0.98
    """Ratio to the champion's. Chance: 0.008."""
    distinct_2_drift: float = 0.97
    """Ratio to the origin's."""
    repetition: float = 0.008
    """Above the champion's. Chance: 0.002; poets' poems have 0.017."""
    repetition_drift: float = 0.012
    """Above the origin's."""
    likeness: float = 0.004
    """Above the champion's. Chance: 0.001; ours have 0.0035."""
    likeness_drift: float = 0.006
    """Above the origin's."""
    odds: float = 1.0
    """Below the champion's, nats. Chance: 0.06. Readers may like what the critic likes less: a
    taste that doubled how often its theme's characters came cost 0.65. Poems that are not chosen
    from sixteen have four less."""
    odds_drift: float = 1.5
    """Below the origin's, nats."""
    share: float = 0.1
    """What a character's share of the samples may rise above the champion's, beyond the `CHANCE` of
    so many samples: with 160, from 0.05 to 0.2, from 0.3 to 0.55."""
    share_drift: float = 0.25
    """The same above the origin's: a taste may make 月 common, not inevitable."""
    surprise: float = 0.1
    """Nats by which it may be surer of rated poems than the champion, beyond what it is surer of
    poets' poems: more is learning poems by heart, or falling in love with its own voice."""
    win_rate: float = 1.64
    """Standard errors of the difference by which the win rate may be below the champion's: what is
    below it with 95 % confidence is refused. Without any, every second night that is no worse was
    refused by chance, and learning stood still: 0.649 beside 0.652, on sixty held-out poems. Every
    preference is learnt anew from all ratings, so what is lost by chance does not add up."""
    pace: float = 0.8
    """Ratio to the champion's. Chance: 0.04, for it is processor time that is counted: on a busy
    machine the clock says three times as much."""
    size: int = 24 * 2**20
    """Bytes: the bundled ones have 17 million, and an engine holds six."""
    growth: float = 1.25
    """Ratio to the champion's size: nights change weights, they do not add any."""


class _MissingError(ValueError):
    """A figure is missing or not a number."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What is judged, by what, and what was found on the way."""

    champion: Report
    challenger: Report
    origin: Report | None
    bounds: Bounds
    figures: dict[str, float] = field(default_factory=dict)

    def rivals(self) -> Iterator[tuple[Report, str, bool]]:
        """Those that the challenger is compared with: report, name, whether it is the origin."""
        yield self.champion, "the champion", False
        if self.origin is not None:
            yield self.origin, "the origin", True


_Check = Callable[[_Case], Iterator[str]]

CHANCE = 3.0
"""Standard deviations that chance is given where the one of hundreds of characters is looked at
that rises most. Between reports of one checkpoint with other seeds it rose by 0.14 at the most."""

RESAMPLES = 2000
"""How often the test poems are drawn anew for the interval (paired bootstrap: Koehn 2004)."""
_UPPER = 0.975


def judge(
    champion: Report,
    challenger: Report,
    origin: Report | None = None,
    *,
    bounds: Bounds = Bounds(),
) -> Verdict:
    """Whether `challenger` may stand beside `champion`. An error on the way is a no, never raised.

    Args:
        champion: What is in service.
        challenger: What would like to be.
        origin: The checkpoint that the cell's learning began from; None where the champion is it.
        bounds: How much worse is too much.
    """
    case = _Case(champion=champion, challenger=challenger, origin=origin, bounds=bounds)
    reasons: list[str] = []
    for check in CHECKS:
        try:
            reasons += check(case)
        except _MissingError as error:
            reasons.append(str(error))
        except Exception as error:
            name = check.__name__.strip("_")
            reasons.append(f"the gate itself failed: {name}: {type(error).__name__}: {error}")
    return Verdict(passed=not reasons, reasons=tuple(reasons), figures=case.figures)


# --- the checks ------------------------------------------------------------------------------


def _comparable(case: _Case) -> Iterator[str]:
    """Same cell, vocabulary and material: else no figure means anything."""
    for rival, name, is_origin in case.rivals():
        for field_name in ("cell", "vocabulary", "material", *(["held_out"] * (not is_origin))):
            ours, theirs = getattr(case.challenger, field_name), getattr(rival, field_name)
            if not ours or ours != theirs:
                yield f"{field_name} is not that of {name}"


def _perplexity(case: _Case) -> Iterator[str]:
    """It predicts poets' poems as well, told the form only and told what it is told in service."""
    bounds = case.bounds
    for kind in ("nats", "told"):
        ours, theirs, characters = _paired(case.challenger, case.champion, kind)
        ratio, upper = _ratio(ours - theirs, characters), _upper(ours - theirs, characters)
        label = f"perplexity ({kind}) to the champion's"
        case.figures.update({label: ratio, f"{label}, at most": upper})
        if not upper <= bounds.perplexity:
            yield f"{label}: at most {upper:.4f}, over {bounds.perplexity}"
        if ratio < bounds.leak:
            yield f"{label}: {ratio:.4f}, under {bounds.leak}: has it read the test poems?"


def _drift(case: _Case) -> Iterator[str]:
    """All nights together have not cost it much of that."""
    if case.origin is None:
        return
    for kind in ("nats", "told"):
        ours, theirs, characters = _paired(case.challenger, case.origin, kind)
        label, ratio = f"perplexity ({kind}) to the origin's", _ratio(ours - theirs, characters)
        case.figures[label] = ratio
        if not ratio <= case.bounds.perplexity_drift:
            yield f"{label}: {ratio:.4f}, over {case.bounds.perplexity_drift}"


def _paired(challenger: Report, rival: Report, kind: str) -> tuple[Numbers, Numbers, Numbers]:
    """Nats of both and characters of the same poems."""
    ours, theirs = _row(challenger, kind), _row(rival, kind)
    characters = _row(challenger, "characters")
    if not np.array_equal(characters, _row(rival, "characters")):
        raise _MissingError(f"the test poems of {rival.checkpoint} are others")
    if not len(ours) == len(theirs) == len(characters) or characters.min() <= 0:
        raise _MissingError(f"{kind} and characters are not of the same poems")
    return ours, theirs, characters


def _ratio(difference: Numbers, characters: Numbers) -> float:
    """The ratio of perplexities, from the differences in nats."""
    return math.exp(float(difference.sum() / characters.sum()))


def _upper(difference: Numbers, characters: Numbers) -> float:
    """The upper end of the 95 % interval of `_ratio`."""
    random = np.random.default_rng(0)
    drawn = random.integers(len(difference), size=(RESAMPLES, len(difference)))
    logs = difference[drawn].sum(axis=1) / characters[drawn].sum(axis=1)
    return math.exp(float(np.quantile(logs, _UPPER)))


def _promises(case: _Case) -> Iterator[str]:
    """What every delivered poem is promised to be."""
    for name, wanted in (("rules", 1), ("opened", 1), ("copied", 0), ("failed", 0)):
        if (found := _number(case.challenger, name)) != wanted:
            yield f"{name} is {found:g}, not {wanted}"


def _variety(case: _Case) -> Iterator[str]:
    """Its poems differ as much, within and among themselves, and read as well."""
    bounds = case.bounds
    for rival, name, is_origin in case.rivals():
        ratio = _number(case.challenger, "distinct_2") / _number(rival, "distinct_2")
        case.figures[f"distinct_2, to {name}"] = ratio
        bound = bounds.distinct_2_drift if is_origin else bounds.distinct_2
        if not ratio >= bound:
            yield f"distinct_2, to {name}: {ratio:.4f}, under {bound}"
        for metric, sign in (("repetition", 1), ("likeness", 1), ("odds", -1)):
            worse = sign * (_number(case.challenger, metric) - _number(rival, metric))
            case.figures[f"{metric}, worse than {name}"] = worse
            bound = getattr(bounds, f"{metric}_drift" if is_origin else metric)
            if not worse <= bound:
                yield f"{metric}, worse than {name}: {worse:.4f}, over {bound}"


def _one_word_everywhere(case: _Case) -> Iterator[str]:
    """No character spreads through its poems: what a brigade would want."""
    for rival, name, is_origin in case.rivals():
        ours, theirs = _shares(case.challenger), _shares(rival)
        count = min(_number(case.challenger, "samples"), _number(rival, "samples"))
        rises = {
            char: share - theirs.get(char, 0.0) - _chance(share, theirs.get(char, 0.0), count)
            for char, share in ours.items()
        }
        char = max(rises, key=rises.__getitem__, default="")
        rise = rises.get(char, 0.0)
        case.figures[f"share of a character beyond chance, over {name}"] = rise
        bound = case.bounds.share_drift if is_origin else case.bounds.share
        if not rise <= bound:
            both = f"{ours[char]:.2f} of its poems, {theirs.get(char, 0.0):.2f} of those of {name}"
            yield f"{char} stands in {both}"


def _chance(one: float, other: float, count: float) -> float:
    """What two shares of `count` samples may differ by."""
    mean = (one + other) / 2
    return CHANCE * math.sqrt(2 * mean * (1 - mean) / count)


def _learnt_by_heart(case: _Case) -> Iterator[str]:
    """It is not much surer of rated poems than poets' poems make it."""
    both = (case.champion, case.challenger)
    if all(report.surprise is None and report.pairs == 0 for report in both):
        return  # No rated poem is held out; whether it may pass so, says `_liked`.
    surer = _number(case.champion, "surprise") - _number(case.challenger, "surprise")
    case.figures["surer of rated poems, nats"] = surer
    if not surer <= case.bounds.surprise:
        yield f"surer of rated poems by {surer:.3f} nats, over {case.bounds.surprise}"


def orders_as_well(challenger: Report, champion: Report, *, bounds: Bounds = Bounds()) -> bool:
    """Whether the challenger passes for its win rate, whatever else there is."""
    case = _Case(champion=champion, challenger=challenger, origin=None, bounds=bounds)
    try:
        return not list(_liked(case))
    except _MissingError:
        return False


def _liked(case: _Case) -> Iterator[str]:
    """It orders rated poems as readers do, at least as often as far as chance can tell.

    Where no held-out pair says how often that is, only what learnt from no rating may pass:
    ratings are what can be forged, and nothing that they did may go into service unseen.
    """
    pairs = _number(case.challenger, "pairs")
    if pairs != _number(case.champion, "pairs"):
        yield "win_rate: the champion was asked about other pairs"
    elif not pairs:
        if case.challenger.snapshot != "":
            yield "win_rate: learnt from ratings, or not known, and no held-out pair to show how"
    else:
        ours, theirs = (_number(report, "win_rate") for report in (case.challenger, case.champion))
        chance = case.bounds.win_rate * _chance_of_wins(case.challenger, case.champion)
        case.figures["win_rate, over the champion"] = ours - theirs
        case.figures["win_rate, chance"] = chance
        if not ours >= theirs - chance:
            yield f"win_rate is {ours:.3f}, under the champion's {theirs:.3f} beyond chance"


def _chance_of_wins(challenger: Report, champion: Report) -> float:
    """The standard error of the difference of two win rates on the same poems (DeLong et al. 1988).

    Of fewer than two poems on a side it is 0: then nothing is put down to chance.
    """
    ours, theirs = (
        wins(_row(report, "liked"), _row(report, "disliked")) for report in (challenger, champion)
    )
    if ours.shape != theirs.shape:
        raise _MissingError(f"the held-out poems of {champion.checkpoint} are others")
    gain = ours - theirs  # (liked, disliked)
    if min(gain.shape) < 2:
        return 0.0
    variances = (gain.mean(axis=1 - axis).var(ddof=1) / gain.shape[axis] for axis in (0, 1))
    return math.sqrt(sum(map(float, variances)))


def wins(liked: Numbers, disliked: Numbers) -> Numbers:
    """For each pair 1 where the liked one has the higher score, 1/2 where none has."""
    one, other = liked[:, None], disliked[None, :]
    found: Numbers = (one > other) + 0.5 * (one == other)
    return found


def _burden(case: _Case) -> Iterator[str]:
    """It costs as little."""
    pace = _number(case.challenger, "poems_per_second") / _number(case.champion, "poems_per_second")
    size, before = _number(case.challenger, "size"), _number(case.champion, "size")
    case.figures.update({"pace, to the champion": pace, "size": size})
    if not pace >= case.bounds.pace:
        yield f"pace, to the champion: {pace:.2f}, under {case.bounds.pace}"
    if not 0 < size <= min(case.bounds.size, case.bounds.growth * before):
        yield f"size is {size:.0f} bytes; the champion's is {before:.0f}"


CHECKS: tuple[_Check, ...] = (
    _comparable,
    _perplexity,
    _drift,
    _promises,
    _variety,
    _one_word_everywhere,
    _learnt_by_heart,
    _liked,
    _burden,
)
"""All of them; a challenger must pass each."""


# --- figures ---------------------------------------------------------------------------------


def _number(report: Report, name: str) -> float:
    """A figure of a report; _MissingError if it is not there, or no finite number."""
    value = getattr(report, name)
    if value is None or not math.isfinite(value):
        raise _MissingError(f"{name} of {report.checkpoint} is {value}")
    return float(value)


def _row(report: Report, name: str) -> Numbers:
    """A row of figures, as `_number`."""
    values = getattr(report, name)
    row = np.asarray([] if values is None else values, dtype=np.float64)
    if not row.size or not np.isfinite(row).all():
        raise _MissingError(f"{name} of {report.checkpoint} is missing or not all numbers")
    return row


def _shares(report: Report) -> Mapping[str, float]:
    """The shares of characters, as `_number`."""
    shares = report.commonest
    if shares is None or not all(map(math.isfinite, shares.values())):
        raise _MissingError(f"commonest of {report.checkpoint} is missing or not all numbers")
    return shares
