"""Training data from one source, its test split from another, as 300W-LP and AFLW2000 are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loaders.base import By, Loader, Source


@dataclass(frozen=True, slots=True)
class WithTest:
    """All splits of `source`, but "test" of another source.

    Sample ids may occur in both: an id keys labels and randomness within its split alone.
    """

    source: Source
    test: Source

    @property
    def augment(self) -> By:
        """Who augments the training split."""
        by: By = getattr(self.source, "augment", "kernel")
        return by

    def open(self, split: str, **options: Any) -> Loader:
        """Open one split; see `loaders.base.Source.open`.

        Raises:
            ValueError: The source that has the split refuses it.
        """
        return (self.test if split == "test" else self.source).open(split, **options)
