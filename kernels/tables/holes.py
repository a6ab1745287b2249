"""Draws of hidden cells for in-painting."""

from __future__ import annotations

import math

import torch
from jaxtyping import Int16, Int64
from torch import Tensor

from kernels.grid import check_grid
from kernels.tables.cells import identity_cells
from kernels.tables.streams import Purpose, check_address, words

_MOST_BLOCKS = 16
_WIDEST_ASPECT = 16.0


def draw_holes(
    grid: int,
    *,
    share: tuple[float, float] = (0.15, 0.35),
    blocks: tuple[int, int] = (1, 3),
    aspect: tuple[float, float] = (0.5, 2.0),
    seed: int,
    epoch: int,
    sample: Int64[Tensor, " b"],
    stream: str,
) -> Int16[Tensor, "b n"]:
    """`shows` of a view with a hole: K cells near a few random centres are hidden (-1), the others show themselves.

    With the share drawn uniformly, K = round(share * grid * grid), halves up. One to three block centres lie anywhere
    in the view; each has its own aspect a (width over height, drawn uniformly). A cell whose centre lies (dx, dy) from
    a block's centre is max(|dx| / sqrt(a), |dy| * sqrt(a)) away from it, so balls are boxes a times as wide as high and
    equal in area for every a. The K cells nearest to any centre are hidden, ties by number: exactly K, no rejection.
    All of it is fixed-point arithmetic on int64, hence equal bit for bit on every device. (Ours.)

    Args:
        grid: Cells a side, 1..181.
        share: Range of the hidden share, in 0..1.
        blocks: Range of the number of blocks, in 1..16.
        aspect: Range of a block's aspect, in 1/16..16.
        seed: 0..2**64-1.
        epoch: 0..2**32-1.
        sample: Sample ids.
        stream: Name of the stream, see `random_bits`.

    Raises:
        ValueError: An argument is out of range.
    """
    check_grid("draw_holes", grid)
    check_address("draw_holes", seed, epoch, sample)
    _check_range("share", share, 0.0, 1.0)
    _check_range("blocks", blocks, 1, _MOST_BLOCKS)
    _check_range("aspect", aspect, 1 / _WIDEST_ASPECT, _WIDEST_ASPECT)

    cells = grid * grid
    fewest, most = blocks
    bits = words(Purpose.HOLES, 4 + 4 * most, seed=seed, epoch=epoch, sample=sample, stream=stream)
    hidden = (_fixed(share, 20, bits[:, 0]) * cells + (1 << 39)) >> 40
    block_count = fewest + ((bits[:, 1] * (most - fewest + 1)) >> 32)

    block = bits[:, 4:].reshape(-1, most, 4)  # b, block, (x, y, aspect, unused)
    # Lengths are in 2**-17 of a cell, so that cell centres, odd numbers of half cells, are whole.
    centre = (block[:, :, :2] * (2 * grid)) >> 16
    wideness = _fixed(aspect, 24, block[:, :, 2]) >> 20  # aspect * 2**24
    down = _whole_root(wideness)  # sqrt(aspect) * 2**12
    across = _whole_root((1 << 48) // wideness)  # 2**12 / sqrt(aspect)
    cell = (2 * torch.arange(grid, device=sample.device) + 1) << 16
    dx = (cell - centre[:, :, :1]).abs() * across[:, :, None]  # b, block, column
    dy = (cell - centre[:, :, 1:]).abs() * down[:, :, None]  # b, block, row
    distance = torch.maximum(dx[:, :, None, :], dy[:, :, :, None])  # b, block, row, column
    absent = torch.arange(most, device=sample.device) >= block_count[:, None]
    nearest = distance.masked_fill(absent[:, :, None, None], 2**62).amin(dim=1).flatten(1)

    order = nearest.argsort(dim=1, stable=True)
    rank = torch.arange(cells, device=sample.device).expand_as(order)
    kept = torch.where(rank < hidden[:, None], torch.full_like(order, -1), order).to(torch.int16)
    shown: Tensor = identity_cells(grid, sample.shape[0], sample.device).scatter(1, order, kept)
    return shown


def _fixed(span: tuple[float, float], fraction: int, bits: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """A uniform number of a range, times 2**(20 + fraction): its ends are rounded to 2**-fraction, its steps are 2**-20
    of the range."""
    low = round(span[0] * 2**fraction)
    high = round(span[1] * 2**fraction)
    number: Tensor = (low << 20) + (high - low) * (bits >> 12)
    return number


def _whole_root(square: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """floor(sqrt) of whole numbers below 2**52: fp64 holds them exactly and rounds its root correctly everywhere."""
    return square.double().sqrt().long()


def _check_range(name: str, span: tuple[float, float], lowest: float, highest: float) -> None:
    low, high = span
    if not (math.isfinite(low) and math.isfinite(high) and lowest <= low <= high <= highest):
        raise ValueError(
            f"draw_holes: {name} (={span}) must be (lowest, highest) in {lowest:g}..{highest:g}; correct it"
        )
    if name == "blocks" and not (isinstance(low, int) and isinstance(high, int)):
        raise ValueError(f"draw_holes: blocks (={span}) must be whole numbers; give two")
