"""Looks closely at a checkpoint, and writes down what the gate asks for.

Test poems are scored as `trainer.evaluate` does. Samples are written as people get them, by the
engine's own writer with its usual temperature and number of candidates; openings and seeds are
fixed, so the same checkpoint and material give the same report, but for the pace. What should hold
by construction is counted all the same, and copies are looked for in the corpus itself: what a
checkpoint says of its corpus is not believed.
"""

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.critic import Critic
from engine.jobs import USUAL_TEMPERATURE, Job, Poem
from engine.settings import USUAL_CANDIDATES, USUAL_SLOTS
from engine.verse.forms import FormName
from engine.vocabulary import UNKNOWN, Vocabulary
from engine.writer import Writer
from trainer.corpus import Era, Split
from trainer.dataset import Dataset, openings, verses_of
from trainer.evaluate import Score, nats_of, score_poems, tone_labels
from trainer.feedback import Example
from trainer.gate import Report
from trainer.metrics import KnownLines, Specimen, distinct, likeness, repetition, rule_rates
from trainer.preference import win_rate

POEMS = 160
"""Samples: of each form ten openings, and of each opening `ALIKE` poems."""
ALIKE = 4
"""Samples that share form and opening, so that it can be told how alike they are."""
_PACE_POEMS = 16


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """One poem that was asked for."""

    job: Job
    poem: Poem | None
    """None where the job failed."""


def examine(
    checkpoint: Checkpoint,
    dataset: Dataset,
    held_out: Sequence[Example],
    *,
    critic: Mapping[str, Tensor] | None,
    seed: int,
    poems: int = POEMS,
    candidates: int = USUAL_CANDIDATES,
) -> Report:
    """Report on a checkpoint: `look`, then `ask`."""
    looked = look(checkpoint, dataset, critic=critic, seed=seed, poems=poems, candidates=candidates)
    return ask(looked, checkpoint, dataset, held_out, candidates=candidates)


def look(
    checkpoint: Checkpoint,
    dataset: Dataset,
    *,
    critic: Mapping[str, Tensor] | None,
    seed: int,
    poems: int = POEMS,
    candidates: int = USUAL_CANDIDATES,
    scored: Report | None = None,
) -> Report:
    """What stays true of a checkpoint: a report that can be kept, and lacks what `ask` adds.

    Args:
        checkpoint: What is looked at.
        dataset: The clean corpus, whose Tang test poems are scored; nothing of a night's mix.
        critic: The weights of the one critic that judges every checkpoint of a night. None where
            there is none; then nothing passes.
        seed: Of the samples.
        poems: How many samples; rounded down to a multiple of four forms and of `ALIKE`.
        candidates: How many are written for each, as in service.
        scored: A report of the same material on the same weights, whose scores are taken over.
    """
    report = Report(
        checkpoint=checkpoint.id,
        cell=checkpoint.shape.cell,
        vocabulary=_digest(checkpoint.vocabulary.chars),
        material=material_of(dataset, critic, seed=seed, poems=poems, candidates=candidates),
        held_out="",
        snapshot=checkpoint.report.get("snapshot"),
        size=_size(checkpoint),
    )
    if checkpoint.vocabulary.chars != dataset.vocabulary.chars:
        return report  # The test poems' indices would mean other characters.
    samples = _write(checkpoint, dataset, seed=seed, poems=poems, candidates=candidates)
    written = [sample for sample in samples if sample.poem is not None]
    characters, nats, told = _scored(checkpoint, dataset, scored)
    return replace(
        report,
        characters=characters,
        nats=nats,
        told=told,
        rules=_kept(written, "all"),
        opened=_kept(written, "opening"),
        copied=_copied(written, dataset),
        failed=len(samples) - len(written),
        distinct_2=distinct(map(_lines, written), 2),
        repetition=_mean(repetition(_lines(sample)) for sample in written),
        likeness=_likeness(written),
        odds=_odds(written, checkpoint.vocabulary, critic),
        samples=len(written),
        commonest=_commonest(written),
    )


