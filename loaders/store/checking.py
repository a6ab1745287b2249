"""Finds in a store the counts and statistics of each split, duplicates, blank pictures and label conflicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from loaders.base import Classes, Numbers
from loaders.decoding.records import Value
from loaders.store.manifest import MISSING, Manifest, in_usual_order
from loaders.store.opening import KNOWN, PACKED_STORE, Store, open_store, prepared_as
from loaders.store.pixel_statistics import PixelStatistics, duplicate_sets, read_statistics
from loaders.terminal import Terminal

DARK, BRIGHT = 32.0, 223.0
"""A picture is dark or bright whose mean is below or above: an eighth of the scale from its end."""


@dataclass(frozen=True, slots=True)
class NumberFindings:
    """Holds the range of a column of numbers, over the pictures that have it; NaN where none has."""

    missing: int
    lowest: float
    mean: float
    highest: float


@dataclass(frozen=True, slots=True)
class SplitFindings:
    """Holds what was found in one split."""

    pictures: int
    classes: Mapping[str, Mapping[str, int]]
    """`Classes` label to class name to pictures; "(missing)" counts those without the label."""
    numbers: Mapping[str, NumberFindings]
    """Column of a `Numbers` label, "pose.yaw", to its range."""
    mean: tuple[float, ...]
    """Mean of each channel over all pixels, 0..255."""
    std: tuple[float, ...]
    """Standard deviation of each channel over all pixels."""
    dark: int
    """Pictures whose mean is below 32."""
    bright: int
    """Pictures whose mean is above 223."""
    blank: int
    """Pictures without content: the standard deviation of every channel is below 1."""
    copies: int
    """Pictures that equal an earlier one of the same split."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Names equal pictures with different labels."""

    label: str
    samples: tuple[int, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Holds what `check` found."""

    splits: Mapping[str, SplitFindings]
    shared: Mapping[tuple[str, str], int]
    """(split, other split) to the different pictures that are in both; only pairs that share one."""
    groups: tuple[Int64[np.ndarray, " k"], ...]
    """Sample ids of each set of two or more equal pictures, ascending; the sets in the order of their first."""
    blank: Int64[np.ndarray, " n"]
    """Sample ids of pictures without content."""
    conflicts: tuple[Conflict, ...]


def check(path: str | Path, *, console: Terminal | None = None) -> Findings:
    """Reads a store through and reports what it holds.

    Args:
        path: A prepared store; it is not changed.
        console: Where progress is shown; None shows nothing.

    Raises:
        ValueError: There is no whole packed store at `path`, or its pixels do not have the hash they were written with.
    """
    store = _open_packed(Path(path))
    faces = read_statistics(store, console or Terminal(quiet=True))
    groups = duplicate_sets(faces.digest)
    manifest = store.manifest
    split = manifest.split.numpy()
    copies = np.zeros(len(split), bool)
    pairs: dict[tuple[str, str], int] = {}
    for group in groups:
        of = split[group]
        different, first = np.unique(of, return_index=True)
        copies[np.delete(group, first)] = True
        for low in range(len(different)):
            for high in range(low + 1, len(different)):
                pair = manifest.splits[different[low]], manifest.splits[different[high]]
                pairs[pair] = pairs.get(pair, 0) + 1
    return Findings(
        splits={
            name: _split_findings(manifest, faces, copies, split == number)
            for number, name in sorted(enumerate(manifest.splits), key=lambda item: in_usual_order(item[1]))
        },
        shared=pairs,
        groups=groups,
        blank=np.flatnonzero(faces.blank()),
        conflicts=tuple(_conflicts(manifest, groups)),
    )


def _open_packed(path: Path) -> Store:
    """Opens the store, or says what to do with faces that were prepared in another format."""
    found = prepared_as(path)
    if found in KNOWN and found != PACKED_STORE:
        raise ValueError(
            f"check {path}: must be a packed store; it is a {found}. Prepare the same source into another folder with "
            "--format packed and check that: it holds the same faces"
        )
    return open_store(path)


def _number_findings(values: NDArray[np.float32]) -> NumberFindings:
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return NumberFindings(len(values), math.nan, math.nan, math.nan)
    return NumberFindings(len(values) - len(known), float(known.min()), float(known.mean()), float(known.max()))


def _split_findings(
    manifest: Manifest, faces: PixelStatistics, copies: NDArray[np.bool_], here: NDArray[np.bool_]
) -> SplitFindings:
    count = int(here.sum())
    pixels = count * faces.area
    total = faces.total[here].sum(axis=0).astype(np.float64)
    squares = faces.squares[here].sum(axis=0).astype(np.float64)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    level = faces.total[here].mean(axis=1) / faces.area
    classes = {}
    for name, label in manifest.labels.items():
        if isinstance(label, Classes):
            number = np.bincount(manifest.target[name].numpy()[here] + 1, minlength=len(label.names) + 1)
            missing = {MISSING: int(number[0])} if number[0] else {}
            classes[name] = dict(zip(label.names, map(int, number[1:]), strict=True)) | missing
    numbers = {
        f"{name}.{part}": _number_findings(manifest.target[name][:, column].numpy()[here])
        for name, label in manifest.labels.items()
        if isinstance(label, Numbers)
        for column, part in enumerate(label.columns)
    }
    return SplitFindings(
        pictures=count,
        classes=classes,
        numbers=numbers,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        dark=int((level < DARK).sum()),
        bright=int((level > BRIGHT).sum()),
        blank=int(faces.blank()[here].sum()),
        copies=int(copies[here].sum()),
    )


def _conflicts(manifest: Manifest, groups: Sequence[NDArray[np.int64]]) -> Iterator[Conflict]:
    """Finds sets of equal pictures whose labels differ; a missing label conflicts with nothing."""
    for name, label in manifest.labels.items():
        target = manifest.target[name].numpy()
        for group in groups:
            values = target[group]
            given = values >= 0 if isinstance(label, Classes) else ~np.isnan(values).any(axis=1)
            if len(np.unique(values[given], axis=0)) > 1:
                samples = tuple(group[given].tolist())
                yield Conflict(name, samples, tuple(_shown(manifest.value(name, sample)) for sample in samples))


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else " ".join(f"{number:g}" for number in value or ())
