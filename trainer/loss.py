"""Cross entropy over a large vocabulary, made cheap enough for a CPU.

Both functions take features and the tied softmax weights, never a whole (N, V) matrix of logits
in fp32: that matrix and its copies cost more than the products around it.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_ROWS_AT_ONCE = 1024


class _FullCrossEntropy(torch.autograd.Function):
    """Computes the gradient together with the loss, a slice of rows at a time."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> Tensor:
        count = len(targets)
        weight_low = weight.to(features.dtype)
        d_features = torch.empty_like(features)
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        loss = torch.zeros((), device=features.device)
        for first in range(0, count, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            x, t = features[rows], targets[rows, None]
            logits = (x @ weight_low.t()).float() + bias  # (n, V)
            peak = logits.amax(1, keepdim=True)
            right = logits.gather(1, t) - peak
            p = logits.sub_(peak).exp_()
            mass = p.sum(1, keepdim=True)
            loss += (mass.log() - right).sum()
            p.div_(mass * count)
            p.scatter_add_(1, t, torch.full_like(right, -1.0 / count))  # d loss / d logits
            d_bias += p.sum(0)
            low = p.to(features.dtype)
            d_features[rows] = low @ weight_low
            d_weight += low.t() @ x
        cast("Any", ctx).save_for_backward(d_features, d_weight, d_bias)
        return loss / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        d_features, d_weight, d_bias = ctx.saved_tensors
        return d_features * grad, d_weight * grad, d_bias * grad, None


def full_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy in nats.

    Args:
        features: (N, E), in the precision that the products shall have.
        weight: (V, E)
        bias: (V,)
        targets: (N,)
    """
    loss = _FullCrossEntropy.apply(features, weight, bias, targets)  # type: ignore[no-untyped-call]
    return cast("Tensor", loss)


def sampled_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    frequencies: Tensor,
    negatives: int,
) -> Tensor:
    """An estimate of the same from some characters drawn by frequency instead of all.

    The sum over the vocabulary is estimated with importance weights, s_j - log q_j - log K for K
    draws with probability q (Bengio & Senécal 2008); draws that hit a target are left out for it.
    Arguments as for `full_cross_entropy`; `frequencies` (V,) sum to 1.
    """
    drawn = torch.multinomial(frequencies, negatives, replacement=True)  # (K,)
    correction = frequencies[drawn].log() + torch.log(torch.tensor(float(negatives)))
    right = (features * weight[targets]).sum(-1).float() + bias[targets]  # (N,)
    others = (features @ weight[drawn].to(features.dtype).t()).float()  # (N, K)
    others = others + (bias[drawn] - correction)
    others = others.masked_fill(drawn == targets[:, None], -torch.inf)
    every = torch.cat([right[:, None], others], dim=1)
    return (every.logsumexp(1) - right).mean()
