"""From logits to the next character of every row, under the rules of verse.

No sort and no host sync: temperature, min-p (Nguyen et al. 2024) and inverse-CDF sampling with one
given uniform number a row. A row depends on nothing but its own logits and number.
"""

import torch
from torch import Tensor

MIN_P = 0.04
"""Characters less likely than this share of the likeliest are never chosen."""
REPEAT_PENALTY = 1.5
"""Nats taken from a character that the poem has already: poets seldom use one twice."""


def restrict(
    logits: Tensor, allowed: Tensor, written: Tensor, barred: Tensor, temperature: Tensor
) -> Tensor:
    """Logits with the forbidden at -inf, the repeated made unlikely, and the temperature applied.

    Args:
        logits: (B, V)
        allowed: characters that the rules admit at each row's place, bool, (B, V).
        written: indices that the poem has already, 0 where none, (B, T).
        barred: indices that may not stand here, as it rhymed on them; 0 where none, (B, R).
        temperature: (B,)

    Index 0 is `<unk>`, which no rule admits: padding with it forbids nothing more.

    Returns:
        (B, V)
    """
    seen = torch.zeros_like(logits).scatter_(1, written, REPEAT_PENALTY)
    open_to_choice = allowed.scatter(1, barred, False)
    return ((logits - seen) / temperature[:, None]).masked_fill(~open_to_choice, -torch.inf)


def sample(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one index a row by min-p and the inverse of the cumulative distribution.

    Args:
        logits: (B, V), forbidden characters at -inf.
        uniforms: one number in [0, 1) a row, (B,).

    Returns:
        (B,)
    """
    likelihood = (logits - logits.amax(1, keepdim=True)).exp_()  # the likeliest has 1
    likelihood = torch.where(likelihood >= MIN_P, likelihood, 0.0)
    mass = likelihood.cumsum(1)
    target = uniforms[:, None] * mass[:, -1:]
    index = (mass <= target).sum(1)
    return index.clamp_max_(logits.shape[1] - 1)


def sound(logits: Tensor, restricted: Tensor) -> Tensor:
    """Rows fit to sample from: logits all finite and something admitted, bool, (B,)."""
    return torch.isfinite(logits.sum(1)) & torch.isfinite(restricted.amax(1))
