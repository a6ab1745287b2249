"""`Packed`: a prepared store, memory-mapped or resident on the device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from loaders.base import Loader, Sampler
from loaders.opened import Resident, Streamed, batch_by_batch, refuse_draw
from loaders.order import Order
from loaders.store import open_store

COPY_BYTES = 1 << 26
FREE_SHARE = 0.5  # of the GPU's free memory that a split may take where `resident` is left to us


@dataclass(frozen=True, slots=True)
class Packed:
    """A store written by `loaders.prepare`.

    Attributes:
        path: Folder of the store.
        resident: True copies the whole split to the device once, and a batch is an index; False reads each batch
            from the memory-mapped file. None is True on a GPU where the split fits in half of its free memory, False
            elsewhere: on a CPU the mapped file is memory already.
    """

    path: str | Path
    resident: bool | None = None

    def open(
        self,
        split: str,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str,
        rank: int = 0,
        world: int = 1,
        sampler: Sampler | None = None,
        draw: Any = None,
    ) -> Loader:
        """Open one split; see `loaders.base.Source`.

        Raises:
            ValueError: The store is missing, damaged or has no such split, or `draw` is given.
        """
        refuse_draw("Packed", draw)
        device = torch.device(device)
        store = open_store(self.path)
        part = store.manifest.part(split, store.shape, f"store {self.path}")
        order = Order(part, batch_size, seed, rank, world, sampler)
        mean = store.manifest.mean[part.sample]
        resident = _fits(device, part.shape, len(part.sample)) if self.resident is None else self.resident
        if resident:
            return Resident(order, _copy(store.images, part.sample, device), mean, device)
        images, rows = store.images, part.sample.numpy()
        read = batch_by_batch(lambda position: torch.from_numpy(images[rows[position.numpy()]]))
        return Streamed(order, read, mean, device)


def _fits(device: torch.device, shape: tuple[int, int, int], count: int) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return int(np.prod(shape)) * count <= FREE_SHARE * free


def _copy(images: NDArray[np.uint8], sample: Int64[Tensor, " n"], device: torch.device) -> UInt8[Tensor, "n h w c"]:
    """The split's faces on the device, copied in pieces so that host memory holds no second whole."""
    faces = torch.empty((len(sample), *images.shape[1:]), dtype=torch.uint8, device=device)
    piece = max(1, COPY_BYTES // int(np.prod(images.shape[1:])))
    for first in range(0, len(sample), piece):
        rows = sample[first : first + piece].numpy()
        faces[first : first + piece] = torch.from_numpy(images[rows]).to(device)
    return faces
