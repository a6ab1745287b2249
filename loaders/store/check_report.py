"""Reports findings to a person and to a program: tables, `check.json`, a list of copies and a contact sheet."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from loaders.files import replacing, write_json, write_text
from loaders.store.checking import Findings, NumberFindings
from loaders.store.contact_sheet import draw_sheet
from loaders.store.manifest import Manifest
from loaders.store.opening import open_store
from loaders.store.summary import print_classes
from loaders.terminal import Terminal, print_table

DUPLICATES, FINDINGS, SHEET = "duplicates.csv", "check.json", "sheet.png"
EXAMPLES = 10


def write_report(path: str | Path, folder: Path, findings: Findings) -> None:
    """Writes `check.json`, `duplicates.csv` (every copy and the first picture it equals) and the contact sheet.

    Raises:
        OSError: The folder cannot be written.
    """
    store = open_store(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FINDINGS, {"store": _hashes(store.source), **as_json(findings, store.manifest)})
    duplicates = io.StringIO()
    _list_duplicates(duplicates, findings, store.manifest)
    write_text(folder / DUPLICATES, duplicates.getvalue())
    suspects = {
        "blank": findings.blank.tolist(),
        "duplicates": [sample for group in findings.groups for sample in group.tolist()[:2]],
        "conflicts": list(dict.fromkeys(sample for conflict in findings.conflicts for sample in conflict.samples[:2])),
    }
    with replacing(folder / SHEET) as temporary:
        draw_sheet(store, suspects).save(temporary, format="PNG")


def report_folder(path: Path) -> Path:
    """Names the folder beside a store in which its report stands, where no other is asked for."""
    whole = path.resolve()
    return whole.with_name(f"{whole.name}-check")


def found_in_two_splits(path: Path, source: Mapping[str, Any]) -> dict[str, int] | None:
    """Reads how many different pictures were found in both of two splits, by "train and test".

    Args:
        path: The store.
        source: The contents of its source.json.

    Returns:
        None where no report on the store as it is stands in `report_folder`.
    """
    try:
        said = json.loads((report_folder(path) / FINDINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(said, dict) or said.get("store") != _hashes(source):
        return None
    return dict(said["in_two_splits"])


def _hashes(source: Mapping[str, Any]) -> dict[str, Any]:
    return {name: source.get(name) for name in ("images_sha256", "manifest_sha256")}


def as_json(findings: Findings, manifest: Manifest) -> dict[str, Any]:
    """Lists counts and the first examples."""
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


def print_findings(findings: Findings, console: Terminal) -> None:
    """Prints tables for a person."""
    splits = findings.splits
    for label in next(iter(splits.values())).classes:
        print_classes(label, {name: s.classes[label] for name, s in splits.items()}, console)
    if any(s.numbers for s in splits.values()):
        numbers = []
        for part in next(iter(splits.values())).numbers:
            for name, s in splits.items():
                of = s.numbers[part]
                ranges = ("–" if math.isnan(v) else f"{v:.4g}" for v in (of.lowest, of.mean, of.highest))
                numbers.append((part, name, f"{of.missing:,}", *ranges))
        print_table(
            console,
            ("number", "split", "missing", "lowest", "mean", "highest"),
            numbers,
            left=2,
            keys=2,
            title="numbers",
        )
    pictures = []
    for name, s in splits.items():
        # Three channels without decimals, so that the table fits a narrow terminal.
        form = ".1f" if len(s.mean) == 1 else ".0f"
        mean, std = (" ".join(f"{value:{form}}" for value in values) for values in (s.mean, s.std))
        share = [f"{number:,} ({number / s.pictures:.1%})" for number in (s.dark, s.bright)]
        pictures.append((name, f"{s.pictures:,}", mean, std, *share, f"{s.blank:,}", f"{s.copies:,}"))
    heads = ("split", "pictures", "mean", "std", "dark", "bright", "blank", "copies")
    print_table(console, heads, pictures, title="pictures")
    for (one, other), number in findings.shared.items():
        console.print(f"in both {one} and {other}: {number:,} different pictures")
    of_label: dict[str, int] = {}
    for conflict in findings.conflicts:
        of_label[conflict.label] = of_label.get(conflict.label, 0) + 1
    for label, number in of_label.items():
        sets = f"{number:,} of {len(findings.groups):,} sets of equal pictures"
        console.print(f"{sets} have different {label}")


def _list_duplicates(file: TextIO, findings: Findings, manifest: Manifest) -> None:
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["sample", "split", "path", "equals_sample", "equals_split", "equals_path"])
    for group in findings.groups:
        first, *others = group.tolist()
        for sample in others:
            of = [first, manifest.split_of(first), manifest.path[first]]
            rows.writerow([sample, manifest.split_of(sample), manifest.path[sample], *of])
