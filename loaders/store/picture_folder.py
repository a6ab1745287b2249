"""Writes the plain folder: PNG files and a manifest, for any other tool, which read back bit for bit.

    <split>/<class>/<sample>.png   the class of the first label; where that has numbers <split>/<sample>.png
    manifest.csv                   as in `loaders.store.manifest`, `path` in this folder, `source_path` in the source
    source.json, skipped.csv       as in `loaders.store.opening`

`ManifestFile` (so also `Folder` and `DALI`) reads all labels; what only knows class folders reads the first one.
"""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import numpy as np
from PIL import Image

from loaders.base import Classes
from loaders.decoding.reading import cores
from loaders.files import replacing_folder
from loaders.progress import progress
from loaders.store.manifest import MISSING, SOURCE_PATH, Manifest
from loaders.store.opening import (
    AGAIN,
    IMAGES,
    MANIFEST,
    PLAIN_FOLDER,
    SKIPPED,
    SOURCE,
    VERSION,
    Store,
    read_source,
    sha256,
    write_source,
)
from loaders.store.preparation import restated
from loaders.terminal import Terminal

CHUNK = 64  # pictures a task


def write_pictures(
    store: Store,
    out: Path,
    *,
    origin: Mapping[str, Any],
    replace: bool = False,
    workers: int | None = None,
    console: Terminal | None = None,
) -> dict[str, Any]:
    """Writes a store as a plain folder, and renames it into place when it is whole.

    Args:
        store: Where faces and labels come from.
        out: The new folder; its parent is made where it is missing.
        origin: What it is made from and how, JSON values; compared by the next run.
        replace: Take the place of a store that is already there.
        workers: Threads that write PNG; None takes one a core.
        console: Where progress is shown.

    Returns:
        The contents of the new source.json.

    Raises:
        ValueError: Something is at `out`.
        OSError: The disk is full or the folder cannot be written; nothing is left behind.
    """
    names = _names(store.manifest)
    with replacing_folder(out, replace=replace) as part:
        for folder in {str(Path(name).parent) for name in names}:
            (part / folder).mkdir(parents=True)
        _write_png(store, part, names, workers or cores(), console or Terminal(quiet=True))
        with (
            (store.path / MANIFEST).open(encoding="utf-8", errors="surrogateescape", newline="") as old,
            (part / MANIFEST).open("w", encoding="utf-8", errors="surrogateescape", newline="") as new,
        ):
            _copy_manifest(old, new, names)
        shutil.copyfile(store.path / SKIPPED, part / SKIPPED)
        source = {
            **{key: store.source[key] for key in ("shape", "labels", "notes", "counts", "skipped", "images_sha256")},
            **{key: store.source[key] for key in ("group",) if key in store.source},
            "format": PLAIN_FOLDER,
            "version": VERSION,
            "origin": origin,
            **restated(store.source),
            "manifest_sha256": sha256(part / MANIFEST),
        }
        return write_source(part, source)


def check_pictures(path: Path) -> dict[str, Any]:
    """Reads the source.json of a plain folder whose manifest and files are there as they were written.

    Raises:
        ValueError: There is none at `path`, its manifest was edited, or a file is missing; says what to do.
    """
    source = read_source(path, kind=PLAIN_FOLDER)
    manifest = path / MANIFEST
    if not manifest.is_file() or sha256(manifest) != source["manifest_sha256"]:
        raise ValueError(f"store {path}: {MANIFEST} must have the hash of {SOURCE}; it was cut or edited, {AGAIN}")
    with manifest.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        missing = next((row["path"] for row in csv.DictReader(stream) if not (path / row["path"]).is_file()), None)
    if missing is not None:
        raise ValueError(f"store {path}: {missing} must be there; it is missing, {AGAIN}")
    return source


def _names(manifest: Manifest) -> list[str]:
    """Names the file of each sample's picture."""
    sorted_by = next(iter(manifest.labels), None)  # a later one, such as the person, is not what the faces are for
    if sorted_by is not None and not isinstance(manifest.labels[sorted_by], Classes):
        sorted_by = None
    splits = [_folder_name(name) for name in manifest.splits]
    width = max(5, len(str(len(manifest) - 1)))
    if sorted_by is None:
        return [f"{splits[split]}/{sample:0{width}}.png" for sample, split in enumerate(manifest.split.tolist())]
    label = manifest.labels[sorted_by]
    assert isinstance(label, Classes)
    classes = [*(_folder_name(name) for name in label.names), MISSING]  # the number -1, of a missing label, is the last
    numbers = zip(manifest.split.tolist(), manifest.target[sorted_by].tolist(), strict=True)
    return [
        f"{splits[split]}/{classes[number]}/{sample:0{width}}.png" for sample, (split, number) in enumerate(numbers)
    ]


def _folder_name(name: str) -> str:
    """Writes a name as one folder: what no file system takes is written as in an address (`%2F`)."""
    quoted = quote(name, safe=" +,;=@&'!()[]", errors="surrogateescape")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def _write_png(store: Store, part: Path, names: Sequence[str], workers: int, console: Terminal) -> None:
    def write(first: int) -> int:
        chosen = names[first : first + CHUNK]
        # Read from the file: pages of its map would count as memory of this process.
        faces = np.fromfile(images, np.uint8, len(chosen) * area, offset=start + first * area)
        for name, face in zip(chosen, faces.reshape(-1, *store.shape), strict=True):
            Image.fromarray(face[:, :, 0] if face.shape[2] == 1 else face).save(part / name, format="PNG")
        return len(chosen)

    images, area = store.path / IMAGES, math.prod(store.shape)
    assert isinstance(store.images, np.memmap)
    start = store.images.offset

    with (
        progress("faces to PNG", len(names), console) as advance,
        ThreadPoolExecutor(workers, thread_name_prefix="png") as pool,
    ):
        try:
            for count in pool.map(write, range(0, len(names), CHUNK)):
                advance(count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _copy_manifest(old: Iterable[str], new: TextIO, names: Sequence[str]) -> None:
    rows = csv.reader(old)
    header = next(rows)
    path = header.index("path")
    writer = csv.writer(new, lineterminator="\n")
    writer.writerow([*header, SOURCE_PATH])
    for name, row in zip(names, rows, strict=True):
        writer.writerow([*row[:path], name, *row[path + 1 :], row[path]])
