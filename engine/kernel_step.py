"""One step of all rows on a CPU: products, and the loops of `engine.kernels` between.

Letters: B batch, S slots, P parts of the state, V vocabulary, G gates, H hidden.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine import kernels
from engine.cell import Folded
from engine.jobs import Cell
from engine.kernels import Floats
from engine.linear import Linear, Precision, as_array, in_tiles, linear, sparing
from engine.rows import Rows


class KernelStep:
    """Writes one character of every row. Keeps no state but scratch."""

    def __init__(self, folded: Folded, rows: Rows, precision: Precision) -> None:
        """Pack the weights in `precision` and compute every batch once, so that none is slow."""
        self._cell = folded.cell
        self._rows = rows
        self._any_batch = in_tiles(precision)
        self._tables = tuple(
            map(as_array, (folded.previous, folded.above, folded.place, folded.tone, folded.rhyme))
        )
        self._first, self._second = _layers(folded, precision)
        self._project = linear(precision, *folded.project, bounded=True)
        masks = rows.masks.numpy()
        within = reach(masks)
        self._output = sparing(precision, *folded.output, reach=within)
        self._kinds = np.zeros(rows.slots, np.int64)
        hidden = rows.state.shape[2]
        self._inner = np.zeros((rows.slots, 2 * hidden), np.float32)
        """What the second layer of lstm and rnn reads, (S, 2 H)."""
        self._numbers, self._state = rows.numbers.numpy(), rows.state.numpy()
        uniforms, temperature = rows.uniforms.numpy(), rows.temperature.numpy()
        self._chosen_by = (uniforms, temperature, masks, _pieces(within), rows.biases.numpy())
        self._written = (rows.logprob.numpy(), rows.sound.numpy())
        self._warm()

    def __call__(self) -> None:
        """Write one character of every row in use."""
        self.choose(self.expect())

    def expect(self) -> Floats:
        """The logits of every row's next character, (B, V or more); the state moves on.

        Where nothing of a block of characters may stand, its logits may be anything.
        """
        batch = self._rows.count if self._any_batch else self._rows.batch
        self._recur(self._rows.count, batch)
        return self._logits(batch)

    def choose(self, logits: Floats) -> None:
        """Enter the next character of every row, as given or drawn by what `expect` returned."""
        kernels.choose(
            self._rows.count,
            logits,
            self._numbers,
            *self._chosen_by,
            self._state,
            *self._written,
        )

    def _recur(self, count: int, batch: int) -> None:
        """The state after this step, from what each row is told."""
        state = self._state
        told = (count, self._numbers, self._tables, self._first(state[0, :batch]))
        if self._cell is Cell.GRU:
            x, r = self._second
            kernels.first_gru(*told, state)
            kernels.second_gru(count, x(state[0, :batch]), r(state[1, :batch]), state)
            return
        first, second = (
            (kernels.first_lstm, kernels.second_lstm)
            if self._cell is Cell.LSTM
            else (kernels.first_rnn, kernels.second_rnn)
        )
        first(*told, state, self._inner)
        second(count, self._second[0](self._inner[:batch]), state)

    def _logits(self, batch: int) -> Floats:
        """Of the next character, (B, V or more)."""
        last = -2 if self._cell is Cell.LSTM else -1
        kernels.tell_kinds(self._rows.count, self._numbers, self._kinds)
        return self._output(self._project(self._state[last, :batch]), self._kinds[:batch])

    def _warm(self) -> None:
        """Have the code for every batch made, and the loops compiled, before anybody waits."""
        for batch in () if self._any_batch else self._rows.batches:
            self._recur(0, batch)
            self._logits(batch)
        self()


def reach(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The blocks in which each mask, (M, V), admits something, (M, blocks)."""
    starts = np.arange(0, masks.shape[1], kernels.BLOCK)
    return np.logical_or.reduceat(masks, starts, axis=1)


def _pieces(within: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Blocks that follow each other, for each mask: the first, and the one behind, (M, P, 2)."""
    edges = np.diff(within.astype(np.int8), axis=1, prepend=0, append=0)
    found = [np.stack([np.flatnonzero(its > 0), np.flatnonzero(its < 0)], 1) for its in edges]
    pieces = np.zeros((len(within), max(map(len, found)), 2), np.int64)
    for mine, its in zip(pieces, found, strict=True):
        mine[: len(its)] = its
    return pieces


def _layers(folded: Folded, precision: Precision) -> tuple[Linear, tuple[Linear, ...]]:
    """The products of the first layer, and of the second: one, or a GRU's two."""
    (first, second), ((w_in, b_in),) = folded.recurrent, folded.inner

    def of(weight: Tensor, bias: Tensor) -> Linear:
        return linear(precision, weight, bias, bounded=True)

    if folded.cell is Cell.GRU:
        return of(*first), (of(w_in, b_in), of(*second))
    return of(*first), (of(torch.cat([w_in, second[0]], 1), b_in + second[1]),)
