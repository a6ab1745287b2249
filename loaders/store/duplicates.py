"""Writes a store without duplicates."""

from __future__ import annotations

from pathlib import Path

from loaders.store.checking import Findings
from loaders.store.dropping import refuse_taken, write_without
from loaders.store.manifest import Manifest
from loaders.store.opening import open_store
from loaders.terminal import Terminal

DROP = "check: drop-duplicates"
STAYS = ("test", "val")
"""Of equal pictures in several splits the one in the first of these stays; train comes last, other splits between."""


def drop_duplicates(path: str | Path, out: Path, findings: Findings, *, console: Terminal | None = None) -> Path:
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
    refuse_taken(out, DROP)
    manifest = open_store(path).manifest
    stays: dict[int, int] = {}
    """Sample that is dropped to the one that stays."""
    for group in findings.groups:
        kept = min(group.tolist(), key=lambda sample: (_rank(manifest, sample), sample))
        stays |= {sample: kept for sample in group.tolist() if sample != kept}
    lost = {name: sum(manifest.split_of(sample) == name for sample in stays) for name in manifest.splits}
    counts = ", ".join(f"{number:,} from {name}" for name, number in lost.items())
    note = f"exact duplicates were dropped ({counts}): of equal pictures one in test stays, else in val, else the first"
    dropped = {
        sample: (
            f"duplicate in {manifest.split_of(sample)}",
            f"equals {manifest.path[kept]} in {manifest.split_of(kept)}",
        )
        for sample, kept in stays.items()
    }
    return write_without(path, out, dropped, note=note, options={"drop_duplicates": True}, console=console)


def _rank(manifest: Manifest, sample: int) -> int:
    split = manifest.split_of(sample)
    return STAYS.index(split) if split in STAYS else len(STAYS) + (split == "train")
