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
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

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
_BLOCK = 64
"""Characters that are looked at together when the likely ones are sought."""


def _loop(*may: str) -> Callable[[Function], Function]:
    """A loop, compiled when first called and kept for the next start where that is possible.

    What LLVM may take for granted of its sums is named: that they may be taken in another order
    ("reassoc"), that no number is NaN ("nnan", "nsz").
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
def _exp(x: Any) -> Any:
    """e^x to 1e-7, with the range cut to that of fp32 (Cephes' polynomial; Moshier 1989)."""
    x = max(x, _f32(-87.0))
    x = min(x, _f32(88.0))
    n = np.floor(x * _f32(1.44269504) + _f32(0.5))
    r = (x - n * _f32(0.693359375)) + n * _f32(2.12194440e-4)
    p = _f32(1.9875691500e-4)
    p = p * r + _f32(1.3981999507e-3)
    p = p * r + _f32(8.3334519073e-3)
    p = p * r + _f32(4.1665795894e-2)
    p = p * r + _f32(1.6666665459e-1)
    p = p * r + _f32(5.0000001201e-1)
    p = p * r * r + r + _f32(1.0)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


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
def _told(numbers: Any, tables: Any, x: Any) -> None:
    """What a row is told, as the input part of the first layer's gates, to `x`, (G H,)."""
    previous, above, place, tone, rhyme = tables
    at = numbers[POSITION]
    before = previous[numbers[PREVIOUS]]
    over = above[numbers[TOKENS + LONGEST + at - numbers[LINE_LENGTH]]]
    where = place[numbers[PLACE + at]]
    sound = tone[numbers[TONE + at]]
    group = rhyme[numbers[RHYME]]
    for j in range(len(x)):
        x[j] = _wide(before[j]) + _wide(over[j]) + where[j] + sound[j] + group[j]


@_loop()
def first_lstm(count: Any, numbers: Any, tables: Any, r: Any, state: Any, inner: Any) -> None:
    """The first layer; `inner`, (S, 2 H), gets what the second one's product needs."""
    x = np.empty(tables[0].shape[1], _f32)
    n = state.shape[2]
    for row in range(count):
        _told(numbers[row], tables, x)
        for j in range(len(x)):
            x[j] += r[row, j]
        _lstm(x, state[0, row], state[1, row])
        inner[row, :n] = state[0, row]
        inner[row, n:] = state[2, row]


@_loop()
def second_lstm(count: Any, x: Any, state: Any) -> None:
    """The second layer, from its whole product, (B, 4 H)."""
    for row in range(count):
        _lstm(x[row], state[2, row], state[3, row])


@_loop()
def first_gru(count: Any, numbers: Any, tables: Any, r: Any, state: Any) -> None:
    """The first layer."""
    x = np.empty(tables[0].shape[1], _f32)
    for row in range(count):
        _told(numbers[row], tables, x)
        _gru(x, r[row], state[0, row])


@_loop()
def second_gru(count: Any, x: Any, r: Any, state: Any) -> None:
    """The second layer, from both its products, (B, 3 H) each."""
    for row in range(count):
        _gru(x[row], r[row], state[1, row])


@_loop()
def first_rnn(count: Any, numbers: Any, tables: Any, r: Any, state: Any, inner: Any) -> None:
    """The first layer; `inner`, (S, 2 H), gets what the second one's product needs."""
    x = np.empty(tables[0].shape[1], _f32)
    n = len(x)
    for row in range(count):
        _told(numbers[row], tables, x)
        for j in range(n):
            state[0, row, j] = _tanh(x[j] + r[row, j])
        inner[row, :n] = state[0, row]
        inner[row, n:] = state[1, row]


@_loop()
def second_rnn(count: Any, x: Any, state: Any) -> None:
    """The second layer, from its whole product, (B, H)."""
    for row in range(count):
        for j in range(x.shape[1]):
            state[1, row, j] = _tanh(x[row, j])


# --- choosing ---


@_loop("reassoc")
def _admit(logits: Any, bias: Any, mask: Any, open_to_choice: Any) -> Any:
    """Logits with their bias where `mask` admits a character, else -inf; the sum of the logits."""
    total = _f32(0.0)
    for v in range(len(logits)):
        total += logits[v]
        open_to_choice[v] = logits[v] + bias[v] if mask[v] else _f32(-np.inf)
    return total


@_loop("nnan", "nsz", "reassoc")
def _tops(choices: Any, tops: Any) -> Any:
    """The greatest number of each block, and of all."""
    best = _f32(-np.inf)
    for block in range(len(tops)):
        top = _f32(-np.inf)
        for v in range(block * _BLOCK, (block + 1) * _BLOCK):
            top = max(top, choices[v])
        tops[block] = top
        best = max(best, top)
    return best


@_loop("reassoc")
def _mass(logits: Any, shift: Any) -> Any:
    """The sum of e^(logit - shift)."""
    total = _f32(0.0)
    for v in range(len(logits)):
        total += _exp(logits[v] - shift)
    return total


@_loop()
def _draw(choices: Any, tops: Any, best: Any, temperature: Any, uniform: Any) -> Any:
    """Draw by min-p and the inverse of the cumulative distribution: `engine.sampler.sample`.

    Nothing is likely, and 0 is drawn, where `temperature` is not a number above 0.
    """
    least = best + temperature * _f32(math.log(MIN_P))
    likely, masses = np.empty(len(choices), np.int64), np.empty(len(choices))
    count, mass = 0, 0.0
    for block in range(len(tops)):
        if tops[block] >= least:
            for v in range(block * _BLOCK, (block + 1) * _BLOCK):
                if choices[v] >= least:
                    mass += math.exp((choices[v] - best) / temperature)
                    likely[count], masses[count] = v, mass
                    count += 1
    if count == 0:
        return np.int64(0)
    first = np.searchsorted(masses[:count], uniform * mass, side="right")
    return likely[min(first, count - 1)]


@_loop("reassoc")
def _sum(numbers: Any) -> Any:
    total = _f32(0.0)
    for j in range(len(numbers)):
        total += numbers[j]
    return total


@_loop()
def _bar(mine: Any, at: Any, logits: Any, bias: Any, choices: Any) -> None:
    """Make what the poem has already less likely, and what may not stand here impossible."""
    for place in range(at):
        v = mine[TOKENS + LONGEST + place]
        if choices[v] != -np.inf:
            choices[v] = logits[v] + bias[v] - _f32(REPEAT_PENALTY)
    for slot in range(MOST_RHYMES + 1):
        choices[mine[RHYMED + slot]] = -np.inf
    choices[mine[FORBIDDEN + at]] = -np.inf


@_loop()
def _enter(mine: Any, at: Any, chosen: Any) -> None:
    """Put the chosen character where the next steps look for it."""
    mine[TOKENS + LONGEST + at] = chosen
    mine[PREVIOUS] = chosen
    slot = mine[RHYME_SLOT + at]
    if slot > 0:
        mine[RHYMED + slot] = chosen
    mine[POSITION] = at + 1


@_loop()
def choose(
    count: Any,
    logits: Any,
    numbers: Any,
    uniforms: Any,
    temperature: Any,
    masks: Any,
    biases: Any,
    state: Any,
    logprob: Any,
    sound: Any,
) -> None:
    """Write one character of the first `count` rows: what `Runner.step` does with torch.

    Logits are (B, V). A row whose logits or state are not finite, or that may write nothing, is
    marked and gets `<unk>`; no other row notices.
    """
    size = logits.shape[1]
    blocks = (size + _BLOCK - 1) // _BLOCK
    choices = np.full(blocks * _BLOCK, -np.inf, _f32)
    tops = np.empty(blocks, _f32)
    for row in range(count):
        mine, its = numbers[row], logits[row]
        at = mine[POSITION]
        given = mine[GIVEN + at]
        if given != NOT_GIVEN:
            _enter(mine, at, given)
            continue
        bias = biases[mine[BIAS]]
        total = _admit(its, bias, masks[mine[MASK + at]], choices[:size])
        for part in range(len(state)):
            total += _sum(state[part, row])
        _bar(mine, at, its, bias, choices)
        best = _tops(choices, tops) if math.isfinite(total) else _f32(-np.inf)
        chosen = 0
        if best == -np.inf or not temperature[row] > 0:
            sound[row] = False
        else:
            chosen = _draw(choices, tops, best, temperature[row], uniforms[row, at])
            logprob[row] += its[chosen] - best - math.log(_mass(its, best))
        _enter(mine, at, chosen)


# --- numbers as int8 ---


@_loop()
def _levels(x: Any, most: Any, levels: Any) -> None:
    for row in range(x.shape[0]):
        for j in range(x.shape[1]):
            levels[row, j] = np.uint8(np.int32(x[row, j] * most + _f32(128.5)))


@_loop("nnan", "nsz", "reassoc")
def _largest(x: Any) -> Any:
    largest = _f32(1e-12)
    for j in range(len(x)):
        largest = max(largest, abs(x[j]))
    return largest


@_loop()
def _row_levels(x: Any, most: Any, levels: Any, scales: Any) -> None:
    for row in range(x.shape[0]):
        scales[row] = _largest(x[row]) / most
        for j in range(x.shape[1]):
            levels[row, j] = np.uint8(np.int32(x[row, j] / scales[row] + _f32(128.5)))


def quantise(x: Tensor, most: int) -> Tensor:
    """Numbers from -1 to 1 as 128 - most to 128 + most, u8, (B, K) to the same."""
    levels = torch.empty(x.shape, dtype=torch.uint8)
    _levels(x.numpy(), _f32(most), levels.numpy())
    return levels


def quantise_rows(x: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The same for any numbers, with the worth of a level for each row, (B,)."""
    levels, scales = torch.empty(x.shape, dtype=torch.uint8), torch.empty(len(x))
    _row_levels(x.numpy(), _f32(most), levels.numpy(), scales.numpy())
    return levels, scales
