"""Products with fixed weights, on a CPU, in three precisions.

`torch.nn.functional.linear` in fp32 goes to MKL, which is slow on many a CPU, and repacks; oneDNN
with weights that were packed once is 1.3 to 2.4 times as fast, and exact all the same. bf16 doubles
that again where the CPU has instructions for it, and int8 once more.

    fp32    y = x Wᵀ + b
    bf16    the same with x and W rounded to 8 bits of mantissa, sums in fp32
    int8    y = s_x s_w (q_x q_wᵀ) + b, where q_w has a scale s_w for each row of W; sums are exact

What goes in as int8 has a scale of its own for each row, or one that is known beforehand: hidden
states lie between -1 and 1. Either way no row has any influence on another.

Letters: B batch, K inputs, N outputs.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import cache

import structlog
import torch
from torch import Tensor

from engine import kernels


class Precision(StrEnum):
    """In what numbers products are computed."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


_log = structlog.get_logger(__name__)

Linear = Callable[[Tensor], Tensor]
"""fp32 in, (B, K), fp32 out, (B, N)."""

_LEVELS = 127
_ZERO = 128  # of the unsigned numbers that stand for -1 to 1: VNNI multiplies u8 by s8
_USUAL_BATCH = 64
"""The batch that oneDNN is told to expect when it packs weights; any other works too."""
TOLERANCE = {Precision.FP32: 1e-5, Precision.BF16: 2e-2, Precision.INT8: 2e-2}
"""How far a product may be off, as a share of the largest, before its kind is not used."""


def exact(weight: Tensor, bias: Tensor) -> Linear:
    """fp32 through oneDNN, or through torch where there is none."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch forgot
        return lambda x: torch.nn.functional.linear(x, weight, bias)
    return _packed(weight, bias)


def rounded(weight: Tensor, bias: Tensor) -> Linear:
    """bf16 through oneDNN."""
    multiply = _packed(weight.bfloat16(), bias.bfloat16())
    return lambda x: multiply(x.bfloat16()).float()


def _packed(weight: Tensor, bias: Tensor) -> Linear:
    """OneDNN's product, whose weights are laid out once as it wants them."""
    mkldnn = torch.ops.mkldnn
    pack, multiply = mkldnn._reorder_linear_weight, mkldnn._linear_pointwise.default  # noqa: SLF001
    packed = pack(weight.contiguous(), _USUAL_BATCH)
    return lambda x: multiply(x, packed, bias, "none", [], "")


class Quantised:
    """int8 through oneDNN, for inputs between -1 and 1, or for any, row by row."""

    def __init__(self, weight: Tensor, bias: Tensor, *, bounded: bool) -> None:
        """Quantise `weight`, (N, K), by rows; `bias` is (N,)."""
        self.bounded = bounded
        scales = weight.abs().amax(1).clamp_min(1e-12) / _LEVELS
        levels = (weight / scales[:, None]).round().to(torch.int8)
        self._scales, self._bias = scales, bias
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._weight = torch.ops.onednn.qlinear_prepack(levels, None)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, K) to (B, N)."""
        if self.bounded:
            return self._multiply(kernels.quantise(x, _LEVELS), 1 / _LEVELS, self._bias)
        levels, scales = kernels.quantise_rows(x, _LEVELS)
        product = self._multiply(levels, 1.0, None)
        return torch.addcmul(self._bias, product, scales[:, None], out=product)

    def _multiply(self, levels: Tensor, scale: float, bias: Tensor | None) -> Tensor:
        product: Tensor = torch.ops.onednn.qlinear_pointwise.default(
            levels, scale, _ZERO, self._weight, self._scales, self._zeros, bias,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product


def linear(precision: Precision, weight: Tensor, bias: Tensor, *, bounded: bool) -> Linear:
    """The product with `weight`, (N, K), and `bias`, (N,).

    Args:
        precision: in what numbers.
        weight: (N, K)
        bias: (N,)
        bounded: whether what goes in lies between -1 and 1.
    """
    if precision is Precision.INT8:
        return Quantised(weight, bias, bounded=bounded)
    return {Precision.FP32: exact, Precision.BF16: rounded}[precision](weight, bias)


@cache
def available() -> tuple[Precision, ...]:
    """The precisions that this CPU computes as it should, the fastest first.

    Each is tried once on numbers that are known; fp32 is always there.
    """
    found = [one for one in (Precision.INT8, Precision.BF16) if _suits(one) and _works(one)]
    return (*found, Precision.FP32)


def precisions_of(device: str) -> tuple[Precision, ...]:
    """What a device computes in, the fastest first."""
    return available() if device == "cpu" else (Precision.BF16, Precision.FP32)


def pick(wanted: str, device: str) -> Precision:
    """The precision that a setting names, if `device` has it; `auto` is the fastest that it has.

    Where what is wanted is not there, the fastest stands in, and the log says so.
    """
    there = precisions_of(device)
    if wanted == "auto" or wanted in there:
        return there[0] if wanted == "auto" else Precision(wanted)
    _log.warning("! precision", action="engine.precision", wanted=wanted, instead=there[0].value)
    return there[0]


def _suits(precision: Precision) -> bool:
    """Whether the CPU has instructions for it; without, it would be slow, and u8 would overflow."""
    has = torch.cpu.get_capabilities()
    wanted = {
        Precision.INT8: ("avx512_vnni", "avx_vnni", "amx_int8"),
        Precision.BF16: ("avx512_bf16", "amx_bf16", "arm_bf16"),
    }[precision]
    return any(has.get(name, False) for name in wanted)


@torch.inference_mode()
def _works(precision: Precision) -> bool:
    """Whether products come out right."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(96, 64, generator=generator), torch.randn(96, generator=generator)
    x = torch.rand(5, 64, generator=generator) * 2 - 1
    expected = torch.nn.functional.linear(x, weight, bias)
    try:
        found = [linear(precision, weight, bias, bounded=bounded)(x) for bounded in (True, False)]
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    largest = float(expected.abs().max())
    return all(
        float((one - expected).abs().max()) <= TOLERANCE[precision] * largest for one in found
    )
