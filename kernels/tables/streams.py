"""Addresses random words by (seed, epoch, sample, occurrence, stream, purpose, number): the map of all randomness.

One Philox block gives four words. A block is addressed by

    key     = (seed mod 2**32, seed div 2**32 xor occurrence)
    counter = (block, crc32 of the stream's name, epoch, sample mod 2**32)
    block   = purpose * 2**24 + number div 4          word = number mod 4

so a word depends on nothing but its address: not on the batch, the rank, the device or what else was drawn. Under one
seed, addresses that differ in sample, epoch, occurrence, purpose or number are different blocks of Philox, or different
words of one; so are those of two seeds, unless they differ in their upper 32 bits alone. Numbers inside a purpose are
fixed for ever; a new quantity takes the next free number, which moves none of the others:

    purpose           numbers
    0 GENERAL         `random_bits` and `uniform`: 0..count-1
    1 AUGMENT         `AUGMENT_WORDS`, one number a quantity
    2 PERMUTATION     the sorting key of cell j: j
    3 TURNS           the quarter turns of cell j: j
    4 HOLES           share 0, count of blocks 1; block i: centre x 4 + 4 i, centre y 5 + 4 i, aspect 6 + 4 i
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum

import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from kernels.tables.philox import LOW_32, philox4x32


class Purpose(IntEnum):
    """Names what a word is drawn for; see the table of this module."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """Keys the random numbers of a batch: every draw is a pure function of one, sample by sample.

    Raises:
        ValueError: A field is out of its range, or a tensor of another dtype, shape or device.
    """

    seed: int
    """0..2**64-1."""
    epoch: int
    """0..2**32-1."""
    sample: Int64[Tensor, " b"]
    """Sample ids; the low 32 bits count, and any id is valid, that of padding (-1) too."""
    occurrence: Int32[Tensor, " b"] | None = None
    """How often the epoch has drawn the sample before; None is 0 for all. Its 32 bits count."""
    name: str = "shared"
    """Name of the stream; streams of different names are independent."""

    def __post_init__(self) -> None:
        sample, occurrence = self.sample, self.occurrence
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"Key: seed (={self.seed}) must be in 0..2**64-1; it is the generator's 64-bit key")
        if not 0 <= self.epoch < 2**32:
            raise ValueError(
                f"Key: epoch (={self.epoch}) must be in 0..2**32-1; it is one word of the generator's counter"
            )
        if sample.dtype != torch.int64 or sample.ndim != 1:
            raise ValueError(
                f"Key: sample (={sample.dtype} of shape {tuple(sample.shape)}) must be int64 of one axis; "
                "give the sample ids of the batch"
            )
        if occurrence is None:
            return
        if occurrence.dtype != torch.int32 or occurrence.shape != sample.shape:
            raise ValueError(
                f"Key: occurrence (={occurrence.dtype} of shape {tuple(occurrence.shape)}) must be int32 of shape "
                f"{tuple(sample.shape)}; say how often the epoch has drawn each sample before"
            )
        if occurrence.device != sample.device:
            raise ValueError(
                f"Key: occurrence (on {occurrence.device}) must be where sample is ({sample.device}); move it there"
            )

    def stream(self, name: str) -> Key:
        """Keys other random numbers of the same samples: those of the stream `name`."""
        return Key(self.seed, self.epoch, self.sample, self.occurrence, name)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def stream_word(name: str) -> int:
    """Gives the word of the counter that a stream's name stands for."""
    return zlib.crc32(name.encode())


def words(key: Key, purpose: Purpose, count: int) -> Int64[Tensor, "b count"]:
    """Draws words 0..count-1 of a purpose for each sample, each in 0..2**32-1."""
    blocks = -(-count // 4)
    first = int(purpose) << 24
    sample = key.sample
    block = torch.arange(first, first + blocks, device=sample.device)
    name = sample.new_full((), stream_word(key.name))
    time = sample.new_full((), key.epoch)
    high: int | Tensor = key.seed >> 32
    if key.occurrence is not None:
        high = (key.occurrence.long() & LOW_32) ^ high
    # Samples run along the inner axis: with blocks there, torch 2.13's compiler gives wrong words on a CPU.
    drawn = philox4x32((block[:, None], name, time, sample & LOW_32), (key.seed & LOW_32, high))
    return torch.stack(drawn, dim=1).flatten(0, 1)[:count].T.contiguous()


def as_uniform(bits: Int64[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Gives the multiple of 2**-24 in [0, 1) that a 32-bit word's upper 24 bits spell; exact in fp32."""
    return (bits >> 8).float() * 2.0**-24
