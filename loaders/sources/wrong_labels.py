"""Makes a share of the training labels wrong, to measure how much of them training can bear."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from kernels import Key, random_bits
from loaders.base import By, Classes, Faces, Source, Split, augment_of


@dataclass(frozen=True, slots=True)
class WrongLabels:
    """Gives each labelled training face another class, drawn uniformly, with a probability of `share`.

    Known as symmetric label noise (Patrini et al., CVPR 2017, section 6). What a face gets is a pure function of the
    seed, its sample id and its class: faces wrong at a small share are wrong, and in the same way, at a larger one, and
    hiding the labels of others changes nothing. Faces, ids, missing labels and the other splits stay as they are.

    Attributes:
        source: Whose labels are made wrong.
        share: Probability that a label is wrong, 0 to 1.
        label: Name of the label, which has classes.
        seed: Chooses the faces and their classes; the seed of the recipe does not.
        split: Name of the training split.

    Raises:
        ValueError: `share` is out of range.
    """

    source: Source
    share: float = 0.2
    label: str = "expression"
    seed: int = 0
    split: str = "train"

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(
                f"WrongLabels: share (={self.share}) must be a probability from 0 to 1; 0.2 makes one in five wrong"
            )

    @property
    def augment(self) -> By:
        """Says who augments the training split."""
        return augment_of(self.source)

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source.open`.

        Raises:
            ValueError: As of the source; the training split has no such label, or one without two classes.
        """
        faces = self.source.open(split, device)
        if split != self.split:
            return faces
        own, given = faces.split, self._given(faces.split)
        wrong, labelled = int((given != own.target[self.label]).sum()), int((given >= 0).sum())
        note = (
            f"{wrong:,} of the {labelled:,} faces of {self.split} with a label have a wrong {self.label}, "
            f"by seed {self.seed}"
        )
        return replace(
            faces,
            split=replace(own, target={**own.target, self.label: given}),
            note="; ".join(filter(None, (faces.note, note))),
        )

    def _given(self, split: Split) -> Int64[Tensor, " n"]:
        """Draws the class that each sample is given: its own, or another one; -1 where it is missing."""
        kind = split.labels.get(self.label)
        if not isinstance(kind, Classes) or len(kind.names) < 2:
            usable = [name for name, of in split.labels.items() if isinstance(of, Classes) and len(of.names) > 1]
            raise ValueError(
                f"WrongLabels: label (={self.label!r}) must be a label of {split.name!r} with two classes or more; "
                f"those are {', '.join(usable) or 'none'}"
            )
        right, classes = split.target[self.label], len(kind.names)
        bits = random_bits(Key(self.seed, 0, split.sample).stream("wrong labels"), 2)
        other = (right + 1 + (bits[:, 1] * (classes - 1) >> 32)) % classes
        return torch.where((right >= 0) & (bits[:, 0] < round(self.share * 2**32)), other, right)
