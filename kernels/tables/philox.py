"""Draws by Philox4x32-10, the counter-based random generator behind every draw.

J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Words of 32 bits are held in int64 tensors,
since torch has no arithmetic on uint32; every intermediate stays inside the signed 64-bit range, so nothing depends
on how a compiler treats overflow.
"""

from __future__ import annotations

from jaxtyping import Int64
from torch import Tensor

LOW_32 = 0xFFFFFFFF

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

Words = tuple[Int64[Tensor, "*shape"], Int64[Tensor, "*shape"], Int64[Tensor, "*shape"], Int64[Tensor, "*shape"]]


def _multiply(multiplier: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """Gives high and low 32 bits of `multiplier * word`.

    Both multipliers are above 3/4 of 2**32, so (multiplier - 2**32) * word is above -2**62 and never overflows; it
    lacks word * 2**32, which leaves the low half alone and is added back to the high half.
    """
    product = (multiplier - 2**32) * word
    return (product >> 32) + word, product & LOW_32


def philox4x32(counter: Words, key: tuple[int | Tensor, int | Tensor]) -> Words:
    """Draws four random words for each counter under a key.

    Args:
        counter: Four words in 0..2**32-1 as int64 tensors that broadcast together.
        key: Two words in 0..2**32-1, each a number or an int64 tensor that broadcasts with the counter.

    Returns:
        Four int64 tensors of the broadcast shape with values in 0..2**32-1.
    """
    word0, word1, word2, word3 = counter
    key0, key1 = key
    for turn in range(_ROUNDS):
        if turn > 0:
            key0, key1 = (key0 + _WEYL[0]) & LOW_32, (key1 + _WEYL[1]) & LOW_32
        high0, low0 = _multiply(_MULTIPLIERS[0], word0)
        high1, low1 = _multiply(_MULTIPLIERS[1], word2)
        word0, word1, word2, word3 = high1 ^ word1 ^ key0, low1, high0 ^ word3 ^ key1, low0
    return word0, word1, word2, word3
