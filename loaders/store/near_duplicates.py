"""Finds faces of a store that are nearly the same picture: cut, scaled or compressed otherwise, or retouched.

Each face has a perceptual hash of 256 bits (ImageHash's `phash`: which of the lowest 16 x 16 frequencies are above
their median). Those of two faces that have nothing to do with each other differ in about half of the bits. In FER2013,
60 pairs drawn of those that differ in 2 to 54 bits all show one photograph; from 56 on some do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from PIL import Image

from loaders.extras import require
from loaders.progress import progress
from loaders.store.opening import Store
from loaders.store.pixel_statistics import BLANK_STD, digests, read_blocks
from loaders.terminal import Terminal

SIDE = 16  # of the hash, in bits
NEAR = 50
"""Bits by which two hashes may differ at the most, of 256."""
_ROWS = 256  # hashes compared with all others at a time: 75 MB for 36,000 faces


@dataclass(frozen=True, slots=True, eq=False)
class NearDuplicates:
    """Holds the pairs of faces that are equal or nearly so."""

    pairs: Int64[np.ndarray, "m 2"]
    """Sample ids, the lower one first; in the order of the first, then of the second."""
    distance: Int64[np.ndarray, " m"]
    """Bits by which their hashes differ."""
    equal: Bool[np.ndarray, " m"]
    """Whether their pixels are equal."""


def find_near_duplicates(store: Store, *, most: int = NEAR, console: Terminal | None = None) -> NearDuplicates:
    """Compares all faces of a store with each other; blank ones, which all look alike, are left out.

    Args:
        store: An opened store.
        most: Bits by which the hashes of a pair differ at the most, 0..256.
        console: Where progress is shown; None shows nothing.

    Raises:
        ValueError: ImageHash is not installed, or `most` is out of range.
    """
    if not 0 <= most <= SIDE * SIDE:
        raise ValueError(f"labels: near (={most}) must be in 0..{SIDE * SIDE}, the bits of a hash; {NEAR} is usual")
    phash = require("imagehash", extra="labels", where="labels").phash
    console = console or Terminal(quiet=True)
    n = len(store.manifest)
    hashes, digest = np.empty((n, SIDE * SIDE // 8), np.uint8), np.empty((n, 16), np.uint8)
    blank = np.empty(n, bool)
    with progress("perceptual hashes", n, console) as advance:
        for first, block in read_blocks(store):
            rows = slice(first, first + len(block))
            digest[rows] = digests(block)
            blank[rows] = (block.std(axis=(1, 2)) < BLANK_STD).all(axis=1)
            for sample, face in enumerate(block, start=first):
                picture = Image.fromarray(face[:, :, 0] if face.shape[2] == 1 else face)
                hashes[sample] = np.packbits(phash(picture, hash_size=SIDE).hash)
            advance(len(block))
    shown = np.flatnonzero(~blank)
    with progress("faces compared", len(shown), console) as advance:
        found = [(np.empty((0, 2), np.int64), np.empty(0, np.int64))]
        for pairs, distance, count in near_pairs(hashes[shown], most):
            found.append((pairs, distance))
            advance(count)
    pairs = shown[np.concatenate([pairs for pairs, _ in found])]
    equal = (digest[pairs[:, 0]] == digest[pairs[:, 1]]).all(axis=1)
    return NearDuplicates(pairs, np.concatenate([distance for _, distance in found]), equal)


def near_pairs(
    hashes: UInt8[np.ndarray, "n b"], most: int
) -> Iterator[tuple[Int64[np.ndarray, "m 2"], Int64[np.ndarray, " m"], int]]:
    """Finds the pairs of hashes that differ in at most so many bits, some rows at a time.

    Args:
        hashes: b is a multiple of 8.
        most: Bits.

    Yields:
        Of some rows: the pairs of a row and a later one, the bits they differ in, and how many rows these were.
    """
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for first in range(0, len(words), _ROWS):
        rows, later = words[first : first + _ROWS], words[first:]
        distance = np.zeros((len(rows), len(later)), np.int16)
        for word in range(words.shape[1]):
            distance += np.bitwise_count(rows[:, None, word] ^ later[None, :, word])
        one, other = np.nonzero(distance <= most)
        one, other = one[other > one], other[other > one]
        yield np.stack([one, other], axis=1) + first, distance[one, other].astype(np.int64), len(rows)