def ask(
    looked: Report,
    checkpoint: Checkpoint,
    dataset: Dataset,
    held_out: Sequence[Example],
    *,
    candidates: int = USUAL_CANDIDATES,
) -> Report:
    """A report with what is true of this night only: what readers said, and what the machine does.

    Args:
        looked: What is known of the checkpoint.
        checkpoint: What is looked at.
        dataset: The clean corpus, for its openings.
        held_out: Rated poems that training never reads.
        candidates: How many are written for each poem, as in service.
    """
    if checkpoint.vocabulary.chars != dataset.vocabulary.chars:
        return looked
    wins = win_rate(checkpoint, held_out)
    return replace(
        looked,
        held_out=_digest(sorted({one.poem for one in held_out})),
        pairs=wins.pairs,
        win_rate=wins.share,
        liked=wins.liked,
        disliked=wins.disliked,
        surprise=_surprise(checkpoint, held_out, looked),
        poems_per_second=_pace(checkpoint, dataset, candidates),
    )


# --- samples ---------------------------------------------------------------------------------


def _write(
    checkpoint: Checkpoint,
    dataset: Dataset,
    *,
    seed: int,
    poems: int,
    candidates: int = USUAL_CANDIDATES,
) -> list[_Sample]:
    """The samples in the order that they were asked for."""
    writer = Writer(checkpoint, slots=USUAL_SLOTS, candidates=candidates)
    jobs = _jobs(checkpoint, dataset, seed=seed, poems=poems)
    outcomes = writer.write(jobs).values()
    poems_of = [outcome if isinstance(outcome, Poem) else None for outcome in outcomes]
    return [_Sample(job=job, poem=poem) for job, poem in zip(jobs, poems_of, strict=True)]


def _pace(checkpoint: Checkpoint, dataset: Dataset, candidates: int) -> float:
    """Samples a second of processor time, which does not hear of whatever else is running."""
    begun = time.process_time()
    samples = _write(checkpoint, dataset, seed=0, poems=_PACE_POEMS, candidates=candidates)
    return len(samples) / max(time.process_time() - begun, 1e-9)


