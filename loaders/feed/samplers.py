"""Orders of an epoch: frozen dataclasses that a recipe can hold.

Each is a pure function of (split, seed, epoch). Draws are keyed by sample id with the project's Philox generator, so
that an order depends on nothing else: not on the machine, the loader or the orders drawn before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from kernels import Key, random_bits
from loaders.base import Classes, Numbers, Sampler, Split
from loaders.feed.strata import apportion, lowest


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Every sample once, in a random order."""

    def order(self, split: Split, *, seed: int, epoch: int) -> Int64[Tensor, " n"]:
        """Positions sorted by a random key of each sample; equal keys by id."""
        return torch.argsort(_keys(split, seed, epoch, "order"), stable=True)


@dataclass(frozen=True, slots=True)
class ClassBalanced:
    """Drawn with replacement, every class equally often on average: a sample's weight is 1 / count of its class.

    Samples whose label is missing are never drawn; an epoch has as many draws as samples with a label.

    Attributes:
        label: Name of a `Classes` label.
    """

    label: str

    def order(self, split: Split, *, seed: int, epoch: int) -> Int64[Tensor, " m"]:
        """m draws.

        Raises:
            ValueError: The split has no such label, it is not of classes, or no sample has it.
        """
        return _weighted(split, self.label, -1.0, seed, epoch)


@dataclass(frozen=True, slots=True)
class SquareRootBalanced:
    """Drawn with replacement, halfway to balance: a sample's weight is 1 / sqrt(count of its class).

    Samples whose label is missing are never drawn; an epoch has as many draws as samples with a label.

    Attributes:
        label: Name of a `Classes` label.
    """

    label: str

    def order(self, split: Split, *, seed: int, epoch: int) -> Int64[Tensor, " m"]:
        """m draws.

        Raises:
            ValueError: The split has no such label, it is not of classes, or no sample has it.
        """
        return _weighted(split, self.label, -0.5, seed, epoch)


@dataclass(frozen=True, slots=True)
class Fraction:
    """A fixed part of the split, the same in every epoch, in the order of another sampler.

    The part holds round(share * n) samples (halves to even), in the proportions of the classes (Webster's method; a
    missing label counts as a class). For one seed the parts are nested: that of 0.2 lies inside that of 0.5.

    Attributes:
        share: Above 0, at most 1.
        label: `Classes` label whose proportions are kept; None draws without regard to labels.
        of: Orders the part; it sees the part as its whole split.
        seed: Chooses the part; None takes the loader's seed.
    """

    share: float
    label: str | None = None
    of: Sampler = field(default_factory=Shuffled)
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Fraction: share (={self.share}) must be above 0 and at most 1; 0.2 is a fifth")

    def order(self, split: Split, *, seed: int, epoch: int) -> Int64[Tensor, " m"]:
        """Positions of the part, in the inner sampler's order.

        Raises:
            ValueError: The split has no such label, it is not of classes, or the part is empty.
        """
        part = self.part(split, seed=seed)
        return part[self.of.order(_only(split, part), seed=seed, epoch=epoch)]

    def part(self, split: Split, *, seed: int) -> Int64[Tensor, " m"]:
        """Positions of the part, ascending."""
        n = len(split.sample)
        total = round(self.share * n)
        if total == 0:
            raise ValueError(
                f"Fraction: share (={self.share}) must leave a sample of the {n} of {split.name!r}; raise it"
            )
        keys = _keys(split, seed if self.seed is None else self.seed, 0, "fraction")
        if self.label is None:
            return lowest(keys, total)
        group = _classes(split, self.label) + 1  # 0 is the missing label
        counts = torch.bincount(group).tolist()
        taken = [
            members[lowest(keys[members], places)]
            for index, places in enumerate(apportion(counts, total))
            for members in [torch.nonzero(group == index).flatten()]
        ]
        return torch.cat(taken).sort().values


def few_of_each(split: Split, label: str, count: int, *, seed: int) -> Int64[Tensor, " m"]:
    """Chooses `count` samples of each class, by the keys that `Fraction` chooses by: those of fewer are among them.

    Returns:
        Positions in the split, ascending.

    Raises:
        ValueError: The split has no such label, it is not of classes, or a class has fewer samples.
    """
    group, keys = _classes(split, label), _keys(split, seed, 0, "fraction")
    kind = split.labels[label]
    assert isinstance(kind, Classes)
    chosen = []
    for index, name in enumerate(kind.names):
        members = torch.nonzero(group == index).flatten()
        if len(members) < count:
            raise ValueError(
                f"sampler: class {name!r} of {label} must have {count} samples in {split.name!r}, one for each that is "
                f"chosen; it has {len(members)}, choose fewer"
            )
        chosen.append(members[lowest(keys[members], count)])
    return torch.cat(chosen).sort().values


def chosen_from(sampler: Sampler, split: Split, *, seed: int) -> Split:
    """Gives the samples of a split that an order may hold: those of a `Fraction`'s part, else all."""
    while isinstance(sampler, Fraction):
        split, sampler = _only(split, sampler.part(split, seed=seed)), sampler.of
    return split


def _only(split: Split, part: Int64[Tensor, " m"]) -> Split:
    target: Mapping[str, Tensor] = {name: t[part] for name, t in split.target.items()}
    return replace(split, sample=split.sample[part], target=target)


def _keys(split: Split, seed: int, epoch: int, stream: str) -> Int64[Tensor, " n"]:
    return random_bits(Key(seed, epoch, split.sample).stream(stream), 1)[:, 0]


def _classes(split: Split, label: str) -> Int64[Tensor, " n"]:
    """Class of each sample, -1 where missing."""
    known = split.labels.get(label)
    if isinstance(known, Classes):
        return split.target[label]
    numeric = {name: kind.columns for name, kind in split.labels.items() if isinstance(kind, Numbers)}
    if isinstance(known, Numbers):
        rule = f"must be a label with classes; it is numeric ({', '.join(known.columns)})"
    elif part := next((name for name, columns in numeric.items() if label in columns), None):
        rule = f"must be a label with classes; it is a number of the numeric label {part!r}"
    else:
        rule = f"must be a label of {split.name!r}; it has {', '.join(split.labels) or 'none'}"
    usable = [name for name in split.labels if name not in numeric]
    raise ValueError(
        f"sampler: label (={label!r}) {rule}; "
        + (f"labels with classes: {', '.join(usable)}" if usable else "none has classes, take a sampler without label")
    )


def _weighted(split: Split, label: str, power: float, seed: int, epoch: int) -> Int64[Tensor, " m"]:
    """As many draws with replacement as samples have the label, with weights count ** power."""
    group = _classes(split, label)
    labelled = torch.nonzero(group >= 0).flatten()
    if len(labelled) == 0:
        raise ValueError(
            f"sampler: label (={label!r}) must not be missing on all samples of {split.name!r}; choose another"
        )
    group = group[labelled]
    weight = torch.bincount(group).to(torch.float64).pow(power)[group]
    upto = weight.cumsum(0)
    bits = random_bits(Key(seed, epoch, torch.arange(len(labelled))).stream("replacement"), 2)
    place = torch.searchsorted(upto, _unit(bits) * upto[-1], right=True)
    # Rounding can push the product of a number just below 1 up to the last sum.
    return labelled[place.clamp(max=len(labelled) - 1)]


def _unit(bits: Int64[Tensor, "m 2"]) -> Float64[Tensor, " m"]:
    """Two words of 32 bits to a number in [0, 1) with 53 bits."""
    return ((bits[:, 0] << 21) | (bits[:, 1] >> 11)).to(torch.float64) * 2.0**-53
