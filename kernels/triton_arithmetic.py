# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""Computes inside Triton kernels: quotients of a run-time number, random words, logarithm, cosine and sine."""

from __future__ import annotations

import triton
import triton.language as tl

# Triton's own functions of these names take some twenty instructions each. Its interpreter knows no machine code.
_INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))


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
def philox(key, word0, word1, word2, word3):
    """Draws four random words, uint32, by Philox4x32-10 (Salmon et al. 2011) under a 64-bit key.

    Equal to `tl.philox`, which takes two instructions for the two halves of a product; here it is one.
    """
    key = key.to(tl.uint64)
    key0 = key.to(tl.uint32)
    key1 = (key >> 32).to(tl.uint32)
    zero = tl.full((), 0, tl.int32)  # makes a tensor of a constant
    word0 = (word0 + zero).to(tl.uint32, bitcast=True)
    word1 = (word1 + zero).to(tl.uint32, bitcast=True)
    word2 = (word2 + zero).to(tl.uint32, bitcast=True)
    word3 = (word3 + zero).to(tl.uint32, bitcast=True)
    for turn in tl.static_range(10):
        first = word0.to(tl.uint64) * 0xD2511F53
        second = word2.to(tl.uint64) * 0xCD9E8D57
        word0 = (second >> 32).to(tl.uint32) ^ word1 ^ (key0 + (0x9E3779B9 * turn & 0xFFFFFFFF))
        word2 = (first >> 32).to(tl.uint32) ^ word3 ^ (key1 + (0xBB67AE85 * turn & 0xFFFFFFFF))
        word1 = second.to(tl.uint32)
        word3 = first.to(tl.uint32)
    return word0, word1, word2, word3


@triton.jit
def fast_log2(x):
    """Logarithm to base 2 of a positive x, by one instruction of a GPU.

    It is within 2**-22 where x is in 0.5..2, elsewhere within 2**-22 of itself.
    """
    if _INTERPRETED:
        return tl.log2(x)
    return tl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)


@triton.jit
def fast_cos(angle):
    """Cosine of an angle within -pi..pi, by one instruction of a GPU: within 2**-20."""
    if _INTERPRETED:
        return tl.cos(angle)
    return tl.inline_asm_elementwise("cos.approx.ftz.f32 $0, $1;", "=f,f", [angle], tl.float32, is_pure=True, pack=1)


@triton.jit
def fast_sin(angle):
    """Sine of an angle within -pi..pi, by one instruction of a GPU: within 2**-20."""
    if _INTERPRETED:
        return tl.sin(angle)
    return tl.inline_asm_elementwise("sin.approx.ftz.f32 $0, $1;", "=f,f", [angle], tl.float32, is_pure=True, pack=1)
