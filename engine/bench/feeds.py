"""Opens what is measured: our sources, and torchvision behind torch's DataLoader, the loader a user has today."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import engine.torchvision_ops  # noqa: F401 - before torchvision
from loaders import Batch, Loader, Shuffled, Source
from loaders.decoding.reading import cores

from torchvision.transforms.functional import pil_to_tensor  # isort: skip

SEED = 0


class Opened(Protocol):
    """Is a split, ready to be read again and again."""

    def epoch(self, epoch: int) -> Iterator[Any]:
        """Reads the batches of an epoch, of a type of its own."""
        ...

    def count(self, batch: Any) -> int:
        """Counts the faces of a batch."""
        ...

    def show(self, batch: Any) -> tuple[list[int] | None, UInt8[np.ndarray, "b h w c"]]:
        """Shows sample ids, None where it has none, and faces."""
        ...

    def close(self) -> None: ...


class Feed(Protocol):
    """Is plain data until opened, so that it can be sent to a process."""

    def open(self, batch_size: int, device: str) -> Opened: ...


@dataclass(frozen=True, slots=True)
class OfSource:
    """Feeds from one of our sources, shuffled."""

    source: Source
    split: str

    def open(self, batch_size: int, device: str) -> Opened:
        """Opens the split."""
        return _OpenedSource(
            Loader.open(self.source, self.split, batch_size=batch_size, seed=SEED, device=device, sampler=Shuffled())
        )


class _OpenedSource:
    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.epoch = loader.epoch
        self.close = loader.close

    def count(self, batch: Batch) -> int:
        return len(batch.row)

    def show(self, batch: Batch) -> tuple[list[int] | None, UInt8[np.ndarray, "b h w c"]]:
        return batch.sample.tolist(), batch.store[batch.row].cpu().numpy()


@dataclass(frozen=True, slots=True)
class Torchvision:
    """Feeds from picture files behind torch's DataLoader with a process a core; batches "b c h w" stay on the CPU."""

    files: tuple[str, ...]
    channels: int

    def open(self, batch_size: int, device: str) -> Opened:
        """Starts its processes."""
        return _OpenedTorchvision(self, batch_size)


class _Pictures(Dataset[torch.Tensor]):
    """Is what a user of torchvision writes."""

    def __init__(self, files: tuple[str, ...], mode: str) -> None:
        self.files, self.mode = files, mode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        found: torch.Tensor = pil_to_tensor(Image.open(self.files[place]).convert(self.mode))
        return found


class _OpenedTorchvision:
    def __init__(self, feed: Torchvision, batch_size: int) -> None:
        self._loader: DataLoader[torch.Tensor] | None = DataLoader(
            _Pictures(feed.files, "L" if feed.channels == 1 else "RGB"),
            batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=cores(),
            persistent_workers=True,
            generator=torch.Generator().manual_seed(SEED),
        )

    def epoch(self, epoch: int) -> Iterator[torch.Tensor]:
        assert self._loader is not None
        return iter(self._loader)

    def count(self, batch: torch.Tensor) -> int:
        return len(batch)

    def show(self, batch: torch.Tensor) -> tuple[list[int] | None, UInt8[np.ndarray, "b h w c"]]:
        return None, batch.permute(0, 2, 3, 1).numpy()

    def close(self) -> None:
        self._loader = None  # its processes end with it