def _jobs(checkpoint: Checkpoint, dataset: Dataset, *, seed: int, poems: int) -> list[Job]:
    """Of each form other openings, so that there are many."""
    forms = list(FormName)
    each = max(1, poems // (len(forms) * ALIKE))
    heads = openings(dataset, each * len(forms))
    asked = [
        (form, head)
        for number, form in enumerate(forms)
        for head in heads[number :: len(forms)]
        for _ in range(ALIKE)
    ]
    return [
        Job(
            id=str(number),
            client="gate",
            chat="gate",
            form=form,
            cell=checkpoint.shape.cell,
            temperature=USUAL_TEMPERATURE,
            seed=seed * 1_000_003 + number,
            opening=head,
        )
        for number, (form, head) in enumerate(asked)
    ]


def _lines(sample: _Sample) -> tuple[str, ...]:
    return sample.poem.lines if sample.poem is not None else ()


def _kept(samples: Sequence[_Sample], rule: str) -> float | None:
    """The share that keeps a rule, or `all`; None if there are no samples."""
    if not samples:
        return None
    specimens = (
        Specimen(lines=_lines(sample), opening=sample.job.opening, form=sample.job.form)
        for sample in samples
    )
    return rule_rates(specimens)[rule]


def _copied(samples: Sequence[_Sample], dataset: Dataset) -> int:
    """How many lines stand in the corpus, in whichever split."""
    splits = [dataset.select(split, Era) for split in Split]
    known = [KnownLines.of(verses, dataset.vocabulary) for verses in splits if verses]
    lines = [line for sample in samples for line in _lines(sample)]
    return sum(any(part.has_line(line) for part in known) for line in lines)


def _likeness(samples: Iterable[_Sample]) -> float | None:
    """Mean over the groups that share form and opening."""
    groups: defaultdict[tuple[FormName, str], list[tuple[str, ...]]] = defaultdict(list)
    for sample in samples:
        groups[sample.job.form, sample.job.opening].append(_lines(sample))
    return _mean(likeness(group) for group in groups.values() if len(group) > 1)


def _odds(
    samples: Sequence[_Sample], vocabulary: Vocabulary, critic: Mapping[str, Tensor] | None
) -> float | None:
    """Mean log odds of the samples by a critic."""
    if critic is None or len(critic["characters.weight"]) != len(vocabulary):
        return None
    judge = Critic.of(critic)
    groups: defaultdict[FormName, list[tuple[int, ...]]] = defaultdict(list)
    for sample in samples:
        groups[sample.job.form].append(tuple(vocabulary.encode("".join(_lines(sample)))))
    return _mean(odds for form, poems in groups.items() for odds in judge.hear(poems, form)[1])


def _commonest(samples: Sequence[_Sample]) -> dict[str, float]:
    """The share of the samples that hold each character, where it is asked of none of them."""
    counts = Counter(
        char
        for sample in samples
        for char in set("".join(_lines(sample))) - set(sample.job.opening)
    )
    return {char: count / len(samples) for char, count in counts.most_common() if count > 1}


# --- scores ----------------------------------------------------------------------------------


def _scored(
    checkpoint: Checkpoint, dataset: Dataset, known: Report | None
) -> tuple[Sequence[int], Sequence[float], Sequence[float]]:
    """Characters and nats of the test poems, told the form only and told all; or as `known`."""
    if known is not None:
        return known.characters or (), known.nats or (), known.told or ()
    plain = _scores(checkpoint, dataset, told=False)
    return (
        tuple(score.characters for score in plain),
        tuple(score.nats for score in plain),
        tuple(score.nats for score in _scores(checkpoint, dataset, told=True)),
    )


def _scores(checkpoint: Checkpoint, dataset: Dataset, *, told: bool) -> list[Score]:
    """The score of each of the Tang test poems, form by form."""
    model = checkpoint.model()
    tones = tone_labels(checkpoint.vocabulary) if told else None
    return [
        score
        for form, verses in dataset.select(Split.TEST, [Era.TANG]).items()
        for score in score_poems(
            model, form, verses, unknown_types=checkpoint.unknown_types, tones=tones
        )
    ]


def _surprise(checkpoint: Checkpoint, held_out: Sequence[Example], looked: Report) -> float | None:
    """Nats a character of rated poems less those of the test poems; None if there are none."""
    model, vocabulary = checkpoint.model(), checkpoint.vocabulary
    rows: defaultdict[FormName, list[list[int]]] = defaultdict(list)
    for one in {one.poem: one for one in held_out}.values():
        rows[one.form].append(vocabulary.encode("".join(one.lines)))
    nats, characters = 0.0, 0
    for form, part in rows.items():
        verses = verses_of(form, np.array(part, dtype=np.uint16), vocabulary)
        ours = verses.tokens != UNKNOWN  # what a person gave says nothing of the model
        nats += float(nats_of(model, form, verses)[ours].sum())
        characters += int(ours.sum())
    if not characters or not looked.nats or not looked.characters:
        return None
    return nats / characters - sum(looked.nats) / sum(looked.characters)


# --- the rest --------------------------------------------------------------------------------


def _size(checkpoint: Checkpoint) -> int:
    """Bytes: two for each number, tradition and wear as they are packed."""
    of = checkpoint
    parts = (of.weights, of.critic, of.theme, of.preference)
    numbers = sum(p.numel() for part in parts if part is not None for p in part.values())
    worn = 0 if of.wear is None else len(of.wear.to_bytes())
    return 2 * numbers + len(of.tradition.to_bytes()) + worn


def material_of(
    dataset: Dataset,
    critic: Mapping[str, Tensor] | None,
    *,
    seed: int,
    poems: int,
    candidates: int = USUAL_CANDIDATES,
) -> str:
    """A digest of what a checkpoint is looked at with; only looks with the same compare."""
    weights = [] if critic is None else [critic[name].numpy().tobytes() for name in sorted(critic)]
    return _digest([dataset.fingerprint, f"{seed}/{poems}/{candidates}", *weights])


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    known = list(values)
    return fmean(known) if known else None
