"""What happens between the products of a step, as loops over rows, compiled for this CPU.

torch would make a pass over memory for each of some forty small operations; here a row is read
once, in the cache. numba compiles each loop when it is first needed (about a second) and keeps
it where it may write; it needs no C++ compiler. Where a machine has no numba, `engine.runner` does
the same with torch's own operations, which is also what these are tested against.

Arrays are NumPy's views of the tensors of `engine.rows`, whose letters and columns these are.
Numbers that are not finite stay so (NaN in, NaN out), for a row that went wrong must be found.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import overload

from engine.rows import (
    BIAS,
    FORBIDDEN,
    GIVEN,
    LINE_LENGTH,
    LONGEST,
    MASK,
    MOST_RHYMES,
    NOT_GIVEN,
    PLACE,
    POSITION,
    PREVIOUS,
    RHYME,
    RHYME_SLOT,
    RHYMED,
    TOKENS,
    TONE,
)
from engine.sampler import MIN_P, REPEAT_PENALTY

Floats = npt.NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])

_f32 = np.float32
BLOCK = 64
"""Characters that are looked at together, or left out together where none of them may stand."""


def loop(*may: str) -> Callable[[Function], Function]:
    """A loop, compiled when first called and kept for the next start where that is possible.

    What LLVM may do to its sums is named: take them in another order ("reassoc").
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    options["fastmath"] = {"contract", *may}

    def decorate(function: Function) -> Function:
        try:
            return cast("Function", numba.njit(cache=True, **options)(function))
        except RuntimeError:  # nowhere may be written
            return cast("Function", numba.njit(**options)(function))

    return decorate


def _inlined(function: Function) -> Function:
    """A function that becomes part of the loop that calls it, and is compiled as that one is."""
    return cast("Function", numba.njit(inline="always", error_model="numpy")(function))


# --- functions of one number ---


@_inlined
def _power(x: Any) -> Any:
    """2^x to 1e-7, with the range cut to that of fp32 (Cephes' polynomial; Moshier 1989)."""
    x = max(x, _f32(-126.0))
    x = min(x, _f32(127.0))
    n = np.floor(x + _f32(0.5))
    r = x - n
    p = _f32(1.535336188319500e-4)
    p = p * r + _f32(1.339887440266574e-3)
    p = p * r + _f32(9.618437357674640e-3)
    p = p * r + _f32(5.550332471162809e-2)
    p = p * r + _f32(2.402264791363012e-1)
    p = p * r + _f32(6.931472028550421e-1)
    p = p * r + _f32(1.0)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@_inlined
def _exp(x: Any) -> Any:
    """e^x, to 1e-7 of itself or of 1, whichever is more."""
    return _power(x * _f32(1.44269504))


@_inlined
def _sigmoid(x: Any) -> Any:
    return _f32(1.0) / (_f32(1.0) + _exp(-x))


@_inlined
def _tanh(x: Any) -> Any:
    return _f32(1.0) - _f32(2.0) / (_exp(_f32(2.0) * x) + _f32(1.0))


def _wide(x: Any) -> Any:
    """A number of a table as fp32: itself, or bf16, which comes as u16, with its other half."""
    raise NotImplementedError(x)


@overload(_wide, inline="always")
def _widened(x: Any) -> Callable[[Any], Any]:
    def joined(x: Any) -> Any:
        return np.int32(np.int32(x) << np.int32(16)).view(np.float32)

    def itself(x: Any) -> Any:
        return x

    return joined if isinstance(x, types.Integer) else itself


# --- gates ---


@_inlined
def _copy(x: Any, y: Any) -> None:
    """Numbers one by one: assigning a slice makes numba look whether the two overlap."""
    for j in range(len(x)):
        y[j] = x[j]


@_inlined
def _lstm(x: Any, h: Any, c: Any) -> None:
    """One row: gates before their functions, (4 H,), to hidden state and memory, (H,) each."""
    n = len(h)
    for j in range(n):
        memory = _sigmoid(x[n + j]) * c[j] + _sigmoid(x[j]) * _tanh(x[2 * n + j])
        c[j] = memory
        h[j] = _sigmoid(x[3 * n + j]) * _tanh(memory)


