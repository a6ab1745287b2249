"""From drawn geometry to `where`, the affine map from view pixels to store pixels."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor

from kernels.tables.degrees import cos_sin


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
    """The map that shows the stored face mirrored, then stretched, then turned, then moved.

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
