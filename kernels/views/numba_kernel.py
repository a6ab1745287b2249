"""`render_views` on the CPU: one pass that writes every pixel once, with scratch memory of a few hundred pixels.

The rule is that of `kernels.views.reference`, whose step numbers the comments use. A row is rendered in runs of visible
pixels. Each stage below is one short loop over a run, from plane to plane of the scratch memory, which stays in the
first cache: all of them but the reading of the store become vector instructions.

Equal to the reference bit for bit in fp32, but for samples with blur, whose taps are rounded at their own positions,
and with noise, whose logarithm, sine and cosine are our own: those agree within 0.01 gray levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, Int64, UInt8
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from kernels import caching_allocator
from kernels.numba_jit import inlined, parallel, part, threads, whole
from kernels.views import reference

# Planes of the scratch memory. Their distance is a constant, so that the compiler sees that they do not overlap.
_RUN = 256  # pixels a run holds at most
_PLANE = _RUN + 16
_QX, _QY = 0, _PLANE  # int32: the position in the un-cut view in units of 1 / (2 grid) pixel
_OFFSET = 2 * _PLANE  # int32: byte of the upper left neighbour in the face
_FX, _FY = 3 * _PLANE, 4 * _PLANE
_P00, _P01, _P10, _P11 = 5 * _PLANE, 6 * _PLANE, 7 * _PLANE, 8 * _PLANE  # uint32: the bytes of each neighbour
_R, _G, _B = 9 * _PLANE, 10 * _PLANE, 11 * _PLANE
_SUM = 12 * _PLANE  # three planes, as of the next three
_UP, _MID, _DOWN = 15 * _PLANE, 18 * _PLANE, 21 * _PLANE
_SCRATCH = 24 * _PLANE

_F0, _F1, _F255 = np.float32(0), np.float32(1), np.float32(255)
_HALF, _QUARTER = np.float32(0.5), np.float32(0.25)
_BYTE = np.uint32(255)
_LARGEST_WHERE = np.float32(1e9)

_FP32, _FP16, _BF16 = 0, 1, 2
_NUMPY = {torch.float32: np.float32, torch.int16: np.int16, torch.int64: np.int64, torch.uint8: np.uint8}
_KINDS = {torch.float32: _FP32, torch.float16: _FP16, torch.bfloat16: _BF16}

# Places in a face are int32; there is room for a row below the last.
_LARGEST_FACE = 2**30

# A face up to this many bytes is asked for at once: rows of a turned view cross too many rows of the store for the
# processor to foresee.
_PREFETCHED = 1 << 19

Array = np.ndarray[Any, Any]


class _Faces(NamedTuple):
    store: Array  # uint8, one axis
    height: int
    width: int
    channels: int


class _Tables(NamedTuple):
    """As of `render_views`, views and batch as one axis; empty where there is none."""

    row: Array
    where: Array
    colour: Array
    shows: Array
    blur: Array
    noise: Array
    key: Array
    turn: Array
    cut: Array


class _Settings(NamedTuple):
    size: int
    grid: int
    supersample: int
    kind: int
    mean: Array
    std: Array


class _Out(NamedTuple):
    """The output as one axis: `singles` where it is fp32, else the bits in `halves`; the other is empty."""

    singles: Array
    halves: Array


class _Sample(NamedTuple):
    """One view of one sample."""

    face: int  # address of its first byte
    first: int  # its first pixel in the output
    where: Array
    colour: Array
    shows: Array
    turn: Array  # empty where there is none
    blur: np.float32
    noise: np.float32
    key: np.uint64


@intrinsic
def _read_4(typingctx: Any, address: Any) -> Any:
    """Four bytes of memory, at any address, as the bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.FloatType().as_pointer())
        return builder.load(pointer, align=1)

    return types.float32(types.intp), generate


@intrinsic
def _prefetch(typingctx: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i32, pointer = ir.IntType(32), builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer.type,), kind)
        builder.call(function, [pointer, i32(0), i32(2), i32(1)])  # to read, into the second cache, data
        return context.get_dummy_value()

    return types.void(types.intp), generate


@intrinsic
def _bits(typingctx: Any, number: Any) -> Any:
    """The bits of a float32 as uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def _float_of(typingctx: Any, bits: Any) -> Any:
    """The float32 of some bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@part