@_inlined
def _gru(x: Any, r: Any, h: Any) -> None:
    """One row: input and recurrent parts, (3 H,) each, to the hidden state, (H,)."""
    n = len(h)
    for j in range(n):
        reset = _sigmoid(x[j] + r[j])
        update = _sigmoid(x[n + j] + r[n + j])
        new = _tanh(x[2 * n + j] + reset * r[2 * n + j])
        h[j] = new + update * (h[j] - new)


@_inlined
def _tell(numbers: Any, tables: Any, x: Any) -> None:
    """Add what a row is told, as the input part of the first layer's gates, to `x`, (G H,).

    `x` is to be an array that the caller made: LLVM then sees that no table is written, and takes
    sixteen numbers at a time.
    """
    previous, above, place, tone, rhyme = tables
    at = numbers[POSITION]
    before = previous[numbers[PREVIOUS]]
    over = above[numbers[TOKENS + LONGEST + at - numbers[LINE_LENGTH]]]
    where = place[numbers[PLACE + at]]
    sound = tone[numbers[TONE + at]]
    group = rhyme[numbers[RHYME]]
    for j in range(len(x)):
        x[j] += _wide(before[j]) + _wide(over[j]) + where[j] + sound[j] + group[j]


@loop()
def first_lstm(count: Any, numbers: Any, tables: Any, x: Any, state: Any, inner: Any) -> None:
    """The first layer, from its product, (B, 4 H).

    `inner`, (S, 2 H), gets what the second layer's product needs.
    """
    n, mine = state.shape[2], np.empty(x.shape[1], _f32)
    for row in range(count):
        _copy(x[row], mine)
        _tell(numbers[row], tables, mine)
        _lstm(mine, state[0, row], state[1, row])
        _copy(state[0, row], inner[row, :n])
        _copy(state[2, row], inner[row, n:])


@loop()
def second_lstm(count: Any, x: Any, state: Any) -> None:
    """The second layer, from its whole product, (B, 4 H)."""
    for row in range(count):
        _lstm(x[row], state[2, row], state[3, row])


@loop()
def first_gru(count: Any, numbers: Any, tables: Any, r: Any, state: Any) -> None:
    """The first layer."""
    x = np.empty(tables[0].shape[1], _f32)
    for row in range(count):
        x[:] = 0.0
        _tell(numbers[row], tables, x)
        _gru(x, r[row], state[0, row])


@loop()
def second_gru(count: Any, x: Any, r: Any, state: Any) -> None:
    """The second layer, from both its products, (B, 3 H) each."""
    for row in range(count):
        _gru(x[row], r[row], state[1, row])


@loop()
def first_rnn(count: Any, numbers: Any, tables: Any, x: Any, state: Any, inner: Any) -> None:
    """The first layer, from its product, (B, H); the rest as in `first_lstm`."""
    n, mine = state.shape[2], np.empty(x.shape[1], _f32)
    for row in range(count):
        _copy(x[row], mine)
        _tell(numbers[row], tables, mine)
        for j in range(n):
            state[0, row, j] = _tanh(mine[j])
        _copy(state[0, row], inner[row, :n])
        _copy(state[1, row], inner[row, n:])


@loop()
def second_rnn(count: Any, x: Any, state: Any) -> None:
    """The second layer, from its whole product, (B, H)."""
    for row in range(count):
        for j in range(x.shape[1]):
            state[1, row, j] = _tanh(x[row, j])


# --- choosing ---
#
# What may stand in a place lies in a few pieces of the vocabulary: runs of blocks, of which the
# first and the one behind the last are given, (P, 2). Nothing outside them is looked at.


