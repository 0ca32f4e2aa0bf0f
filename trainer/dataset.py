"""The corpus as arrays: what training and evaluation read.

A pack is one `.npz` file of some 15 MB: the vocabulary, the poems of each form as one array of
indices, their era, split and rhyme group, and what poets chose how often (`Priors`). It needs
neither the corpus nor the rhyme dictionary, so it can be carried to a machine with a GPU.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from engine.checkpoint import priors_from_json
from engine.verse.forms import FORMS, FormName
from engine.verse.plan import Priors
from engine.verse.templates import LineKind, Template, mismatches, patterns, templates
from engine.verse.tones import Readings
from engine.vocabulary import RHYME_INDEX, UNKNOWN, Vocabulary
from trainer.corpus import CorpusPoem, Era, Split, read, without_duplicates

MIN_COUNT = 5
"""A character must stand this often in the training split to enter the vocabulary."""

Indices = npt.NDArray[np.uint16]


class DatasetError(ValueError):
    """A pack cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Verses:
    """The poems of one form, era and split."""

    tokens: Indices
    """Character indices, (N, T)."""
    rhymes: npt.NDArray[np.uint8]
    """Each poem's rhyme group as in `RHYME_INDEX`, 0 where it has none or it is in doubt, (N,)."""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Everything that training needs to know of the corpus."""

    vocabulary: Vocabulary
    """The characters a model will know."""
    unknown_types: int
    """How many characters of the corpus the vocabulary lacks."""
    priors: Mapping[FormName, Priors]
    """What Tang poets chose how often, by form."""
    verses: Mapping[tuple[FormName, Era, Split], Verses]
    """The poems."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ if anything in the dataset does."""
        digest = hashlib.sha256("".join(self.vocabulary.chars).encode())
        for key in sorted(self.verses):
            digest.update("/".join(key).encode() + self.verses[key].tokens.tobytes())
        return digest.hexdigest()[:16]

    def select(self, split: Split, eras: Iterable[Era]) -> dict[FormName, Verses]:
        """The poems of a split and of some eras, by form; forms without poems are left out."""
        wanted = list(eras)
        chosen: dict[FormName, Verses] = {}
        for form in FormName:
            parts = [self.verses[form, era, split] for era in wanted]
            if sum(map(len, parts)):
                chosen[form] = Verses(
                    tokens=np.concatenate([part.tokens for part in parts]),
                    rhymes=np.concatenate([part.rhymes for part in parts]),
                )
        return chosen

    def save(self, path: Path) -> None:
        """Write the dataset to one `.npz` file."""
        contents: dict[str, npt.NDArray[Any]] = {}
        for key, part in self.verses.items():
            contents["/".join((*key, "tokens"))] = part.tokens
            contents["/".join((*key, "rhymes"))] = part.rhymes
        meta = {
            "chars": "".join(self.vocabulary.chars[1:]),
            "unknown_types": self.unknown_types,
            "priors": {form: asdict(priors) for form, priors in self.priors.items()},
        }
        contents["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **contents)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DatasetError: the file is missing, damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as contents:
                meta = json.loads(contents["meta"].tobytes())
                verses = {
                    (form, era, split): Verses(
                        tokens=contents[f"{form}/{era}/{split}/tokens"],
                        rhymes=contents[f"{form}/{era}/{split}/rhymes"],
                    )
                    for form in FormName
                    for era in Era
                    for split in Split
                }
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"{path} is not a dataset: {error}") from error
        return cls(
            vocabulary=Vocabulary(meta["chars"]),
            unknown_types=meta["unknown_types"],
            priors=priors_from_json(meta["priors"]),
            verses=verses,
        )


def find(folder: Path, pack: Path | None = None) -> Dataset:
    """The dataset in a file of `corpus pack`, or else that of the corpus in `folder`."""
    if pack is not None:
        return Dataset.load(pack)
    return build(without_duplicates(read(folder)))


def build(poems: Sequence[CorpusPoem], *, min_count: int = MIN_COUNT) -> Dataset:
    """Make a dataset of clean poems; the vocabulary and the priors come from the training split."""
    train = [poem for poem in poems if poem.split is Split.TRAIN]
    counts = Counter(char for poem in train for char in poem.text)
    ranked = sorted(counts, key=lambda char: (-counts[char], char))
    vocabulary = Vocabulary(char for char in ranked if counts[char] >= min_count)
    types = {char for poem in poems for char in poem.text}
    return Dataset(
        vocabulary=vocabulary,
        unknown_types=len(types) + 1 - len(vocabulary),
        priors={form: _priors(form, train, vocabulary) for form in FormName},
        verses=_by_split(poems, vocabulary),
    )


