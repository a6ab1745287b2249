"""`kernels.draw_permutation` and `kernels.draw_holes` for one sample in numba, equal bit for bit.

The addresses of random words are those of `kernels.tables.streams`, the rules those of the functions they mirror.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_PERMUTATION, _HOLES = 2, 4  # kernels.tables.streams.Purpose
_FAR = 1 << 47  # above every distance, and room for a cell's number below it
_NUMBER_BITS = 15  # of a cell's number: 181 * 181 cells are below 2 ** 15


@numba.njit(nogil=True)
def words(purpose: int, count: int, seed: int, epoch: int, sample: int, stream: int) -> NDArray[np.int64]:
    """Random words 0..count-1 of a purpose, each in 0..2**32-1.

    Args:
        purpose: Number of the purpose.
        count: Words.
        seed: The 64 bits of the seed as int64.
        epoch: 0..2**32-1.
        sample: Sample id.
        stream: crc32 of the stream's name.
    """
    drawn = np.empty((count + 3) // 4 * 4, np.int64)
    seed_bits, sample_bits = np.uint64(seed), np.uint64(sample)
    for block in range((count + 3) // 4):
        word0 = np.uint64((purpose << 24) + block)
        word1, word2, word3 = np.uint64(stream), np.uint64(epoch), sample_bits & _LOW
        key0, key1 = seed_bits & _LOW, seed_bits >> _HALF
        for _ in range(10):
            product0, product1 = _M0 * word0, _M1 * word2
            word0, word1, word2, word3 = (
                (product1 >> _HALF) ^ word1 ^ key0,
                product1 & _LOW,
                (product0 >> _HALF) ^ word3 ^ key1,
                product0 & _LOW,
            )
            key0, key1 = (key0 + _W0) & _LOW, (key1 + _W1) & _LOW
        drawn[4 * block] = np.int64(word0)
        drawn[4 * block + 1] = np.int64(word1)
        drawn[4 * block + 2] = np.int64(word2)
        drawn[4 * block + 3] = np.int64(word3)
    return drawn[:count]


@numba.njit(nogil=True)
def permutation(grid: int, seed: int, epoch: int, sample: int, stream: int) -> NDArray[np.int64]:
    """`shows` of a puzzle; arguments as in `words`."""
    keys = words(_PERMUTATION, grid * grid, seed, epoch, sample, stream)
    return _order(keys)


@numba.njit(nogil=True)
def holes(
    grid: int,
    share: tuple[int, int],
    blocks: tuple[int, int],
    aspect: tuple[int, int],
    seed: int,
    epoch: int,
    sample: int,
    stream: int,
) -> NDArray[np.bool_]:
    """Which cells are hidden.

    Args:
        grid: Cells a side.
        share: Range of the hidden share times 2**20.
        blocks: Range of the number of blocks.
        aspect: Range of a block's aspect times 2**24.
        seed, epoch, sample, stream: As in `words`.
    """
    cells = grid * grid
    bits = words(_HOLES, 4 + 4 * blocks[1], seed, epoch, sample, stream)
    count = (_fixed(share, bits[0]) * cells + (1 << 39)) >> 40
    present = blocks[0] + ((bits[1] * (blocks[1] - blocks[0] + 1)) >> 32)
    nearest = np.full(cells, _FAR, np.int64)
    for block in range(present):
        x = (bits[4 + 4 * block] * (2 * grid)) >> 16
        y = (bits[5 + 4 * block] * (2 * grid)) >> 16
        wideness = _fixed(aspect, bits[6 + 4 * block]) >> 20
        down = np.int64(math.sqrt(float(wideness)))
        across = np.int64(math.sqrt(float((1 << 48) // wideness)))
        for cell in range(cells):
            dx = abs(((2 * (cell % grid) + 1) << 16) - x) * across
            dy = abs(((2 * (cell // grid) + 1) << 16) - y) * down
            nearest[cell] = min(nearest[cell], max(dx, dy))
    hidden = np.zeros(cells, np.bool_)
    hidden[_order(nearest)[:count]] = True
    return hidden


@numba.njit(nogil=True)
def _order(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the keys in their order, equal ones by number; keys are below 2**48."""
    numbered = np.empty(len(keys), np.int64)
    for number in range(len(keys)):
        numbered[number] = (keys[number] << _NUMBER_BITS) | number
    numbered.sort()
    return numbered & ((1 << _NUMBER_BITS) - 1)


@numba.njit(nogil=True)
def _fixed(span: tuple[int, int], bits: int) -> int:
    return (span[0] << 20) + (span[1] - span[0]) * (bits >> 12)