@loop()
def tell_kinds(count: Any, numbers: Any, kinds: Any) -> None:
    """Which mask applies to the next character of each of the first `count` rows, to (B,)."""
    for row in range(count):
        kinds[row] = numbers[row, MASK + numbers[row, POSITION]]


@_inlined
def _span(piece: Any, most: Any) -> Any:
    """The characters of a piece, of which `most` are: the first, and the one behind the last.

    Without a sign, as all that counts characters here: for an index that might count from the end
    LLVM fetches numbers one by one.
    """
    return np.uintp(piece[0] * BLOCK), np.uintp(min(piece[1] * BLOCK, most))


@loop("reassoc")
def _admit(logits: Any, bias: Any, mask: Any, pieces: Any, choices: Any) -> Any:
    """Logits with their bias where `mask` admits a character, else -inf; the sum of the logits."""
    total = _f32(0.0)
    for part in range(len(pieces)):
        first, end = _span(pieces[part], len(mask))
        for v in range(first, end):
            total += logits[v]
            choices[v] = logits[v] + bias[v] if mask[v] else _f32(-np.inf)
    return total


@_inlined
def _ordered(bits: Any) -> Any:
    """The bits of an fp32 number as an i32 that is greater where it is, and back; not for NaN.

    LLVM takes sixteen integers at a time to find the greatest, but floats one by one.
    """
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@loop()
def _tops(choices: Any, pieces: Any, tops: Any) -> Any:
    """The greatest number of each block, -inf outside the pieces, and of all."""
    least = np.int32(-(2**31))
    bits, best = choices.view(np.int32), least
    tops[:] = -np.inf
    for part in range(len(pieces)):
        for block in range(np.uintp(pieces[part, 0]), np.uintp(pieces[part, 1])):
            first, top = block * np.uintp(BLOCK), least
            for v in range(first, first + np.uintp(BLOCK)):
                top = max(top, _ordered(bits[v]))
            tops[block] = _ordered(top).view(np.float32)
            best = max(best, top)
    return _ordered(best).view(np.float32) if best > least else _f32(-np.inf)


@loop("reassoc")
def _mass(logits: Any, mask: Any, pieces: Any, shift: Any) -> Any:
    """The sum of e^(logit - shift) over what `mask` admits."""
    total = _f32(0.0)
    for part in range(len(pieces)):
        first, end = _span(pieces[part], len(mask))
        for v in range(first, end):
            total += _exp(logits[v] - shift if mask[v] else _f32(-np.inf))
    return total


@loop()
def _draw(choices: Any, tops: Any, best: Any, temperature: Any, uniform: Any) -> Any:
    """Draw by min-p and the inverse of the cumulative distribution: `engine.sampler.sample`.

    Nothing is likely, and 0 is drawn, where `temperature` is not a number above 0.
    """
    least = best + temperature * _f32(math.log(MIN_P))
    likely, masses = np.empty(len(choices), np.int64), np.empty(len(choices))
    count, mass = 0, 0.0
    for block in range(np.uintp(len(tops))):
        if tops[block] >= least:
            first = block * np.uintp(BLOCK)
            for v in range(first, first + np.uintp(BLOCK)):
                if choices[v] >= least:
                    mass += math.exp((choices[v] - best) / temperature)
                    likely[count], masses[count] = v, mass
                    count += 1
    if count == 0:
        return np.int64(0)
    which = np.searchsorted(masses[:count], uniform * mass, side="right")
    return likely[min(which, count - 1)]


@loop("reassoc")
def _sum(numbers: Any) -> Any:
    total = _f32(0.0)
    for j in range(len(numbers)):
        total += numbers[j]
    return total


@loop()
def _bar(mine: Any, at: Any, logits: Any, bias: Any, choices: Any) -> None:
    """Make what the poem has already less likely, and what may not stand here impossible."""
    for place in range(at):
        v = mine[TOKENS + LONGEST + place]
        if choices[v] != -np.inf:
            choices[v] = logits[v] + bias[v] - _f32(REPEAT_PENALTY)
    for slot in range(MOST_RHYMES + 1):
        choices[mine[RHYMED + slot]] = -np.inf
    choices[mine[FORBIDDEN + at]] = -np.inf


