"""Products of a few rows with fixed weights in AVX-512, for numba to compile.

A library's product costs tens of microseconds before it begins, as much as reading the weights of
a small layer; and the smaller the batch, the further it is from what the machine can do. Here a
product is a loop over tiles: 4 rows and 64 outputs, whose sums stay in registers from the first
input to the last. A row's sums are the same to the bit whoever its neighbours are, for each is
taken over the inputs in their order.

The unit is a word of 32 bits: one input in fp32, two in bf16, four in int8. One instruction
multiplies a word of a row with the words of 16 outputs and adds to their sums. Weights are laid
out as they are read: for each 64 outputs, for each word of inputs, those outputs' words.

Letters: B batch, K inputs, N outputs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from engine.kernels import BLOCK, loop

ROWS = 4
"""Rows of a tile."""
OUTPUTS = BLOCK
"""Outputs of a tile. Its 16 sums leave half of the registers free for what is multiplied."""
_LANES = 16  # numbers of 32 bits in a register
_VECTORS = OUTPUTS // _LANES

_BYTE, _INT, _FLOAT, _SIZE = ir.IntType(8), ir.IntType(32), ir.FloatType(), ir.IntType(64)
_INTS, _FLOATS = ir.VectorType(_INT, _LANES), ir.VectorType(_FLOAT, _LANES)
_DOT = {
    types.float32: (_FLOATS, "llvm.fma.v16f32"),
    types.uint16: (_FLOATS, "llvm.x86.avx512bf16.dpbf16ps.512"),
    types.int8: (_INTS, "llvm.x86.avx512.vpdpbusd.512"),
}
"""By what weights are: what their sums are, and what adds a word's products to sixteen of them."""


def fill_up(outputs: Tensor) -> Tensor:
    """Something of each output, (N, ...), with zeros behind for whole tiles."""
    missing = outputs.new_zeros(-len(outputs) % OUTPUTS, *outputs.shape[1:])
    return torch.cat([outputs, missing])