def _ramp(scratch, at, count, x, y, step_x, step_y):
    """Step 2: numerators of the positions along a stretch of one cell. Writes up to 15 further ones."""
    first = np.uint64(at)
    x, y, step_x, step_y = np.int32(x), np.int32(y), np.int32(step_x), np.int32(step_y)
    for i in range((count + 15) & ~15):
        at = first + np.uint64(i)
        scratch[np.uint64(_QX) + at] = _float_of(np.uint32(x + step_x * np.int32(i)))
        scratch[np.uint64(_QY) + at] = _float_of(np.uint32(y + step_y * np.int32(i)))


@part
def _positions(scratch, count, where, unit, dx, dy, height, width, channels):
    """Steps 3 and 4: which byte of the face to read, and how far its neighbours weigh."""
    xx, xy, x0 = where[0, 0], where[0, 1], where[0, 2]
    yx, yy, y0 = where[1, 0], where[1, 1], where[1, 2]
    add_x, add_y = xx * dx + xy * dy, yx * dx + yy * dy
    right, bottom = np.float32(width - 1), np.float32(height - 1)
    divisor = np.float32(unit)
    row, pixel = np.int32(width * channels), np.int32(channels)
    for i in range((count + 15) & ~15):
        qx, qy = (
            np.float32(np.int32(_bits(scratch[_QX + i]))) / divisor,
            np.float32(np.int32(_bits(scratch[_QY + i]))) / divisor,
        )
        x = (((xx * qx + xy * qy) + x0) - _HALF) + add_x
        y = (((yx * qx + yy * qy) + y0) - _HALF) + add_y
        x = _F0 if x < _F0 else x
        y = _F0 if y < _F0 else y
        x = right if x > right else x
        y = bottom if y > bottom else y
        left, top = np.int32(x), np.int32(y)
        scratch[_OFFSET + i] = _float_of(np.uint32(top * row + left * pixel))
        scratch[_FX + i] = x - np.float32(left)
        scratch[_FY + i] = y - np.float32(top)


# At the last column and row the neighbour to the right or below has weight 0, so any readable byte will do there.


@part
def _read_rgb(scratch, count, face, row):
    for i in range(count):
        address = face + np.int32(_bits(scratch[_OFFSET + i]))
        scratch[_P00 + i] = _read_4(address)
        scratch[_P01 + i] = _read_4(address + 3)
        scratch[_P10 + i] = _read_4(address + row)
        scratch[_P11 + i] = _read_4(address + row + 3)


@part
def _read_gray(scratch, count, face, row):
    for i in range(count):
        address = face + np.int32(_bits(scratch[_OFFSET + i]))
        scratch[_P00 + i] = _read_4(address)
        scratch[_P10 + i] = _read_4(address + row)


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
        fx, fy = scratch[_FX + i], scratch[_FY + i]
        p00, p01, p10, p11 = (
            _bits(scratch[_P00 + i]),
            _bits(scratch[_P01 + i]),
            _bits(scratch[_P10 + i]),
            _bits(scratch[_P11 + i]),
        )
        scratch[_R + i] = _join(p00, p01, p10, p11, fx, fy)
        scratch[_G + i] = _join(p00 >> green, p01 >> green, p10 >> green, p11 >> green, fx, fy)
        scratch[_B + i] = _join(p00 >> blue, p01 >> blue, p10 >> blue, p11 >> blue, fx, fy)


@part
def _join_gray(scratch, count):
    right = np.uint32(8)
    for i in range((count + 15) & ~15):
        p0, p1 = _bits(scratch[_P00 + i]), _bits(scratch[_P10 + i])
        scratch[_R + i] = _join(p0, p0 >> right, p1, p1 >> right, scratch[_FX + i], scratch[_FY + i])


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
def _copy(scratch, source, target, count, channels):
    for channel in range(channels):
        start, end = np.uint64(source + channel * _PLANE), np.uint64(target + channel * _PLANE)
        for i in range((count + 15) & ~15):
            scratch[end + np.uint64(i)] = scratch[start + np.uint64(i)]


