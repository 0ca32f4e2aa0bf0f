"""What is measured, one function a figure: each takes a `Bench` and plain values, and returns JSON.

Nothing here prints or remembers; `benchmarks.figures` does the second, `benchmarks.report` the
first.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from benchmarks import course, ours
from benchmarks.ngram import NGram
from benchmarks.ours import Ask
from benchmarks.poems import Lines, first_of_each_form, poems, shuffled
from benchmarks.recital import Manner, recite
from engine.checkpoint import load
from engine.jobs import USUAL_TEMPERATURE, Poem
from engine.verse.checker import check, split_lines
from engine.verse.forms import FORMS, FormName, cut_lines
from engine.verse.frame import acrostic_frame, readings_of
from engine.verse.plan import admits
from engine.vocabulary import UNKNOWN, UNKNOWN_MARK
from trainer.corpus import Era, Split
from trainer.dataset import Dataset, Indices, Verses, openings
from trainer.evaluate import Score, score_forms, tone_labels, total
from trainer.metrics import (
    Association,
    KnownLines,
    Specimen,
    bleu,
    distinct,
    likeness,
    novelty,
    repetition,
    rule_rates,
)

Figures = dict[str, Any]
Measure = Callable[..., Figures]

SAMPLE = 200
"""Poems in a sample: 50 of each form, where a form can be asked for."""
OPENINGS, SAME_OPENING, SEARCHED = 10, 20, 4
"""For same-opening likeness: how many openings, and how many poems of each; of searched ones, which
cost more and differ by their plan only, fewer."""
_CONTINUED = (1, 3)  # BLEU: the lines that close the first and the second couplet


@dataclass(frozen=True)
class Bench:
    """The poems that all is measured with, and what is counted in them once."""

    pack: Path
    """A file of `corpus pack`."""

    @cached_property
    def dataset(self) -> Dataset:
        """The poems."""
        return Dataset.load(self.pack)

    @cached_property
    def test(self) -> dict[FormName, Verses]:
        """The frozen test poems: Tang, by form."""
        return self.dataset.select(Split.TEST, [Era.TANG])

    @cached_property
    def known(self) -> KnownLines:
        """The lines of the training poems, Tang and Song."""
        return KnownLines.of(self.dataset.select(Split.TRAIN, Era), self.dataset.vocabulary)

    @cached_property
    def association(self) -> Association:
        """What stands together in the training poems, Tang and Song."""
        train = self.dataset.select(Split.TRAIN, Era)
        return Association(train.values(), self.dataset.vocabulary)


# --- perplexity -----------------------------------------------------------------------------


def ngram_perplexity(bench: Bench, *, eras: Sequence[str]) -> Figures:
    """The 5-gram's perplexity, trained on the poems of some eras."""
    data = bench.dataset
    model = NGram(data.select(Split.TRAIN, map(Era, eras)), len(data.vocabulary))
    return _perplexities(
        {
            form: model.score(form, part, unknown_types=data.unknown_types)
            for form, part in bench.test.items()
        }
    )


def course_perplexity(bench: Bench, *, folder: str, weights: str) -> Figures:
    """The course model's perplexity."""
    del weights  # says which weights the figures belong to
    data = bench.dataset
    model = course.load(Path(folder), data)
    scores = {
        form: course.score(model, form, part, unknown_types=data.unknown_types)
        for form, part in bench.test.items()
    }
    parameters = sum(p.numel() for p in model.parameters())
    return {**_perplexities(scores), "parameters": parameters}


def our_perplexity(bench: Bench, *, checkpoint: str) -> Figures:
    """A checkpoint's perplexity, told the form only, and told tones and rhyme."""
    loaded = load(Path(checkpoint))
    model, types = loaded.model(), loaded.unknown_types
    labels = tone_labels(loaded.vocabulary)
    plain = score_forms(model, bench.test, unknown_types=types)
    told = score_forms(model, bench.test, unknown_types=types, tones=labels)
    parameters = sum(p.numel() for p in model.parameters())
    return {
        **_perplexities(plain),
        "told": total(told).perplexity,
        "parameters": parameters,
        "cell": loaded.shape.cell,
    }


