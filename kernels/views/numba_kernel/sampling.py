"""Reads the store, bilinear, or as the mean of four readings a pixel (steps 3 and 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.numba_jit import inlined, part
from kernels.views.numba_kernel.scratch import (
    F0,
    F1,
    FX,
    FY,
    HALF,
    OFFSET,
    P00,
    P01,
    P10,
    P11,
    PLANE,
    QUARTER,
    QX,
    QY,
    SUM,
    B,
    G,
    R,
    bits_of,
    copy_planes,
    float_of,
)

_BYTE = np.uint32(255)


@intrinsic
def _read_4(typingctx: Any, address: Any) -> Any:
    """Four bytes of memory, at any address, as the bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.FloatType().as_pointer())
        return builder.load(pointer, align=1)

    return types.float32(types.intp), generate


@part
def _positions(scratch, count, where, unit, dx, dy, height, width, channels):
    """Steps 3 and 4: which byte of the face to read, and how far its neighbours weigh."""
    xx, xy, x0 = where[0, 0], where[0, 1], where[0, 2] - HALF
    yx, yy, y0 = where[1, 0], where[1, 1], where[1, 2] - HALF
    add_x, add_y = xx * dx + xy * dy, yx * dx + yy * dy
    right, bottom = np.float32(width - 1), np.float32(height - 1)
    divisor = np.float32(unit)
    row, pixel = np.int32(width * channels), np.int32(channels)
    for i in range((count + 15) & ~15):
        qx, qy = (
            np.float32(np.int32(bits_of(scratch[QX + i]))) / divisor,
            np.float32(np.int32(bits_of(scratch[QY + i]))) / divisor,
        )
        x = (xx * qx + (xy * qy + x0)) + add_x
        y = (yx * qx + (yy * qy + y0)) + add_y
        x = F0 if x < F0 else x
        y = F0 if y < F0 else y
        x = right if x > right else x
        y = bottom if y > bottom else y
        left, top = np.int32(x), np.int32(y)
        scratch[OFFSET + i] = float_of(np.uint32(top * row + left * pixel))
        scratch[FX + i] = x - np.float32(left)
        scratch[FY + i] = y - np.float32(top)


# At the last column and row the neighbour to the right or below has weight 0, so any readable byte will do there.


@part
def _read_rgb(scratch, count, face, row):
    for i in range(count):
        address = face + np.int32(bits_of(scratch[OFFSET + i]))
        scratch[P00 + i] = _read_4(address)
        scratch[P01 + i] = _read_4(address + 3)
        scratch[P10 + i] = _read_4(address + row)
        scratch[P11 + i] = _read_4(address + row + 3)


@part
def _read_gray(scratch, count, face, row):
    for i in range(count):
        address = face + np.int32(bits_of(scratch[OFFSET + i]))
        scratch[P00 + i] = _read_4(address)
        scratch[P10 + i] = _read_4(address + row)


@inlined
def _join(p00, p01, p10, p11, fx, fy):
    a, b = np.float32(np.int32(p00 & _BYTE)), np.float32(np.int32(p01 & _BYTE))
    c, d = np.float32(np.int32(p10 & _BYTE)), np.float32(np.int32(p11 & _BYTE))
    upper = a + fx * (b - a)
    lower = c + fx * (d - c)
    return upper + fy * (lower - upper)


@part
def _join_rgb(scratch, count):
    green, blue = np.uint32(8), np.uint32(16)
    for i in range((count + 15) & ~15):
        fx, fy = scratch[FX + i], scratch[FY + i]
        p00, p01, p10, p11 = (
            bits_of(scratch[P00 + i]),
            bits_of(scratch[P01 + i]),
            bits_of(scratch[P10 + i]),
            bits_of(scratch[P11 + i]),
        )
        scratch[R + i] = _join(p00, p01, p10, p11, fx, fy)
        scratch[G + i] = _join(p00 >> green, p01 >> green, p10 >> green, p11 >> green, fx, fy)
        scratch[B + i] = _join(p00 >> blue, p01 >> blue, p10 >> blue, p11 >> blue, fx, fy)


@part
def _join_gray(scratch, count):
    right = np.uint32(8)
    for i in range((count + 15) & ~15):
        p0, p1 = bits_of(scratch[P00 + i]), bits_of(scratch[P10 + i])
        scratch[R + i] = _join(p0, p0 >> right, p1, p1 >> right, scratch[FX + i], scratch[FY + i])


@part
def _reading(scratch, count, faces, sample, unit, dx, dy):
    _positions(scratch, count, sample.where, unit, dx, dy, faces.height, faces.width, faces.channels)
    if faces.channels == 3:
        _read_rgb(scratch, count, sample.face, faces.width * 3)
        _join_rgb(scratch, count)
    else:
        _read_gray(scratch, count, sample.face, faces.width)
        _join_gray(scratch, count)


@part
def _add_planes(scratch, count, channels, factor):
    """Add the planes R, G and B to the sum and multiply it."""
    for channel in range(channels):
        plane = np.uint64(channel * PLANE)
        for i in range((count + 15) & ~15):
            at = plane + np.uint64(i)
            total = scratch[np.uint64(SUM) + at] + scratch[np.uint64(R) + at]
            scratch[np.uint64(SUM) + at] = total * factor


@part
def tap(scratch, count, faces, sample, settings):
    """Step 4 for a run, into the planes R, G and B (gray: R alone)."""
    unit = 2 * settings.grid
    if settings.supersample == 1:
        _reading(scratch, count, faces, sample, unit, F0, F0)
        return
    for k in range(4):
        dx, dy = QUARTER if k % 2 else -QUARTER, QUARTER if k // 2 else -QUARTER
        _reading(scratch, count, faces, sample, unit, dx, dy)
        if k == 0:
            copy_planes(scratch, R, SUM, count, faces.channels)
        else:
            _add_planes(scratch, count, faces.channels, QUARTER if k == 3 else F1)
    copy_planes(scratch, SUM, R, count, faces.channels)
