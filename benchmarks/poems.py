"""The poems and openings that every system is measured on: fixed by rule, never picked."""

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

from engine.verse.forms import FORMS, FormName, cut_lines
from engine.vocabulary import UNKNOWN
from trainer.dataset import Dataset, Verses

Lines = tuple[str, ...]


def poems(dataset: Dataset, verses: Mapping[FormName, Verses]) -> Iterator[tuple[FormName, Lines]]:
    """The poems of some verses, but those with a character that the vocabulary lacks."""
    for form, part in verses.items():
        for row in part.tokens[(part.tokens != UNKNOWN).all(axis=1)].tolist():
            yield form, cut_lines(dataset.vocabulary.decode(row), FORMS[form].line_length)


def first_of_each_form(
    dataset: Dataset, verses: Mapping[FormName, Verses], count: int
) -> list[Lines]:
    """The first `count` poems of each form."""
    taken: Counter[FormName] = Counter()
    found: list[Lines] = []
    for form, lines in poems(dataset, verses):
        taken[form] += 1
        if taken[form] <= count:
            found.append(lines)
    return found


def shuffled(lines: Lines, random: Random) -> Lines:
    """The same characters in another order, in lines of the same length."""
    text = "".join(lines)
    mixed = "".join(random.sample(text, len(text)))
    return cut_lines(mixed, len(lines[0]))