@part
def _add(scratch, count, channels, factor):
    """Add the planes R, G and B to the sum and multiply it."""
    for channel in range(channels):
        plane = np.uint64(channel * _PLANE)
        for i in range((count + 15) & ~15):
            at = plane + np.uint64(i)
            total = scratch[np.uint64(_SUM) + at] + scratch[np.uint64(_R) + at]
            scratch[np.uint64(_SUM) + at] = total * factor


@part
def _tap(scratch, count, faces, sample, settings):
    """Step 4 for a run, into the planes R, G and B (gray: R alone)."""
    unit = 2 * settings.grid
    if settings.supersample == 1:
        _reading(scratch, count, faces, sample, unit, _F0, _F0)
        return
    for k in range(4):
        dx, dy = _QUARTER if k % 2 else -_QUARTER, _QUARTER if k // 2 else -_QUARTER
        _reading(scratch, count, faces, sample, unit, dx, dy)
        if k == 0:
            _copy(scratch, _R, _SUM, count, faces.channels)
        else:
            _add(scratch, count, faces.channels, _QUARTER if k == 3 else _F1)
    _copy(scratch, _SUM, _R, count, faces.channels)


@part
def _blurred(scratch, count, sigma, channels):
    """Step 5: `count` pixels from three rows that begin one pixel before them."""
    edge = np.float32(math.exp(np.float32(-0.5) / (sigma * sigma)))
    mid = _F1 / (_F1 + np.float32(2) * edge)
    side = edge * mid
    near, far = side * mid, side * side
    mid = mid * mid
    one, two = np.uint64(1), np.uint64(2)
    for channel in range(channels):
        plane = np.uint64(channel * _PLANE)
        for i in range(count):
            at = plane + np.uint64(i)
            up, row, down = np.uint64(_UP) + at, np.uint64(_MID) + at, np.uint64(_DOWN) + at
            total = mid * scratch[row + one]
            total = total + far * scratch[up]
            total = total + near * scratch[up + one]
            total = total + far * scratch[up + two]
            total = total + near * scratch[row]
            total = total + near * scratch[row + two]
            total = total + far * scratch[down]
            total = total + near * scratch[down + one]
            total = total + far * scratch[down + two]
            scratch[np.uint64(_R) + at] = total


@inlined
def _clipped(value):
    value = _F0 if value < _F0 else value
    return _F255 if value > _F255 else value


@part
def _colour_rgb(scratch, count, colour):
    """Step 6."""
    rr, rg, rb, r0 = colour[0, 0], colour[0, 1], colour[0, 2], colour[0, 3]
    gr, gg, gb, g0 = colour[1, 0], colour[1, 1], colour[1, 2], colour[1, 3]
    br, bg, bb, b0 = colour[2, 0], colour[2, 1], colour[2, 2], colour[2, 3]
    for i in range((count + 15) & ~15):
        r, g, b = scratch[_R + i], scratch[_G + i], scratch[_B + i]
        scratch[_R + i] = _clipped(((rr * r + rg * g) + rb * b) + r0)
        scratch[_G + i] = _clipped(((gr * r + gg * g) + gb * b) + g0)
        scratch[_B + i] = _clipped(((br * r + bg * g) + bb * b) + b0)


@part
def _colour_gray(scratch, count, colour):
    red, r0 = (colour[0, 0] + colour[0, 1]) + colour[0, 2], colour[0, 3]
    green, g0 = (colour[1, 0] + colour[1, 1]) + colour[1, 2], colour[1, 3]
    blue, b0 = (colour[2, 0] + colour[2, 1]) + colour[2, 2], colour[2, 3]
    for i in range((count + 15) & ~15):
        gray = scratch[_R + i]
        scratch[_R + i] = _clipped(red * gray + r0)
        scratch[_G + i] = _clipped(green * gray + g0)
        scratch[_B + i] = _clipped(blue * gray + b0)


