"""What a prepared store holds, and what is wrong with it: counts, picture statistics, copies, blanks, conflicts.

Copies are pictures with equal pixels. Rows are read in blocks and each is reduced to a 128-bit BLAKE2b hash, so memory
holds no pictures: 16 bytes a row, beside the manifest.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loaders.base import Classes, Numbers
from loaders.contact_sheet import draw_sheet
from loaders.importers.base import Record, Skipped, Value
from loaders.manifest import Manifest, in_usual_order
from loaders.packing import StoreWriter
from loaders.progress import LINE, progress
from loaders.reading import Face
from loaders.store import FORMAT, IMAGES, KNOWN, SOURCE, Store, open_store

BLOCK_BYTES = 1 << 23
BLANK_STD = 1.0
DARK, BRIGHT = 32.0, 223.0
"""A picture is dark or bright whose mean is below or above: an eighth of the scale from its end."""
STAYS = ("test", "val")
"""Of equal pictures in several splits the one in the first of these stays; train comes last, other splits between."""
DUPLICATES, FINDINGS, SHEET = "duplicates.csv", "check.json", "sheet.png"
EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class NumberFindings:
    """A column of a label of numbers, over the pictures that have it; NaN where none has."""

    missing: int
    lowest: float
    mean: float
    highest: float


@dataclass(frozen=True, slots=True)
class SplitFindings:
    """One split."""

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
    """Equal pictures with different labels."""

    label: str
    samples: tuple[int, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What `check` found."""

    splits: Mapping[str, SplitFindings]
    shared: Mapping[tuple[str, str], int]
    """(split, other split) to the different pictures that are in both; only pairs that share one."""
    groups: tuple[Int64[np.ndarray, " k"], ...]
    """Sample ids of each set of two or more equal pictures, ascending; the sets in the order of their first."""
    blank: Int64[np.ndarray, " n"]
    """Sample ids of pictures without content."""
    conflicts: tuple[Conflict, ...]


def check(path: str | Path, *, console: Console | None = None) -> Findings:
    """Read a store through.

    Args:
        path: A prepared store; it is not changed.
        console: Where progress is shown; None shows nothing.

    Raises:
        ValueError: There is no whole packed store at `path`, or its pixels do not have the hash they were written with.
    """
    store = _open_packed(Path(path))
    rows = _read_rows(store, console or Console(quiet=True))
    groups = _equal_rows(rows.digest)
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
            name: _split_findings(manifest, rows, copies, split == number)
            for number, name in sorted(enumerate(manifest.splits), key=lambda item: in_usual_order(item[1]))
        },
        shared=pairs,
        groups=groups,
        blank=np.flatnonzero(rows.blank()),
        conflicts=tuple(_conflicts(manifest, groups)),
    )


def _open_packed(path: Path) -> Store:
    """The store, or what to do with faces that were prepared in another format."""
    try:
        found = json.loads((path / SOURCE).read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, TypeError, KeyError):
        found = FORMAT  # `open_store` says what is wrong
    if found in KNOWN and found != FORMAT:
        raise ValueError(
            f"check {path}: must be a packed store; it is a {found}. Prepare the same source into another folder with "
            "--format packed and check that: it holds the same faces"
        )
    return open_store(path)


