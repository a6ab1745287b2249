"""Finds the cell a pixel lies in, and where in the un-cut view it reads (steps 1 and 2)."""

from __future__ import annotations

import numpy as np

from kernels.numba_jit import inlined, part
from kernels.views.numba_kernel.scratch import QX, QY, float_of


@part
def _ramp(scratch, at, count, x, y, step_x, step_y):
    """Step 2: numerators of the positions along a stretch of one cell. Writes up to 15 further ones."""
    first = np.uint64(at)
    x, y, step_x, step_y = np.int32(x), np.int32(y), np.int32(step_x), np.int32(step_y)
    for i in range((count + 15) & ~15):
        at = first + np.uint64(i)
        scratch[np.uint64(QX) + at] = float_of(np.uint32(x + step_x * np.int32(i)))
        scratch[np.uint64(QY) + at] = float_of(np.uint32(y + step_y * np.int32(i)))


@inlined
def first_pixel(cell, size, grid):
    """First pixel whose centre lies in a cell or behind it (step 1)."""
    return (2 * size * cell + grid - 1) // (2 * grid)


@part
def stretch(shows, turns, row, cell, size, grid):
    """The cell behind the longest stretch of cells from `cell` on that stands unbroken in the un-cut view."""
    at = row * grid + cell
    if turns.size and turns[at] & 3:
        return cell + 1
    column = shows[at] % grid
    last = cell + 1
    while last < grid:
        at += 1
        column += 1
        if shows[at] != shows[at - 1] + 1 or column == grid or (turns.size and turns[at] & 3):
            break
        last += 1
    return last


@part
def positions_in_view(scratch, at, count, x, y, row, cell, sample, settings):
    """Step 2 for `count` pixels from (x, y) on, all as if they lay in the cell (cell, row) of the view."""
    size, grid = settings.size, settings.grid
    ux, uy = (2 * x + 1) * grid - (2 * cell + 1) * size, (2 * y + 1) * grid - (2 * row + 1) * size
    source = np.int64(sample.shows[row * grid + cell])
    qx, qy = (2 * (source % grid) + 1) * size, (2 * (source // grid) + 1) * size
    quarter = sample.turn[row * grid + cell] & 3 if sample.turn.size else 0
    step, none = 2 * grid, np.int64(0)
    if quarter == 0:
        _ramp(scratch, at, count, qx + ux, qy + uy, step, none)
    elif quarter == 1:
        _ramp(scratch, at, count, qx - uy, qy + ux, none, step)
    elif quarter == 2:
        _ramp(scratch, at, count, qx - ux, qy - uy, -step, none)
    else:
        _ramp(scratch, at, count, qx + uy, qy - ux, none, -step)