def joint_perplexity(bench: Bench, *, checkpoints: Sequence[str]) -> Figures:
    """The perplexity of the mean of several checkpoints' probabilities."""
    loaded = [load(Path(name)) for name in checkpoints]
    plain, told = (
        {
            form: ours.score_together(loaded, form, part, told=told)
            for form, part in bench.test.items()
        }
        for told in (False, True)
    )
    return {**_perplexities(plain), "told": total(told).perplexity}


def _perplexities(scores: Mapping[FormName, Score]) -> Figures:
    whole = total(scores)
    return {
        "perplexity": whole.perplexity,
        "characters": whole.characters,
        "unknown": whole.unknown,
        "by_form": {form: score.perplexity for form, score in scores.items()},
    }


# --- the rules ------------------------------------------------------------------------------


def tang_by_the_checker(bench: Bench, *, form: str) -> Figures:
    """What the checker says of all Tang poems of a form, and of the same poems shuffled."""
    random = Random(0)
    found = [
        lines
        for split in Split
        for _, lines in poems(
            bench.dataset,
            {FormName(form): bench.dataset.verses[FormName(form), Era.TANG, split]},
        )
    ]
    return {
        "poems": len(found),
        "real": rule_rates(Specimen(lines=lines) for lines in found),
        "shuffled": rule_rates(Specimen(lines=shuffled(lines, random)) for lines in found),
    }


