"""Writes and reads the manifest of a prepared data set: `manifest.csv`, one row a face.

Columns: `sample` (0, 1, 2, ... in row order), `split`, `path` (where it stood in the source), one column for each
`Classes` label (the class *name*; empty where missing), one for each number of a `Numbers` label, named
`<label>.<column>` (empty where missing), and `mean_r`, `mean_g`, `mean_b` (mean colour on 0..255, float32 exactly).
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from loaders.base import Classes, Label, Preparation, Split, check_text
from loaders.csv_files import LARGEST, read_rows

if TYPE_CHECKING:  # the importer of manifests reads this file's columns
    from loaders.decoding.records import Value

FIRST = ("sample", "split", "path")
MEAN = ("mean_r", "mean_g", "mean_b")
SOURCE_PATH = "source_path"
"""Column of a plain folder's manifest: where a picture stood in the source."""
MISSING = "(missing)"
"""Stands for the class of pictures without that label, in counts and as the name of a folder."""


class Writable(Protocol):
    def write(self, text: str, /) -> object: ...


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """Holds all rows of a data set as tensors on the CPU."""

    labels: Mapping[str, Label]
    splits: tuple[str, ...]
    """Names of the splits, in the order in which they first appear."""
    split: Int64[Tensor, " n"]
    """Index into `splits` of each sample."""
    path: tuple[str, ...]
    target: Mapping[str, Tensor]
    """Label name to int64 "n" (-1 where missing) or float32 "n k" (NaN where missing)."""
    mean: Float32[Tensor, "n 3"]
    """Mean colour of the stored face on 0..255."""
    group: str | None = None
    """See `loaders.base.Split.group`."""

    def __len__(self) -> int:
        return len(self.path)

    def part(self, name: str, shape: tuple[int, int, int], where: str, prepared: Preparation | None = None) -> Split:
        """Takes one split, with the (height, width, channels) of its faces and how they were made.

        Args:
            name: Of the split.
            shape: Of a face.
            where: Names the source in the error.
            prepared: What was done to the pictures, for a split that is trained on.

        Raises:
            ValueError: There is no such split.
        """
        if name not in self.splits:
            raise ValueError(
                f"{where}: split (={name!r}) must be one of {', '.join(self.splits)}; name one of these, or prepare "
                "the faces again with one more (--val-share, --test-share)"
            )
        sample = torch.nonzero(self.split == self.splits.index(name)).flatten()
        target = {label: t[sample] for label, t in self.target.items()}
        return Split(name, sample, shape, self.labels, target, (prepared,) if prepared else (), self.group)

    def split_of(self, sample: int) -> str:
        """Names the split of a sample."""
        return self.splits[int(self.split[sample])]

    def value(self, label: str, sample: int) -> Value:
        """Reads a label of a sample: its class name or numbers, None for a class that is missing."""
        kind, target = self.labels[label], self.target[label][sample]
        if isinstance(kind, Classes):
            return None if int(target) < 0 else kind.names[int(target)]
        return list(map(float, target.tolist()))


def in_usual_order(split: str) -> tuple[int, str]:
    """Makes a key to sort splits by: train, val, test, then others by name."""
    usual = ("train", "val", "test")
    return (usual.index(split), "") if split in usual else (len(usual), split)


def check_labels(labels: Mapping[str, Label], where: str) -> None:
    """Refuses labels that the columns of a manifest could not tell apart.

    Raises:
        ValueError: A name is no text, empty, reserved, doubled or holds a dot; a label has no class or number.
    """
    check_text("label", labels)
    for name, label in labels.items():
        if not name or "." in name or name in (*FIRST, *MEAN, SOURCE_PATH):
            raise ValueError(
                f"{where}: label (={name!r}) must not be empty, hold a dot or be one of "
                f"{', '.join((*FIRST, *MEAN, SOURCE_PATH))}; give it another name"
            )
        parts = label.names if isinstance(label, Classes) else label.columns
        if not parts or "" in parts or len(set(parts)) < len(parts):
            raise ValueError(f"{where}: label (={name!r}) must have one or more different names; it has {parts}")


def columns(labels: Mapping[str, Label]) -> list[str]:
    """Lists the columns of a manifest with these labels."""
    return [*FIRST, *_label_columns(labels), *MEAN]


