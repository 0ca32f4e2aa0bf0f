"""May a new checkpoint stand beside the champion? A pure function of reports.

`trainer.examine` looks at checkpoints and writes reports; here they are only compared. The gate is
built to say no: a check that cannot be made is a check that failed, whatever the reason, and an
error inside the gate is a no as well. What passes has shown that it is not worse than the
champion, nor much worse than the checkpoint that the cell's learning began from. Whether readers
like it better, only they can say: that is `trainer.trial`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


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
    """What it was examined with: a digest of the test poems, the held-out ratings, the critic, the
    openings, seeds and numbers. Figures of different material say nothing of each other."""
    snapshot: str | None = None
    """The digest of the ratings that it learnt from; empty where from none, None if not known."""

    nats: Sequence[float] | None = None
    """Negative log likelihood of each poem of the frozen clean test set, in nats."""
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
    commonest: Mapping[str, float] | None = None
    """Share of the samples that hold each character; one that is in fewer than two is left out."""
    surprise: float | None = None
    """Nats a character of the held-out rated poems less those of the corpus's dev poems."""

    poems_per_second: float | None = None
    """How many samples it wrote a second."""
    size: int | None = None
    """Bytes of its files."""

    pairs: int | None = None
    """Held-out pairs of which readers liked one and not the other."""
    win_rate: float | None = None
    """Share of these that it orders as readers do; NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says."""

    passed: bool
    """Whether every check passed."""
    reasons: tuple[str, ...] = ()
    """One line a check that failed."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured, by name, for the record."""


def judge(champion: Report, challenger: Report, origin: Report | None = None) -> Verdict:
    """Whether `challenger` may stand beside `champion`; never raises.

    Args:
        champion: What is in service.
        challenger: What would like to be.
        origin: The checkpoint that the cell's learning began from, or small losses would add up
            night by night; None where the champion is it.
    """
    raise NotImplementedError
