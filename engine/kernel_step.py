"""One step of all rows on a CPU: oneDNN's products, and the loops of `engine.kernels` between.

Letters: B batch, S slots, P parts of the state, V vocabulary, G gates, H hidden.
"""

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from engine import kernels
from engine.cell import Folded
from engine.jobs import Cell
from engine.linear import Linear, Precision, linear
from engine.rows import Rows


class KernelStep:
    """Writes one character of every row. Keeps no state but scratch."""

    def __init__(self, folded: Folded, rows: Rows, precision: Precision) -> None:
        """Pack the weights in `precision` and compute every batch once, so that none is slow."""
        self._cell = folded.cell
        self._rows = rows
        self._tables = _tables(folded)
        self._first, self._second = _layers(folded, precision)
        self._project = linear(precision, *folded.project, bounded=True)
        self._output = linear(precision, *folded.output, bounded=False)
        hidden = rows.state.shape[2]
        self._inner = torch.zeros(rows.slots, 2 * hidden)
        """What the second layer of lstm and rnn reads, (S, 2 H)."""
        self._numbers, self._state = rows.numbers.numpy(), rows.state.numpy()
        self._chosen_by = tuple(
            one.numpy() for one in (rows.uniforms, rows.temperature, rows.masks, rows.biases)
        )
        self._written = (rows.logprob.numpy(), rows.sound.numpy())
        self._warm()

    def __call__(self) -> None:
        """Write one character of every row in use."""
        self.choose(self.expect())

    def expect(self) -> kernels.Floats:
        """The logits of every row's next character, (B, V); the state moves on."""
        batch = self._rows.batch
        self._recur(self._rows.count, batch)
        return self._logits(batch)

    def choose(self, logits: kernels.Floats) -> None:
        """Enter the next character of every row, as it was given or drawn by `logits`, (B, V)."""
        uniforms, temperature, masks, biases = self._chosen_by
        kernels.choose(
            self._rows.count,
            logits,
            self._numbers,
            uniforms,
            temperature,
            masks,
            biases,
            self._state,
            *self._written,
        )

    def _recur(self, count: int, batch: int) -> None:
        """The state after this step, from what each row is told."""
        rows, state = self._rows, self._state
        told = (count, self._numbers, self._tables, self._first(rows.state[0, :batch]).numpy())
        if self._cell is Cell.GRU:
            x, r = self._second
            kernels.first_gru(*told, state)
            parts = x(rows.state[0, :batch]).numpy(), r(rows.state[1, :batch]).numpy()
            kernels.second_gru(count, *parts, state)
            return
        first, second = (
            (kernels.first_lstm, kernels.second_lstm)
            if self._cell is Cell.LSTM
            else (kernels.first_rnn, kernels.second_rnn)
        )
        first(*told, state, self._inner.numpy())
        second(count, self._second[0](self._inner[:batch]).numpy(), state)

    def _logits(self, batch: int) -> kernels.Floats:
        """Of the next character, (B, V)."""
        last = -2 if self._cell is Cell.LSTM else -1
        logits: kernels.Floats = self._output(self._project(self._rows.state[last, :batch])).numpy()
        return logits

    def _warm(self) -> None:
        """Have the code for every batch made, and the loops compiled, before anybody waits."""
        for batch in self._rows.batches:
            self._recur(0, batch)
            self._logits(batch)
        self()


def _tables(folded: Folded) -> tuple[npt.NDArray[Any], ...]:
    """What rows look up, as the loops read it: fp32, and bf16 as u16."""
    tables = (folded.previous, folded.above, folded.place, folded.tone, folded.rhyme)
    return tuple(
        table.view(torch.int16).numpy().view("u2")
        if table.dtype is torch.bfloat16
        else table.contiguous().numpy()
        for table in tables
    )


def _layers(folded: Folded, precision: Precision) -> tuple[Linear, tuple[Linear, ...]]:
    """The products of the first layer, and of the second: one, or a GRU's two."""
    (first, second), ((w_in, b_in),) = folded.recurrent, folded.inner

    def of(weight: Tensor, bias: Tensor) -> Linear:
        return linear(precision, weight, bias, bounded=True)

    if folded.cell is Cell.GRU:
        return of(*first), (of(w_in, b_in), of(*second))
    return of(*first), (of(torch.cat([w_in, second[0]], 1), b_in + second[1]),)
