"""Makes batches of a sampler's order: the one implementation that every source shares.

The order of an epoch is a function of (seed, epoch), and so are its batches. Rank r of w takes every w-th batch from
batch r on; training drops what does not fill a batch on every rank, evaluation pads. So every source, rank count and
starting point shows the same batches in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from loaders.base import Plan, Sampler, Split
from loaders.feed.composed import composition, compositions

PADDING = -1


@dataclass(frozen=True, slots=True)
class Order:
    """Orders the samples of each epoch and deals their batches to the ranks.

    Raises:
        ValueError: The split is empty, a number is out of range, an epoch does not fill one batch on every rank, or the
            batch size is not that of a composed batch.
    """

    split: Split
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1
    sampler: Sampler | None = None
    count: int = field(init=False)
    """Batches an epoch, the same on every rank."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"loader: batch_size (={self.batch_size}) must be at least 1; give the samples of a batch")
        if self.world < 1 or not 0 <= self.rank < self.world:
            raise ValueError(
                f"loader: rank (={self.rank}) must be 0 to world - 1 (world is {self.world}); count from 0"
            )
        if len(self.split.sample) == 0:
            raise ValueError(f"loader: split (={self.split.name!r}) must hold samples; it is empty")
        if composed := composition(self.sampler):
            composed.check_batch_size(self.batch_size)
        together = self.batch_size * self.world
        shown = len(self._epoch(0))
        count = -(-shown // together) if self.sampler is None else shown // together
        object.__setattr__(self, "count", count)
        if count == 0:
            raise ValueError(
                f"loader: batch_size (={self.batch_size}) x world (={self.world}) must not be more than the {shown} "
                f"samples of an epoch of {self.split.name!r}; take a smaller batch"
            )

    def plan(self, epoch: int, *, start: int = 0) -> Plan:
        """Lists the batches of an epoch from batch `start` on; -1 pads evaluation, where a whole batch may be padding.

        Raises:
            ValueError: `start` is not a batch of the epoch, or the sampler shows another number of samples than before.
        """
        count = self.count
        if not 0 <= start <= count:
            raise ValueError(f"loader: start (={start}) must be 0 to {count}, the batches of an epoch; count from 0")
        order = self._epoch(epoch)
        together = self.batch_size * self.world
        if self.sampler is not None and len(order) // together != count:
            raise ValueError(
                f"loader: sampler (={self.sampler}) must show as many samples in every epoch; "
                f"epoch 0 fills {count} batches and epoch {epoch} {len(order) // together}"
            )
        occurrence = occurrences(order)
        composed = compositions(self.sampler, epoch, len(order) // self.batch_size)
        dealt = None if composed is None else [each.labelled for each in composed][self.rank :: self.world][:count]
        return Plan(
            self.seed,
            epoch,
            self._deal(order, PADDING)[start:],
            self._deal(occurrence, 0)[start:],
            None if dealt is None else tuple(dealt[start:]),
        )

    def _deal(self, shown: Tensor, padding: int) -> Tensor:
        """Gives this rank's batches "k b" of what is shown to all ranks together."""
        full = shown.new_full((self.count * self.batch_size * self.world,), padding)
        kept = shown[: len(full)]
        full[: len(kept)] = kept
        return full.view(self.count, self.world, self.batch_size)[:, self.rank].contiguous()

    def _epoch(self, epoch: int) -> Int64[Tensor, " m"]:
        """Gives the positions shown to all ranks together."""
        n = len(self.split.sample)
        if self.sampler is None:
            return torch.arange(n)
        order = self.sampler.order(self.split, seed=self.seed, epoch=epoch)
        if order.dtype != torch.int64 or order.ndim != 1:
            raise ValueError(
                f"loader: sampler (={self.sampler}) must give int64 positions on one axis; "
                f"it gave {order.dtype} of shape {tuple(order.shape)}"
            )
        if len(order) and not (int(order.min()) >= 0 and int(order.max()) < n):
            raise ValueError(
                f"loader: sampler (={self.sampler}) must give positions 0 to {n - 1} of {self.split.name!r}; "
                "positions are rows of the split, not sample ids"
            )
        return order


def occurrences(order: Int64[Tensor, " m"]) -> Int32[Tensor, " m"]:
    """Counts for each entry how often the same one stands before it."""
    by_value = torch.argsort(order, stable=True)
    ascending = order[by_value]
    before = torch.arange(len(order)) - torch.searchsorted(ascending, ascending)  # entries since the first equal one
    counted: Tensor = torch.empty_like(before).scatter_(0, by_value, before)
    return counted.to(torch.int32)
