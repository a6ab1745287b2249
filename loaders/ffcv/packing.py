"""Writes an FFCV store from a packed one: in a hidden folder beside the target, renamed when whole."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from loaders.ffcv.layout import check_beton
from loaders.ffcv.package import ffcv
from loaders.ffcv.store import ENDING
from loaders.ffcv.writer import check_quality, field_names, write_beton
from loaders.progress import progress
from loaders.store.opening import BETONS, MANIFEST, SKIPPED, SOURCE, VERSION, Store, sha256
from loaders.store.writing import beside, moved_into_place, remove_leftovers


def require_writer(jpeg: int | None) -> None:
    """Refuse what `write_betons` would refuse, before there is anything to write.

    Raises:
        ValueError: FFCV is not installed, or `jpeg` is out of range.
    """
    check_quality(jpeg)
    ffcv("ffcv.writer", "prepare")


@contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
    """A hidden name beside `out` for a store that is needed only meanwhile; removed in the end."""
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    folder = beside(out, "scratch")
    try:
        yield folder / "packed"
    finally:
        if folder.exists():
            shutil.rmtree(folder)


def write_betons(
    store: Store,
    out: Path,
    *,
    origin: Mapping[str, Any],
    jpeg: int | None = None,
    replace: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Write the files of all splits, check them, and rename the folder into place.

    Args:
        store: Where faces and labels come from.
        out: The new store's folder; its parent is made where it is missing.
        origin: What it is made from and how, JSON values; compared by the next run.
        jpeg: Quality of JPEG pictures, 1 to 100; None stores the pixels as they are.
        replace: Take the place of a store that is already there.
        console: Where progress is shown.

    Returns:
        The contents of the new source.json.

    Raises:
        ValueError: FFCV is not installed, the name of a split is no file name, `jpeg` is out of range, or something
            is at `out`.
        OSError: The disk is full or the folder cannot be written; nothing is left behind.
    """
    for split in store.manifest.splits:
        if not re.fullmatch(r"[\w-][\w.-]*", split):
            raise ValueError(
                f"store {out}: split (={split!r}) must be a file name of letters, digits, '_', '-' and '.', "
                "since FFCV has a file for each; rename it in the source"
            )
    with moved_into_place(out, replace=replace) as part:
        source = {
            **{key: store.source[key] for key in ("shape", "labels", "notes", "counts", "skipped")},
            "format": BETONS,
            "version": VERSION,
            "origin": origin,
            "jpeg": jpeg,
            "fields": field_names(list(store.manifest.labels)),
            "files": _write_files(store, part, jpeg, console or Console(quiet=True)),
            "manifest_sha256": store.source["manifest_sha256"],
        }
        for name in (MANIFEST, SKIPPED):
            shutil.copyfile(store.path / name, part / name)
        text = json.dumps(source, indent=2, ensure_ascii=True) + "\n"
        (part / SOURCE).write_text(text, encoding="utf-8")
        for file in part.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    return dict(json.loads(text))


def _write_files(store: Store, folder: Path, jpeg: int | None, console: Console) -> dict[str, Any]:
    files = {}
    with progress("faces to FFCV", len(store.manifest), console) as advance:
        for name in store.manifest.splits:
            file = folder / f"{name}{ENDING}"
            split = store.manifest.part(name, store.shape, f"store {store.path}")
            mean = store.manifest.mean[split.sample].numpy()
            write_beton(file, store.images, split, mean, jpeg=jpeg, advance=advance)
            length = file.stat().st_size
            # A disk that fills up can cut a page without an error: what was written is read back.
            check_beton(file, bytes=length, samples=len(split.sample), shape=store.shape[:2])
            files[name] = {"bytes": length, "sha256": sha256(file)}
    return files
