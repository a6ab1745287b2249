"""Drawn augmentation as a part of a DALI pipeline: geometry, blur and colour by DALI's own operators.

DALI counts pixels from the outer corner of the first one and repeats the edge, as `render_views` does, so `where` is
its destination-to-source matrix as it stands. Between the operators faces stay in fp32; the last one rounds and clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernels import Tables

_BORDER = 1  # pixels around the view that its 3 x 3 blur reads
_SHARP = 0.05  # sigma whose neighbours weigh exp(-200), nothing in fp32; DALI takes 0 for "choose one"


def tables_for(tables: Tables, channels: int, *, blurs: bool) -> tuple[NDArray[np.float32], ...]:
    """What `augmented` takes of the drawn tables.

    Args:
        tables: Of a batch, on the CPU.
        channels: Of the stored faces.
        blurs: As in `augmented`.

    Returns:
        View pixel to store pixel "b 2 3", colour "b 3 channels+1", and sigma "b" where any face is blurred.
    """
    where = tables.where.clone()
    if blurs:  # the view begins a pixel further out
        where[:, :, 2] -= _BORDER * (where[:, :, 0] + where[:, :, 1])
    mix, offset = tables.colour[:, :, :3], tables.colour[:, :, 3:]
    colour = torch.cat([mix if channels == 3 else mix.sum(2, keepdim=True), offset], dim=2)
    sigma = (tables.blur.clamp(min=_SHARP).numpy(),) if blurs else ()
    return where.numpy(), colour.numpy(), *sigma


def dimensions(*, blurs: bool) -> list[int]:
    """Axes of one sample of each of `tables_for`."""
    return [2, 2, 0] if blurs else [2, 2]


def augmented(package: Any, faces: Any, drawn: Sequence[Any], *, size: int, blurs: bool) -> Any:
    """The node of augmented faces, uint8 "size size 3", in a pipeline that is being built.

    Args:
        package: `nvidia.dali`.
        faces: The node of stored faces.
        drawn: The nodes of `tables_for`.
        size: Side of the view in pixels.
        blurs: Whether any face is blurred.
    """
    fn, types = package.fn, package.types
    where, colour = drawn[:2]
    side = size + 2 * _BORDER if blurs else size
    seen = fn.warp_affine(faces, matrix=where, size=[side, side], interp_type=types.INTERP_LINEAR, dtype=types.FLOAT)
    if blurs:
        seen = fn.gaussian_blur(seen, sigma=drawn[2], window_size=2 * _BORDER + 1)
        seen = fn.slice(seen, start=[_BORDER, _BORDER], shape=[size, size], axes=[0, 1])
    return fn.cast(fn.coord_transform(seen, MT=colour), dtype=types.UINT8)
