"""Products with fixed weights, on a CPU, in three precisions.

    fp32    y = x Wᵀ + b
    bf16    the same with x and W rounded to 8 bits of mantissa, sums in fp32
    int8    y = s_x s_w (q_x q_wᵀ) + b, where q_w has a scale s_w for each row of W; sums are exact

What goes in as int8 has a scale of its own for each row, or one that is known beforehand: hidden
states lie between -1 and 1. Either way no row has any influence on another.

Where the CPU has AVX-512, products are those of `engine.tiles`. Elsewhere they are oneDNN's with
weights that were packed once: `torch.nn.functional.linear` in fp32 goes to MKL, which is slow on
many a CPU, and repacks.

Letters: B batch, K inputs, N outputs.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
import torch
from llvmlite.binding import get_host_cpu_features
from torch import Tensor

from engine import kernels, tiles
from engine.kernels import Floats


class Precision(StrEnum):
    """In what numbers products are computed."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


_log = structlog.get_logger(__name__)

Linear = Callable[[Floats], Floats]
"""fp32 in, (B, K), fp32 out, (B, N), which may be overwritten by the next call."""
Kinds = npt.NDArray[np.int64]
Sparing = Callable[[Floats, Kinds], Floats]
"""The same, told of what kind each row is, (B,): what it does not need may be anything. What comes
out may have more columns, which mean nothing."""

_LEVELS = 127
_ZERO = 128  # of the unsigned numbers that stand for -1 to 1: VNNI multiplies u8 by s8
_USUAL_BATCH = 64
"""The batch that oneDNN is told to expect when it packs weights; any other works too."""
TOLERANCE = {Precision.FP32: 1e-5, Precision.BF16: 2e-2, Precision.INT8: 2e-2}
"""How far a product may be off, as a share of the largest, before its kind is not used."""


def _quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights, (N, K), as levels of int8, and what a level of each row is worth, (N,)."""
    scales = weight.abs().amax(1).clamp_min(1e-12) / _LEVELS
    return (weight / scales[:, None]).round().to(torch.int8), scales


# --- by engine.tiles ---


class Tiled:
    """Any precision by the loops of `engine.tiles`, in batches of any size."""

    def __init__(
        self,
        precision: Precision,
        weight: Tensor,
        bias: Tensor,
        *,
        bounded: bool,
        reach: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Lay out `weight`, (N, K), of which K is a multiple of 4; `bias` is (N,).

        `reach` is as in `sparing`; without, all is needed.
        """
        self._precision, self._bounded = precision, bounded
        scales, zero = torch.ones(len(weight)), torch.zeros(len(weight))
        if precision is Precision.INT8:
            weight, scales = _quantise(weight)
            zero = -_ZERO * weight.sum(1, dtype=torch.int32)
            scales = scales / _LEVELS if bounded else scales
        elif precision is Precision.BF16:
            weight = weight.bfloat16()
        self._outputs = len(weight)
        self._weights = as_array(tiles.pack(weight))
        self._reach = np.ones((1, len(self._weights)), np.bool_) if reach is None else reach
        self._columns = [as_array(tiles.fill_up(one)) for one in (zero, scales, bias)]
        self._reserve(1, weight.shape[1])

    def __call__(self, x: Floats) -> Floats:
        """(B, K) to (B, N)."""
        alike = np.zeros(len(x), np.int64)
        return np.ascontiguousarray(self.spare(x, alike)[:, : self._outputs])

    def spare(self, x: Floats, kinds: Kinds) -> Floats:
        """(B, K) to (B, N or more): what rows of these kinds, (B,), need."""
        rows = len(x)
        if rows > len(self._out):
            self._reserve(*x.shape)
        out, worth = self._out[:rows], self._worth[:rows]
        words = self._enter(x, worth)
        zero, scales, bias = self._columns
        tiles.multiply(words, worth, self._weights, zero, scales, bias, self._reach, kinds, out)
        return out

    def _reserve(self, rows: int, inputs: int) -> None:
        """Have room for what goes in and comes out of so many rows."""
        kind = np.uint8 if self._precision is Precision.INT8 else np.uint16
        self._words = np.empty((rows, inputs), kind)
        self._worth = np.ones(rows, np.float32)
        self._out = np.empty((rows, len(self._weights) * tiles.OUTPUTS), np.float32)

    def _enter(self, x: Floats, worth: Floats) -> npt.NDArray[Any]:
        """What goes in, in the precision's numbers; `worth`, (B,), gets that of each row's 1."""
        words = self._words[: len(x)]
        if self._precision is Precision.FP32:
            return x
        if self._precision is Precision.BF16:
            kernels.halves(x, words)
        elif self._bounded:
            kernels.levels(x, _LEVELS, words)
        else:
            kernels.row_levels(x, _LEVELS, words, worth)
        return words


def as_array(tensor: Tensor) -> npt.NDArray[Any]:
    """A view of a tensor's memory as loops read it: bf16 is u16."""
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    array: npt.NDArray[Any] = tensor.contiguous().numpy()
    return array


# --- by oneDNN ---