@loop()
def _enter(mine: Any, at: Any, chosen: Any) -> None:
    """Put the chosen character where the next steps look for it."""
    mine[TOKENS + LONGEST + at] = chosen
    mine[PREVIOUS] = chosen
    slot = mine[RHYME_SLOT + at]
    if slot > 0:
        mine[RHYMED + slot] = chosen
    mine[POSITION] = at + 1


@loop()
def choose(
    count: Any,
    logits: Any,
    numbers: Any,
    uniforms: Any,
    temperature: Any,
    masks: Any,
    pieces: Any,
    biases: Any,
    state: Any,
    logprob: Any,
    sound: Any,
) -> None:
    """Write one character of the first `count` rows: what `Runner.step` does with torch.

    Logits are (B, V) or wider; looked at is what lies within the `pieces` of a row's mask: the
    first and last block of each, (masks, pieces, 2). A row whose logits there or whose state are
    not finite, or that may write nothing, is marked and gets `<unk>`; no other row notices.
    """
    blocks = (masks.shape[1] + BLOCK - 1) // BLOCK
    choices = np.full(blocks * BLOCK, -np.inf, _f32)
    tops = np.empty(blocks, _f32)
    for row in range(count):
        mine, its = numbers[row], logits[row]
        at = mine[POSITION]
        given = mine[GIVEN + at]
        if given != NOT_GIVEN:
            _enter(mine, at, given)
            continue
        bias = biases[mine[BIAS]]
        mask, within = masks[mine[MASK + at]], pieces[mine[MASK + at]]
        total = _admit(its, bias, mask, within, choices)
        for part in range(len(state)):
            total += _sum(state[part, row])
        _bar(mine, at, its, bias, choices)
        best = _tops(choices, within, tops) if math.isfinite(total) else _f32(-np.inf)
        chosen = 0
        if best == -np.inf or not temperature[row] > 0:
            sound[row] = False
        else:
            chosen = _draw(choices, tops, best, temperature[row], uniforms[row, at])
            logprob[row] += its[chosen] - best - math.log(_mass(its, mask, within, best))
        _enter(mine, at, chosen)


# --- numbers as products want them ---


@loop()
def levels(x: Any, most: Any, levels: Any) -> None:
    """Numbers from -1 to 1 as 128 - most to 128 + most, u8, (B, K) to the same."""
    of_one = _f32(most)
    for row in range(x.shape[0]):
        for j in range(x.shape[1]):
            levels[row, j] = np.uint8(np.int32(x[row, j] * of_one + _f32(128.5)))


@loop()
def _largest(x: Any) -> Any:
    """The greatest magnitude."""
    bits, largest = x.view(np.int32), np.int32(0)
    for j in range(len(bits)):
        largest = max(largest, np.int32(bits[j] & np.int32(0x7FFFFFFF)))
    return max(np.int32(largest).view(np.float32), _f32(1e-12))


@loop()
def row_levels(x: Any, most: Any, levels: Any, worth: Any) -> None:
    """The same for any numbers, with what a level of each row is worth, (B,)."""
    for row in range(x.shape[0]):
        largest = _largest(x[row])
        worth[row], of_one = largest / _f32(most), _f32(most) / largest
        for j in range(x.shape[1]):
            levels[row, j] = np.uint8(np.int32(x[row, j] * of_one + _f32(128.5)))


@loop()
def halves(x: Any, words: Any) -> None:
    """Numbers as bf16, rounded to the nearest, to even where two are, (B, K) to u16, (B, K)."""
    for row in range(x.shape[0]):
        bits, mine = x[row].view(np.uint32), words[row]
        for j in range(len(bits)):
            even = (bits[j] >> np.uint32(16)) & np.uint32(1)
            mine[j] = np.uint16((bits[j] + np.uint32(0x7FFF) + even) >> np.uint32(16))
