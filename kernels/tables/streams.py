"""Random words addressed by (seed, epoch, sample, stream, purpose, number): the map of all randomness.

One Philox block gives four words. A block is addressed by

    key     = (seed mod 2**32, seed div 2**32)
    counter = (block, crc32 of the stream's name, epoch, sample mod 2**32)
    block   = purpose * 2**24 + number div 4          word = number mod 4

so a word depends on nothing but its address: not on the batch, the rank, the device or what else was drawn. Numbers
inside a purpose are fixed for ever; a new quantity takes the next free number, which moves none of the others:

    purpose           numbers
    0 GENERAL         `random_bits` and `uniform`: 0..count-1
    1 AUGMENT         `AUGMENT_WORDS`, one number a quantity
    2 PERMUTATION     the sorting key of cell j: j
    3 TURNS           the quarter turns of cell j: j
    4 HOLES           share 0, count of blocks 1; block i: centre x 4 + 4 i, centre y 5 + 4 i, aspect 6 + 4 i
"""

from __future__ import annotations

import zlib
from enum import IntEnum

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from kernels.tables.philox import LOW_32, philox4x32


class Purpose(IntEnum):
    """What a word is drawn for; see the table of this module."""

    GENERAL = 0
    AUGMENT = 1
    PERMUTATION = 2
    TURNS = 3
    HOLES = 4


AUGMENT_WORDS = {
    "flip": 0,
    "jitter": 1,
    "contrast": 2,
    "brightness": 3,
    "brightness_factor": 4,
    "saturation": 5,
    "hue": 6,
    "gray": 7,
    "noise": 8,
    "noise_key_low": 9,
    "noise_key_high": 10,
    "blur": 11,
    "resize_applied": 12,
    "resize": 13,
    "rotation": 14,
    "crop": 15,
    "scale": 16,
    "shift_x": 17,
    "shift_y": 18,
    "aspect": 19,
    "cut_applied": 20,
    "cut_x": 21,
    "cut_y": 22,
}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def stream_word(stream: str) -> int:
    """The word of the counter that a stream's name stands for."""
    return zlib.crc32(stream.encode())


def check_address(where: str, seed: int, epoch: int, sample: Tensor) -> None:
    """Refuse an address outside the generator's range.

    Raises:
        ValueError: `seed` is not in 0..2**64-1, `epoch` is not in 0..2**32-1, or `sample` is not int64 "b".
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"{where}: seed (={seed}) must be in 0..2**64-1; it is the generator's 64-bit key")
    if not 0 <= epoch < 2**32:
        raise ValueError(f"{where}: epoch (={epoch}) must be in 0..2**32-1; it is one word of the generator's counter")
    if sample.dtype != torch.int64 or sample.ndim != 1:
        raise ValueError(
            f"{where}: sample (={sample.dtype} of shape {tuple(sample.shape)}) must be int64 of one axis; "
            "give the sample ids of the batch"
        )


def words(
    purpose: Purpose, count: int, *, seed: int, epoch: int, sample: Int64[Tensor, " b"], stream: str
) -> Int64[Tensor, "b count"]:
    """Words 0..count-1 of a purpose for each sample, each in 0..2**32-1. The address is checked by the caller."""
    blocks = -(-count // 4)
    first = int(purpose) << 24
    block = torch.arange(first, first + blocks, device=sample.device)
    name = sample.new_full((), stream_word(stream))
    time = sample.new_full((), epoch)
    # Samples run along the inner axis: with blocks there, torch 2.13's compiler gives wrong words on a CPU.
    drawn = philox4x32((block[:, None], name, time, sample & LOW_32), (seed & LOW_32, seed >> 32))
    return torch.stack(drawn, dim=1).flatten(0, 1)[:count].T.contiguous()


def as_uniform(bits: Int64[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The multiple of 2**-24 in [0, 1) that a 32-bit word's upper 24 bits spell; exact in fp32."""
    return (bits >> 8).float() * 2.0**-24


def random_bits(
    seed: int, *, epoch: int, sample: Int64[Tensor, " b"], stream: str, count: int
) -> Int64[Tensor, "b count"]:
    """Random 32-bit words, a pure function of (seed, epoch, sample id, stream).

    Args:
        seed: 0..2**64-1.
        epoch: 0..2**32-1.
        sample: Sample ids; the low 32 bits count, and any id is valid, that of padding (-1) too.
        stream: Name of the stream; streams of different names are independent.
        count: Words a sample. A larger count extends a smaller one and changes none of its words.

    Returns:
        Words in 0..2**32-1, on the device of `sample`.

    Raises:
        ValueError: `seed`, `epoch`, `sample` or `count` is out of range.
    """
    check_address("random_bits", seed, epoch, sample)
    if not 1 <= count <= 2**26:
        raise ValueError(f"random_bits: count (={count}) must be in 1..2**26; draw from a second stream for more")
    return words(Purpose.GENERAL, count, seed=seed, epoch=epoch, sample=sample, stream=stream)


def uniform(
    seed: int, *, epoch: int, sample: Int64[Tensor, " b"], stream: str, count: int
) -> Float32[Tensor, "b count"]:
    """Uniform numbers in [0, 1): the upper 24 bits of `random_bits` (same arguments, same errors) times 2**-24."""
    return as_uniform(random_bits(seed, epoch=epoch, sample=sample, stream=stream, count=count))