@inlined
def _radius(word):
    """sqrt(-2 ln u) of u = (word + 1) 2^-24, word below 2^24. The logarithm is that of Cephes (S. Moshier)."""
    bits = _bits(np.float32(np.int32(word) + np.int32(1)))
    # u = m 2^e with m in sqrt(1/2)..sqrt(2); 0x3f3504f3 is sqrt(1/2).
    shifted = bits - np.uint32(0x3F3504F3)
    exponent = np.float32(np.int32(shifted) >> np.int32(23)) - np.float32(24)
    x = _float_of((shifted & np.uint32(0x7FFFFF)) + np.uint32(0x3F3504F3)) - _F1
    z = x * x
    y = np.float32(7.0376836292e-2)
    y = y * x + np.float32(-1.1514610310e-1)
    y = y * x + np.float32(1.1676998740e-1)
    y = y * x + np.float32(-1.2420140846e-1)
    y = y * x + np.float32(1.4249322787e-1)
    y = y * x + np.float32(-1.6668057665e-1)
    y = y * x + np.float32(2.0000714765e-1)
    y = y * x + np.float32(-2.4999993993e-1)
    y = y * x + np.float32(3.3333331174e-1)
    y = y * x * z + np.float32(-2.12194440e-4) * exponent - _HALF * z
    logarithm = (x + y) + np.float32(0.693359375) * exponent
    # Rounding may leave ln 1 a little above 0.
    twice = np.float32(-2) * logarithm
    return np.float32(math.sqrt(_F0 if twice < _F0 else twice))


@inlined
def _cosine_sine(word):
    """Cosine and sine of 2 pi word 2^-24, word below 2^24; reduced in whole numbers, series of Cephes."""
    whole = np.int32(word)
    quarter = (whole + np.int32(1 << 21)) >> np.int32(22)
    x = np.float32(whole - (quarter << np.int32(22))) * np.float32(2.0 * math.pi * 2.0**-24)
    z = x * x
    sine = np.float32(-1.9515295891e-4) * z + np.float32(8.3321608736e-3)
    sine = (sine * z + np.float32(-1.6666654611e-1)) * z * x + x
    cosine = np.float32(2.443315711809948e-5) * z + np.float32(-1.388731625493765e-3)
    cosine = (cosine * z + np.float32(4.166664568298827e-2)) * z * z - _HALF * z + _F1
    odd = (quarter & np.int32(1)) == np.int32(1)
    a, b = (sine, cosine) if odd else (cosine, sine)
    a = -a if (quarter + np.int32(1)) & np.int32(2) else a
    b = -b if quarter & np.int32(2) else b
    return a, b


