"""Delivers the faces of one split as batches on the device, the same way for every source.

Faces that are resident are indexed; those that stream are read in a background thread and copied beside the running
step. Labels and mean colours are looked up on the device for both, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace

import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

from kernels import Key
from loaders.base import Augmented, Batch, Draw, Faces, Plan, Sampler, Source, Stream, missing
from loaders.feed.ahead import Ahead
from loaders.feed.order import PADDING, Order

READ_AHEAD = 2  # batches; one is copied while the next is read

_Sent = tuple[Tensor, torch.cuda.Event | None]
"""Faces on their way to the device, and when they are there."""


class Loader:
    """Delivers one split, epoch after epoch. Close it, or use `contextlib.closing`.

    With a sampler (training) only full batches are delivered and the few samples left over are dropped; without one
    (evaluation) samples come in manifest order, each exactly once, and the last batch is padded with sample -1. With a
    draw (training alone) the source augments the faces, and each batch says so by `augmented`.

    Args:
        faces: What a source opened. Not kept after `close`.
        order: Of the same split.
        draw: How the source augments; None where the kernel does.

    Raises:
        ValueError: `draw` is given for faces that are not augmented where they are read, or without a sampler.
    """

    def __init__(self, faces: Faces, order: Order, *, draw: Draw | None = None) -> None:
        assert order.split is faces.split
        assert faces.mean.shape == (len(faces.split.sample), 3)
        if draw is not None and not faces.augments:
            raise ValueError(
                "loader: draw must be None, the source leaves augmentation to the kernel; leave it out, or set "
                "augment='loader' where the source has that field"
            )
        if draw is not None and order.sampler is None:
            raise ValueError("loader: draw must be None without a sampler, evaluation is not augmented; leave it out")
        self.split = faces.split
        self.note = faces.note
        """What the source chose by itself, and why, in one line for people; empty where there was nothing to choose."""
        self.class_maps = faces.class_maps
        """What the classes became, of each label that the source gives other names."""
        self._faces: Faces | None = faces
        self._order, self._draw, self._device = order, draw, faces.device
        # Each table ends in the row of padding: position -1 finds it without a mask.
        sample, mean, targets = faces.split.sample, faces.mean, faces.split.target
        self._sample = torch.cat([sample, sample.new_full((1,), PADDING)]).to(self._device)
        self._mean = torch.cat([mean, mean[:1]]).to(self._device)
        self._target = {name: torch.cat([t, missing(t, 1)]).to(self._device) for name, t in targets.items()}
        self._row = torch.arange(order.batch_size, device=self._device)
        # A stream of its own: in the step's, a copy would wait for the kernels that were queued before it.
        self._copies = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._running: list[Ahead[_Sent]] = []

    @classmethod
    def open(
        cls,
        source: Source,
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
        """Opens one split of a source.

        Args:
            source: Where faces come from.
            split: Name of the split.
            batch_size: Samples of a batch.
            seed: Keys the order of each epoch.
            device: Where batches go.
            rank: Which share of each epoch is delivered: every `world`-th batch from batch `rank` on.
            world: Number of ranks.
            sampler: Chooses the order of training; None gives that of evaluation.
            draw: How the source augments; None where the kernel does.

        Raises:
            ValueError: As `Source.open`, `Order` and `Loader`.
        """
        faces = source.open(split, device)
        return cls(faces, Order(faces.split, batch_size, seed, rank, world, sampler), draw=draw)

    def __len__(self) -> int:
        """Counts the batches of an epoch on this rank."""
        return self._order.count

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Delivers the batches of an epoch from batch `start` on; their order is a function of (seed, epoch) alone.

        Raises:
            ValueError: The loader is closed, or as `Order.plan`. An error while reading is raised at its batch.
        """
        self._opened()
        return self._batches(self._order.plan(epoch, start=start))

    def some(self, samples: Int64[Tensor, " k"]) -> Iterator[Batch]:
        """Delivers some samples of the split, on any rank: in batches padded as those of evaluation.

        Args:
            samples: Their ids, on the CPU.

        Raises:
            ValueError: The loader is closed, or no such sample is in the split.
        """
        self._opened()
        place = {sample: position for position, sample in enumerate(self.split.sample.tolist())}
        if strangers := [sample for sample in samples.tolist() if sample not in place]:
            raise ValueError(
                f"loader: samples (={strangers[0]}, ...) must be of the split {self.split.name!r}; take ids from its "
                "`sample`"
            )
        size = self._order.batch_size
        position = torch.full((-(-len(samples) // size) * size,), PADDING, dtype=torch.int64)
        position[: len(samples)] = torch.tensor([place[sample] for sample in samples.tolist()], dtype=torch.int64)
        batches = position.view(-1, size)
        return self._batches(Plan(self._order.seed, 0, batches, torch.zeros_like(batches, dtype=torch.int32)))

    def close(self) -> None:
        """Ends the reading threads of all epochs and lets go of the faces; batches still held keep theirs alive."""
        self._faces = None
        for ahead in self._running:
            ahead.close()
        self._running.clear()

    def _opened(self) -> Faces:
        if self._faces is None:
            raise ValueError(f"loader: split (={self.split.name!r}) must not be read after close(); open it again")
        return self._faces

    def _batches(self, plan: Plan) -> Iterator[Batch]:
        pixels = self._opened().pixels
        ahead = None if isinstance(pixels, Tensor) else self._read_ahead(pixels, plan)
        del pixels  # `close` lets go of them, though this epoch be held
        labelled = plan.labelled or [None] * len(plan.position)
        places = zip(plan.position.to(self._device), plan.occurrence.to(self._device), labelled, strict=True)
        try:
            for position, occurrence, first in places:
                yield self._batch(plan, position, occurrence, first, ahead)
        finally:
            if ahead is not None:
                ahead.close()
                if ahead in self._running:
                    self._running.remove(ahead)

    def _batch(
        self,
        plan: Plan,
        position: Int64[Tensor, " b"],
        occurrence: Int32[Tensor, " b"],
        labelled: int | None,
        ahead: Ahead[_Sent] | None,
    ) -> Batch:
        pixels = self._opened().pixels
        if isinstance(pixels, Tensor):
            store, row = pixels, position.clamp(min=0)
        else:
            assert ahead is not None
            store, row = self._arrived(*next(ahead)), self._row
        sample, mean = self._sample[position], self._mean[position]
        target = {name: table[position] for name, table in self._target.items()}
        augmented = None
        if self._draw is not None:
            shape = self.split.shape[:2]
            key = Key(plan.seed, plan.epoch, sample, occurrence)
            augmented = Augmented(self._draw(key, mean, shape), shape)
        return Batch(store, row, sample, occurrence, mean, target, augmented, labelled)

    def _arrived(self, faces: Tensor, ready: torch.cuda.Event | None) -> UInt8[Tensor, "b h w c"]:
        """Lets the running step wait for the copy, and the memory of the copy for the step."""
        if ready is not None:
            here = torch.cuda.current_stream(self._device)
            here.wait_event(ready)
            faces.record_stream(here)
        return faces

    def _read_ahead(self, stream: Stream, plan: Plan) -> Ahead[_Sent]:
        faces = stream(replace(plan, position=plan.position.clamp(min=0)), self._draw)
        ahead = Ahead(self._sent(faces), READ_AHEAD, f"faces of {self.split.name}")
        self._running.append(ahead)
        return ahead

    def _sent(self, faces: Generator[Tensor, None, None]) -> Iterator[_Sent]:
        """Sends each batch to the device and waits for none."""
        copies = self._copies
        with closing(faces), nullcontext() if copies is None else torch.cuda.stream(copies):
            for read in faces:
                sent = _to_device(read, self._device)
                yield sent, None if copies is None else copies.record_event()


def _to_device(faces: UInt8[Tensor, "b h w c"], device: torch.device) -> UInt8[Tensor, "b h w c"]:
    """Gives faces on the device, sent through page-locked memory where that is a GPU."""
    if device.type != "cuda" or faces.is_cuda:
        return faces.to(device)
    return faces.pin_memory().to(device, non_blocking=True)
