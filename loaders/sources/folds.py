"""Deals the faces of a source into folds, for cross-validation: by person, or picture by picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from kernels import Key, random_bits
from loaders.base import Classes, Faces, Source, Split, augments
from loaders.class_map import together
from loaders.feed.joined import join_pixels

UNGROUPED = -1


@dataclass(frozen=True, slots=True)
class Folds:
    """Pools the splits of a source and parts them anew: fold number `fold` is test, the next one val, the others train.

    Groups stay whole, and each goes, the largest first, where it leaves the classes spread most evenly over the folds.
    Faces without a group are groups of their own. Which faces are in a fold is a pure function of labels and seed.

    Attributes:
        source: Whose faces are dealt.
        k: Folds, 3 or more.
        fold: Which of them is test, 0 to k - 1.
        by: The label with classes whose groups stay whole, such as "person"; None deals picture by picture.
        leave_out: The same, with one fold for each group in the order of their names; `k` and `by` are not looked at.
        label: The label with classes that is spread evenly; None for none.
        seed: Chooses among groups that are alike; the seed of the recipe does not.
        pool: The splits that are pooled.

    Raises:
        ValueError: A field is out of range, or the source augments by itself.
    """

    source: Source
    k: int = 5
    fold: int = 0
    by: str | None = None
    leave_out: str | None = None
    label: str | None = None
    seed: int = 0
    pool: tuple[str, ...] = ("train", "val", "test")

    def __post_init__(self) -> None:
        if self.by is not None and self.leave_out is not None:
            raise ValueError(
                f"Folds: by (={self.by!r}) and leave_out (={self.leave_out!r}) exclude each other; name one of them"
            )
        if self.leave_out is None and self.k < 3:
            raise ValueError(f"Folds: k (={self.k}) must be 3 or more: one fold is test, one val, the others train")
        if self.fold < 0 or (self.leave_out is None and self.fold >= self.k):
            raise ValueError(f"Folds: fold (={self.fold}) must be in 0..{self.k - 1}; they are counted from 0")
        if not self.pool or len(set(self.pool)) < len(self.pool):
            raise ValueError(f"Folds: pool (={self.pool}) must name one or more splits, each once")
        if augments(self.source):
            raise ValueError(
                f"Folds: source (={type(self.source).__name__}) must leave augmentation to the kernel; "
                "set its augment='kernel'"
            )

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source.open`.

        Raises:
            ValueError: As of the source; there is no such split, label or fold, or splits share sample ids.
        """
        if split not in ("train", "val", "test"):
            raise ValueError(f"Folds: split (={split!r}) must be train, val or test; choose one of them")
        parts = [self.source.open(name, device) for name in self.pool]
        whole = _pooled([part.split for part in parts])
        folds, fold_of = self._deal(whole)
        turn = (fold_of - self.fold) % folds  # 0 is test, 1 is val
        chosen = {"test": turn == 0, "val": turn == 1, "train": turn > 1}[split]
        chosen_of = chosen.split([len(part.split.sample) for part in parts])
        return Faces(
            replace(
                whole,
                name=split,
                sample=whole.sample[chosen],
                target={name: target[chosen] for name, target in whole.target.items()},
                group=whole.group or self.leave_out or self.by,
            ),
            torch.cat([part.mean for part in parts])[chosen],
            join_pixels([(p.pixels, torch.nonzero(c).flatten()) for p, c in zip(parts, chosen_of, strict=True)]),
            torch.device(device),
            note="; ".join(filter(None, (*dict.fromkeys(part.note for part in parts), self._note(whole, folds)))),
            class_maps=together(each for part in parts for each in part.class_maps),
        )

    def _deal(self, whole: Split) -> tuple[int, Int64[Tensor, " n"]]:
        """Says how many folds there are, and the fold of each face."""
        if self.leave_out is not None:
            names, group = _classes(whole, self.leave_out, "leave_out")
            present = torch.unique(group[group != UNGROUPED]).tolist()
            if len(present) < 3 or bool((group == UNGROUPED).any()):
                raise ValueError(
                    f"Folds: leave_out (={self.leave_out!r}) must put each face into one of three or more groups; "
                    f"there are {len(present)}, and {int((group == UNGROUPED).sum()):,} faces are in none; take by="
                )
            present.sort(key=lambda place: names[place])
            if self.fold >= len(present):
                raise ValueError(f"Folds: fold (={self.fold}) must be below {len(present)}, the groups of the data")
            place_of = torch.full((len(names),), UNGROUPED)
            place_of[torch.tensor(present)] = torch.arange(len(present))
            return len(present), place_of[group]
        none = torch.full((len(whole.sample),), UNGROUPED)
        group = none if self.by is None else _classes(whole, self.by, "by")[1]
        kind = none if self.label is None else _classes(whole, self.label, "label")[1]
        return self.k, deal(group, kind + 1, self.k, seed=self.seed)

    def _note(self, whole: Split, folds: int) -> str:
        how = "picture by picture" if self.by is None else f"by {self.by}"
        if self.leave_out is not None:
            how = f"one for each {self.leave_out}"
        pool = ", ".join(self.pool)
        return f"{len(whole.sample):,} faces of {pool} in {folds} folds, {how}; fold {self.fold} is test"


