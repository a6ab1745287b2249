"""Writes a store without duplicates."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from loaders.decoding.reading import Face
from loaders.decoding.records import Record, Skipped
from loaders.progress import progress
from loaders.store.checking import Findings
from loaders.store.manifest import Manifest
from loaders.store.opening import open_store
from loaders.store.pixel_statistics import read_blocks
from loaders.store.writing import new_store

STAYS = ("test", "val")
"""Of equal pictures in several splits the one in the first of these stays; train comes last, other splits between."""


def drop_duplicates(path: str | Path, out: Path, findings: Findings, *, console: Console | None = None) -> Path:
    """Writes a store without duplicates; the one at `path` is not changed.

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
    lost = {name: sum(manifest.split_of(sample) == name for sample in stays) for name in manifest.splits}
    counts = ", ".join(f"{number:,} from {name}" for name, number in lost.items())
    note = f"exact duplicates were dropped ({counts}): of equal pictures one in test stays, else in val, else the first"
    # Another origin than that of the store with them, so that `prepare` does not take one for the other.
    origin = dict(store.source["origin"])
    origin["options"] = origin.get("options", {}) | {"drop_duplicates": True}
    with (
        new_store(out, manifest.labels, origin=origin, notes=[*store.source.get("notes", []), note]) as writer,
        progress("faces", len(manifest), console or Console(quiet=True)) as advance,
    ):
        for first, block in read_blocks(store):
            faces: list[Face | Skipped] = []
            for sample, pixels in enumerate(block, start=first):
                name = manifest.path[sample]
                if (kept := stays.get(sample)) is not None:
                    of = f"equals {manifest.path[kept]} in {manifest.split_of(kept)}"
                    faces.append(Skipped(name, f"duplicate in {manifest.split_of(sample)}", of))
                else:
                    values = {label: manifest.value(label, sample) for label in manifest.labels}
                    faces.append(Face(Record(manifest.split_of(sample), name, values, pixels), pixels))
            writer.add(faces)
            advance(len(block))
    return out


def _rank(manifest: Manifest, sample: int) -> int:
    split = manifest.split_of(sample)
    return STAYS.index(split) if split in STAYS else len(STAYS) + (split == "train")