def drop_duplicates(path: str | Path, out: Path, findings: Findings, *, console: Console | None = None) -> Path:
    """Write a store without copies; the one at `path` is not changed.

    Of equal pictures one stays, with its label: one in test before one in val, before other splits, before one in
    train, and within a split the first. So nothing is trained on that is tested, but test itself may lose pictures.
    The dropped ones are listed as skipped.

    Args:
        path: The store that was checked.
        out: Folder of the new store: new or empty.
        findings: What `check` found in it.
        console: Where progress is shown; None shows nothing.

    Raises:
        ValueError: `out` holds something.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"check: drop-duplicates (={out}) must be new or empty; choose another folder")
    store = open_store(path)
    manifest = store.manifest
    stays: dict[int, int] = {}
    """Sample that is dropped to the one that stays."""
    for group in findings.groups:
        kept = min(group.tolist(), key=lambda sample: (_rank(manifest, sample), sample))
        stays |= {sample: kept for sample in group.tolist() if sample != kept}
    lost = {name: sum(_split(manifest, sample) == name for sample in stays) for name in manifest.splits}
    counts = ", ".join(f"{number:,} from {name}" for name, number in lost.items())
    note = f"exact duplicates were dropped ({counts}): of equal pictures one in test stays, else in val, else the first"
    # Another origin than that of the store with them, so that `prepare` does not take one for the other.
    origin = dict(store.source["origin"])
    origin["options"] = origin.get("options", {}) | {"drop_duplicates": True}
    with (
        StoreWriter(out, manifest.labels, origin=origin, notes=[*store.source.get("notes", []), note]) as writer,
        progress("faces", len(manifest), console or Console(quiet=True)) as advance,
    ):
        for first, block in _blocks(store):
            faces: list[Face | Skipped] = []
            for sample, pixels in enumerate(block, start=first):
                name = manifest.path[sample]
                if (kept := stays.get(sample)) is not None:
                    of = f"equals {manifest.path[kept]} in {_split(manifest, kept)}"
                    faces.append(Skipped(name, f"duplicate in {_split(manifest, sample)}", of))
                else:
                    values = {label: _value(manifest, label, sample) for label in manifest.labels}
                    faces.append(Face(Record(_split(manifest, sample), name, values, pixels), pixels))
            writer.add(faces)
            advance(len(block))
        writer.finish()
    return out


def write_report(path: str | Path, folder: Path, findings: Findings) -> None:
    """Write `check.json`, `duplicates.csv` (every copy and the first picture it equals) and the contact sheet.

    Raises:
        OSError: The folder cannot be written.
    """
    store = open_store(path)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / FINDINGS, lambda file: file.write(json.dumps(as_json(findings, store.manifest), indent=2) + "\n"))
    _write(folder / DUPLICATES, lambda file: _list_duplicates(file, findings, store.manifest))
    part = folder / f".{SHEET}.partial"
    suspects = {
        "blank": findings.blank.tolist(),
        "duplicates": [sample for group in findings.groups for sample in group.tolist()[:2]],
        "conflicts": list(dict.fromkeys(sample for conflict in findings.conflicts for sample in conflict.samples[:2])),
    }
    draw_sheet(store, suspects).save(part, format="PNG")
    part.replace(folder / SHEET)


def as_json(findings: Findings, manifest: Manifest) -> dict[str, Any]:
    """Counts and the first examples."""
    return {
        "splits": {
            name: {
                "pictures": s.pictures,
                "classes": s.classes,
                "numbers": {name: _number_json(column) for name, column in s.numbers.items()},
                "mean": [round(value, 3) for value in s.mean],
                "std": [round(value, 3) for value in s.std],
                "dark": s.dark,
                "bright": s.bright,
                "blank": s.blank,
                "copies": s.copies,
            }
            for name, s in findings.splits.items()
        },
        "in_two_splits": {" and ".join(pair): number for pair, number in findings.shared.items()},
        "sets_of_duplicates": len(findings.groups),
        "blank": [manifest.path[sample] for sample in findings.blank[:EXAMPLES]],
        "label_conflicts": {
            label: {
                "sets": sum(c.label == label for c in findings.conflicts),
                "examples": [
                    {"paths": [manifest.path[s] for s in c.samples], "values": c.values}
                    for c in [c for c in findings.conflicts if c.label == label][:EXAMPLES]
                ],
            }
            for label in manifest.labels
        },
    }


def _number_json(column: NumberFindings) -> dict[str, Any]:
    ranges = {name: getattr(column, name) for name in ("lowest", "mean", "highest")}
    return {"missing": column.missing} | {k: None if math.isnan(v) else round(v, 4) for k, v in ranges.items()}


def print_findings(findings: Findings, console: Console) -> None:
    """Tables for a person."""
    splits = findings.splits
    for label in next(iter(splits.values())).classes:
        table = Table(title=label, title_justify="left")
        table.add_column("class")
        for split in splits:
            table.add_column(split, justify="right")
        for name in dict.fromkeys(name for s in splits.values() for name in s.classes[label]):
            table.add_row(escape(name), *(f"{s.classes[label].get(name, 0):,}" for s in splits.values()))
        console.print(table)
    if any(s.numbers for s in splits.values()):
        table = Table(title="numbers", title_justify="left")
        for column in ("number", "split", "missing", "lowest", "mean", "highest"):
            table.add_column(column, justify="left" if column in ("number", "split") else "right")
        for part in next(iter(splits.values())).numbers:
            for name, s in splits.items():
                of = s.numbers[part]
                ranges = ("–" if math.isnan(v) else f"{v:.4g}" for v in (of.lowest, of.mean, of.highest))
                table.add_row(escape(part), escape(name), f"{of.missing:,}", *ranges)
        console.print(table)
    table = Table(title="pictures", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("split", "pictures", "mean", "std", "dark", "bright", "blank", "copies"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for name, s in splits.items():
        # Three channels without decimals, so that the table fits a narrow terminal.
        form = ".1f" if len(s.mean) == 1 else ".0f"
        mean, std = (" ".join(f"{value:{form}}" for value in values) for values in (s.mean, s.std))
        share = [f"{number:,} ({number / s.pictures:.1%})" for number in (s.dark, s.bright)]
        table.add_row(escape(name), f"{s.pictures:,}", mean, std, *share, f"{s.blank:,}", f"{s.copies:,}")
    console.print(table)
    for (one, other), number in findings.shared.items():
        console.print(f"in both {one} and {other}: {number:,} different pictures", **LINE)
    of_label: dict[str, int] = {}
    for conflict in findings.conflicts:
        of_label[conflict.label] = of_label.get(conflict.label, 0) + 1
    for label, number in of_label.items():
        sets = f"{number:,} of {len(findings.groups):,} sets of equal pictures"
        console.print(f"{sets} have different {label}", **LINE)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What one pass over the pixels leaves of each row."""

    digest: UInt8[np.ndarray, "n 16"]
    total: NDArray[np.uint64]
    """ "n c": sum of each channel."""
    squares: NDArray[np.uint64]
    """ "n c": sum of squares of each channel."""
    area: int

    def blank(self) -> NDArray[np.bool_]:
        # In whole numbers: area^2 times the variance, which no rounding can push over the limit.
        spread = self.area * self.squares - self.total**2
        return np.asarray((spread < np.uint64(BLANK_STD**2 * self.area**2)).all(axis=1))


