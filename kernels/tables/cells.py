"""Draws what the cells of a view show: permutations, turns, holes, hidden parts; their identity and inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float32, Int16, UInt8
from torch import Tensor

from kernels.grid import check_grid
from kernels.tables import op
from kernels.tables.streams import Key

_MOST_BLOCKS = 16
_WIDEST_ASPECT = 16.0
_MOST_PARTS = 16


def identity_cells(grid: int, batch: int, device: torch.device | str) -> Int16[Tensor, "b n"]:
    """Makes `shows` of a plain view: every cell shows itself.

    Raises:
        ValueError: `grid` is not in 1..181 or `batch` is below 1.
    """
    check_grid("identity_cells", grid)
    if batch < 1:
        raise ValueError(f"identity_cells: batch (={batch}) must be at least 1; give the number of samples")
    return torch.arange(grid * grid, dtype=torch.int16, device=device).repeat(batch, 1)


def draw_permutation(grid: int, key: Key) -> Int16[Tensor, "b n"]:
    """Draws `shows` of a puzzle: one of all (grid * grid)! permutations of the cells, each equally likely.

    Cells are sorted by 32-bit random keys, ties by number (which favours one order by about n^2 / 2^33). Equal bit for
    bit on every device; a pure function of the key, sample by sample.

    Raises:
        ValueError: `grid` is not in 1..181.
    """
    check_grid("draw_permutation", grid)
    shows: Tensor = op.draw_permutation(*op.address(key), grid)
    return shows


def draw_turns(grid: int, key: Key) -> UInt8[Tensor, "b n"]:
    """Draws `turn` of a view whose cells are turned by 0..3 quarters, each equally likely, independently.

    Raises:
        ValueError: `grid` is not in 1..181.
    """
    check_grid("draw_turns", grid)
    turn: Tensor = op.draw_turns(*op.address(key), grid)
    return turn


def draw_holes(
    grid: int,
    key: Key,
    *,
    share: tuple[float, float] = (0.15, 0.35),
    blocks: tuple[int, int] = (1, 3),
    aspect: tuple[float, float] = (0.5, 2.0),
) -> Int16[Tensor, "b n"]:
    """Draws `shows` of a view with a hole: K cells near a few random centres are hidden (-1).

    With the share drawn uniformly, K = round(share * grid * grid), halves up. One to three block centres lie anywhere
    in the view; each has its own aspect a (width over height, drawn uniformly). A cell whose centre lies (dx, dy) from
    a block's centre is max(|dx| / sqrt(a), |dy| * sqrt(a)) away from it, so balls are boxes a times as wide as high and
    equal in area for every a. The K cells nearest to any centre are hidden, ties by number: exactly K, no rejection.
    All of it is fixed-point arithmetic on int64, hence equal bit for bit on every device. (Ours.)

    Args:
        grid: Cells a side, 1..181.
        key: Of the samples.
        share: Range of the hidden share, in 0..1.
        blocks: Range of the number of blocks, in 1..16.
        aspect: Range of a block's aspect, in 1/16..16.

    Raises:
        ValueError: An argument is out of range.
    """
    check_grid("draw_holes", grid)
    _check_range("share", share, 0.0, 1.0)
    _check_range("blocks", blocks, 1, _MOST_BLOCKS)
    _check_range("aspect", aspect, 1 / _WIDEST_ASPECT, _WIDEST_ASPECT)

    ranges = (_fixed(share, 20), list(blocks), _fixed(aspect, 24))
    shows: Tensor = op.draw_holes(*op.address(key), grid, *ranges)
    return shows


def draw_hidden_parts(
    grid: int,
    key: Key,
    *,
    where: Float32[Tensor, "b 2 3"],
    store: tuple[int, int],
    size: int,
    parts: Sequence[tuple[float, float, float, float]],
) -> Int16[Tensor, "b n"]:
    """Draws `shows` of a view in which some parts of the face are hidden (-1): one of all choices of them but none.

    Hidden are the cells whose centre lies in a hidden part of the stored face, so that holes follow flip, crop and
    rotation; a part that the view leaves out hides nothing. Which parts are hidden is equal bit for bit on every
    device; a centre within a few units in the last place of a box's edge may fall on either side of it. (Ours.)

    Args:
        grid: Cells a side, 1..181.
        key: Of the samples.
        where: View pixel to store pixel, as in `Tables`.
        store: (height, width) of the stored faces.
        size: Side of the view in pixels.
        parts: 1 to 16 boxes (left, top, right, bottom) as shares of the stored face; left and top belong to them.

    Raises:
        ValueError: `grid` or the number of parts is out of range, or `where` is of another shape, dtype or device.
    """
    check_grid("draw_hidden_parts", grid)
    if not 1 <= len(parts) <= _MOST_PARTS:
        raise ValueError(f"draw_hidden_parts: parts (={parts}) must be 1 to {_MOST_PARTS} boxes; give so many")
    if where.dtype != torch.float32 or tuple(where.shape) != (len(key.sample), 2, 3):
        raise ValueError(
            f"draw_hidden_parts: where (={where.dtype} of shape {tuple(where.shape)}) must be float32 of shape "
            f"{(len(key.sample), 2, 3)}; give that of the view's tables"
        )
    if where.device != key.sample.device:
        raise ValueError(
            f"draw_hidden_parts: where (on {where.device}) must be where sample is ({key.sample.device}); move it there"
        )
    boxes = [float(edge) for box in parts for edge in box]
    shows: Tensor = op.draw_hidden_parts(*op.address(key), where, grid, size, list(store), boxes)
    return shows


def inverse(shows: Int16[Tensor, "*lead n"]) -> Int16[Tensor, "*lead n"]:
    """Finds the permutation that puts a puzzle together again: inverse(p)[p[j]] = j.

    Raises:
        ValueError: `shows` is not int16, or lies on the CPU and is no permutation (cells hidden by -1 have no inverse).
            On a device, and inside `torch.compile`, the values are not looked at.
    """
    if shows.dtype != torch.int16:
        raise ValueError(f"inverse: shows (={shows.dtype}) must be int16; give the cells that `draw_permutation` drew")
    place = torch.arange(shows.shape[-1], dtype=torch.int16, device=shows.device).expand_as(shows)
    if shows.device.type == "cpu" and not torch.compiler.is_compiling() and not shows.sort(dim=-1).values.equal(place):
        raise ValueError("inverse: shows must be a permutation of 0..n-1; hidden or repeated cells have no inverse")
    return torch.zeros_like(shows).scatter(-1, shows.long().clamp(0, shows.shape[-1] - 1), place)


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
