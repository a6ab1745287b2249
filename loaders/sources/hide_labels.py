"""Hides the labels of all but a few training faces, to measure what faces without labels are worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from loaders.base import By, Classes, Faces, Source, Split, augment_of, missing
from loaders.feed.samplers import Fraction, few_of_each


@dataclass(frozen=True, slots=True)
class HideLabels:
    """Hides a label of all but a part of the training faces; faces, ids and the other splits stay as they are.

    The faces that keep it are those that `Fraction(keep, label=label, seed=seed)` draws: in the proportions of the
    classes, where the label has any, and nested, so that those of a smaller part are among those of a larger one.

    Attributes:
        source: Whose labels are hidden.
        keep: What keeps the label: a share of the faces, up to 1, or their number, from 2 on.
        label: Name of the label.
        seed: Chooses the faces; the seed of the recipe does not.
        per_class: Faces of each class that keep the label, in place of `keep`; for a label of classes.
        split: Name of the training split.

    Raises:
        ValueError: `keep` or `per_class` is out of range.
    """

    source: Source
    keep: float = 0.07
    label: str = "expression"
    seed: int = 0
    per_class: int | None = None
    split: str = "train"

    def __post_init__(self) -> None:
        if not (0 < self.keep <= 1 or (self.keep >= 2 and self.keep == int(self.keep))):
            raise ValueError(
                f"HideLabels: keep (={self.keep}) must be a share above 0 and at most 1, or a whole number of faces, "
                "2 or more; 0.07 keeps 7 %, 402 keeps as many"
            )
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"HideLabels: per_class (={self.per_class}) must be 1 or more, or None to go by keep")

    @property
    def augment(self) -> By:
        """Says who augments the training split."""
        return augment_of(self.source)

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source.open`.

        Raises:
            ValueError: As of the source; the training split lacks the label, or has fewer faces than are to keep it.
        """
        faces = self.source.open(split, device)
        if split != self.split:
            return faces
        own, kept = faces.split, self._kept(faces.split)
        shown = own.target[self.label]
        hidden = missing(shown, len(shown))
        hidden[kept] = shown[kept]
        note = self._note(own.labels[self.label], hidden, len(shown))
        return replace(
            faces,
            split=replace(own, target={**own.target, self.label: hidden}),
            note="; ".join(filter(None, (faces.note, note))),
        )

    def _kept(self, split: Split) -> Int64[Tensor, " m"]:
        """Finds the positions of the faces that keep the label."""
        if self.label not in split.labels:
            raise ValueError(
                f"HideLabels: label (={self.label!r}) must be a label of {split.name!r}; "
                f"it has {', '.join(split.labels) or 'none'}"
            )
        if self.per_class is not None:
            return few_of_each(split, self.label, self.per_class, seed=self.seed)
        faces = len(split.sample)
        if self.keep > faces:
            raise ValueError(
                f"HideLabels: keep (={self.keep}) must be at most the {faces} faces of {split.name!r}; keep fewer"
            )
        share = self.keep if self.keep <= 1 else self.keep / faces
        of_classes = isinstance(split.labels[self.label], Classes)
        return Fraction(share, self.label if of_classes else None, seed=self.seed).part(split, seed=self.seed)

    def _note(self, label: Classes | object, target: Tensor, faces: int) -> str:
        if isinstance(label, Classes):
            counts = torch.bincount(target + 1, minlength=len(label.names) + 1)[1:].tolist()
            known, each = sum(counts), ", ".join(f"{n:,} {name}" for n, name in zip(counts, label.names, strict=True))
            return f"{known:,} of the {faces:,} faces of {self.split} keep {self.label} ({each}), by seed {self.seed}"
        known = int((~target.isnan()).any(1).sum())
        return f"{known:,} of the {faces:,} faces of {self.split} keep {self.label}, by seed {self.seed}"
