"""States the rule of `hidden_l1` in plain PyTorch, forward and backward: every faster kernel is compared with this."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int16
from torch import Tensor

from kernels.grid import over_pixels


def _hidden(shows: Int16[Tensor, "b n"], size: int) -> Bool[Tensor, "b 1 size size"]:
    return over_pixels(shows < 0, size)[:, None]


def _precision(guess: Tensor, truth: Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(guess.dtype, truth.dtype), torch.float32)


def hidden_l1(
    guess: Float[Tensor, "b 3 size size"], truth: Float[Tensor, "b 3 size size"], shows: Int16[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """See `kernels.hidden_l1`."""
    hidden = _hidden(shows, guess.shape[-1])
    precision = _precision(guess, truth)
    distance = (guess.to(precision) - truth.to(precision)).abs()
    # Selected, not multiplied: what stands in known pixels must not matter, NaN and infinity included.
    total = torch.where(hidden, distance, 0.0).sum()
    return total / (hidden.sum() * guess.shape[1]).clamp(min=1)


def hidden_l1_backward(
    grad: Float[Tensor, ""],
    guess: Float[Tensor, "b 3 size size"],
    truth: Float[Tensor, "b 3 size size"],
    shows: Int16[Tensor, "b n"],
) -> Float[Tensor, "b 3 size size"]:
    """Gradient to `guess`, in its dtype and memory order: grad * sign(guess - truth) / count in hidden pixels, else 0.

    That to `truth` is the same with `guess` and `truth` exchanged.
    """
    hidden = _hidden(shows, guess.shape[-1])
    precision = _precision(guess, truth)
    sign = (guess.to(precision) - truth.to(precision)).sign()
    scale = grad.to(precision) / (hidden.sum() * guess.shape[1]).clamp(min=1)
    return torch.empty_like(guess).copy_(torch.where(hidden, sign * scale, 0.0))
