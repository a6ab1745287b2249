"""Opens a prepared store: its faces are held on the device or in page-locked memory, or read from the mapped file."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from loaders.base import Faces
from loaders.feed.streams import batch_by_batch
from loaders.sources.tiers import Tier, check_tier, choose_tier
from loaders.store.opening import open_store
from loaders.store.preparation import stated

COPY_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Packed:
    """Names a store written by `loaders.prepare`.

    Attributes:
        path: Folder of the store.
        tier: "resident" copies the whole split to the device once, and a batch is an index. "pinned" copies it into
            page-locked memory of the host once, from where a GPU fetches each batch beside the running step. "mapped"
            reads each batch from the memory-mapped file. "auto" is, on a GPU, the first of the three that fits in half
            of the memory that is free there, and "mapped" on a CPU; the loader's `note` says which and why.
    """

    path: str | Path
    tier: Tier = "auto"

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source`.

        Raises:
            ValueError: The store is missing, damaged or has no such split, or the tier does not exist or does not fit.
                While batches are read from the mapped file: it was cut.
        """
        device = torch.device(device)
        check_tier(self.tier, device)
        store = open_store(self.path)
        part = store.manifest.part(split, store.shape, f"store {self.path}", stated(store.source))
        mean = store.manifest.mean[part.sample]
        images, rows = store.images, part.sample.numpy()
        tier, note = choose_tier(self.tier, device, int(np.prod(part.shape)) * len(rows))
        if tier == "resident":
            return Faces(part, mean, _copy(images, part.sample, device), device, note=note)
        if tier == "pinned":
            pinned = Pinned(_copy(images, part.sample), device)
            return Faces(part, mean, batch_by_batch(pinned), device, note=note)

        def read(position: Tensor) -> Tensor:
            store.check_uncut()
            return torch.from_numpy(images[rows[position.numpy()]])

        return Faces(part, mean, batch_by_batch(read), device, note=note)


class Pinned:
    """Holds faces in memory that the system leaves where it is, so that a GPU copies single ones from it by itself.

    Args:
        faces: On the CPU; page-locked until this object goes.
        device: Where they are copied to.
        lock: Whether to page-lock them, which needs a GPU.

    Raises:
        ValueError: The system does not lock so much.
    """

    def __init__(self, faces: UInt8[Tensor, "n h w c"], device: torch.device, *, lock: bool = True) -> None:
        self._faces, self._device = faces, device
        if lock:
            # Torch's own pinned memory would be rounded up to a power of 2, and never be given back.
            _lock(faces)
            weakref.finalize(self, _unlock, faces)

    def __call__(self, position: Int64[Tensor, " b"]) -> UInt8[Tensor, "b h w c"]:
        """Queues the copies of faces to the device and waits for none of them."""
        sent = torch.empty((len(position), *self._faces.shape[1:]), dtype=torch.uint8, device=self._device)
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
    """Copies the split's faces to the device, in pieces so that host memory holds no second whole."""
    faces = torch.empty((len(sample), *images.shape[1:]), dtype=torch.uint8, device=device)
    piece = max(1, COPY_BYTES // int(np.prod(images.shape[1:])))
    for first in range(0, len(sample), piece):
        rows = sample[first : first + piece].numpy()
        faces[first : first + piece] = torch.from_numpy(images[rows]).to(device)
    return faces
