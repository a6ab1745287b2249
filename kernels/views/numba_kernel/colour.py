"""Applies the colour matrix and clips to full scale (step 6)."""

from __future__ import annotations

from kernels.numba_jit import inlined, part
from kernels.views.numba_kernel.scratch import F0, F255, B, G, R


@inlined
def clipped(value):
    """To 0..255."""
    value = F0 if value < F0 else value
    return F255 if value > F255 else value


@part
def colour_rgb(scratch, count, colour):
    """Step 6."""
    rr, rg, rb, r0 = colour[0, 0], colour[0, 1], colour[0, 2], colour[0, 3]
    gr, gg, gb, g0 = colour[1, 0], colour[1, 1], colour[1, 2], colour[1, 3]
    br, bg, bb, b0 = colour[2, 0], colour[2, 1], colour[2, 2], colour[2, 3]
    for i in range((count + 15) & ~15):
        r, g, b = scratch[R + i], scratch[G + i], scratch[B + i]
        scratch[R + i] = clipped(((rr * r + rg * g) + rb * b) + r0)
        scratch[G + i] = clipped(((gr * r + gg * g) + gb * b) + g0)
        scratch[B + i] = clipped(((br * r + bg * g) + bb * b) + b0)


@part
def colour_gray(scratch, count, colour):
    """Step 6 of a gray face, whose red, green and blue are equal before it."""
    red, r0 = (colour[0, 0] + colour[0, 1]) + colour[0, 2], colour[0, 3]
    green, g0 = (colour[1, 0] + colour[1, 1]) + colour[1, 2], colour[1, 3]
    blue, b0 = (colour[2, 0] + colour[2, 1]) + colour[2, 2], colour[2, 3]
    for i in range((count + 15) & ~15):
        gray = scratch[R + i]
        scratch[R + i] = clipped(red * gray + r0)
        scratch[G + i] = clipped(green * gray + g0)
        scratch[B + i] = clipped(blue * gray + b0)
