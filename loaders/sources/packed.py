"""`Packed`: a prepared store, held on the device, in page-locked memory, or memory-mapped."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from loaders.base import Draw, Loader, Sampler
from loaders.feed.opened import Resident, Streamed, batch_by_batch, refuse_draw
from loaders.feed.order import Order
from loaders.sources.tiers import Tier, check_tier, choose_tier
from loaders.store.opening import open_store

COPY_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Packed:
    """A store written by `loaders.prepare`.

    Attributes:
        path: Folder of the store.
        tier: "resident" copies the whole split to the device once, and a batch is an index. "pinned" copies it into
            page-locked memory of the host once, from where a GPU fetches each batch beside the running step. "mapped"
            reads each batch from the memory-mapped file. "auto" is, on a GPU, the first of the three that fits in half
            of the memory that is free there, and "mapped" on a CPU; the loader's `note` says which and why.
    """

    path: str | Path
    tier: Tier = "auto"

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
        draw: Draw | None = None,
    ) -> Loader:
        """Open one split; see `loaders.base.Source`.

        Raises:
            ValueError: The store is missing, damaged or has no such split, the tier does not exist or does not fit, or
                `draw` is given. While batches are read from the mapped file: it was cut.
        """
        refuse_draw("Packed", draw)
        device = torch.device(device)
        check_tier(self.tier, device)
        store = open_store(self.path)
        part = store.manifest.part(split, store.shape, f"store {self.path}")
        order = Order(part, batch_size, seed, rank, world, sampler)
        mean = store.manifest.mean[part.sample]
        images, rows = store.images, part.sample.numpy()
        tier, note = choose_tier(self.tier, device, int(np.prod(part.shape)) * len(rows), world=world)
        if tier == "resident":
            return Resident(order, _copy(images, part.sample, device), mean, device, note=note)
        if tier == "pinned":
            positions = batch_by_batch(lambda position: position)
            return Streamed(order, positions, mean, device, send=Pinned(_copy(images, part.sample)), note=note)

        def read(position: Tensor) -> Tensor:
            store.check_uncut()
            return torch.from_numpy(images[rows[position.numpy()]])

        return Streamed(order, batch_by_batch(read), mean, device, note=note)


class Pinned:
    """Faces in memory that the system leaves where it is, so that a GPU copies single ones from it by itself.

    Args:
        faces: On the CPU; page-locked until this object goes.
        lock: Whether to page-lock them, which needs a GPU.

    Raises:
        ValueError: The system does not lock so much.
    """

    def __init__(self, faces: UInt8[Tensor, "n h w c"], *, lock: bool = True) -> None:
        self._faces = faces
        if lock:
            # Torch's own pinned memory would be rounded up to a power of 2, and never be given back.
            _lock(faces)
            weakref.finalize(self, _unlock, faces)

    def __call__(self, position: Int64[Tensor, " b"], device: torch.device) -> UInt8[Tensor, "b h w c"]:
        """Queues the copies of faces to a device and waits for none of them."""
        sent = torch.empty((len(position), *self._faces.shape[1:]), dtype=torch.uint8, device=device)
        rows = [self._faces[row] for row in position.tolist()]
        torch._foreach_copy_(list(sent.unbind()), rows, non_blocking=True)  # one call, which lets other threads run
        return sent


def _lock(faces: Tensor) -> None:
    try:
        torch.cuda.check_error(int(torch.cuda.cudart().cudaHostRegister(faces.data_ptr(), faces.nbytes, 0)))
    except RuntimeError as error:
        raise ValueError(
            f"Packed: tier (='pinned') needs {faces.nbytes} bytes of page-locked memory, which the system refuses "
            f"({error}); use 'mapped'"
        ) from error


def _unlock(faces: Tensor) -> None:
    torch.cuda.cudart().cudaHostUnregister(faces.data_ptr())


def _copy(
    images: NDArray[np.uint8], sample: Int64[Tensor, " n"], device: torch.device | str = "cpu"
) -> UInt8[Tensor, "n h w c"]:
    """The split's faces on the device, copied in pieces so that host memory holds no second whole."""
    faces = torch.empty((len(sample), *images.shape[1:]), dtype=torch.uint8, device=device)
    piece = max(1, COPY_BYTES // int(np.prod(images.shape[1:])))
    for first in range(0, len(sample), piece):
        rows = sample[first : first + piece].numpy()
        faces[first : first + piece] = torch.from_numpy(images[rows]).to(device)
    return faces
