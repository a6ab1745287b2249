"""Builds the two affine maps of a view from drawn numbers: `where` of its positions and `colour` of its colours."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in Y of YIQ (ITU-R BT.601)."""

HUE = (
    (-0.1677033, -0.3292681, 0.4969714),
    (0.3281308, -0.0355209, -0.2926099),
    (-1.2497326, 1.0465084, 0.2032242),
)
"""T^-1 J T, where T takes RGB to YIQ (FCC 1953) and J turns the (I, Q) plane by a quarter, red towards yellow."""


def affine(
    *,
    flip: Float32[Tensor, " b"],
    rotation: Float32[Tensor, " b"],
    crop: Float32[Tensor, " b"],
    scale: Float32[Tensor, " b"],
    aspect: Float32[Tensor, " b"],
    shift_x: Float32[Tensor, " b"],
    shift_y: Float32[Tensor, " b"],
    store: tuple[int, int],
    size: int,
) -> Float32[Tensor, "b 2 3"]:
    """Builds the map that shows the stored face mirrored, then stretched, then turned, then moved.

    The picture is what moves: it is mirrored (`flip` -1, else 1), magnified by `scale` and by sqrt(aspect) across and
    1 / sqrt(aspect) down, turned clockwise on the screen by `rotation` degrees and moved right and down by the shifts,
    shares of the view's side. The square of side crop * min(height, width) about the store's centre fills the view
    where nothing else is done. `where` maps the other way, from the view to the store, so it is the inverse.
    """
    height, width = store
    step = crop * (min(height, width) / size) / scale
    root = torch.sqrt(aspect)
    step_x = step / root * flip
    step_y = step * root
    cosine, sine = cos_sin(rotation)
    xx, xy = step_x * cosine, step_x * sine
    yx, yy = -(step_y * sine), step_y * cosine
    centre_x = shift_x * size + size / 2
    centre_y = shift_y * size + size / 2
    x = width / 2 - (xx * centre_x + xy * centre_y)
    y = height / 2 - (yx * centre_x + yy * centre_y)
    return torch.stack([xx, xy, x, yx, yy, y], dim=-1).reshape(-1, 2, 3)


def colour_matrix(
    *,
    contrast: Float32[Tensor, " b"],
    brightness_factor: Float32[Tensor, " b"],
    brightness: Float32[Tensor, " b"],
    saturation: Float32[Tensor, " b"],
    hue: Float32[Tensor, " b"],
    gray: Bool[Tensor, " b"],
    mean: Float32[Tensor, "b 3"],
) -> Float32[Tensor, "b 3 4"]:
    """Builds the map of contrast about `mean`, brightness factor and shift, saturation, hue and gray, in this order.

    With P the projection on gray (every channel becomes Y of YIQ), saturation s and a turn of the chroma plane by a are
    P + s cos(a) (1 - P) + s sin(a) K, where K turns the plane by a quarter; gray is s = 0. Neutral values give exactly
    the identity.
    """
    saturation = torch.where(gray, torch.zeros_like(saturation), saturation)
    cosine, sine = cos_sin(hue * 360.0)
    along, across = saturation * cosine, saturation * sine
    gain = brightness_factor * contrast
    # Per channel: x -> gain x + offset, before saturation and hue mix the channels.
    offset = (mean * (1.0 - contrast)[:, None]) * brightness_factor[:, None] + (brightness * 255.0)[:, None]
    rows = []
    for i in range(3):
        mix = [
            (1.0 - along) * LUMA[j] + across * HUE[i][j] + (along if i == j else torch.zeros_like(along))
            for j in range(3)
        ]
        moved = (mix[0] * offset[:, 0] + mix[1] * offset[:, 1]) + mix[2] * offset[:, 2]
        rows.append(torch.stack([mix[0] * gain, mix[1] * gain, mix[2] * gain, moved], dim=-1))
    return torch.stack(rows, dim=1)


def cos_sin(degrees: Float32[Tensor, " b"]) -> tuple[Float32[Tensor, " b"], Float32[Tensor, " b"]]:
    """Gives cosine and sine, within 2**-22 of the true values; exactly -1, 0 or 1 at multiples of 90 degrees.

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
