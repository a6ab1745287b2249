"""Normalises, casts, and writes zeros for what is hidden (step 8)."""

from __future__ import annotations

import numpy as np

from kernels.numba_jit import inlined, part
from kernels.views.numba_kernel.records import FP32
from kernels.views.numba_kernel.scratch import F0, F255, HALF, B, G, R, bits_of, float_of


@inlined
def _half_bits(number):
    """float32 to the bits of fp16, to the nearest, ties to even."""
    bits = bits_of(number)
    size = bits & np.uint32(0x7FFFFFFF)
    normal = (size - np.uint32(112 << 23) + np.uint32(0xFFF) + ((size >> np.uint32(13)) & np.uint32(1))) >> np.uint32(
        13
    )
    # Added to 0.5 the unit in the last place is 2^-24, that of fp16's subnormal numbers.
    tiny = bits_of(float_of(size) + HALF) - np.uint32(0x3F000000)
    rounded = tiny if size < np.uint32(0x38800000) else normal
    rounded = np.uint32(0x7C00) if size >= np.uint32(0x47800000) else rounded
    rounded = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else rounded
    return np.uint16(rounded | ((bits >> np.uint32(16)) & np.uint32(0x8000)))


@inlined
def _brain_bits(number):
    """float32 to the bits of bf16, to the nearest, ties to even."""
    bits = bits_of(number)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint16(rounded if number == number else np.uint32(0x7FC0))


# Step 8, a loop for each dtype. Indices are unsigned where the compiler cannot see that they are positive: a signed one
# may count from the array's end, which no vector does.


@part
def write_fp32(scratch, count, mean, std, singles, pixel):
    """A run, from `pixel` of the output on."""
    m0, m1, m2, s0, s1, s2 = mean[0], mean[1], mean[2], std[0], std[1], std[2]
    first = np.uint64(3 * pixel)
    for i in range(count):
        at = first + np.uint64(3) * np.uint64(i)
        singles[at] = (scratch[R + i] / F255 - m0) / s0
        singles[at + np.uint64(1)] = (scratch[G + i] / F255 - m1) / s1
        singles[at + np.uint64(2)] = (scratch[B + i] / F255 - m2) / s2


@part
def write_fp16(scratch, count, mean, std, halves, pixel):
    """A run, from `pixel` of the output on."""
    m0, m1, m2, s0, s1, s2 = mean[0], mean[1], mean[2], std[0], std[1], std[2]
    first = np.uint64(3 * pixel)
    for i in range(count):
        at = first + np.uint64(3) * np.uint64(i)
        halves[at] = _half_bits((scratch[R + i] / F255 - m0) / s0)
        halves[at + np.uint64(1)] = _half_bits((scratch[G + i] / F255 - m1) / s1)
        halves[at + np.uint64(2)] = _half_bits((scratch[B + i] / F255 - m2) / s2)


@part
def write_bf16(scratch, count, mean, std, halves, pixel):
    """A run, from `pixel` of the output on."""
    m0, m1, m2, s0, s1, s2 = mean[0], mean[1], mean[2], std[0], std[1], std[2]
    first = np.uint64(3 * pixel)
    for i in range(count):
        at = first + np.uint64(3) * np.uint64(i)
        halves[at] = _brain_bits((scratch[R + i] / F255 - m0) / s0)
        halves[at + np.uint64(1)] = _brain_bits((scratch[G + i] / F255 - m1) / s1)
        halves[at + np.uint64(2)] = _brain_bits((scratch[B + i] / F255 - m2) / s2)


@part
def write_zeros(out, kind, first, last):
    """Pixels first..last-1 of the output."""
    if kind == FP32:
        for i in range(np.uint64(3 * first), np.uint64(3 * last)):
            out.singles[i] = F0
    else:
        for i in range(np.uint64(3 * first), np.uint64(3 * last)):
            out.halves[i] = np.uint16(0)
