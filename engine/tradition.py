"""What a checkpoint knows of its corpus besides weights: lines, company, endings.

`lines` are hashes of every line of the corpus, so that no poem repeats one. `vectors` say which
characters keep company in poems: the positive pointwise mutual information of two characters in
one poem is about the product of their vectors (Levy & Goldberg 2014, with the eigenvalues split
evenly). `endings` are the last three characters of lines that poets used most, with how often.

32 bits a line: of a million lines, one new line in 4,000 is taken for an old one and written
anew, which costs nothing that a reader would see.
"""

import io
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Self

import numpy as np
import numpy.typing as npt

ENDING_LENGTH = 3
"""Characters of an ending: the last foot of a line."""

Hashes = npt.NDArray[np.uint32]
Vectors = npt.NDArray[np.float32]


class TraditionError(ValueError):
    """A file is not the tradition of a checkpoint."""


def hash_line(line: str) -> int:
    """32 bits of a line, which is folded and without punctuation."""
    return int.from_bytes(blake2b(line.encode(), digest_size=4).digest(), "little")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tradition:
    """See the module's docstring."""

    lines: Hashes
    """`hash_line` of every line, sorted, each once, (N,)."""
    vectors: Vectors
    """One row a character of the vocabulary, zero where too little is known of it, (V, D)."""
    endings: Mapping[str, int]
    """How often each of the commonest endings stands in the corpus."""

    @classmethod
    def of(cls, lines: Iterable[str], vectors: Vectors, endings: Mapping[str, int]) -> Self:
        """The tradition that holds `lines`."""
        hashes = np.fromiter(map(hash_line, lines), dtype=np.uint32)
        return cls(lines=np.unique(hashes), vectors=vectors, endings=dict(endings))

    def holds(self, line: str) -> bool:
        """Whether a folded line stands in the corpus (surely, where it does)."""
        value, lines = hash_line(line), self._lines
        place = bisect_left(lines, value)
        return place < len(lines) and lines[place] == value

    @cached_property
    def _lines(self) -> Sequence[int]:
        """The same as `lines`, quicker to look up one at a time."""
        return self.lines.data

    def association(self, one: Sequence[int], other: Sequence[int]) -> float:
        """Mean PPMI of the characters of `one` with those of `other`, in nats; 0 for none."""
        if not one or not other:
            return 0.0
        left, right = self.vectors[list(one)], self.vectors[list(other)]
        return float(np.maximum(left @ right.T, 0.0).mean())

    def company_of_neighbours(self, lines: Sequence[Sequence[int]]) -> float:
        """Mean `association` of each of these lines of one length with the next."""
        vectors = self.vectors[np.array(lines)]  # (N, T, D)
        together = vectors[:-1] @ vectors[1:].transpose(0, 2, 1)  # (N - 1, T, T)
        return float(np.maximum(together, 0.0).mean())

    def company(self, chars: Sequence[int]) -> npt.NDArray[np.float32]:
        """How much each character of the vocabulary keeps company with `chars`, in nats, (V,)."""
        if not chars:
            return np.zeros(len(self.vectors), dtype=np.float32)
        found: npt.NDArray[np.float32] = np.maximum(
            self.vectors @ self.vectors[list(chars)].T, 0.0
        ).mean(axis=1)
        return found

    def to_bytes(self) -> bytes:
        """The file's contents; the same tradition gives the same bytes."""
        gaps = np.diff(self.lines, prepend=np.uint32(0)).astype("<u4")
        scale = float(np.abs(self.vectors).max(initial=1e-6)) / 127
        names = "".join(self.endings)
        parts = {
            # Byte by byte, for the high bytes of gaps are nearly always 0.
            "lines": gaps.view(np.uint8).reshape(-1, 4).T.tobytes(),
            "vectors": np.round(self.vectors / scale).astype(np.int8).tobytes(),
            "shape": np.array(self.vectors.shape, dtype="<u4").tobytes(),
            "scale": np.array([scale], dtype="<f4").tobytes(),
            "endings": names.encode(),
            "counts": np.array(list(self.endings.values()), dtype="<u4").tobytes(),
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, data in parts.items():
                # A fixed date, so that the same contents are the same file.
                archive.writestr(
                    zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED, 9
                )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            TraditionError: it is something else.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                parts = {name: archive.read(name) for name in archive.namelist()}
            gaps = np.frombuffer(parts["lines"], np.uint8).reshape(4, -1).T.copy().view("<u4")
            shape = np.frombuffer(parts["shape"], "<u4")
            scale = np.frombuffer(parts["scale"], "<f4")[0]
            vectors = np.frombuffer(parts["vectors"], np.int8).reshape(*map(int, shape))
            counts = np.frombuffer(parts["counts"], "<u4").tolist()
            names = parts["endings"].decode()
            cut = [
                names[first : first + ENDING_LENGTH]
                for first in range(0, len(names), ENDING_LENGTH)
            ]
            return cls(
                lines=np.cumsum(gaps[:, 0], dtype=np.uint32),
                vectors=vectors.astype(np.float32) * scale,
                endings=dict(zip(cut, counts, strict=True)),
            )
        except (KeyError, ValueError, IndexError, zipfile.BadZipFile, zlib.error) as error:
            raise TraditionError(f"not a tradition: {error}") from error
