"""Cosine and sine of angles in degrees, exact at the quarter turns."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float32
from torch import Tensor


def cos_sin(degrees: Float32[Tensor, " b"]) -> tuple[Float32[Tensor, " b"], Float32[Tensor, " b"]]:
    """Cosine and sine, within 2**-22 of the true values; exactly -1, 0 or 1 at multiples of 90 degrees.

    The angle is reduced to -45..45 degrees without rounding, then both series are summed in a fixed order of fp32
    multiplications and additions, so that devices whose own sine differs agree.
    """
    quarter = torch.floor(degrees / 90.0 + 0.5)
    angle = (degrees - quarter * 90.0) * (math.pi / 180.0)
    square = angle * angle
    sine = angle + angle * (square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square * (1 / 362880)))))
    cosine = 1.0 + square * (
        -1 / 2 + square * (1 / 24 + square * (-1 / 720 + square * (1 / 40320 + square * (-1 / 3628800))))
    )
    turns = quarter.to(torch.int64) & 3
    odd = (turns & 1) == 1
    x = torch.where(odd, -sine, cosine)
    y = torch.where(odd, cosine, sine)
    back = turns >= 2
    return torch.where(back, -x, x), torch.where(back, -y, y)