def _exact(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """fp32 through oneDNN, or through torch where there is none."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch forgot
        return lambda x: torch.nn.functional.linear(x, weight, bias)
    return _packed(weight, bias)


def _rounded(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """bf16 through oneDNN."""
    multiply = _packed(weight.bfloat16(), bias.bfloat16())
    return lambda x: multiply(x.bfloat16()).float()


def _packed(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """OneDNN's product, whose weights are laid out once as it wants them."""
    mkldnn = torch.ops.mkldnn
    pack, multiply = mkldnn._reorder_linear_weight, mkldnn._linear_pointwise.default  # noqa: SLF001
    packed = pack(weight.contiguous(), _USUAL_BATCH)
    return lambda x: multiply(x, packed, bias, "none", [], "")


class _Quantised:
    """int8 through oneDNN, for inputs between -1 and 1, or for any, row by row."""

    def __init__(self, weight: Tensor, bias: Tensor, *, bounded: bool) -> None:
        """Quantise `weight`, (N, K), by rows; `bias` is (N,)."""
        self._bounded, self._bias = bounded, bias
        levels, self._scales = _quantise(weight)
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._weight = torch.ops.onednn.qlinear_prepack(levels, None)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, K) to (B, N)."""
        levels, worth = torch.empty(x.shape, dtype=torch.uint8), torch.empty(len(x))
        if self._bounded:
            kernels.levels(x.numpy(), _LEVELS, levels.numpy())
            return self._multiply(levels, 1 / _LEVELS, self._bias)
        kernels.row_levels(x.numpy(), _LEVELS, levels.numpy(), worth.numpy())
        product = self._multiply(levels, 1.0, None)
        return torch.addcmul(self._bias, product, worth[:, None], out=product)

    def _multiply(self, levels: Tensor, scale: float, bias: Tensor | None) -> Tensor:
        product: Tensor = torch.ops.onednn.qlinear_pointwise.default(
            levels, scale, _ZERO, self._weight, self._scales, self._zeros, bias,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product


def by_library(precision: Precision, weight: Tensor, bias: Tensor, *, bounded: bool) -> Linear:
    """The product with `weight`, (N, K), and `bias`, (N,), through oneDNN."""
    if precision is Precision.INT8:
        multiply: Callable[[Tensor], Tensor] = _Quantised(weight, bias, bounded=bounded)
    else:
        multiply = (_exact if precision is Precision.FP32 else _rounded)(weight, bias)
    return lambda x: multiply(torch.from_numpy(x)).numpy()


# --- either ---


def linear(precision: Precision, weight: Tensor, bias: Tensor, *, bounded: bool) -> Linear:
    """The product with `weight`, (N, K), and `bias`, (N,).

    Args:
        precision: in what numbers.
        weight: (N, K)
        bias: (N,)
        bounded: whether what goes in lies between -1 and 1.
    """
    if in_tiles(precision) and weight.shape[1] % 4 == 0:
        return Tiled(precision, weight, bias, bounded=bounded)
    return by_library(precision, weight, bias, bounded=bounded)


def sparing(
    precision: Precision, weight: Tensor, bias: Tensor, *, reach: npt.NDArray[np.bool_]
) -> Sparing:
    """The product of which each row needs a part of the outputs, and other parts may be left out.

    Args:
        precision: in what numbers.
        weight: (N, K)
        bias: (N,)
        reach: which blocks of `engine.kernels.BLOCK` outputs a row of each kind needs,
            (kinds, blocks).
    """
    if in_tiles(precision) and weight.shape[1] % 4 == 0:
        return Tiled(precision, weight, bias, bounded=False, reach=reach).spare
    multiply = by_library(precision, weight, bias, bounded=False)
    return lambda x, _: multiply(x)


@cache
def in_tiles(precision: Precision) -> bool:
    """Whether `engine.tiles` multiplies in it here.

    It does where the CPU has the instructions, and none for whole matrices (AMX), which oneDNN
    uses. Asked is what compiles the loops, for it must know of them too.
    """
    has = get_host_cpu_features()
    wanted, better = {
        Precision.FP32: ("avx512f", ""),
        Precision.BF16: ("avx512bf16", "amx-bf16"),
        Precision.INT8: ("avx512vnni", "amx-int8"),
    }[precision]
    return has.get(wanted, False) and not has.get(better, False)


def available() -> tuple[Precision, ...]:
    """The precisions that this CPU computes as it should, the fastest first; fp32 always."""
    return precisions_of("cpu")


def precisions_of(device: str) -> tuple[Precision, ...]:
    """What a device computes in, the fastest first."""
    return tuple(_there(device))


def _there(device: str) -> Iterator[Precision]:
    """The same, each tried when it is asked for: what tries it may have to be compiled."""
    if device == "cpu":
        yield from (one for one in (Precision.INT8, Precision.BF16) if _suits(one) and _works(one))
    else:
        yield Precision.BF16
    yield Precision.FP32


def pick(wanted: str, device: str) -> Precision:
    """The precision that a setting names, if `device` has it; `auto` is the fastest that it has.

    Where what is wanted is not there, the fastest stands in, and the log says so.
    """
    fastest = next(_there(device))
    if wanted == "auto" or any(one == wanted for one in _there(device)):
        return fastest if wanted == "auto" else Precision(wanted)
    _log.warning("! precision", action="engine.precision", wanted=wanted, instead=fastest.value)
    return fastest


def _suits(precision: Precision) -> bool:
    """Whether the CPU has instructions for it; without, it would be slow, and u8 would overflow."""
    has = torch.cpu.get_capabilities()
    wanted = {
        Precision.INT8: ("avx512_vnni", "avx_vnni", "amx_int8"),
        Precision.BF16: ("avx512_bf16", "amx_bf16", "arm_bf16"),
    }[precision]
    return any(has.get(name, False) for name in wanted)


@cache
@torch.inference_mode()
def _works(precision: Precision) -> bool:
    """Whether products come out right: tried once, on numbers that are known."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(96, 64, generator=generator), torch.randn(96, generator=generator)
    x = torch.rand(5, 64, generator=generator) * 2 - 1
    expected = torch.nn.functional.linear(x, weight, bias)
    try:
        found = [
            torch.from_numpy(linear(precision, weight, bias, bounded=bounded)(x.numpy()))
            for bounded in (True, False)
        ]
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    largest = float(expected.abs().max())
    return all(
        float((one - expected).abs().max()) <= TOLERANCE[precision] * largest for one in found
    )
