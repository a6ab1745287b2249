"""Prints what a new store holds: its classes, notes and what was skipped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from loaders.store.manifest import in_usual_order
from loaders.store.opening import SKIPPED
from loaders.terminal import Terminal, print_table


def print_summary(source: Mapping[str, Any], out: Path, seconds: float, console: Terminal) -> None:
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
    group = source.get("group")
    for label in [name for name, kind in source["labels"].items() if kind["kind"] == "classes" and name != group]:
        print_classes(label, {split: of[label] for split, of in counts.items()}, console)
    for note in (*source["notes"], *_unseen(counts, group)):
        console.print(f"note: {note}")
    skipped = source["skipped"]
    if skipped["total"]:
        heads = ("path", "reason", "detail")
        examples = [[example[head] for head in heads] for example in skipped["examples"]]
        print_table(console, heads, examples, left=3, keys=3, title=f"skipped: {skipped['total']:,}")
        for reason, number in skipped["reasons"].items():
            console.print(f"skipped, {reason}: {number:,}")
        if skipped["total"] > len(skipped["examples"]):
            console.print(f"all of them are in {out / SKIPPED}")
    n, h, w, c = source["shape"]
    tail = f"{seconds:.1f} s, {n / seconds:,.0f} faces/s" if seconds else ""
    console.print(f"{out}: {n:,} faces of {w} x {h}, {'gray' if c == 1 else 'RGB'}; {tail}")


def print_classes(label: str, counts: Mapping[str, Mapping[str, int]], console: Terminal) -> None:
    """Prints how many faces of each split (`counts`' keys) are of each class."""
    rows = []
    for name in dict.fromkeys(name for of in counts.values() for name in of):
        row = [of.get(name, 0) for of in counts.values()]
        rows.append((name, *(f"{n:,}" for n in (*row, sum(row)))))
    totals = [sum(of.values()) for of in counts.values()]
    rows.append(("all", *(f"{n:,}" for n in (*totals, sum(totals)))))
    print_table(console, ("class", *counts, "all"), rows, title=label)


def _unseen(counts: Mapping[str, Mapping[str, Any]], group: str | None) -> Iterator[str]:
    """Says which classes no face of a split has, a sentence a split; those that no face at all has come first.

    Groups are left out, such as persons, which no two splits are meant to share.
    """
    labels = next(iter(counts.values())).keys() - {"total", group}
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