def _read_rows(store: Store, console: Console) -> _Rows:
    n, (h, w, c) = len(store.manifest), store.shape
    digest = np.empty((n, 16), np.uint8)
    total, squares = np.empty((n, c), np.uint64), np.empty((n, c), np.uint64)
    whole = hashlib.sha256()
    with progress("pictures", n, console) as advance:
        for first, block in _blocks(store):
            whole.update(block.data.cast("B"))
            end = first + len(block)
            flat = block.reshape(len(block), h * w, c)
            total[first:end] = flat.sum(axis=1, dtype=np.uint64)
            squares[first:end] = np.square(flat, dtype=np.uint16).sum(axis=1, dtype=np.uint64)
            for place, row in enumerate(block, start=first):
                digest[place] = np.frombuffer(hashlib.blake2b(row.data, digest_size=16).digest(), np.uint8)
            advance(len(block))
    if whole.hexdigest() != store.source["images_sha256"]:
        raise ValueError(
            f"check {store.path}: pixels must have the hash they were written with; they were changed or damaged, "
            "prepare the data again with --force"
        )
    return _Rows(digest, total, squares, h * w)


def _blocks(store: Store) -> Iterator[tuple[int, UInt8[np.ndarray, "b h w c"]]]:
    """(first row, rows), copied from the file: pages of a map that were read would count as memory of this process."""
    images = store.images
    count = max(1, BLOCK_BYTES // math.prod(images.shape[1:]))
    assert isinstance(images, np.memmap)
    with (store.path / IMAGES).open("rb") as file:
        file.seek(images.offset)
        for first in range(0, len(images), count):
            rows = min(count, len(images) - first)
            block = np.fromfile(file, np.uint8, rows * math.prod(images.shape[1:]))
            yield first, block.reshape(rows, *images.shape[1:])


def _equal_rows(digest: UInt8[np.ndarray, "n 16"]) -> tuple[Int64[np.ndarray, " k"], ...]:
    key = np.ascontiguousarray(digest).view([("high", np.uint64), ("low", np.uint64)]).ravel()
    order = np.lexsort((key["low"], key["high"]))  # stable: rows of a set stay ascending
    ordered = key[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(order)]
    several = ends - starts > 1
    sets = [order[start:end] for start, end in zip(starts[several], ends[several], strict=True)]
    return tuple(sorted(sets, key=lambda rows: int(rows[0])))


def _number_findings(values: NDArray[np.float32]) -> NumberFindings:
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return NumberFindings(len(values), math.nan, math.nan, math.nan)
    return NumberFindings(len(values) - len(known), float(known.min()), float(known.mean()), float(known.max()))


def _split_findings(
    manifest: Manifest, rows: _Rows, copies: NDArray[np.bool_], here: NDArray[np.bool_]
) -> SplitFindings:
    count = int(here.sum())
    pixels = count * rows.area
    total = rows.total[here].sum(axis=0).astype(np.float64)
    squares = rows.squares[here].sum(axis=0).astype(np.float64)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0.0))
    level = rows.total[here].mean(axis=1) / rows.area
    classes = {}
    for name, label in manifest.labels.items():
        if isinstance(label, Classes):
            number = np.bincount(manifest.target[name].numpy()[here] + 1, minlength=len(label.names) + 1)
            missing = {"(missing)": int(number[0])} if number[0] else {}
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
        blank=int(rows.blank()[here].sum()),
        copies=int(copies[here].sum()),
    )


