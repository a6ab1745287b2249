"""Composes batches of samples with a label and samples without, the same all along a run or by phases of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from kernels import Key, random_bits
from loaders.base import Sampler, Split
from loaders.feed.samplers import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """Batches that hold first so many samples with a label, then so many without.

    An epoch is a pass over one part in a new random order, without the few samples that fill no batch. The other part
    comes in passes too, each in a new random order, and goes on from epoch to epoch: a short one comes several times in
    an epoch, a long one shows in each epoch what the last has left.

    Attributes:
        labelled: Samples of a batch that have a label; 0 leaves the part out.
        unlabelled: Samples of a batch that have none; 0 leaves the part out.
        epoch: The part that an epoch is a pass over.
        label: The label that counts; None counts any label of the split. Of several numbers one is enough.
    """

    labelled: int
    unlabelled: int
    epoch: Literal["labelled", "unlabelled"] = "unlabelled"
    label: str | None = None

    def __post_init__(self) -> None:
        if self.epoch not in ("labelled", "unlabelled"):
            raise ValueError(f"Composed: epoch (={self.epoch!r}) must be 'labelled' or 'unlabelled'; choose one")
        for part in ("labelled", "unlabelled"):
            if getattr(self, part) < 0:
                raise ValueError(
                    f"Composed: {part} (={getattr(self, part)}) must be 0 or more samples of a batch; 0 leaves them out"
                )
        if getattr(self, self.epoch) == 0:
            raise ValueError(
                f"Composed: {self.epoch} (=0) must be 1 or more samples of a batch where an epoch is a pass over them "
                f"(epoch={self.epoch!r}); raise it, or let the epoch be of the others"
            )

    def check_batch_size(self, batch_size: int) -> None:
        """Refuses, with a ValueError, a batch size that is not the sum of the parts."""
        if batch_size != self.labelled + self.unlabelled:
            raise ValueError(
                f"Composed: labelled (={self.labelled}) and unlabelled (={self.unlabelled}) must add up to batch_size "
                f"(={batch_size}); change one of the three"
            )

    def order(self, split: Split, *, seed: int, epoch: int, batches: int | None = None) -> Int64[Tensor, " m"]:
        """Positions of one batch after another.

        Args:
            batches: Of an epoch; None is a pass over its part. Of another number, both parts go on from epoch to epoch.

        Raises:
            ValueError: The split has no such label, a part is empty, or that of the epoch does not fill a batch.
        """
        known = has_label(split, self.label)
        parts = {"labelled": torch.nonzero(known).flatten(), "unlabelled": torch.nonzero(~known).flatten()}
        sizes = {"labelled": self.labelled, "unlabelled": self.unlabelled}
        for name, part in parts.items():
            least = sizes[name] if name == self.epoch and batches is None else min(sizes[name], 1)
            if len(part) < least:
                raise ValueError(
                    f"Composed: {split.name!r} must hold {least} or more {name} samples ({name}={sizes[name]}, "
                    f"epoch={self.epoch!r}); it has {len(part)} of {len(split.sample)}; "
                    + (
                        f"lower {name}, or let the epoch be of the others"
                        if len(part)
                        else f"choose other data, or by label which of {', '.join(split.labels)} counts"
                    )
                )
        one_pass = len(parts[self.epoch]) // sizes[self.epoch]
        batches = one_pass if batches is None else batches
        shown = []
        for name, part in parts.items():
            count = batches * sizes[name]
            a_pass = name == self.epoch and batches == one_pass  # the few samples that fill no batch are left out
            start = epoch * (len(part) if a_pass else count)
            shown.append(_passes(split.sample, part, seed, start, count).view(batches, sizes[name]))
        return torch.cat(shown, dim=1).flatten()  # (batches, labelled + unlabelled)


@dataclass(frozen=True, slots=True)
class Phased:
    """Composes batches by phases of the run: from each share of the training on otherwise.

    A phase begins with the first optimiser step whose share (`share_at`) is not below its own, as a task's weight does,
    also inside an epoch. An epoch has as many batches in all phases: those of a pass in the last one. Within a phase
    the order is that of its composition alone; where such an epoch is no pass over its part, both parts go on from
    epoch to epoch.

    Attributes:
        phases: Each the share of the training that it begins at, the first at 0, and its composition. All make batches
            of one size and count one label.
    """

    phases: tuple[tuple[float, Composed], ...]

    def __post_init__(self) -> None:
        pairs: object = self.phases
        if not isinstance(pairs, tuple) or not pairs or not all(map(_starts_a_composition, pairs)):
            raise ValueError(
                f"Phased: phases (={pairs!r}) must be pairs of a share of the training and a Composed; e.g. "
                "((0.0, Composed(labelled=4, unlabelled=124)), (0.5, Composed(labelled=64, unlabelled=64)))"
            )
        starts = [start for start, _ in self.phases]
        if starts[0] != 0 or starts != sorted(set(starts)) or not starts[-1] < 1:
            raise ValueError(
                f"Phased: phases begin at {', '.join(map(str, starts))} of the training, which must rise from 0 and "
                "stay below 1; e.g. 0.0, 0.5"
            )
        for name, found in (
            ("labelled + unlabelled", [c.labelled + c.unlabelled for _, c in self.phases]),
            ("label", [c.label for _, c in self.phases]),
        ):
            if len(set(found)) > 1:
                raise ValueError(
                    f"Phased: {name} (={', '.join(map(str, found))}) must be the same in all phases; make them equal"
                )

    def at(self, share: float) -> Composed:
        """Gives the composition where this share of the training is done, 0 to 1."""
        return [composed for start, composed in self.phases if start <= share][-1]

    def order(self, split: Split, *, seed: int, epoch: int) -> Int64[Tensor, " m"]:
        """Refuses to order a run of unknown length.

        Raises:
            ValueError: Always; `over` gives the sampler that orders.
        """
        raise ValueError(
            "Phased: the phases are shares of a run whose length must be known; give the loader "
            "sampler=over(sampler, epochs=..., accumulate=...) of loaders.feed.composed"
        )


@dataclass(frozen=True, slots=True)
class PhasedRun:
    """Orders the batches of a run of known length by its phases; made by `over`.

    Attributes:
        phased: The phases.
        epochs: Of the run.
        accumulate: Batches of an optimiser step, which all are of one phase.
    """

    phased: Phased
    epochs: int
    accumulate: int

    def order(self, split: Split, *, seed: int, epoch: int) -> Int64[Tensor, " m"]:
        """Positions of one batch after another.

        Raises:
            ValueError: As `Composed.order`.
        """
        _, last = self.phased.phases[-1]
        size = last.labelled + last.unlabelled
        orders = {last: last.order(split, seed=seed, epoch=epoch).view(-1, size)}
        batches = len(orders[last])
        composed = self.compositions(epoch, batches)
        for each in composed:
            if each not in orders:
                orders[each] = each.order(split, seed=seed, epoch=epoch, batches=batches).view(-1, size)
        return torch.cat([orders[each][batch] for batch, each in enumerate(composed)])

    def compositions(self, epoch: int, batches: int) -> list[Composed]:
        """Lists the composition of each of the `batches` of an epoch."""
        steps = max(batches // self.accumulate, 1)
        return [
            self.phased.at(share_at(epoch * steps + batch // self.accumulate, self.epochs * steps))
            for batch in range(batches)
        ]


def share_at(step: int, steps: int) -> float:
    """Gives the share of the training that is done at an optimiser step: in its middle, counted from 0, at most 1."""
    return min((step + 0.5) / steps, 1.0)


def over(sampler: Sampler, *, epochs: int, accumulate: int = 1) -> Sampler:
    """Tells a sampler how long the run is, which `Phased` has to know; any other stays as it is.

    Args:
        epochs: Of the run.
        accumulate: Batches of an optimiser step.
    """
    if isinstance(sampler, Fraction):
        return replace(sampler, of=over(sampler.of, epochs=epochs, accumulate=accumulate))
    return PhasedRun(sampler, epochs, accumulate) if isinstance(sampler, Phased) else sampler


def has_label(split: Split, label: str | None = None) -> Bool[Tensor, " n"]:
    """Tells which samples of a split have a label: the one named, or any; of several numbers one is enough.

    Raises:
        ValueError: The split has no such label.
    """
    if label is not None and label not in split.labels:
        raise ValueError(
            f"sampler: label (={label!r}) must be a label of {split.name!r}; it has {', '.join(split.labels) or 'none'}"
        )
    known = torch.zeros(len(split.sample), dtype=torch.bool)
    for name in split.labels if label is None else (label,):
        target = split.target[name]
        known |= ~target.isnan().all(dim=1) if target.is_floating_point() else target >= 0
    return known


def ends_as(sampler: Sampler) -> Sampler:
    """Gives the sampler that composes from the start as another one does at the end of a run; the same if it does."""
    if isinstance(sampler, Fraction):
        return replace(sampler, of=ends_as(sampler.of))
    return sampler.phases[-1][1] if isinstance(sampler, Phased) else sampler


def composition(sampler: Sampler | None, share: float = 0.0) -> Composed | None:
    """Finds how a sampler composes its batches where this share of the training is done: None where it does not.

    A `Fraction` composes as what orders it.
    """
    sampler = _ordering(sampler)
    if isinstance(sampler, PhasedRun):
        sampler = sampler.phased
    if isinstance(sampler, Phased):
        return sampler.at(share)
    return sampler if isinstance(sampler, Composed) else None


def compositions(sampler: Sampler | None, epoch: int, batches: int) -> list[Composed] | None:
    """Lists how a sampler composes each of the `batches` of an epoch: None where it does not."""
    sampler = _ordering(sampler)
    if isinstance(sampler, PhasedRun):
        return sampler.compositions(epoch, batches)
    return [sampler] * batches if isinstance(sampler, Composed) else None


def _ordering(sampler: Sampler | None) -> Sampler | None:
    while isinstance(sampler, Fraction):
        sampler = sampler.of
    return sampler


def _starts_a_composition(pair: object) -> bool:
    if not isinstance(pair, tuple) or len(pair) != 2:
        return False
    return isinstance(pair[0], int | float) and isinstance(pair[1], Composed)


def _passes(
    sample: Int64[Tensor, " n"], part: Int64[Tensor, " k"], seed: int, start: int, count: int
) -> Int64[Tensor, " count"]:
    """Gives `count` positions, from `start` on, of endless passes over a part, each in a random order of its own."""
    if count == 0:
        return part[:0]
    first, skipped = divmod(start, len(part))
    passes = [
        part[torch.argsort(random_bits(Key(seed, number, sample[part]).stream("order"), 1)[:, 0], stable=True)]
        for number in range(first, (start + count - 1) // len(part) + 1)
    ]
    return torch.cat(passes)[skipped : skipped + count]