def deal(group: Int64[Tensor, " n"], kind: Int64[Tensor, " n"], k: int, *, seed: int) -> Int64[Tensor, " n"]:
    """Deals faces into k folds so that groups stay whole and the faces of each kind spread evenly.

    Args:
        group: Of each face, from 0; -1 for a face that is a group of its own. Groups are dealt before such faces.
        kind: Of each face, from 0, such as its class.
        k: Folds, above 0.
        seed: Chooses the order of groups of one size.

    Returns:
        The fold of each face, 0..k-1.
    """
    kinds = int(kind.max()) + 1 if len(kind) else 1
    held = torch.zeros(k, kinds, dtype=torch.float64)
    fold_of = torch.empty_like(group)
    whole, alone = torch.nonzero(group != UNGROUPED).flatten(), torch.nonzero(group == UNGROUPED).flatten()

    names, member = torch.unique(group[whole], return_inverse=True)
    counts = torch.bincount(member * kinds + kind[whole], minlength=len(names) * kinds).reshape(-1, kinds).double()
    fold_of_group = torch.empty_like(names)
    for place in _largest_first(counts.sum(dim=1), _keys(names, seed)).tolist():
        fold_of_group[place] = fold = _cheapest(held, counts[place])
        held[fold] += counts[place]
    fold_of[whole] = fold_of_group[member]

    for number in range(kinds):  # faces of one kind are alike: they fill the emptiest folds, level by level
        faces = alone[kind[alone] == number]
        level = held[:, number, None] + torch.arange(len(faces)) + 1e-9 * held.sum(dim=1, keepdim=True)
        folds = torch.argsort(level.flatten(), stable=True)[: len(faces)] // max(len(faces), 1)
        fold_of[faces[torch.argsort(_keys(faces, seed), stable=True)]] = folds
        held[:, number] += torch.bincount(folds, minlength=k)
    return fold_of


def _keys(names: Int64[Tensor, " m"], seed: int) -> Tensor:
    return random_bits(Key(seed, 0, names).stream("folds"), 1)[:, 0]


def _largest_first(size: Tensor, key: Tensor) -> Tensor:
    """Orders by size, the largest first, and by key where sizes are equal."""
    by_key = torch.argsort(key, stable=True)
    return by_key[torch.argsort(size[by_key], descending=True, stable=True)]


def _cheapest(held: Tensor, counts: Tensor) -> int:
    """Finds the fold to which these faces add least to the sum of squares of faces of each kind, then of all."""
    return int(((2 * held + counts) * counts).sum(dim=1).add(1e-6 * held.sum(dim=1)).argmin())


def _classes(split: Split, name: str, field: str) -> tuple[tuple[str, ...], Int64[Tensor, " n"]]:
    """Finds a label with classes: their names, and the class of each face."""
    label = split.labels.get(name)
    if not isinstance(label, Classes):
        usable = [known for known, kind in split.labels.items() if isinstance(kind, Classes)]
        raise ValueError(
            f"Folds: {field} (={name!r}) must be a label with classes; those are {', '.join(usable) or 'none'}"
        )
    return label.names, split.target[name]


def _pooled(splits: list[Split]) -> Split:
    """Joins what is known of the faces of several splits of one source."""
    first = splits[0]
    for other in splits[1:]:
        if other.labels != first.labels or other.shape != first.shape:
            raise ValueError(
                f"Folds: the splits {first.name!r} and {other.name!r} must have the same labels and size; "
                "pool splits of one store"
            )
    sample = torch.cat([split.sample for split in splits])
    if len(torch.unique(sample)) < len(sample):
        raise ValueError(
            f"Folds: the splits {', '.join(split.name for split in splits)} must not share sample ids, which tell "
            "faces apart; pool splits of one store"
        )
    target = {name: torch.cat([split.target[name] for split in splits]) for name in first.labels}
    prepared = tuple(dict.fromkeys(each for split in splits for each in split.prepared))
    return replace(first, sample=sample, target=target, prepared=prepared)
