"""Defines the border between a data set as it was published and everything that reads it.

An importer knows one data set's layout and nothing about where its faces go: the packed store, the `Folder` source
and any later format read the same records. It is a frozen dataclass (`source` first, then its options with
defaults), so a store can write down exactly what it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from loaders.base import Label
from loaders.class_map import ClassMap
from loaders.decoding.crops import Square

Picture = Path | bytes | NDArray[np.uint8]
"""Where the pixels are: a picture file, such a file's bytes, or decoded pixels ("h w" gray or "h w 3" RGB)."""

Value = str | Sequence[float] | None
"""A class name, the numbers of a `Numbers` label in the order of its columns, or None where the label is missing."""


@dataclass(frozen=True, slots=True)
class Record:
    """Lists one face of a data set, not decoded yet."""

    split: str
    path: str
    """Where it stands inside the source; written to the manifest."""
    labels: Mapping[str, Value]
    """Label name to value; a label that is not named is missing."""
    picture: Picture
    box: tuple[float, float, float, float] | Square | None = None
    """Crop in pixels of the upright picture: left, top, right, bottom, which is cut off at the picture's edges, or a
    square, which is not; None keeps the whole picture."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Names something of the source that was left out."""

    path: str
    reason: str
    """One of a few fixed phrases, so that reasons can be counted."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """Says what a source holds, known before any picture is read."""

    labels: Mapping[str, Label]
    notes: tuple[str, ...]
    """What a user of the labels must know: conventions, rules for missing values, where splits come from."""
    records: Callable[[], Generator[Record | Skipped, None, None]]
    """Starts reading from the beginning; lazy, so that memory does not grow with the data set."""
    total: int | None = None
    """Records to come, where that is known without reading them."""
    group: str | None = None
    """The label whose classes must stay together, such as the person; see `loaders.base.Split.group`."""
    class_maps: tuple[ClassMap, ...] = ()
    """What the classes became of each label that was given other names."""


@runtime_checkable
class Importer(Protocol):
    """Reads a data set in its published layout."""

    @property
    def source(self) -> Path: ...

    def survey(self) -> Contents:
        """Looks at the layout and declares labels.

        Raises:
            ValueError: The source is missing, empty or not laid out as this data set is.
        """
        ...
