# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""Computes for several Triton kernels: quotients of a run-time number, and cosine and sine of random turns."""

from __future__ import annotations

import triton
import triton.language as tl


def divisor(number: int, largest: int) -> tuple[int, int]:
    """Gives the pair by which `divide` divides 0..largest by `number`, each an int32 as kernels take it.

    Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994: with
    m = ceil(2**(32 + s) / d), floor(n m / 2**(32 + s)) is floor(n / d) where n (m d - 2**(32 + s)) < 2**(32 + s), hence
    where largest * (d - 1) is below 2**(32 + s).
    """
    assert number >= 1
    assert 0 <= largest < 2**30
    if number == 1 and largest == 0:
        return 0, 0
    assert number >= 2, "a division by 1 has no 32-bit multiplier; leave it out"
    shift = max(0, (largest * (number - 1)).bit_length() - 32)
    multiplier = -(-(2 ** (32 + shift)) // number)
    assert multiplier < 2**32
    return as_int32(multiplier), shift


def as_int32(word: int) -> int:
    """Gives the int32 of the same 32 bits: kernels take it as one type, whatever its value, and read it as uint32."""
    return word - 2**32 if word >= 2**31 else word


@triton.jit
def divide(number, multiplier, shift):
    """number div d for the `divisor` of d: a multiplication and a shift, where a division takes some twenty steps."""
    high = tl.umulhi(number.to(tl.uint32, bitcast=True), multiplier.to(tl.uint32, bitcast=True))
    return (high >> shift).to(tl.int32, bitcast=True)


@triton.jit
def cos_sin_turn(bits):
    """Cosine and sine of the share of a whole turn that the upper 24 of 32 random bits spell, within 2**-22.

    The nearest quarter is taken off in integers, so there is no slow path for large angles and nothing is lost. Series
    of Cephes (S. L. Moshier, sinf and cosf) on -45..45 degrees.
    """
    share = (bits >> 8).to(tl.int32, bitcast=True)
    quarter = (share + 2**21) >> 22
    angle = (share - (quarter << 22)).to(tl.float32) * (2.0 * 3.141592653589793 * 2.0**-24)
    square = angle * angle
    odd = tl.fma(tl.fma(square, -1.9515295891e-4, 8.3321608736e-3), square, -1.6666654611e-1)
    sine = tl.fma(odd * square, angle, angle)
    even = tl.fma(tl.fma(square, 2.443315711809948e-5, -1.388731625493765e-3), square, 4.166664568298827e-2)
    cosine = tl.fma(even * square, square, tl.fma(square, -0.5, 1.0))
    crosswise = (quarter & 1) != 0
    x = tl.where(crosswise, -sine, cosine)
    y = tl.where(crosswise, cosine, sine)
    back = (quarter & 2) != 0
    return tl.where(back, -x, x), tl.where(back, -y, y)
