"""Opened splits: the two ways faces reach the device, shared by all sources.

`Resident` holds the whole split on the device and a batch is an index; `Streamed` reads each batch in a background
thread and copies it over. Labels and mean colours are looked up on the device by both, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import get_args

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from kernels import Key
from loaders.base import Augmented, Batch, By, Draw, Sampler, Split
from loaders.feed.ahead import Ahead
from loaders.feed.order import PADDING, Order

READ_AHEAD = 2  # batches; one is copied while the next is read

Stream = Callable[[int, Int64[Tensor, "k b"]], Generator[UInt8[Tensor, "b h w c"], None, None]]
"""An epoch, and positions in the split of its batches to come, on the CPU, to their faces, batch after batch."""

Send = Callable[[Tensor, torch.device], UInt8[Tensor, "b h w c"]]
"""What a stream gives for a batch, to its faces on the device; on a GPU it queues copies and waits for none."""


def batch_by_batch(read: Callable[[Int64[Tensor, " b"]], UInt8[Tensor, "b h w c"]]) -> Stream:
    """A stream from a function that reads one batch."""

    def stream(epoch: int, plan: Int64[Tensor, "k b"]) -> Generator[Tensor, None, None]:
        for position in plan:
            yield read(position)

    return stream


def to_device(faces: UInt8[Tensor, "b h w c"], device: torch.device) -> UInt8[Tensor, "b h w c"]:
    """Faces on the device, through page-locked memory where that is a GPU."""
    if device.type != "cuda" or faces.is_cuda:
        return faces.to(device)
    return faces.pin_memory().to(device, non_blocking=True)


def refuse_draw(source: str, draw: Draw | None) -> None:
    """Refuse tables of augmentation.

    Raises:
        ValueError: `draw` is given to a source that does not augment.
    """
    if draw is not None:
        raise ValueError(f"{source}: draw must be None, this source does not augment; leave augmentation to the kernel")


def check_draw(source: str, augment: str, draw: Draw | None, sampler: Sampler | None) -> None:
    """Refuse what does not go together in a source that augments if it is told to.

    Args:
        source: Its name.
        augment: Its field.
        draw: What it is opened with.
        sampler: What it is opened with.

    Raises:
        ValueError: `augment` is no choice, or `draw` is given where the kernel augments, or without a sampler.
    """
    if augment not in get_args(By):
        raise ValueError(f"{source}: augment (={augment!r}) must be 'kernel' or 'loader'; choose one")
    if draw is not None and augment == "kernel":
        raise ValueError(f"{source}: draw must be None where augment is 'kernel'; set augment='loader'")
    if draw is not None and sampler is None:
        raise ValueError(f"{source}: draw must be None without a sampler, evaluation is not augmented; leave it out")


class _Tables:
    """What is looked up by position in the split, on the device."""

    def __init__(self, split: Split, mean: Float32[Tensor, "n 3"], device: torch.device) -> None:
        # Each table ends in the row of padding: position -1 finds it without a mask.
        self._sample = torch.cat([split.sample, split.sample.new_full((1,), PADDING)]).to(device)
        self._mean = torch.cat([mean, mean[:1]]).to(device)
        self._target = {name: torch.cat([t, _missing(t)]).to(device) for name, t in split.target.items()}

    def batch(
        self,
        store: Tensor,
        row: Tensor,
        position: Int64[Tensor, " b"],
        draw: Callable[[Tensor, Tensor], Augmented] | None = None,
    ) -> Batch:
        target: Mapping[str, Tensor] = {name: table[position] for name, table in self._target.items()}
        sample, mean = self._sample[position], self._mean[position]
        return Batch(store, row, sample, mean, target, None if draw is None else draw(sample, mean))


def _missing(target: Tensor) -> Tensor:
    """One row of the value that means missing: NaN for numbers, -1 for classes."""
    return target.new_full((1, *target.shape[1:]), float("nan") if target.is_floating_point() else -1)


class _Opened:
    def __init__(self, order: Order, mean: Float32[Tensor, "n 3"], device: torch.device | str, note: str) -> None:
        assert mean.shape == (len(order.split.sample), 3)
        self.split = order.split
        self.note = note
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
        note: What the source chose by itself.
    """

    def __init__(
        self,
        order: Order,
        faces: UInt8[Tensor, "n h w c"],
        mean: Float32[Tensor, "n 3"],
        device: torch.device | str,
        *,
        note: str = "",
    ) -> None:
        super().__init__(order, mean, device, note)
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
    """Each batch's faces are read in a background thread, which also sends them to the device, beside the running step.

    Args:
        stream: Faces of each batch, or whatever `send` takes; iterated, and closed where an epoch is left early, in a
            background thread. A position may occur twice; padding is read as position 0.
        mean: Mean colour of each face on 0..255, in the order of `order.split.sample`, on the CPU.
        send: Copies faces to the device.
        draw: The draw that is in the faces already, None where they are as stored.
        note: What the source chose by itself.
    """

    def __init__(
        self,
        order: Order,
        stream: Stream,
        mean: Float32[Tensor, "n 3"],
        device: torch.device | str,
        *,
        send: Send = to_device,
        draw: Draw | None = None,
        note: str = "",
    ) -> None:
        super().__init__(order, mean, device, note)
        self._stream: Stream | None = stream
        self._send: Send | None = send
        self._draw = draw
        self._row = torch.arange(order.batch_size, device=self._device)
        # A stream of its own: in the step's, a copy would wait for the kernels that were queued before it.
        self._copies = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._running: list[Ahead[_Sent]] = []

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `start` on; an error while reading is raised at its batch."""
        plan = self._plan(epoch, start)
        assert self._stream is not None
        return self._batches(epoch, plan)

    def close(self) -> None:
        """End the reading threads of all epochs and let go of what was open for reading."""
        self._closed = True
        for ahead in self._running:
            ahead.close()
        self._running.clear()
        self._stream = self._send = None

    def _batches(self, epoch: int, plan: Tensor) -> Iterator[Batch]:
        self._check_open()
        assert self._stream is not None
        assert self._send is not None
        ahead = Ahead(self._faces(self._stream(epoch, plan.clamp(min=0)), self._send), READ_AHEAD, self._name())
        self._running.append(ahead)
        draw = self._draw
        augmented = None if draw is None else partial(_augmented, draw, self._order.seed, epoch, self.split.shape[:2])
        try:
            for position in plan.to(self._device):
                self._check_open()
                faces, ready = next(ahead)
                if ready is not None:
                    here = torch.cuda.current_stream(self._device)
                    here.wait_event(ready)
                    faces.record_stream(here)
                yield self._tables.batch(faces, self._row, position, augmented)
        finally:
            ahead.close()
            if ahead in self._running:
                self._running.remove(ahead)

    def _name(self) -> str:
        return f"faces of {self.split.name}"

    def _faces(self, stream: Generator[Tensor, None, None], send: Send) -> Iterator[_Sent]:
        with closing(stream) as batches:
            for faces in batches:
                if self._copies is None or faces.is_cuda:
                    yield send(faces, self._device), None
                    continue
                with torch.cuda.stream(self._copies):
                    sent = send(faces, self._device)
                    ready = self._copies.record_event()
                yield sent, ready


_Sent = tuple[Tensor, torch.cuda.Event | None]
"""Faces on their way to the device, and when they are there."""


def _augmented(draw: Draw, seed: int, epoch: int, store: tuple[int, int], sample: Tensor, mean: Tensor) -> Augmented:
    return Augmented(draw(Key(seed, epoch, sample), mean, store), store)