@inlined
def _philox(counter, key):
    """Philox4x32-10 of counter (counter, 0, 0, 0); words in the low halves of uint64."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    word0, word1, word2, word3 = counter, np.uint64(0), np.uint64(0), np.uint64(0)
    key0, key1 = key & low, key >> half
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * word0, np.uint64(0xCD9E8D57) * word2
        word0, word1, word2, word3 = (
            (product1 >> half) ^ word1 ^ key0,
            product1 & low,
            (product0 >> half) ^ word3 ^ key1,
            product0 & low,
        )
        key0, key1 = (key0 + np.uint64(0x9E3779B9)) & low, (key1 + np.uint64(0xBB67AE85)) & low
    return word0, word1, word2, word3


@inlined
def _whole(numerator, unit, divisor):
    """floor(numerator / unit), exactly."""
    pixel = np.int32(np.float32(numerator) / divisor)
    return pixel - np.int32(1) if pixel * unit > numerator else pixel


@part
def _noise(scratch, count, unit, size, amount, key):
    """Step 7."""
    unit = np.int32(unit)
    divisor = np.float32(unit)
    eight = np.uint64(8)
    side = np.int32(size)
    for i in range((count + 15) & ~15):
        x, y = (
            _whole(np.int32(_bits(scratch[_QX + i])), unit, divisor),
            _whole(np.int32(_bits(scratch[_QY + i])), unit, divisor),
        )
        word0, word1, word2, word3 = _philox(np.uint64(np.uint32(y * side + x)), key)
        radius0, radius1 = _radius(word0 >> eight), _radius(word2 >> eight)
        cosine0, sine0 = _cosine_sine(word1 >> eight)
        cosine1, _ = _cosine_sine(word3 >> eight)
        scratch[_R + i] = _clipped(scratch[_R + i] + amount * (radius0 * cosine0))
        scratch[_G + i] = _clipped(scratch[_G + i] + amount * (radius0 * sine0))
        scratch[_B + i] = _clipped(scratch[_B + i] + amount * (radius1 * cosine1))


@inlined
def _half_bits(number):
    """float32 to the bits of fp16, to the nearest, ties to even."""
    bits = _bits(number)
    size = bits & np.uint32(0x7FFFFFFF)
    normal = (size - np.uint32(112 << 23) + np.uint32(0xFFF) + ((size >> np.uint32(13)) & np.uint32(1))) >> np.uint32(
        13
    )
    # Added to 0.5 the unit in the last place is 2^-24, that of fp16's subnormal numbers.
    tiny = _bits(_float_of(size) + _HALF) - np.uint32(0x3F000000)
    rounded = tiny if size < np.uint32(0x38800000) else normal
    rounded = np.uint32(0x7C00) if size >= np.uint32(0x47800000) else rounded
    rounded = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else rounded
    return np.uint16(rounded | ((bits >> np.uint32(16)) & np.uint32(0x8000)))


@inlined
def _brain_bits(number):
    """float32 to the bits of bf16, to the nearest, ties to even."""
    bits = _bits(number)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint16(rounded if number == number else np.uint32(0x7FC0))


# Step 8, a loop for each dtype. Indices are unsigned where the compiler cannot see that they are positive: a signed one
# may count from the array's end, which no vector does.


@part
def _write_fp32(scratch, count, mean, std, singles, pixel):
    m0, m1, m2, s0, s1, s2 = mean[0], mean[1], mean[2], std[0], std[1], std[2]
    first = np.uint64(3 * pixel)
    for i in range(count):
        at = first + np.uint64(3) * np.uint64(i)
        singles[at] = (scratch[_R + i] / _F255 - m0) / s0
        singles[at + np.uint64(1)] = (scratch[_G + i] / _F255 - m1) / s1
        singles[at + np.uint64(2)] = (scratch[_B + i] / _F255 - m2) / s2


@part
def _write_fp16(scratch, count, mean, std, halves, pixel):
    m0, m1, m2, s0, s1, s2 = mean[0], mean[1], mean[2], std[0], std[1], std[2]
    first = np.uint64(3 * pixel)
    for i in range(count):
        at = first + np.uint64(3) * np.uint64(i)
        halves[at] = _half_bits((scratch[_R + i] / _F255 - m0) / s0)
        halves[at + np.uint64(1)] = _half_bits((scratch[_G + i] / _F255 - m1) / s1)
        halves[at + np.uint64(2)] = _half_bits((scratch[_B + i] / _F255 - m2) / s2)


@part
def _write_bf16(scratch, count, mean, std, halves, pixel):
    m0, m1, m2, s0, s1, s2 = mean[0], mean[1], mean[2], std[0], std[1], std[2]
    first = np.uint64(3 * pixel)
    for i in range(count):
        at = first + np.uint64(3) * np.uint64(i)
        halves[at] = _brain_bits((scratch[_R + i] / _F255 - m0) / s0)
        halves[at + np.uint64(1)] = _brain_bits((scratch[_G + i] / _F255 - m1) / s1)
        halves[at + np.uint64(2)] = _brain_bits((scratch[_B + i] / _F255 - m2) / s2)


@part
def _finish(scratch, count, channels, sample, settings, out, pixel):
    """Steps 6 to 8 for a run, out to memory from `pixel` of the sample on."""
    if channels == 3:
        _colour_rgb(scratch, count, sample.colour)
    else:
        _colour_gray(scratch, count, sample.colour)
    if sample.noise != _F0:
        _noise(scratch, count, 2 * settings.grid, settings.size, sample.noise, sample.key)
    pixel += sample.first
    if settings.kind == _FP32:
        _write_fp32(scratch, count, settings.mean, settings.std, out.singles, pixel)
    elif settings.kind == _FP16:
        _write_fp16(scratch, count, settings.mean, settings.std, out.halves, pixel)
    else:
        _write_bf16(scratch, count, settings.mean, settings.std, out.halves, pixel)


@part
def _zero(out, kind, first, last):
    """Pixels first..last-1 of the output."""
    if kind == _FP32:
        for i in range(np.uint64(3 * first), np.uint64(3 * last)):
            out.singles[i] = _F0
    else:
        for i in range(np.uint64(3 * first), np.uint64(3 * last)):
            out.halves[i] = np.uint16(0)


@inlined
def _edge(cell, size, grid):
    """First pixel whose centre lies in a cell or behind it (step 1)."""
    return (2 * size * cell + grid - 1) // (2 * grid)


@part
def _stretch(shows, turns, row, cell, size, grid):
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
def _ramp_of(scratch, at, count, x, y, row, cell, sample, settings):
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


@part
def _sharp_rows(scratch, top, bottom, faces, sample, settings, out):
    """Rows top..bottom-1 of a sample without blur."""
    size, grid = settings.size, settings.grid
    for y in range(top, bottom):
        row = (2 * y + 1) * grid // (2 * size)
        line = y * size
        x = cell = np.int64(0)
        while x < size:
            start = x
            if sample.shows[row * grid + cell] < 0:
                cell += 1
                x = _edge(cell, size, grid)
                _zero(out, settings.kind, sample.first + line + start, sample.first + line + x)
                continue
            count = np.int64(0)
            while x < size and count < _RUN and sample.shows[row * grid + cell] >= 0:
                behind = _stretch(sample.shows, sample.turn, row, cell, size, grid)
                end = _edge(behind, size, grid)
                part = min(end - x, _RUN - count)
                _ramp_of(scratch, count, part, x, y, row, cell, sample, settings)
                count += part
                x += part
                if x == end:
                    cell = behind
            _tap(scratch, count, faces, sample, settings)
            _finish(scratch, count, faces.channels, sample, settings, out, line + start)


@part
def _blurred_rows(scratch, top, bottom, faces, sample, settings, out):
    """Rows top..bottom-1 of a sample with blur: stretch by stretch of cells, each read with a border of one pixel.

    Turned tiles are no matter: the blur is the same in all four directions."""
    size, grid, channels = settings.size, settings.grid, faces.channels
    zero = np.int64(0)
    while top < bottom:
        row = (2 * top + 1) * grid // (2 * size)
        low = min(_edge(row + 1, size, grid), bottom)
        x = cell = zero
        while x < size:
            if sample.shows[row * grid + cell] < 0:
                cell += 1
                end = _edge(cell, size, grid)
                for y in range(top, low):
                    line = sample.first + y * size
                    _zero(out, settings.kind, line + x, line + end)
                x = end
                continue
            behind = _stretch(sample.shows, sample.turn, row, cell, size, grid)
            end = _edge(behind, size, grid)
            count = min(end - x, _RUN - 2)
            for y in range(top - 1, low + 1):
                _ramp_of(scratch, zero, count + 2, x - 1, y, row, cell, sample, settings)
                _tap(scratch, count + 2, faces, sample, settings)
                _copy(scratch, _MID, _UP, count + 2, channels)
                _copy(scratch, _DOWN, _MID, count + 2, channels)
                _copy(scratch, _R, _DOWN, count + 2, channels)
                if y > top:
                    if sample.noise != _F0:
                        _ramp_of(scratch, zero, count, x, y - 1, row, cell, sample, settings)
                    _blurred(scratch, count, sample.blur, channels)
                    _finish(scratch, count, channels, sample, settings, out, (y - 1) * size + x)
            x += count
            if x == end:
                cell = behind
        top = low


@whole
def _render(first, last, parts, faces, tables, settings, out):
    """Tasks first..last-1, each one of `parts` bands of rows of one view of a sample; views of a sample in turn."""
    store, size = faces.store, settings.size
    batch, samples = tables.row.size, tables.where.shape[0]
    views = samples // batch
    line = faces.width * faces.channels
    length = faces.height * line
    scratch = np.empty(_SCRATCH, np.float32)
    where = np.empty((2, 3), np.float32)
    padded = np.empty(0, np.uint8)
    unturned = np.empty(0, np.uint8)
    for task in range(first, last):
        band, task = task % parts, task // parts
        k = task % views * batch + task // views
        begin = tables.row[task // views] * length
        face = store.ctypes.data + begin
        if begin + length + line + 8 > store.size:  # Neighbours of weight 0 are read up to a line behind the face.
            if padded.size == 0:
                padded = np.empty(length + line + 8, np.uint8)
            for i in range(length):
                padded[i] = store[begin + i]
            face = padded.ctypes.data
        elif length <= _PREFETCHED:
            for offset in range(0, length, 64):
                _prefetch(face + offset)
        for i in range(2):
            for j in range(3):
                where[i, j] = min(max(tables.where[k, i, j], -_LARGEST_WHERE), _LARGEST_WHERE)
        sample = _Sample(
            face,
            k * size * size,
            where,
            tables.colour[k],
            tables.shows[k],
            tables.turn[k] if tables.turn.size else unturned,
            tables.blur[k] if tables.blur.size else _F0,
            tables.noise[k] if tables.noise.size else _F0,
            np.uint64(tables.key[k]) if tables.key.size else np.uint64(0),
        )
        top, bottom = band * size // parts, (band + 1) * size // parts
        if sample.blur != _F0:
            _blurred_rows(scratch, top, bottom, faces, sample, settings, out)
        else:
            _sharp_rows(scratch, top, bottom, faces, sample, settings, out)
        if tables.cut.size:
            cut = tables.cut[k]
            left, right = max(cut[0], 0), min(cut[2], size)
            if left < right:
                for y in range(max(cut[1], top), min(cut[3], bottom)):
                    pixel = sample.first + y * size
                    _zero(out, settings.kind, pixel + left, pixel + right)


@parallel
def _render_parallel(workers, tasks, parts, faces, tables, settings, out):
    for i in numba.prange(workers):
        _render(tasks * i // workers, tasks * (i + 1) // workers, parts, faces, tables, settings, out)


def render_views(
    store: UInt8[Tensor, "s h w c"],
    row: Int64[Tensor, " b"],
    where: Float32[Tensor, "v b 2 3"],
    colour: Float32[Tensor, "v b 3 4"],
    shows: Int16[Tensor, "v b n"],
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
    blur: Float32[Tensor, "v b"] | None = None,
    noise: Float32[Tensor, "v b"] | None = None,
    key: Int64[Tensor, "v b"] | None = None,
    turn: UInt8[Tensor, "v b n"] | None = None,
    cut: Int16[Tensor, "v b 4"] | None = None,
    supersample: int = 1,
) -> Float[Tensor, "v b 3 size size"]:
    """See `kernels.render_views`, which checks the arguments, values too: here they are trusted."""
    if store[0].numel() > _LARGEST_FACE:
        return reference.render_views(
            store,
            row,
            where,
            colour,
            shows,
            size=size,
            mean=mean,
            std=std,
            dtype=dtype,
            blur=blur,
            noise=noise,
            key=key,
            turn=turn,
            cut=cut,
            supersample=supersample,
        )
    views, batch, cells = shows.shape
    samples = views * batch

    def array(table: Tensor | None, dtype: torch.dtype, *shape: int) -> Array:
        if table is None:
            return np.empty((0, *shape), _NUMPY[dtype])
        return table.detach().contiguous().view(samples, *shape).numpy()

    faces = _Faces(store.view(-1).numpy(), *store.shape[1:])
    tables = _Tables(
        row.contiguous().numpy(),
        array(where, torch.float32, 2, 3),
        array(colour, torch.float32, 3, 4),
        array(shows, torch.int16, cells),
        array(blur, torch.float32),
        array(noise, torch.float32),
        array(key, torch.int64),
        array(turn, torch.uint8, cells),
        array(cut, torch.int16, 4),
    )
    mean_std = np.array([mean, std], dtype=np.float32)
    settings = _Settings(size, math.isqrt(cells), supersample, _KINDS[dtype], mean_std[0], mean_std[1])
    pictures = caching_allocator.empty((views, batch, size, size, 3), dtype)
    flat = pictures.view(-1)
    if dtype == torch.float32:
        out = _Out(flat.numpy(), np.empty(0, np.uint16))
    else:
        out = _Out(np.empty(0, np.float32), flat.view(torch.uint16).numpy())
    with threads() as workers:
        # Enough tasks to share out evenly, each of them some rows at least.
        parts = 1 if workers == 1 else max(1, min(-(-4 * workers // samples), size // 16))
        tasks = samples * parts
        if workers == 1:
            _render(0, tasks, parts, faces, tables, settings, out)
        else:
            _render_parallel(workers, tasks, parts, faces, tables, settings, out)
    return pictures.permute(0, 1, 4, 2, 3)
