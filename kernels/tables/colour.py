"""From drawn colour changes to `colour`, one affine map of (R, G, B) on 0..255."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from kernels.tables.degrees import cos_sin

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in Y of YIQ (ITU-R BT.601)."""

HUE = (
    (-0.1677033, -0.3292681, 0.4969714),
    (0.3281308, -0.0355209, -0.2926099),
    (-1.2497326, 1.0465084, 0.2032242),
)
"""T^-1 J T, where T takes RGB to YIQ (FCC 1953) and J turns the (I, Q) plane by a quarter, red towards yellow."""


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
    """Contrast about `mean`, brightness factor, brightness shift, saturation, hue, gray: applied in this order.

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
