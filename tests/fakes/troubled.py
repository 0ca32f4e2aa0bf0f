"""`python -m engine serve` with a fault built in, as a driver or a defect of our own might be.

python -m tests.fakes.troubled out-of-memory STEP ROWS
python -m tests.fakes.troubled stray-index GLYPH
python -m tests.fakes.troubled slow MS
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import OutOfMemoryError, Tensor

from engine.__main__ import app
from engine.runner import Runner
from engine.sequence import Sequence
from engine.theme import ThemeEncoder
from engine.vocabulary import RHYME_INDEX, Vocabulary

STRAY = 1_000_000
"""An index that no model has."""


def out_of_memory(step: str, rows: str) -> None:
    """From so many steps on there is memory for no more than so many rows."""
    steps = 0
    usual = Runner.step

    def scarce(self: Runner) -> None:
        nonlocal steps
        steps += 1
        if steps >= int(step) and self.count > int(rows):
            raise OutOfMemoryError("CUDA out of memory")
        usual(self)

    Runner.step = scarce  # type: ignore[method-assign]


def bad_model(glyph: str, group: str) -> None:
    """Three faults of a model, each of which a poem meets or does not.

    Its vocabulary has an index that it has not itself, for `glyph`; nothing rhymes in `group`; and
    a theme calls up a state of NaN.
    """
    index, begin = Vocabulary.index_as_typed, ThemeEncoder.begin
    table: Any = vars(Vocabulary)["rhyme_table"]

    def stray(self: Vocabulary, char: str) -> int:
        return STRAY if char == glyph else index(self, char)

    def bare(self: Vocabulary) -> npt.NDArray[np.bool_]:
        rhymes: npt.NDArray[np.bool_] = table.func(self).copy()
        rhymes[RHYME_INDEX[group]] = False
        return rhymes

    def undefined(self: ThemeEncoder, embedded: Tensor) -> Tensor:
        return torch.full_like(begin(self, embedded), torch.nan)

    ThemeEncoder.begin = undefined  # type: ignore[method-assign]
    Vocabulary.index_as_typed = stray  # type: ignore[method-assign]
    Vocabulary.rhyme_table = property(bare)  # type: ignore[assignment, method-assign]


def slow(step_ms: str) -> None:
    """Every step takes so long."""
    usual = Runner.step

    def late(self: Runner) -> None:
        time.sleep(int(step_ms) / 1000)
        usual(self)

    Runner.step = late  # type: ignore[method-assign]


def poison(glyph: str, step_ms: str) -> None:
    """Every step takes so long, and one with a poem that begins with `glyph` ends the process."""
    usual = Runner.join

    def join(self: Runner, sequence: Sequence) -> int:
        if sequence.job.opening == glyph:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(self, sequence)

    slow(step_ms)
    Runner.join = join  # type: ignore[method-assign]


FAULTS: dict[str, Callable[..., None]] = {
    "out-of-memory": out_of_memory,
    "bad-model": bad_model,
    "slow": slow,
    "poison": poison,
}

if __name__ == "__main__":
    name, *values = sys.argv[1:]
    FAULTS[name](*values)
    app(["serve"])
