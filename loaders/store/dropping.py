"""Writes a store without some of its faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loaders.decoding.reading import Face
from loaders.decoding.records import Record, Skipped
from loaders.progress import progress
from loaders.store.opening import open_store
from loaders.store.pixel_statistics import read_blocks
from loaders.store.preparation import stated
from loaders.store.writing import new_store
from loaders.terminal import Terminal


def write_without(
    path: str | Path,
    out: Path,
    dropped: Mapping[int, tuple[str, str]],
    *,
    note: str,
    options: Mapping[str, Any],
    console: Terminal | None = None,
) -> Path:
    """Writes a store without some of its faces, which it lists as skipped; the one at `path` is not changed.

    Args:
        path: The store.
        out: Folder of the new store: new or empty.
        dropped: Sample id to the reason, one of a few phrases, and to what there is to say of this face.
        note: What a user of the new store must know; added to the notes of the old one.
        options: Told beside the options that the store was prepared with, so that `prepare` does not take one store for
            the other.
        console: Where progress is shown; None shows nothing.
    """
    store = open_store(path)
    manifest = store.manifest
    origin = dict(store.source["origin"])
    origin["options"] = origin.get("options", {}) | dict(options)
    notes = [*store.source.get("notes", []), note]
    with (
        new_store(out, manifest.labels, origin=origin, notes=notes, group=manifest.group) as writer,
        progress("faces", len(manifest), console or Terminal(quiet=True)) as advance,
    ):
        for first, block in read_blocks(store):
            faces: list[Face | Skipped] = []
            for sample, pixels in enumerate(block, start=first):
                name = manifest.path[sample]
                if sample in dropped:
                    faces.append(Skipped(name, *dropped[sample]))
                else:
                    values = {label: manifest.value(label, sample) for label in manifest.labels}
                    faces.append(Face(Record(manifest.split_of(sample), name, values, pixels), pixels))
            writer.add(faces)
            advance(len(block))
        writer.prepared = stated(store.source)
    return out


def refuse_taken(out: Path, where: str) -> None:
    """Refuses a folder that holds something.

    Args:
        out: The folder.
        where: Names the option; begins the error.

    Raises:
        ValueError: It does.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{where} (={out}) must be new or empty; choose another folder")
