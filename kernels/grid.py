"""Says which cell of a square grid a pixel of a view belongs to, in exact integers.

Cell edges lie at k * size / grid, which is fractional where the grid does not divide the size; a pixel belongs to the
cell that holds its centre. Pixel i has its centre at (2 i + 1) / 2, so its cell is floor((2 i + 1) grid / (2 size)).
"""

from __future__ import annotations

import torch
from jaxtyping import Int32, Shaped
from torch import Tensor

LARGEST_GRID = 181
"""Cell numbers are int16: 181 * 181 - 1 is the largest square below 2**15."""


def check_grid(where: str, grid: int) -> None:
    """Refuses a grid that int16 cell numbers cannot hold.

    Raises:
        ValueError: `grid` is not in 1..181.
    """
    if not 1 <= grid <= LARGEST_GRID:
        raise ValueError(f"{where}: grid (={grid}) must be in 1..{LARGEST_GRID}; cell numbers are int16")


def _side(cells: int) -> int:
    """The whole root of a number of cells; unlike `math.isqrt`, torch.compile follows it where that number varies."""
    return int(cells**0.5)  # exact for squares far beyond `LARGEST_GRID`


def grid_of(where: str, cells: int, size: int) -> int:
    """Gives the side of a square grid of `cells` cells that fits a view of `size` pixels.

    Raises:
        ValueError: `cells` is no square, or the grid has more cells a side than the view has pixels.
    """
    grid = _side(cells)
    if cells < 1 or grid * grid != cells:
        raise ValueError(f"{where}: cells in `shows` (={cells}) must be a square number; give grid * grid of them")
    check_grid(where, grid)
    if size < grid:
        raise ValueError(f"{where}: size (={size}) must be at least the grid (={grid}); a cell needs a pixel")
    return grid


def cell_of_pixel(size: int, grid: int, device: torch.device) -> Int32[Tensor, " size"]:
    """Gives the cell number along one axis, 0..grid-1, of each of `size` pixels."""
    pixel = torch.arange(size, dtype=torch.int32, device=device)
    return (2 * pixel + 1) * grid // (2 * size)


def over_pixels(cells: Shaped[Tensor, "*lead n"], size: int) -> Shaped[Tensor, "*lead size size"]:
    """Gives every pixel (y, x) of a view the value of its cell; cells are numbered row by row."""
    grid = _side(cells.shape[-1])
    cell = cell_of_pixel(size, grid, cells.device)
    table = cells.reshape(*cells.shape[:-1], grid, grid)
    # Columns first: the second step then copies whole rows, which is the cheap one.
    return table.index_select(-1, cell).index_select(-2, cell)