class ManifestWriter:
    """Writes a manifest row by row, counting as it goes; holds no row."""

    def __init__(self, file: Writable, labels: Mapping[str, Label]) -> None:
        check_labels(labels, "manifest")
        self._labels = labels
        self._known = {name: frozenset(label.names) for name, label in labels.items() if isinstance(label, Classes)}
        self._csv = csv.writer(file, lineterminator="\n")
        self._csv.writerow(columns(labels))
        self.count = 0
        self.totals: Counter[str] = Counter()
        """Rows of each split."""
        self.classes: Counter[tuple[str, str, str]] = Counter()
        """Rows of each (split, `Classes` label, class name); the name is empty where the label is missing."""

    def add(self, split: str, path: str, values: Mapping[str, Value], mean: Sequence[float]) -> None:
        """Adds the row of the next sample.

        Args:
            split: Name of its split.
            path: Where it stood in the source.
            values: Label name to value; a label that is not named is missing.
            mean: Three numbers on 0..255, each a float32 value.

        Raises:
            ValueError: A number of a label is infinite.
        """
        assert split
        assert values.keys() <= self._labels.keys(), f"{path} has labels that were not declared"
        row: list[str] = [str(self.count), split, path]
        for name, label in self._labels.items():
            value = values.get(name)
            if isinstance(label, Classes):
                text = "" if value is None else str(value)
                assert not text or text in self._known[name], f"{path}: {text!r} is no class of {name}"
                self.classes[split, name, text] += 1
                row.append(text)
            elif value is None:
                row.extend([""] * len(label.columns))
            else:
                assert not isinstance(value, str)
                assert len(value) == len(label.columns)
                if not all(math.isnan(number) or abs(number) <= LARGEST for number in value):
                    raise ValueError(
                        f"{path}: {name} (={', '.join(map(str, value))}) must be finite in float32; correct the label"
                    )
                row.extend("" if math.isnan(number) else f"{number:.9g}" for number in value)
        row.extend([f"{number:.9g}" for number in mean])
        self._csv.writerow(row)
        self.totals[split] += 1
        self.count += 1


def read_manifest(
    lines: Iterable[str], labels: Mapping[str, Label], where: str, *, group: str | None = None
) -> Manifest:
    """Reads a manifest.

    Args:
        lines: Its text, line by line, as `open(..., newline="")` gives it.
        labels: The labels it was written with.
        where: Names the file in errors.
        group: The label of groups, if any; see `loaders.base.Split.group`.

    Raises:
        ValueError: Columns, sample numbers, class names or numbers are not what `labels` says.
    """
    rows = (cells for _, cells in read_rows(lines, where, "prepare the data again with --force"))
    header = next(rows, [])
    wanted = columns(labels)
    if header != wanted:
        raise ValueError(
            f"{where}: columns (={','.join(header)}) must be {','.join(wanted)}; prepare the data again with --force"
        )
    table = list(_checked(rows, len(wanted), where))
    column = dict(zip(wanted, zip(*table, strict=True), strict=True)) if table else dict.fromkeys(wanted, ())
    if column["sample"] != tuple(map(str, range(len(table)))):
        raise ValueError(f"{where}: samples must be numbered 0, 1, 2, ...; prepare the data again with --force")
    splits = tuple(dict.fromkeys(column["split"]))
    place = {name: index for index, name in enumerate(splits)}
    target = {
        name: _class_targets(column[name], label, where, name)
        if isinstance(label, Classes)
        else _numbers([column[f"{name}.{part}"] for part in label.columns], where)
        for name, label in labels.items()
    }
    return Manifest(
        labels=labels,
        splits=splits,
        split=torch.tensor([place[name] for name in column["split"]], dtype=torch.int64),
        path=column["path"],
        target=target,
        mean=_numbers([column[name] for name in MEAN], where),
        group=group,
    )


def _label_columns(labels: Mapping[str, Label]) -> list[str]:
    names: list[str] = []
    for name, label in labels.items():
        names += [name] if isinstance(label, Classes) else [f"{name}.{part}" for part in label.columns]
    return names


def _checked(rows: Iterable[list[str]], width: int, where: str) -> Iterator[list[str]]:
    for number, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(
                f"{where}: row {number} has {len(row)} columns and must have {width}; "
                "prepare the data again with --force"
            )
        yield row


def _class_targets(names: Sequence[str], label: Classes, where: str, column: str) -> Int64[Tensor, " n"]:
    place = {name: index for index, name in enumerate(label.names)} | {"": -1}
    unknown = set(names) - place.keys()
    if unknown:
        raise ValueError(
            f"{where}: {column} (={min(unknown)!r}) must be one of {', '.join(label.names)}; "
            "prepare the data again with --force"
        )
    return torch.tensor([place[name] for name in names], dtype=torch.int64)


def _numbers(texts: Sequence[Sequence[str]], where: str) -> Float32[Tensor, "n k"]:
    try:
        values = np.array([[float(text or "nan") for text in column] for column in texts], dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; prepare the data again with --force") from error
    return torch.from_numpy(np.ascontiguousarray(values.T))