def our_rules(
    bench: Bench, *, checkpoint: str, form: str, count: int, candidates: int, engine: str
) -> Figures:
    """What the checker says of poems by a checkpoint, and whether they copy.

    Poem k begins with a character of the 3,000 commonest, evenly spread, and has seed k. It is the
    best of its candidates by the engine's choice.
    """
    del engine  # says which engine the figures belong to
    loaded = load(Path(checkpoint))
    heads = [char for char in loaded.vocabulary.chars[1:3001] if char != UNKNOWN_MARK]
    step = max(1, len(heads) // count)
    asks = [
        Ask(form=FormName(form), opening=heads[number * step % len(heads)], seed=number)
        for number in range(count)
    ]
    outcomes = ours.write(loaded, asks, temperature=USUAL_TEMPERATURE, candidates=candidates)
    written = [(ask, poem) for ask, poem in zip(asks, outcomes, strict=True) if poem is not None]
    rates = rule_rates(
        Specimen(lines=poem.lines, opening=ask.opening, form=ask.form) for ask, poem in written
    )
    copied = sum(any(map(bench.known.has_line, poem.lines)) for _, poem in written)
    return {
        "cell": loaded.shape.cell,
        "poems": len(written),
        "refused": count - len(written),
        "rates": rates,
        "copied": copied,
        "unknown": sum(UNKNOWN_MARK in poem.text for _, poem in written),
    }


def our_acrostics(bench: Bench, *, checkpoint: str, form: str, count: int, engine: str) -> Figures:
    """Acrostics whose heads are drawn from the 3,000 commonest characters, seed k for poem k.

    Asks that no template admits are left out: people are told so before anything is written.
    """
    del bench, engine
    loaded, name = load(Path(checkpoint)), FormName(form)
    chars = [char for char in loaded.vocabulary.chars[1:3001] if char != UNKNOWN_MARK]
    chance = Random(0)
    asks: list[Ask] = []
    while len(asks) < count:
        heads = "".join(chance.sample(chars, FORMS[name].lines))
        if admits(name, readings_of(acrostic_frame(name, heads)), rhyme=None):
            asks.append(Ask(form=name, heads=heads, seed=len(asks)))
    written = ours.write(loaded, asks, temperature=USUAL_TEMPERATURE, candidates=1)
    poems = [(ask, poem) for ask, poem in zip(asks, written, strict=True) if poem is not None]
    right = sum("".join(line[0] for line in poem.lines) == ask.heads for ask, poem in poems)
    return {
        "poems": len(poems),
        "refused": count - len(poems),
        "heads": right / len(poems),
        "all": sum(check(poem.lines).ok for _, poem in poems) / len(poems),
    }


# --- samples --------------------------------------------------------------------------------


def tang_sample(bench: Bench) -> Figures:
    """The sample metrics over real Tang poems of the test split."""
    found = first_of_each_form(bench.dataset, bench.test, SAMPLE // len(FORMS))
    train = {FormName.QIJUE: bench.dataset.verses[FormName.QIJUE, Era.TANG, Split.TRAIN]}
    jueju = [lines for _, lines in poems(bench.dataset, train)]
    same = [
        [lines for lines in jueju if lines[0][0] == head][:SAME_OPENING]
        for head in openings(bench.dataset, OPENINGS)
    ]
    return _sample(bench, [Specimen(lines=lines, opening=lines[0][0]) for lines in found], same)


def course_sample(bench: Bench, *, folder: str, weights: str, manner: Mapping[str, Any]) -> Figures:
    """The sample metrics over poems of the course model, written in one manner."""
    del weights
    chosen = Manner(**manner)
    model, vocabulary = course.load(Path(folder), bench.dataset), bench.dataset.vocabulary
    heads = openings(bench.dataset, SAMPLE)
    found = map(split_lines, recite(model, vocabulary, heads, chosen, seed=1))
    # Without chance one poem an opening is all there is; written again, it is the same.
    repeats = SAME_OPENING if chosen.by_chance else 1
    again = [head for head in heads[:OPENINGS] for _ in range(repeats)]
    texts = [split_lines(text) for text in recite(model, vocabulary, again, chosen, seed=2)]
    same = [
        texts[first : first + repeats] * (SAME_OPENING // repeats)
        for first in range(0, len(texts), repeats)
    ]
    specimens = [
        Specimen(lines=lines, opening=head) for head, lines in zip(heads, found, strict=True)
    ]
    return _sample(bench, specimens, same)


def our_sample(
    bench: Bench, *, checkpoint: str, temperature: float, candidates: int, engine: str
) -> Figures:
    """The sample metrics over poems of a checkpoint."""
    del engine
    loaded = load(Path(checkpoint))

    def write(asks: Sequence[Ask]) -> list[Poem | None]:
        return ours.write(loaded, asks, temperature=temperature, candidates=candidates)

    return _our_sample(bench, write)


def our_search_sample(bench: Bench, *, checkpoint: str, beams: int, engine: str) -> Figures:
    """The sample metrics over the likeliest poems of a checkpoint, one plan a poem."""
    del engine
    loaded = load(Path(checkpoint))
    return _our_sample(bench, lambda asks: ours.search(loaded, asks, beams=beams), SEARCHED)


def _our_sample(
    bench: Bench,
    write: Callable[[Sequence[Ask]], list[Poem | None]],
    same_opening: int = SAME_OPENING,
) -> Figures:
    forms = list(FormName)
    heads = openings(bench.dataset, SAMPLE)
    asks = [
        Ask(form=forms[number % len(forms)], opening=head, seed=number)
        for number, head in enumerate(heads)
    ]
    again = [
        Ask(form=FormName.QIJUE, opening=head, seed=1000 + number)
        for head in heads[:OPENINGS]
        for number in range(same_opening)
    ]
    written = write([*asks, *again])
    specimens = [
        Specimen(lines=poem.lines, opening=ask.opening, form=ask.form)
        for ask, poem in zip(asks, written, strict=False)
        if poem is not None
    ]
    rest = written[len(asks) :]
    same = [
        [poem.lines for poem in rest[first : first + same_opening] if poem is not None]
        for first in range(0, len(rest), same_opening)
    ]
    mean = fmean(_nats(poem) for poem in written if poem is not None)
    return {**_sample(bench, specimens, same), "nats": mean}


def _nats(poem: Poem) -> float:
    """The mean negative log probability that the model gave the characters it wrote."""
    return -poem.logprob / len("".join(poem.lines))


def _sample(
    bench: Bench, specimens: Sequence[Specimen], same_opening: Sequence[Sequence[Lines]]
) -> Figures:
    found = [specimen.lines for specimen in specimens if any(specimen.lines)]
    exchanged = [
        (other[0][0] + lines[0][1:], *lines[1:])
        for lines, other in zip(found, found[1:] + found[:1], strict=True)
    ]
    return {
        "poems": len(specimens),
        "characters": sum(len("".join(lines)) for lines in found),
        "rates": rule_rates(specimens),
        "repetition": fmean(map(repetition, found)),
        "distinct_1": distinct(found, 1),
        "distinct_2": distinct(found, 2),
        "likeness": _mean(map(likeness, same_opening)),
        **asdict(novelty(found, bench.known)),
        "relevance": _relevance(bench, found),
        "relevance_by_chance": _relevance(bench, exchanged),
    }


def _relevance(bench: Bench, found: Iterable[Lines]) -> float:
    """Mean relevance of the poems to their first characters, where it can be told."""
    return _mean(bench.association.relevance(lines, lines[0][0]) for lines in found)


def _mean(values: Iterable[float]) -> float:
    """The mean of those that are numbers."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


# --- poems to read --------------------------------------------------------------------------


def our_poems(bench: Bench, *, checkpoint: str, candidates: int, engine: str) -> Figures:
    """Ten poems of each form, as usual: poem k has seed k and begins with the k-th opening."""
    del engine
    heads = openings(bench.dataset, OPENINGS)
    asks = [
        Ask(form=form, opening=head, seed=seed)
        for form in FormName
        for seed, head in enumerate(heads, start=1)
    ]
    loaded = load(Path(checkpoint))
    outcomes = ours.write(loaded, asks, temperature=USUAL_TEMPERATURE, candidates=candidates)
    return {
        "openings": heads,
        "poems": [
            {"form": ask.form, "seed": ask.seed, "text": poem.text if poem else ""}
            for ask, poem in zip(asks, outcomes, strict=True)
        ],
    }


def course_poems(bench: Bench, *, folder: str, weights: str) -> Figures:
    """Ten poems of the course model, at the usual temperature, with the same openings."""
    del weights
    model, vocabulary = course.load(Path(folder), bench.dataset), bench.dataset.vocabulary
    heads = openings(bench.dataset, OPENINGS)
    texts = recite(model, vocabulary, heads, Manner(temperature=USUAL_TEMPERATURE), seed=1)
    return {"openings": heads, "poems": texts}


# --- the next line --------------------------------------------------------------------------


def course_next_line(bench: Bench, *, folder: str, weights: str) -> Figures:
    """BLEU of the course model's likeliest next line."""
    del weights
    model = course.load(Path(folder), bench.dataset)
    return _next_line(bench, lambda *place: course.next_lines(model, *place))


def our_next_line(bench: Bench, *, checkpoint: str) -> Figures:
    """BLEU of a checkpoint's likeliest next line, told the form only."""
    loaded = load(Path(checkpoint))
    model = loaded.model()
    figures = _next_line(bench, lambda *place: ours.next_lines(model, *place))
    return {**figures, "cell": loaded.shape.cell}


def tang_next_line(bench: Bench) -> Figures:
    """BLEU of the same line of another poem of the form: what chance gives."""

    def of_the_poem_before(form: FormName, tokens: Indices, line: int) -> Tensor:
        length = FORMS[form].line_length
        lines = torch.from_numpy(tokens.astype("int64"))[:, line * length : (line + 1) * length]
        return lines.roll(1, dims=0)

    return _next_line(bench, of_the_poem_before)


def _next_line(bench: Bench, write: Callable[[FormName, Indices, int], Tensor]) -> Figures:
    """BLEU-1 to 4 of what `write` gives for lines 2 and 4 of the test poems, all before given."""
    pairs: list[tuple[str, str]] = []
    chars = bench.dataset.vocabulary.chars
    for form, part in bench.test.items():
        length = FORMS[form].line_length
        tokens = part.tokens[(part.tokens != UNKNOWN).all(axis=1)]
        real = ["".join(chars[index] for index in row) for row in tokens.tolist()]
        for line in _CONTINUED:
            written = write(form, tokens, line).tolist()
            pairs += [
                (
                    "".join(chars[index] for index in row),
                    cut_lines(poem, length)[line],
                )
                for row, poem in zip(written, real, strict=True)
            ]
    return {"lines": len(pairs), **{f"bleu_{n}": bleu(pairs, n) for n in (1, 2, 3, 4)}}