def openings(dataset: Dataset, count: int) -> list[str]:
    """The commonest first characters of the Tang training poems, commonest first."""
    seen: Counter[int] = Counter()
    for part in dataset.select(Split.TRAIN, [Era.TANG]).values():
        seen.update(part.tokens[:, 0].tolist())
    del seen[UNKNOWN]
    ranked = sorted(seen, key=lambda index: (-seen[index], index))
    return [dataset.vocabulary.chars[index] for index in ranked[:count]]


def arrays(poems: Iterable[CorpusPoem], vocabulary: Vocabulary) -> dict[FormName, Verses]:
    """Poems as arrays of indices, by form; forms without poems are left out."""
    rows: defaultdict[FormName, list[list[int]]] = defaultdict(list)
    for poem in poems:
        rows[poem.form.name].append(vocabulary.encode(poem.text))
    return {
        form: verses_of(form, np.array(part, dtype=np.uint16), vocabulary)
        for form, part in rows.items()
    }


def verses_of(form: FormName, tokens: Indices, vocabulary: Vocabulary) -> Verses:
    """Poems of one form, given as indices (N, T), with the rhyme group of each."""
    line_length = FORMS[form].line_length
    ends = tokens[:, line_length - 1 :: line_length]
    return Verses(tokens=tokens, rhymes=_rhyme_groups(_rhyme_bits(vocabulary)[ends]))


def _by_split(
    poems: Sequence[CorpusPoem], vocabulary: Vocabulary
) -> dict[tuple[FormName, Era, Split], Verses]:
    """Every combination of form, era and split, also those without poems."""
    groups: defaultdict[tuple[Era, Split], list[CorpusPoem]] = defaultdict(list)
    for poem in poems:
        groups[poem.era, poem.split].append(poem)
    found: dict[tuple[FormName, Era, Split], Verses] = {}
    for era, split in product(Era, Split):
        made = arrays(groups[era, split], vocabulary)
        for form in FormName:
            found[form, era, split] = made.get(form, _no_verses(form))
    return found


def _no_verses(form: FormName) -> Verses:
    return Verses(
        tokens=np.zeros((0, FORMS[form].length), dtype=np.uint16),
        rhymes=np.zeros(0, dtype=np.uint8),
    )


def _rhyme_bits(vocabulary: Vocabulary) -> npt.NDArray[np.uint32]:
    """The rhyme groups of each index as bits, bit g for row g of the rhyme table, (V,)."""
    weights = np.uint32(1) << np.arange(len(RHYME_INDEX), dtype=np.uint32)
    bits: npt.NDArray[np.uint32] = (vocabulary.rhyme_table.T * weights).sum(axis=1, dtype=np.uint32)
    return bits


def _rhyme_groups(ends: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """The group of each poem from the bits of its line ends, (N, lines) to (N,).

    Every second line rhymes; the first line is heard only to decide between several groups.
    """
    common = np.bitwise_and.reduce(ends[:, 1::2], axis=1)
    with_first = common & ends[:, 0]
    common = np.where(with_first != 0, with_first, common)
    single = (common != 0) & (common & (common - np.uint32(1)) == 0)
    return np.where(single, np.log2(np.maximum(common, 1)), 0).astype(np.uint8)


def _priors(form: FormName, train: Sequence[CorpusPoem], vocabulary: Vocabulary) -> Priors:
    """Count the choices of the Tang poems that keep a template."""
    openings: Counter[str] = Counter()
    rhymes: Counter[str] = Counter()
    chosen = {kind: [0] * len(patterns(kind, FORMS[form].line_length)) for kind in LineKind}
    for poem in train:
        if poem.era is not Era.TANG or poem.form.name is not form:
            continue
        read = [[vocabulary.readings[vocabulary.index(c)] for c in line] for line in poem.lines]
        for template, group in _kept(form, read):
            openings[template.kinds[0]] += 1
            rhymes[group] += 1
            for kind, line in zip(template.kinds, read, strict=True):
                chosen[kind][_first_pattern(kind, line)] += 1
    return Priors(
        openings=dict(openings),
        patterns={kind.value: tuple(map(float, counts)) for kind, counts in chosen.items()},
        rhymes=dict(rhymes),
    )


def _kept(form: FormName, read: Sequence[Sequence[Readings]]) -> Iterator[tuple[Template, str]]:
    """The first template and group that a poem keeps, if it keeps one."""
    for template in templates(form):
        ends = [read[index][-1].rhymes for index in template.rhyming_lines]
        groups = frozenset.intersection(*ends)
        fits = all(
            any(not mismatches(pattern, line) for pattern in patterns(kind, len(line)))
            for kind, line in zip(template.kinds, read, strict=True)
        )
        if fits and groups:
            yield template, min(groups)
            return


def _first_pattern(kind: LineKind, line: Sequence[Readings]) -> int:
    return next(
        order
        for order, pattern in enumerate(patterns(kind, len(line)))
        if not mismatches(pattern, line)
    )