def _conflicts(manifest: Manifest, groups: Sequence[NDArray[np.int64]]) -> Iterator[Conflict]:
    """A missing label conflicts with nothing."""
    for name, label in manifest.labels.items():
        target = manifest.target[name].numpy()
        for group in groups:
            values = target[group]
            given = values >= 0 if isinstance(label, Classes) else ~np.isnan(values).any(axis=1)
            if len(np.unique(values[given], axis=0)) > 1:
                samples = tuple(group[given].tolist())
                yield Conflict(name, samples, tuple(_shown(_value(manifest, name, sample)) for sample in samples))


def _list_duplicates(file: TextIO, findings: Findings, manifest: Manifest) -> None:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["sample", "split", "path", "equals_sample", "equals_split", "equals_path"])
    for group in findings.groups:
        first, *others = group.tolist()
        for sample in others:
            of = [first, _split(manifest, first), manifest.path[first]]
            rows.writerow([sample, _split(manifest, sample), manifest.path[sample], *of])


def _write(file: Path, write: Callable[[TextIO], object]) -> None:
    part = file.with_name(f".{file.name}.partial")
    with part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        write(stream)
    part.replace(file)


def _split(manifest: Manifest, sample: int) -> str:
    return manifest.splits[int(manifest.split[sample])]


def _rank(manifest: Manifest, sample: int) -> int:
    split = _split(manifest, sample)
    return STAYS.index(split) if split in STAYS else len(STAYS) + (split == "train")


def _value(manifest: Manifest, name: str, sample: int) -> Value:
    label = manifest.labels[name]
    value = manifest.target[name][sample]
    if isinstance(label, Classes):
        return None if int(value) < 0 else label.names[int(value)]
    return list(map(float, value.tolist()))


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else " ".join(f"{number:g}" for number in value or ())
