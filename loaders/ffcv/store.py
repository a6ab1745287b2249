"""Writes and opens the FFCV store: a folder with one .beton file a split.

<split>.beton   faces, sample ids, mean colours and targets of the split, in manifest order: see `loaders.ffcv.writer`
manifest.csv, source.json, skipped.csv   as in a packed store (`loaders.store.opening`); source.json has the length and
                the hash of each file under `files`, the field of each label under `fields`, and `jpeg`: its quality
                or null
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loaders.ffcv.layout import BetonFile, check_layout
from loaders.ffcv.package import ffcv
from loaders.ffcv.writer import check_quality, field_names, write_split
from loaders.files import replacing_folder
from loaders.progress import progress
from loaders.store.manifest import Manifest
from loaders.store.opening import (
    AGAIN,
    FFCV_STORE,
    MANIFEST,
    SKIPPED,
    VERSION,
    Store,
    checked_manifest,
    read_source,
    sha256,
    write_source,
)
from loaders.store.preparation import restated
from loaders.targets import with_home
from loaders.terminal import Terminal

ENDING = ".beton"


@dataclass(frozen=True, slots=True, eq=False)
class FFCVStore:
    """Holds an opened store; of its files only those asked for are looked at."""

    path: Path
    manifest: Manifest
    source: Mapping[str, Any]
    """The contents of source.json."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a face; FFCV holds gray ones with three equal channels."""
        _, h, w, c = self.source["shape"]
        return h, w, c

    def file(self, split: str) -> BetonFile:
        """Finds the file of a split and checks its length and layout.

        Raises:
            ValueError: It is missing, cut or damaged.
        """
        h, w, _ = self.shape
        samples = int((self.manifest.split == self.manifest.splits.index(split)).sum())
        return check_layout(
            self.path / f"{split}{ENDING}", bytes=self.source["files"][split]["bytes"], samples=samples, shape=(h, w)
        )


def open_ffcv_store(path: str | Path, *, check_pixels: bool = False) -> FFCVStore:
    """Opens a store written by `hmtl prepare --format ffcv`; FFCV itself is not needed for it.

    Args:
        path: Its folder.
        check_pixels: Also read all files and compare their hashes.

    Raises:
        ValueError: The store is missing, of another format or version, cut or edited; says what to do.
    """
    path = with_home(path)
    source = read_source(path, kind=FFCV_STORE, pixels="files")
    manifest = checked_manifest(path, source)
    if set(source["files"]) != set(manifest.splits):
        raise ValueError(f"store {path}: files must be of the splits {', '.join(manifest.splits)}; {AGAIN}")
    store = FFCVStore(path, manifest, source)
    if check_pixels:
        for split, file in source["files"].items():
            if sha256(store.file(split).path) != file["sha256"]:
                raise ValueError(
                    f"store {path}: {split}{ENDING} must have the hash of source.json; it was changed, {AGAIN}"
                )
    return store


def require_writer(jpeg: int | None) -> None:
    """Refuses what `write_ffcv_store` would refuse, before there is anything to write.

    Raises:
        ValueError: FFCV is not installed, or `jpeg` is out of range.
    """
    check_quality(jpeg)
    ffcv("ffcv.writer", "prepare")


def write_ffcv_store(
    store: Store,
    out: Path,
    *,
    origin: Mapping[str, Any],
    jpeg: int | None = None,
    replace: bool = False,
    console: Terminal | None = None,
) -> dict[str, Any]:
    """Writes the files of all splits, checks them, and renames the folder into place.

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
    with replacing_folder(out, replace=replace) as part:
        source = {
            **{key: store.source[key] for key in ("shape", "labels", "notes", "counts", "skipped")},
            **{key: store.source[key] for key in ("group",) if key in store.source},
            "format": FFCV_STORE,
            "version": VERSION,
            "origin": origin,
            **restated(store.source),
            "jpeg": jpeg,
            "fields": field_names(list(store.manifest.labels)),
            "files": _write_files(store, part, jpeg, console or Terminal(quiet=True)),
            "manifest_sha256": store.source["manifest_sha256"],
        }
        for name in (MANIFEST, SKIPPED):
            shutil.copyfile(store.path / name, part / name)
        return write_source(part, source)


def _write_files(store: Store, folder: Path, jpeg: int | None, console: Terminal) -> dict[str, Any]:
    files = {}
    with progress("faces to FFCV", len(store.manifest), console) as advance:
        for name in store.manifest.splits:
            file = folder / f"{name}{ENDING}"
            split = store.manifest.part(name, store.shape, f"store {store.path}")
            mean = store.manifest.mean[split.sample].numpy()
            write_split(file, store.images, split, mean, jpeg=jpeg, advance=advance)
            length = file.stat().st_size
            # A disk that fills up can cut a page without an error: what was written is read back.
            check_layout(file, bytes=length, samples=len(split.sample), shape=store.shape[:2])
            files[name] = {"bytes": length, "sha256": sha256(file)}
    return files
