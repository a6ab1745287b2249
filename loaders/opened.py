"""Opened splits: the two ways faces reach the device, shared by all sources.

`Resident` holds the whole split on the device and a batch is an index; `Streamed` reads each batch in a background
thread and copies it over. Labels and mean colours are looked up on the device by both, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from loaders.ahead import Ahead
from loaders.base import Batch, Split
from loaders.order import PADDING, Order

READ_AHEAD = 2  # batches; one is copied while the next is read

Stream = Callable[[Int64[Tensor, "k b"]], Generator[UInt8[Tensor, "b h w c"], None, None]]
"""Positions in the split of the batches to come, on the CPU, to their faces, batch after batch."""


def batch_by_batch(read: Callable[[Int64[Tensor, " b"]], UInt8[Tensor, "b h w c"]]) -> Stream:
    """A stream from a function that reads one batch."""

    def stream(plan: Int64[Tensor, "k b"]) -> Generator[Tensor, None, None]:
        for position in plan:
            yield read(position)

    return stream


def refuse_draw(source: str, draw: Any) -> None:
    """Refuse tables of augmentation.

    Raises:
        ValueError: `draw` is given to a source that does not augment.
    """
    if draw is not None:
        raise ValueError(f"{source}: draw must be None, this source does not augment; leave augmentation to the kernel")


class _Tables:
    """What is looked up by position in the split, on the device."""

    def __init__(self, split: Split, mean: Float32[Tensor, "n 3"], device: torch.device) -> None:
        # Each table ends in the row of padding: position -1 finds it without a mask.
        self._sample = torch.cat([split.sample, split.sample.new_full((1,), PADDING)]).to(device)
        self._mean = torch.cat([mean, mean[:1]]).to(device)
        self._target = {name: torch.cat([t, _missing(t)]).to(device) for name, t in split.target.items()}

    def batch(self, store: Tensor, row: Tensor, position: Int64[Tensor, " b"]) -> Batch:
        target: Mapping[str, Tensor] = {name: table[position] for name, table in self._target.items()}
        return Batch(store, row, self._sample[position], self._mean[position], target)


def _missing(target: Tensor) -> Tensor:
    """One row of the value that means missing: NaN for numbers, -1 for classes."""
    return target.new_full((1, *target.shape[1:]), float("nan") if target.is_floating_point() else -1)


class _Opened:
    def __init__(self, order: Order, mean: Float32[Tensor, "n 3"], device: torch.device | str) -> None:
        assert mean.shape == (len(order.split.sample), 3)
        self.split = order.split
        self._order = order
        self._device = torch.device(device)
        self._tables = _Tables(self.split, mean, self._device)
        self._closed = False

    def __len__(self) -> int:
        return self._order.count

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"loader: split (={self.split.name!r}) must not be read after close(); open it again")

    def _plan(self, epoch: int, start: int) -> Int64[Tensor, "k b"]:
        self._check_open()
        return self._order.positions(epoch, start=start)


class Resident(_Opened):
    """The whole split on the device: `store` is always the same tensor and nothing is copied in an epoch.

    Args:
        faces: The split's faces on `device`, in the order of `order.split.sample`.
        mean: Mean colour of each face on 0..255, in the same order, on the CPU.
    """

    def __init__(
        self,
        order: Order,
        faces: UInt8[Tensor, "n h w c"],
        mean: Float32[Tensor, "n 3"],
        device: torch.device | str,
    ) -> None:
        super().__init__(order, mean, device)
        assert len(faces) == len(self.split.sample)
        self._faces: Tensor | None = faces

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `start` on."""
        plan = self._plan(epoch, start).to(self._device)
        rows = plan.clamp(min=0)
        return self._batches(plan, rows)

    def close(self) -> None:
        """Let go of the faces; batches still held keep them alive."""
        self._closed = True
        self._faces = None

    def _batches(self, plan: Tensor, rows: Tensor) -> Iterator[Batch]:
        for position, row in zip(plan, rows, strict=True):
            self._check_open()
            assert self._faces is not None
            yield self._tables.batch(self._faces, row, position)


class Streamed(_Opened):
    """Each batch's faces are read in a background thread and copied to the device, pinned where that is a GPU.

    Args:
        stream: Faces of each batch, on the CPU or on `device`; iterated, and closed where an epoch is left early, in a
            background thread. A position may occur twice; padding is read as position 0.
        mean: Mean colour of each face on 0..255, in the order of `order.split.sample`, on the CPU.
    """

    def __init__(
        self,
        order: Order,
        stream: Stream,
        mean: Float32[Tensor, "n 3"],
        device: torch.device | str,
    ) -> None:
        super().__init__(order, mean, device)
        self._stream: Stream | None = stream
        self._row = torch.arange(order.batch_size, device=self._device)
        self._running: list[Ahead[Tensor]] = []

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `start` on; an error while reading is raised at its batch."""
        plan = self._plan(epoch, start)
        assert self._stream is not None
        return self._batches(plan, self._stream)

    def close(self) -> None:
        """End the reading threads of all epochs and let go of what was open for reading."""
        self._closed = True
        for ahead in self._running:
            ahead.close()
        self._running.clear()
        self._stream = None

    def _batches(self, plan: Tensor, stream: Stream) -> Iterator[Batch]:
        self._check_open()
        ahead = Ahead(self._faces(plan, stream), READ_AHEAD, f"faces of {self.split.name}")
        del stream
        self._running.append(ahead)
        try:
            for position in plan.to(self._device):
                self._check_open()
                store = next(ahead).to(self._device, non_blocking=True)
                yield self._tables.batch(store, self._row, position)
        finally:
            ahead.close()
            if ahead in self._running:
                self._running.remove(ahead)

    def _faces(self, plan: Tensor, stream: Stream) -> Iterator[Tensor]:
        with closing(stream(plan.clamp(min=0))) as batches:
            for faces in batches:
                yield faces.pin_memory() if self._device.type == "cuda" and not faces.is_cuda else faces
