"""The corpus: fetched, cleaned, freed of duplicates, and split once and for all.

Source: `chinese-poetry/chinese-poetry` (MIT), folder 全唐诗, at one pinned commit; the sha256 of
every file stands in `corpus.sha256` beside this module. Poems in the four forms are kept; texts
with gaps, notes or foreign signs are left out; glyphs are folded (`engine.verse.script.fold`).
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from itertools import combinations
from pathlib import Path

import pooch

from engine.verse.forms import Form, form_of
from engine.verse.script import fold, is_han, simplified

COMMIT = "99ebbef7e1345c0985c44b9fd96a3f9e776f117b"
SOURCE = f"https://raw.githubusercontent.com/chinese-poetry/chinese-poetry/{COMMIT}/"
FOLDER = "全唐诗"

_LINE_END = re.compile("[，。！？；：、]")


class CorpusError(RuntimeError):
    """The corpus cannot be had or read."""


class Era(StrEnum):
    """Whose poems: the verse Yuefu learns to write, and the larger body it learns from first."""

    TANG = "tang"
    SONG = "song"


class Split(StrEnum):
    """What a poem is for. Derived from the poem itself, so it never changes."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


@dataclass(frozen=True, kw_only=True)
class CorpusPoem:
    """One clean poem of the corpus."""

    era: Era
    """Tang or Song."""
    form: Form
    """Its form."""
    lines: tuple[str, ...]
    """Its lines, folded, without punctuation."""

    @property
    def text(self) -> str:
        """The characters of the poem, punctuation left out."""
        return "".join(self.lines)

    @property
    def id(self) -> str:
        """16 hex digits of the sha256 of its text in simplified script.

        Simplified, so that a better folding of variant glyphs moves no poem to another split.
        """
        return hashlib.sha256(simplified(self.text).encode()).hexdigest()[:16]

    @property
    def split(self) -> Split:
        """Test for 3 poems in 100, dev for 2, else train, by the poem's id."""
        bucket = int(self.id, 16) % 100
        if bucket < 3:
            return Split.TEST
        return Split.DEV if bucket < 5 else Split.TRAIN


@dataclass
class Census:
    """What became of the poems that were read."""

    counts: Counter[tuple[Era, str]] = field(default_factory=Counter)
    """Poems by era and by what became of them: a form's name, or why they were left out."""

    def note(self, era: Era, fate: str) -> None:
        """Count one poem."""
        self.counts[era, fate] += 1


def checksums() -> dict[str, str]:
    """The pinned sha256 of every corpus file, by its path in the repository."""
    text = resources.files("trainer").joinpath("corpus.sha256").read_text(encoding="utf-8")
    return {path: digest for digest, path in (line.split("  ", 1) for line in text.splitlines())}


def available(source: Path | None) -> dict[str, str]:
    """The checksums of the files that can be had: all, or those that the folder `source` has.

    Raises:
        CorpusError: `source` has none.
    """
    known = checksums()
    if source is not None:
        known = {path: digest for path, digest in known.items() if (source / path).is_file()}
        if not known:
            raise CorpusError(f"{source} holds no corpus file; it should contain {FOLDER}")
    return known


def fetch(
    target: Path, known: Mapping[str, str], *, mirror: str | None = None, source: Path | None = None
) -> Iterator[str]:
    """Bring the files of `known` to `target`, verified; yields the path of each that is there.

    Files that are there already and intact are left alone, so a broken download goes on where it
    stopped. With `source` they are copied from that folder.

    Raises:
        CorpusError: a file does not have the pinned checksum, or cannot be downloaded.
    """
    keeper = pooch.create(
        path=target,
        base_url=(mirror.rstrip("/") + "/") if mirror else SOURCE,
        registry={path: f"sha256:{digest}" for path, digest in known.items()},
    )
    pooch.get_logger().setLevel("WARNING")
    for path in known:
        _bring(keeper, path, source)
        yield path


