"""Takes training data from one source and the test split from another, as 300W-LP and AFLW2000 are used."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from loaders.base import By, Faces, Source, augment_of


@dataclass(frozen=True, slots=True)
class WithTest:
    """Joins all splits of `source` with the split "test" of another source.

    Sample ids may occur in both: an id keys labels and randomness within its split alone.
    """

    source: Source
    test: Source

    @property
    def augment(self) -> By:
        """Says who augments the training split."""
        return augment_of(self.source)

    def open(self, split: str, device: torch.device | str) -> Faces:
        """Opens one split; see `loaders.base.Source.open`.

        Raises:
            ValueError: The source that has the split refuses it; names the split, and which of the two it is.
        """
        field = "test" if split == "test" else "source"
        source: Source = getattr(self, field)
        try:
            return source.open(split, device)
        except ValueError as error:
            raise ValueError(f"WithTest: {split} is read from {field} (={type(source).__name__}): {error}") from error
