"""Draws the tables that `render_views` reads, as pure functions of a key."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float32, Int16, Int64
from torch import Tensor

from kernels.tables import op
from kernels.tables.augment import Augment
from kernels.tables.streams import Key


@dataclass(frozen=True, slots=True)
class Tables:
    """Holds how one view of each sample of a batch is shown; `render_views` takes them stacked over views."""

    where: Float32[Tensor, "b 2 3"]
    """View pixel to store pixel, origin at the outer corner of the first pixel."""
    colour: Float32[Tensor, "b 3 4"]
    """(R, G, B, 1) on 0..255 to the same scale."""
    blur: Float32[Tensor, " b"]
    """Sigma in view pixels, 0 where not blurred."""
    noise: Float32[Tensor, " b"]
    """Standard deviation on 0..255, 0 where without noise."""
    key: Int64[Tensor, " b"]
    """Key of the noise, any 64 bits."""
    cut: Int16[Tensor, "b 4"]
    """Left, top, right, bottom of the cut-out in view pixels, the last two exclusive; zeros where there is none."""

    def __getitem__(self, samples: slice) -> Tables:
        """Gives the tables of some samples of the batch."""
        return Tables(*(getattr(self, each.name)[samples] for each in fields(self)))


def draw(augment: Augment, key: Key, *, mean: Float32[Tensor, "b 3"], store: tuple[int, int], size: int) -> Tables:
    """Draws one view's tables for each sample.

    The result depends on nothing but the arguments, sample by sample: not on the rest of the batch, the worker or the
    rank. Whether something happens (mirror, gray, cut-out and its place) is decided in integers and equal bit for bit
    on every device; real tables are sums and products of fp32 in a fixed order, which agree within 4 units in the last
    place of their largest term. Nothing synchronises with the device.

    Args:
        augment: The ranges.
        key: Of the samples; all views that name the same stream share one draw. Padding is drawn like any other.
        mean: Mean colour of the stored face on 0..255, about which contrast turns.
        store: (height, width) of the stored faces.
        size: Side of the view in pixels.

    Raises:
        ValueError: `store` or `size` is out of range, or `mean` is of another shape, dtype or device.
    """
    sample = key.sample
    _check_sizes("draw", store, size)
    if mean.dtype != torch.float32 or tuple(mean.shape) != (sample.shape[0], 3):
        raise ValueError(
            f"draw: mean (={mean.dtype} of shape {tuple(mean.shape)}) must be float32 of shape "
            f"{(sample.shape[0], 3)}; give the mean colour of each sample"
        )
    if mean.device != sample.device:
        raise ValueError(f"draw: mean (on {mean.device}) must be where sample is ({sample.device}); move it there")

    return Tables(*op.draw_tables(*op.address(key), mean, augment.numbers(), *store, size))


def centre(crop: float, *, store: tuple[int, int], size: int, batch: int, device: torch.device | str) -> Tables:
    """Makes the tables of evaluation: the central square, upright, in its own colours, nothing drawn.

    With crop 1 and a store of size x size the view is the stored face, pixel for pixel.

    Args:
        crop: Side of the square as share of the store's shorter side, above 0.
        store: (height, width) of the stored faces.
        size: Side of the view in pixels.
        batch: Samples; all get the same tables.
        device: Where the tables are made.

    Raises:
        ValueError: An argument is out of range.
    """
    _check_sizes("centre", store, size)
    if not (math.isfinite(crop) and crop > 0.0):
        raise ValueError(f"centre: crop (={crop}) must be a finite number above 0; 1 shows the whole shorter side")
    if batch < 1:
        raise ValueError(f"centre: batch (={batch}) must be at least 1; give the number of samples")
    height, width = store
    step = crop * min(height, width) / size
    where = torch.zeros(batch, 2, 3, device=device)
    where[:, 0, 0] = step
    where[:, 1, 1] = step
    where[:, 0, 2] = (width - step * size) / 2
    where[:, 1, 2] = (height - step * size) / 2
    return Tables(
        where=where,
        colour=torch.eye(3, 4, device=device).repeat(batch, 1, 1),
        blur=torch.zeros(batch, device=device),
        noise=torch.zeros(batch, device=device),
        key=torch.zeros(batch, dtype=torch.int64, device=device),
        cut=torch.zeros(batch, 4, dtype=torch.int16, device=device),
    )


def _check_sizes(where: str, store: tuple[int, int], size: int) -> None:
    if len(store) != 2 or min(store) < 1:
        raise ValueError(f"{where}: store (={store}) must be (height, width), at least 1 each; give the stored size")
    if not 1 <= size < 2**15:
        raise ValueError(f"{where}: size (={size}) must be in 1..32767; it is the view's side in pixels")