def _bring(keeper: pooch.Pooch, path: str, source: Path | None) -> None:
    """Fetch one file through pooch, which downloads to a temporary file and verifies it."""
    downloader = pooch.HTTPDownloader(timeout=60) if source is None else _copier(source / path)
    try:
        keeper.fetch(path, downloader=downloader)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: {error}") from error


def _copier(origin: Path) -> "pooch.typing.Downloader":
    def copy(_url: str, output: str, _pooch: pooch.Pooch | None) -> None:
        Path(output).write_bytes(origin.read_bytes())

    return copy


def files_of(folder: Path, era: Era) -> list[Path]:
    """The corpus files of one era under `folder`, in the order of their numbers.

    Raises:
        CorpusError: there are none.
    """
    found = sorted(
        (folder / FOLDER).glob(f"poet.{era}.*.json"), key=lambda path: int(path.name.split(".")[2])
    )
    if not found:
        raise CorpusError(
            f"no {era} poems in {folder}: run «python -m trainer corpus fetch», "
            "or point YUEFU_CORPUS at the folder that holds 全唐诗"
        )
    return found


def clean(paragraphs: Sequence[str]) -> tuple[Form, tuple[str, ...]] | str:
    """The form and folded lines of one text, or in a word why it is left out."""
    text = "".join(paragraphs)
    lines = tuple(line for line in _LINE_END.split(text) if line)
    if not lines or len({len(line) for line in lines}) != 1:
        return "other"
    form = form_of(len(lines), len(lines[0]))
    if form is None:
        return "other"
    if not all(is_han(char) for line in lines for char in line):
        return "dirty"
    return form, tuple("".join(map(fold, line)) for line in lines)


def read_file(path: Path, era: Era, census: Census | None = None) -> Iterator[CorpusPoem]:
    """Every clean poem of one corpus file.

    Raises:
        CorpusError: the file is not a JSON list of poems.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        texts = [entry["paragraphs"] for entry in entries]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path} is not a corpus file: {error}") from error
    for paragraphs in texts:
        kept = clean(paragraphs)
        if census is not None:
            census.note(era, kept if isinstance(kept, str) else kept[0].name)
        if not isinstance(kept, str):
            yield CorpusPoem(era=era, form=kept[0], lines=kept[1])


def read(folder: Path, census: Census | None = None) -> Iterator[CorpusPoem]:
    """Every clean poem under `folder`, Tang first."""
    for era in Era:
        for path in files_of(folder, era):
            yield from read_file(path, era, census)


def without_duplicates(
    poems: Iterable[CorpusPoem], census: Census | None = None
) -> list[CorpusPoem]:
    """One poem of each cluster: the first in order.

    Poems that share two or more lines, or half of their lines, are one cluster, as are poems
    linked by others: the same poem under two names, a jueju cut from a lushi.
    """
    ordered = list(poems)
    leader = _clusters(ordered)
    kept: list[CorpusPoem] = []
    for index, poem in enumerate(ordered):
        if leader[index] == index:
            kept.append(poem)
        elif census is not None:
            census.note(poem.era, "duplicate")
    return kept


def _clusters(poems: Sequence[CorpusPoem]) -> list[int]:
    """For each poem, the index of the first poem of its cluster (union by smallest index)."""
    leader = list(range(len(poems)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for first, second in _alike(poems):
        low, high = sorted((find(first), find(second)))
        leader[high] = low
    return [find(index) for index in range(len(poems))]


def _alike(poems: Sequence[CorpusPoem]) -> Iterator[tuple[int, int]]:
    """Pairs of poems that share at least two lines, which is half of the shortest form."""
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for index, poem in enumerate(poems):
        for line in dict.fromkeys(poem.lines):
            holders[line].append(index)
    shared: Counter[tuple[int, int]] = Counter()
    for indices in holders.values():
        shared.update(combinations(indices, 2))
    return (pair for pair, count in shared.items() if count >= 2)
