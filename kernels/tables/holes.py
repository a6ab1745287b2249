"""Draws of hidden cells for in-painting."""

from __future__ import annotations

import math

from jaxtyping import Int16, Int64
from torch import Tensor

from kernels.grid import check_grid
from kernels.tables import op
from kernels.tables.streams import check_address

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

    ranges = (_fixed(share, 20), list(blocks), _fixed(aspect, 24))
    shows: Tensor = op.draw_holes(sample, grid, *ranges, op.signed(seed), epoch, stream)
    return shows


def _fixed(span: tuple[float, float], fraction: int) -> list[int]:
    """A range in whole units of 2**-fraction."""
    return [round(end * 2**fraction) for end in span]


def _check_range(name: str, span: tuple[float, float], lowest: float, highest: float) -> None:
    low, high = span
    if not (math.isfinite(low) and math.isfinite(high) and lowest <= low <= high <= highest):
        raise ValueError(
            f"draw_holes: {name} (={span}) must be (lowest, highest) in {lowest:g}..{highest:g}; correct it"
        )
    if name == "blocks" and not (isinstance(low, int) and isinstance(high, int)):
        raise ValueError(f"draw_holes: blocks (={span}) must be whole numbers; give two")
