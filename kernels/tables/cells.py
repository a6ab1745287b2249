"""Draws of what the cells of a view show: permutations and quarter turns; their identity and inverse."""

from __future__ import annotations

import torch
from jaxtyping import Int16, Int64, UInt8
from torch import Tensor

from kernels.grid import check_grid
from kernels.tables import op
from kernels.tables.streams import check_address


def identity_cells(grid: int, batch: int, device: torch.device | str) -> Int16[Tensor, "b n"]:
    """`shows` of a plain view: every cell shows itself.

    Raises:
        ValueError: `grid` is not in 1..181 or `batch` is below 1.
    """
    check_grid("identity_cells", grid)
    if batch < 1:
        raise ValueError(f"identity_cells: batch (={batch}) must be at least 1; give the number of samples")
    return torch.arange(grid * grid, dtype=torch.int16, device=device).repeat(batch, 1)


def draw_permutation(
    grid: int, *, seed: int, epoch: int, sample: Int64[Tensor, " b"], stream: str
) -> Int16[Tensor, "b n"]:
    """`shows` of a puzzle: one of all (grid * grid)! permutations of the cells, each equally likely.

    Cells are sorted by 32-bit random keys, ties by number (which favours one order by about n^2 / 2^33). Equal bit for
    bit on every device; a pure function of (seed, epoch, sample id, stream), see `random_bits`.

    Raises:
        ValueError: `grid` is not in 1..181, or `seed`, `epoch` or `sample` is out of range.
    """
    check_grid("draw_permutation", grid)
    check_address("draw_permutation", seed, epoch, sample)
    shows: Tensor = op.draw_permutation(sample, grid, op.signed(seed), epoch, stream)
    return shows


def draw_turns(grid: int, *, seed: int, epoch: int, sample: Int64[Tensor, " b"], stream: str) -> UInt8[Tensor, "b n"]:
    """`turn` of a view whose cells are turned by 0..3 quarters, each equally likely, independently.

    Raises:
        ValueError: `grid` is not in 1..181, or `seed`, `epoch` or `sample` is out of range.
    """
    check_grid("draw_turns", grid)
    check_address("draw_turns", seed, epoch, sample)
    turn: Tensor = op.draw_turns(sample, grid, op.signed(seed), epoch, stream)
    return turn


def inverse(shows: Int16[Tensor, "*lead n"]) -> Int16[Tensor, "*lead n"]:
    """The permutation that puts a puzzle together again: inverse(p)[p[j]] = j.

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
