"""Blurs by a Gaussian on 3 x 3 pixels (step 5)."""

from __future__ import annotations

import math

import numpy as np

from kernels.numba_jit import part
from kernels.views.numba_kernel.scratch import DOWN, F1, MID, PLANE, UP, R


@part
def blur(scratch, count, sigma, channels):
    """Step 5: `count` pixels from three rows that begin one pixel before them."""
    edge = np.float32(math.exp(np.float32(-0.5) / (sigma * sigma)))
    mid = F1 / (F1 + np.float32(2) * edge)
    side = edge * mid
    near, far = side * mid, side * side
    mid = mid * mid
    one, two = np.uint64(1), np.uint64(2)
    for channel in range(channels):
        plane = np.uint64(channel * PLANE)
        for i in range(count):
            at = plane + np.uint64(i)
            up, row, down = np.uint64(UP) + at, np.uint64(MID) + at, np.uint64(DOWN) + at
            total = mid * scratch[row + one]
            total = total + far * scratch[up]
            total = total + near * scratch[up + one]
            total = total + far * scratch[up + two]
            total = total + near * scratch[row]
            total = total + near * scratch[row + two]
            total = total + far * scratch[down]
            total = total + near * scratch[down + one]
            total = total + far * scratch[down + two]
            scratch[np.uint64(R) + at] = total
