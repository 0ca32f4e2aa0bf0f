"""The characters a model knows, and what each may stand for in verse.

Index 0 is `<unk>`, every character outside; the others stand in order of falling frequency, so
the smaller index is the commoner character. One further index, `start`, is only ever read by a
model: it stands before the first character and above the first line.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from engine.verse.rhymes import RHYME_GROUPS
from engine.verse.script import fold, traditional
from engine.verse.tones import Readings, Tone, readings

UNKNOWN = 0
UNKNOWN_MARK = "<unk>"

TONE_INDEX: dict[Tone | None, int] = {None: 0, Tone.LEVEL: 1, Tone.OBLIQUE: 2}
"""How a wanted tone class is told to a model; 0 is "either, or not told"."""
RHYME_INDEX: dict[str | None, int] = {
    None: 0,
    **{group: order + 1 for order, group in enumerate(RHYME_GROUPS)},
}
"""How a rhyme group is told to a model; 0 is "not told"."""


class VocabularyError(ValueError):
    """A vocabulary file is not one."""


class Vocabulary:
    """An immutable list of folded characters with their indices."""

    def __init__(self, chars: Iterable[str]) -> None:
        self.chars: tuple[str, ...] = (UNKNOWN_MARK, *chars)
        self._index = {char: index for index, char in enumerate(self.chars)}
        if len(self._index) != len(self.chars):
            raise VocabularyError("a character stands twice in the vocabulary")

    def __len__(self) -> int:
        """How many indices a model can write, `<unk>` included: V."""
        return len(self.chars)

    @property
    def start(self) -> int:
        """The index read before the first character."""
        return len(self.chars)

    def index(self, char: str) -> int:
        """The index of a glyph of the corpus, folded; `UNKNOWN` if it is not known."""
        return self._index.get(fold(char), UNKNOWN)

    def index_as_typed(self, char: str) -> int:
        """The index of a glyph that a person typed, in either script: the commonest candidate."""
        known = [self._index[option] for option in traditional(char) if option in self._index]
        return min(known, default=UNKNOWN)

    def encode(self, text: str) -> list[int]:
        """The indices of a text of the corpus."""
        return [self.index(char) for char in text]

    def decode(self, indices: Sequence[int]) -> str:
        """The characters of `indices`; IndexError for one that the vocabulary lacks."""
        return "".join(self.chars[index] for index in indices)

    @cached_property
    def readings(self) -> tuple[Readings, ...]:
        """The readings of every index; those of `<unk>` are not known."""
        return tuple(readings(char) if len(char) == 1 else readings("") for char in self.chars)

    @cached_property
    def tone_table(self) -> npt.NDArray[np.bool_]:
        """Which characters may stand where a tone is wanted, (3, V), rows as in `TONE_INDEX`.

        `<unk>` and characters whose readings are not known may stand nowhere: a poem must be
        sure of what it writes.
        """
        table = np.zeros((len(TONE_INDEX), len(self)), dtype=np.bool_)
        for index, entry in enumerate(self.readings):
            for tone in entry.tones:
                table[TONE_INDEX[tone], index] = True
        table[TONE_INDEX[None]] = table.any(axis=0)
        return table

    @cached_property
    def rhyme_table(self) -> npt.NDArray[np.bool_]:
        """Which characters rhyme in a group, (31, V), rows as in `RHYME_INDEX`; row 0 is empty."""
        table = np.zeros((len(RHYME_INDEX), len(self)), dtype=np.bool_)
        for index, entry in enumerate(self.readings):
            for group in entry.rhymes:
                table[RHYME_INDEX[group], index] = True
        return table

    @cached_property
    def by_sound(self) -> npt.NDArray[np.int64]:
        """All indices, those that may stand in the same places side by side, (V,).

        `<unk>` stays first. Then come the oblique, those of both tones and the level, so that what
        a tone admits is one piece, and those that rhyme by their first group.
        """
        level, oblique = (self.tone_table[TONE_INDEX[tone]] for tone in (Tone.LEVEL, Tone.OBLIQUE))
        part = np.select([oblique & ~level, oblique, level], [1, 2, 3], default=4)
        part[UNKNOWN] = 0
        return np.lexsort((self.rhyme_table.argmax(axis=0), part))

    @property
    def mask_table(self) -> npt.NDArray[np.bool_]:
        """What may stand where each tone, then each rhyme group, is wanted, (3 + 31, V); a copy."""
        return np.concatenate([self.tone_table, self.rhyme_table])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one character a line, in order; VocabularyError if `text` is something else."""
        chars = text.split("\n")
        if chars[0] != UNKNOWN_MARK or chars.pop() != "" or any(len(c) != 1 for c in chars[1:]):
            raise VocabularyError("not a vocabulary: one character a line, <unk> first")
        return cls(chars[1:])