def pack(weight: Tensor) -> Tensor:
    """Weights, (N, K) in fp32, bf16 or int8, as `multiply` reads them: (N / 64, words, 64, each).

    K is to be a whole number of words.
    """
    each = 4 // weight.element_size()
    tiles = fill_up(weight).view(-1, OUTPUTS, weight.shape[1] // each, each)
    return tiles.transpose(1, 2).contiguous()


# --- one tile, in LLVM's language ---


class _Code:
    """Writes the code of tiles: what `_tile` compiles to."""

    def __init__(self, builder: Any, arrays: Sequence[Any], kind: Any) -> None:
        """Of `arrays` as `_product` is given them; weights are of `kind`."""
        self.builder, self.kind = builder, kind
        self.sums_are, self.name = _DOT[kind]
        self.rows, x, self.worth, weights, zero, scales, bias, y = arrays
        self.x, self.y = (builder.bitcast(one.data, _BYTE.as_pointer()) for one in (x, y))
        self.x_stride, self.y_stride = (
            cgutils.unpack_tuple(builder, one.strides)[0] for one in (x, y)
        )
        self.weights = builder.bitcast(weights.data, _INTS.as_pointer())
        self.words = cgutils.unpack_tuple(builder, weights.shape)[0]
        self.zero = builder.bitcast(zero.data, self.sums_are.as_pointer())
        self.scales, self.bias = (
            builder.bitcast(one.data, _FLOATS.as_pointer()) for one in (scales, bias)
        )

    def tiles(self, height: Any) -> None:
        """Write a tile of every height, and the choice between them."""
        done = self.builder.append_basic_block()
        choice = self.builder.switch(height, done)
        for rows in range(1, ROWS + 1):
            case = self.builder.append_basic_block()
            choice.add_case(_SIZE(rows), case)
            self.builder.position_at_end(case)
            self._tile(rows)
            self.builder.branch(done)
        self.builder.position_at_end(done)

    def _tile(self, rows: int) -> None:
        builder = self.builder
        # LLVM keeps in registers what is only written and read whole.
        sums = [
            [cgutils.alloca_once(builder, self.sums_are) for _ in range(_VECTORS)]
            for _ in range(rows)
        ]
        for its in sums:
            for v, one in enumerate(its):
                builder.store(self._load(self.zero, _SIZE(v)), one)
        of = [self._load(self.rows.data, _SIZE(number)) for number in range(rows)]
        with cgutils.for_range(builder, self.words) as step:
            first = builder.mul(step.index, _SIZE(_VECTORS))
            weights = [
                self._load(self.weights, builder.add(first, _SIZE(v))) for v in range(_VECTORS)
            ]
            for row, its in zip(of, sums, strict=True):
                mine = self._row(self.x, self.x_stride, row, _INT)
                word = self._everywhere(self._load(mine, step.index), _INTS)
                for one, weight in zip(its, weights, strict=True):
                    builder.store(self._dot(builder.load(one), word, weight), one)
        for row, its in zip(of, sums, strict=True):
            self._finish(row, [builder.load(one) for one in its])

    def _finish(self, row: Any, sums: Sequence[Any]) -> None:
        """Write what comes of the sums of a row."""
        builder, may = self.builder, ("contract",)
        y = self._row(self.y, self.y_stride, row, _FLOATS)
        worth = self._everywhere(self._load(self.worth.data, row), _FLOATS)
        for v, one in enumerate(sums):
            number = builder.sitofp(one, _FLOATS) if self.sums_are is _INTS else one
            scale, bias = (self._load(start, _SIZE(v)) for start in (self.scales, self.bias))
            scaled = builder.fmul(number, builder.fmul(worth, scale), flags=may)
            whole = builder.fadd(scaled, bias, flags=may)
            builder.store(whole, builder.gep(y, [_SIZE(v)]), align=4)

    def _load(self, start: Any, number: Any) -> Any:
        return self.builder.load(self.builder.gep(start, [number]), align=4)

    def _row(self, start: Any, stride: Any, row: Any, kind: Any) -> Any:
        """Where a row begins, as numbers of a kind."""
        where = self.builder.gep(start, [self.builder.mul(stride, row)])
        return self.builder.bitcast(where, kind.as_pointer())

    def _everywhere(self, number: Any, kind: Any) -> Any:
        """A register of it."""
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, number, _INT(0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(_INTS, None))

    def _dot(self, sums: Any, words: Any, weights: Any) -> Any:
        """The sums with the products of sixteen words added."""
        values = [sums, words, weights]
        if self.kind == types.float32:
            values = [self.builder.bitcast(one, _FLOATS) for one in (words, weights)] + [sums]
        function = ir.FunctionType(self.sums_are, [value.type for value in values])
        dot = cgutils.get_or_insert_function(self.builder.module, function, self.name)
        return self.builder.call(dot, values)


def _product(
    _typing: Any,
    height: Any,
    rows: Any,
    x: Any,
    worth: Any,
    weights: Any,
    zero: Any,
    scales: Any,
    bias: Any,
    y: Any,
) -> Any:
    """What `multiply` does, for the first `height` of `rows` and weights of (words, 64, each)."""

    def generate(context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[1:], values[1:], strict=True)
        ]
        _Code(builder, arrays, weights.dtype).tiles(values[0])
        return context.get_dummy_value()

    return types.void(types.intp, rows, x, worth, weights, zero, scales, bias, y), generate


_tile: Any = intrinsic(_product)


# --- whole products ---


@loop()
def multiply(
    x: Any,
    worth: Any,
    weights: Any,
    zero: Any,
    scales: Any,
    bias: Any,
    reach: Any,
    kinds: Any,
    y: Any,
) -> None:
    """Rows times weights: y = worth scales (x weights + zero) + bias, in fp32.

    Args:
        x: what goes in, as words of fp32, bf16 (as u16) or u8, (B, K).
        worth: of a level of each row, (B,).
        weights: as `pack` lays them out, bf16 as u16.
        zero: what is added to the sum of each output, in numbers as the sums are.
        scales: of each output.
        bias: of each output; these three are for whole tiles.
        reach: which tiles of outputs rows of each kind need, bool, (kinds, N / 64).
        kinds: the kind of each row, (B,).
        y: what comes out, (B, N), N up to whole tiles; what is not needed stays as it was.
    """
    rows = np.empty(len(x), np.int64)
    for block in range(len(weights)):
        some = 0
        for row in range(len(x)):
            if reach[kinds[row], block]:
                rows[some] = row
                some += 1
        first = block * OUTPUTS
        for done in range(0, some, ROWS):
            _tile(
                min(ROWS, some - done),
                rows[done:],
                x,
                worth,
                weights[block],
                zero[first:],
                scales[first:],
                bias[first:],
                y[:, first:],
            )
