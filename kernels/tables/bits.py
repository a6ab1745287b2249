"""Draws random words and uniform numbers of a key, for choices that no table holds."""

from __future__ import annotations

from jaxtyping import Float32, Int64
from torch import Tensor

from kernels.tables import op
from kernels.tables.streams import Key, as_uniform


def random_bits(key: Key, count: int) -> Int64[Tensor, "b count"]:
    """Draws random 32-bit words, a pure function of the key.

    Args:
        key: Of the samples.
        count: Words a sample, 1..2**26. A larger count extends a smaller one and changes none of its words.

    Returns:
        Words in 0..2**32-1, on the device of `key.sample`.

    Raises:
        ValueError: `count` is out of range.
    """
    if not 1 <= count <= 2**26:
        raise ValueError(f"random_bits: count (={count}) must be in 1..2**26; draw from a second stream for more")
    bits: Tensor = op.random_bits(*op.address(key), count)
    return bits


def uniform(key: Key, count: int) -> Float32[Tensor, "b count"]:
    """Draws uniform numbers in [0, 1): the upper 24 bits of `random_bits`, which has the same errors, times 2**-24."""
    return as_uniform(random_bits(key, count))
