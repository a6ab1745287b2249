"""Lays out the scratch memory of a run of pixels: one plane a quantity, float32 numbers or the bits of int32 ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.numba_jit import part

# Planes of the scratch memory. Their distance is a constant, so that the compiler sees that they do not overlap.
RUN = 256  # pixels a run holds at most
PLANE = RUN + 16
QX, QY = 0, PLANE  # int32: the position in the un-cut view in units of 1 / (2 grid) pixel
OFFSET = 2 * PLANE  # int32: byte of the upper left neighbour in the face
FX, FY = 3 * PLANE, 4 * PLANE
P00, P01, P10, P11 = 5 * PLANE, 6 * PLANE, 7 * PLANE, 8 * PLANE  # uint32: the bytes of each neighbour
R, G, B = 9 * PLANE, 10 * PLANE, 11 * PLANE
SUM = 12 * PLANE  # three planes, as of the next three
UP, MID, DOWN = 15 * PLANE, 18 * PLANE, 21 * PLANE
SCRATCH = 24 * PLANE

F0, F1, F255 = np.float32(0), np.float32(1), np.float32(255)
HALF, QUARTER = np.float32(0.5), np.float32(0.25)


@intrinsic
def bits_of(typingctx: Any, number: Any) -> Any:
    """The bits of a float32 as uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def float_of(typingctx: Any, bits: Any) -> Any:
    """The float32 of some bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@part
def copy_planes(scratch, source, target, count, channels):
    """Copy one plane, or three, from plane `source` on to plane `target` on."""
    for channel in range(channels):
        start, end = np.uint64(source + channel * PLANE), np.uint64(target + channel * PLANE)
        for i in range((count + 15) & ~15):
            scratch[end + np.uint64(i)] = scratch[start + np.uint64(i)]
