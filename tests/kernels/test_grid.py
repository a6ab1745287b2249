"""A pixel belongs to the cell that holds its centre."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.grid import cell_of_pixel, grid_of, over_pixels


@given(st.integers(1, 300), st.integers(1, 20))
def test_cells_hold_the_centres_of_their_pixels(size, grid):
    cells = cell_of_pixel(size, grid, torch.device("cpu")).tolist()
    assert cells == [floor((i + Fraction(1, 2)) / Fraction(size, grid)) for i in range(size)]
    assert min(cells) >= 0
    assert max(cells) < grid


def test_values_of_cells_spread_over_their_pixels():
    cells = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert over_pixels(cells, 4)[1].tolist() == [[5, 5, 6, 6], [5, 5, 6, 6], [7, 7, 8, 8], [7, 7, 8, 8]]
    assert over_pixels(cells, 5)[0, 2].tolist() == [3, 3, 4, 4, 4]


@pytest.mark.parametrize(
    ("cells", "size", "message"),
    [
        (8, 9, r"test: cells in `shows` \(=8\) must be a square number;"),
        (0, 9, r"test: cells in `shows` \(=0\) must be a square number;"),
        (182**2, 999, r"test: grid \(=182\) must be in 1..181;"),
        (9, 2, r"test: size \(=2\) must be at least the grid \(=3\);"),
    ],
)
def test_bad_grids_are_refused(cells, size, message):
    with pytest.raises(ValueError, match=message):
        grid_of("test", cells, size)
