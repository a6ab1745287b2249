"""Adds Gaussian noise (step 7), keyed by the sample and counted by the pixel of the un-cut view."""

from __future__ import annotations

import math

import numpy as np

from kernels.numba_jit import inlined, part
from kernels.numba_philox import philox4x32
from kernels.views.numba_kernel.colour import clipped
from kernels.views.numba_kernel.scratch import F0, F1, HALF, QX, QY, B, G, R, bits_of, float_of


@inlined
def _radius(word):
    """sqrt(-2 ln u) of u = (word + 1) 2^-24, word below 2^24. The logarithm is that of Cephes (S. Moshier)."""
    bits = bits_of(np.float32(np.int32(word) + np.int32(1)))
    # u = m 2^e with m in sqrt(1/2)..sqrt(2); 0x3f3504f3 is sqrt(1/2).
    shifted = bits - np.uint32(0x3F3504F3)
    exponent = np.float32(np.int32(shifted) >> np.int32(23)) - np.float32(24)
    x = float_of((shifted & np.uint32(0x7FFFFF)) + np.uint32(0x3F3504F3)) - F1
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
    y = y * x * z + np.float32(-2.12194440e-4) * exponent - HALF * z
    logarithm = (x + y) + np.float32(0.693359375) * exponent
    # Rounding may leave ln 1 a little above 0.
    twice = np.float32(-2) * logarithm
    return np.float32(math.sqrt(F0 if twice < F0 else twice))


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
    cosine = (cosine * z + np.float32(4.166664568298827e-2)) * z * z - HALF * z + F1
    odd = (quarter & np.int32(1)) == np.int32(1)
    a, b = (sine, cosine) if odd else (cosine, sine)
    a = -a if (quarter + np.int32(1)) & np.int32(2) else a
    b = -b if quarter & np.int32(2) else b
    return a, b


@inlined
def _floor_quotient(numerator, unit, divisor):
    """floor(numerator / unit), exactly."""
    pixel = np.int32(np.float32(numerator) / divisor)
    return pixel - np.int32(1) if pixel * unit > numerator else pixel


@part
def add_noise(scratch, count, unit, size, amount, key):
    """Step 7."""
    unit = np.int32(unit)
    divisor = np.float32(unit)
    eight, zero = np.uint64(8), np.uint64(0)
    key0, key1 = key & np.uint64(0xFFFFFFFF), key >> np.uint64(32)
    side = np.int32(size)
    for i in range((count + 15) & ~15):
        x, y = (
            _floor_quotient(np.int32(bits_of(scratch[QX + i])), unit, divisor),
            _floor_quotient(np.int32(bits_of(scratch[QY + i])), unit, divisor),
        )
        pixel = np.uint64(np.uint32(y * side + x))
        word0, word1, word2, word3 = philox4x32(pixel, zero, zero, zero, key0, key1)
        radius0, radius1 = _radius(word0 >> eight), _radius(word2 >> eight)
        cosine0, sine0 = _cosine_sine(word1 >> eight)
        cosine1, _ = _cosine_sine(word3 >> eight)
        scratch[R + i] = clipped(scratch[R + i] + amount * (radius0 * cosine0))
        scratch[G + i] = clipped(scratch[G + i] + amount * (radius0 * sine0))
        scratch[B + i] = clipped(scratch[B + i] + amount * (radius1 * cosine1))
