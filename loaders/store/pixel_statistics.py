"""Reduces each face of a store to a few numbers, in one pass over the pixels, block by block.

Copies are pictures with equal pixels. Each row is reduced to a 128-bit BLAKE2b hash and its sums, so memory holds no
pictures.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from loaders.progress import progress
from loaders.store.opening import IMAGES, Store
from loaders.terminal import Terminal

BLOCK_BYTES = 1 << 23
BLANK_STD = 1.0


@dataclass(frozen=True, slots=True)
class PixelStatistics:
    """Holds what one pass over the pixels leaves of each row."""

    digest: UInt8[np.ndarray, "n 16"]
    total: NDArray[np.uint64]
    """ "n c": sum of each channel."""
    squares: NDArray[np.uint64]
    """ "n c": sum of squares of each channel."""
    area: int

    def blank(self) -> NDArray[np.bool_]:
        """Finds rows without content: the standard deviation of every channel is below `BLANK_STD`."""
        # In whole numbers: area^2 times the variance, which no rounding can push over the limit.
        spread = self.area * self.squares - self.total**2
        return np.asarray((spread < np.uint64(BLANK_STD**2 * self.area**2)).all(axis=1))


def read_statistics(store: Store, console: Terminal) -> PixelStatistics:
    """Reads all pixels once and keeps the statistics of each row.

    Raises:
        ValueError: The pixels do not have the hash they were written with.
    """
    n, (h, w, c) = len(store.manifest), store.shape
    digest = np.empty((n, 16), np.uint8)
    total, squares = np.empty((n, c), np.uint64), np.empty((n, c), np.uint64)
    whole = hashlib.sha256()
    with progress("pictures", n, console) as advance:
        for first, block in read_blocks(store):
            whole.update(block.data.cast("B"))
            end = first + len(block)
            flat = block.reshape(len(block), h * w, c)
            total[first:end] = flat.sum(axis=1, dtype=np.uint64)
            squares[first:end] = np.square(flat, dtype=np.uint16).sum(axis=1, dtype=np.uint64)
            digest[first:end] = digests(block)
            advance(len(block))
    if whole.hexdigest() != store.source["images_sha256"]:
        raise ValueError(
            f"check {store.path}: pixels must have the hash they were written with; they were changed or damaged, "
            "prepare the data again with --force"
        )
    return PixelStatistics(digest, total, squares, h * w)


def digests(block: UInt8[np.ndarray, "b h w c"]) -> UInt8[np.ndarray, "b 16"]:
    """Hashes the pixels of each face with BLAKE2b, 128 bits; faces of one size are equal where these are."""
    hashed = [hashlib.blake2b(row.data, digest_size=16).digest() for row in block]
    return np.frombuffer(b"".join(hashed), np.uint8).reshape(-1, 16)


def read_blocks(store: Store) -> Iterator[tuple[int, UInt8[np.ndarray, "b h w c"]]]:
    """Reads (first row, rows) from the file: pages of a map that were read would count as memory of this process."""
    images = store.images
    count = max(1, BLOCK_BYTES // math.prod(images.shape[1:]))
    assert isinstance(images, np.memmap)
    with (store.path / IMAGES).open("rb") as file:
        file.seek(images.offset)
        for first in range(0, len(images), count):
            rows = min(count, len(images) - first)
            block = np.fromfile(file, np.uint8, rows * math.prod(images.shape[1:]))
            yield first, block.reshape(rows, *images.shape[1:])


def duplicate_sets(digest: UInt8[np.ndarray, "n 16"]) -> tuple[Int64[np.ndarray, " k"], ...]:
    """Groups rows with equal hashes: each set of two or more, ascending; the sets in the order of their first."""
    key = np.ascontiguousarray(digest).view([("high", np.uint64), ("low", np.uint64)]).ravel()
    order = np.lexsort((key["low"], key["high"]))  # stable: rows of a set stay ascending
    ordered = key[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(order)]
    several = ends - starts > 1
    sets = [order[start:end] for start, end in zip(starts[several], ends[several], strict=True)]
    return tuple(sorted(sets, key=lambda rows: int(rows[0])))
