"""Prints what a new store holds: its classes, notes and what was skipped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loaders.progress import LINE
from loaders.store.manifest import in_usual_order
from loaders.store.opening import SKIPPED


def print_summary(source: Mapping[str, Any], out: Path, seconds: float, console: Console) -> None:
    """Prints the faces of each split and class, the notes, what was skipped, and how long it took.

    Args:
        source: The contents of the store's source.json.
        out: Folder of the store.
        seconds: What writing it took.
        console: Where it is printed.
    """
    counts: Mapping[str, Mapping[str, Any]] = {
        split: source["counts"][split] for split in sorted(source["counts"], key=in_usual_order)
    }
    for label in [name for name, kind in source["labels"].items() if kind["kind"] == "classes"]:
        print_classes(label, {split: of[label] for split, of in counts.items()}, console)
    for note in (*source["notes"], *_unseen(counts)):
        console.print(f"note: {note}", **LINE)
    skipped = source["skipped"]
    if skipped["total"]:
        table = Table(title=f"skipped: {skipped['total']:,}", title_justify="left")
        for column in ("path", "reason", "detail"):
            table.add_column(column, overflow="fold")
        for example in skipped["examples"]:
            table.add_row(*(escape(example[column]) for column in ("path", "reason", "detail")))
        console.print(table)
        for reason, number in skipped["reasons"].items():
            console.print(f"skipped, {reason}: {number:,}", **LINE)
        if skipped["total"] > len(skipped["examples"]):
            console.print(f"all of them are in {out / SKIPPED}", **LINE)
    n, h, w, c = source["shape"]
    tail = f"{seconds:.1f} s, {n / seconds:,.0f} faces/s" if seconds else ""
    console.print(f"{out}: {n:,} faces of {w} x {h}, {'gray' if c == 1 else 'RGB'}; {tail}", **LINE)


def print_classes(label: str, counts: Mapping[str, Mapping[str, int]], console: Console) -> None:
    """Prints how many faces of each split (`counts`' keys) are of each class."""
    table = Table(title=label, title_justify="left")
    table.add_column("class")
    for split in (*counts, "all"):
        table.add_column(split, justify="right")
    for name in dict.fromkeys(name for of in counts.values() for name in of):
        row = [of.get(name, 0) for of in counts.values()]
        table.add_row(escape(name), *(f"{n:,}" for n in (*row, sum(row))))
    table.add_section()
    totals = [sum(of.values()) for of in counts.values()]
    table.add_row("all", *(f"{n:,}" for n in (*totals, sum(totals))))
    console.print(table)


def _unseen(counts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Says which classes no face of a split has, a sentence a split; those that no face at all has come first."""
    labels = next(iter(counts.values())).keys() - {"total"}
    for label in sorted(labels):
        without = {split: {name for name, n in of[label].items() if n == 0} for split, of in counts.items()}
        everywhere = set.intersection(*without.values())
        if everywhere:
            yield f"no face has {label} {_listed(everywhere)}"
        for split, names in without.items():
            if names - everywhere:
                yield f"no face of {split} has {label} {_listed(names - everywhere)}"


def _listed(names: Collection[str]) -> str:
    return " or ".join(sorted(names))
