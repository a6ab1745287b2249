"""Opens the packed store: a folder with a prepared data set, read through the operating system's page cache.

    images.npy     uint8 "n h w c", numpy's own format, c = 1 (gray) or 3 (RGB); row i is sample i
    manifest.csv   one row a sample: see `loaders.store.manifest`
    source.json    version, where it came from and with which settings, what was done to pictures (`prepared`), labels,
                   which of them is that of groups (`group`), notes, counts, what was skipped, hashes
    skipped.csv    everything that was left out: path, reason, detail

`images_sha256` is over the pixels (what follows the header of images.npy). The writer is in `loaders.store.writing`.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.base import Classes, Label, Numbers
from loaders.files import json_text
from loaders.store.manifest import Manifest, read_manifest
from loaders.targets import with_home

PACKED_STORE = "hmtl packed store"
FFCV_STORE = "hmtl ffcv store"
PLAIN_FOLDER = "hmtl plain folder"
KNOWN = {PACKED_STORE: " and --format packed", FFCV_STORE: " and --format ffcv", PLAIN_FOLDER: " and --format folder"}
"""Formats of prepared data, and what `prepare` must be told to make one."""
VERSION = 1
IMAGES, MANIFEST, SOURCE, SKIPPED = "images.npy", "manifest.csv", "source.json", "skipped.csv"
PREPARE = "run `hmtl prepare NAME SOURCE --out {out}`"
AGAIN = "prepare it again with --force"


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """Holds an opened store; its images are mapped, not read."""

    path: Path
    images: NDArray[np.uint8]
    """Read-only memory map "n h w c"."""
    manifest: Manifest
    source: Mapping[str, Any]
    """The contents of source.json."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a face."""
        _, h, w, c = self.images.shape
        return h, w, c

    def check_uncut(self) -> None:
        """Refuses to go on with a file that was cut: reading a map behind its end would end the process.

        Raises:
            ValueError: It has not the bytes that were mapped.
        """
        images: Any = self.images
        mapped: mmap.mmap = images.base
        if mapped.size() != images.offset + images.nbytes:
            raise ValueError(
                f"store {self.path}: {IMAGES} must stay as it was when it was opened; it changed, open it again"
            )


def open_store(path: str | Path, *, check_pixels: bool = False) -> Store:
    """Opens a prepared store and verifies it: version, shape, length of the images, hash of the manifest.

    Args:
        path: Folder written by `loaders.prepare`; `~` is the home folder.
        check_pixels: Also read all images and compare their hash.

    Raises:
        ValueError: The store is missing, of another version, cut or edited; says what to do.
    """
    path = with_home(path)
    source = read_source(path)
    where = f"store {path}"
    shape = tuple(source["shape"])
    images = _map_images(path / IMAGES, shape, where)
    if check_pixels and sha256(path / IMAGES, skip=_header_bytes(path / IMAGES)) != source["images_sha256"]:
        raise ValueError(f"{where}: {IMAGES} must have the hash of {SOURCE}; its pixels were changed, {AGAIN}")
    return Store(path, images, checked_manifest(path, source), source)


def checked_manifest(path: Path, source: Mapping[str, Any]) -> Manifest:
    """Reads the manifest beside a source.json and holds it against its hash and count.

    Raises:
        ValueError: It is missing, cut or edited.
    """
    where = f"store {path}"
    manifest_file = path / MANIFEST
    if not manifest_file.is_file():
        raise ValueError(f"{where}: {MANIFEST} must be there; it is missing, {AGAIN}")
    if sha256(manifest_file) != source["manifest_sha256"]:
        raise ValueError(f"{where}: {MANIFEST} must have the hash of {SOURCE}; it was cut or edited, {AGAIN}")
    with manifest_file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        labels = labels_from_json(source["labels"])
        manifest = read_manifest(lines, labels, f"{where}: {MANIFEST}", group=group_of(source, labels, where))
    if len(manifest) != source["shape"][0]:
        raise ValueError(f"{where}: {MANIFEST} must have {source['shape'][0]} rows; it has {len(manifest)}, {AGAIN}")
    return manifest


def prepared_as(path: Path) -> str | None:
    """Reads the format that a folder's source.json says, unverified; None where none can be read."""
    try:
        source = json.loads((path / SOURCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(source.get("format")) if isinstance(source, dict) else None


def read_source(path: Path, *, kind: str = PACKED_STORE, pixels: str = "images_sha256") -> dict[str, Any]:
    """Reads a store's source.json and checks its version and keys.

    Args:
        path: Folder of the store.
        kind: The format that it must say.
        pixels: The key under which that format keeps what verifies its pixels.

    Raises:
        ValueError: There is no store at `path`, or it is of another version or format, or damaged.
    """
    where = f"store {path}"
    if not path.is_dir():
        raise ValueError(f"{where}: must be a folder; there is none, {PREPARE.format(out=path)}")
    if not any(path.iterdir()):
        raise ValueError(f"{where}: must hold a prepared data set; it is empty, {PREPARE.format(out=path)}")
    file = path / SOURCE
    if not file.is_file():
        raise ValueError(f"{where}: must hold {SOURCE}; this is no prepared data set, {PREPARE.format(out=path)}")
    try:
        source = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{where}: {SOURCE} must be JSON; it was cut or edited ({error}), {AGAIN}") from error
    found = source.get("format") if isinstance(source, dict) else None
    if found != kind:
        known = f"it is a {found}" if found in KNOWN else "this is no prepared data set"
        raise ValueError(f"{where}: {SOURCE} must say format {kind!r}; {known}, {AGAIN}{KNOWN.get(kind, '')}")
    if source.get("version") != VERSION:
        raise ValueError(
            f"{where}: version (={source.get('version')}) must be {VERSION}, the one this code reads; {AGAIN}"
        )
    missing = {"shape", "labels", "origin", pixels, "manifest_sha256"} - source.keys()
    if missing:
        raise ValueError(f"{where}: {SOURCE} must say {', '.join(sorted(missing))}; it was edited, {AGAIN}")
    return dict(source)


def write_source(path: Path, source: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the source.json of a store; returns what will be read from it."""
    text = json_text(source, indent=2) + "\n"
    (path / SOURCE).write_text(text, encoding="utf-8")
    return dict(json.loads(text))


def group_of(source: Mapping[str, Any], labels: Mapping[str, Label], where: str) -> str | None:
    """Reads which label of a store is that of groups; None where it has none, as those of version 0.2 and older.

    Raises:
        ValueError: It is no label with classes.
    """
    group = source.get("group")
    if group is not None and not isinstance(labels.get(group), Classes):
        raise ValueError(f"{where}: group (={group!r}) must be a label with classes; {SOURCE} was edited, {AGAIN}")
    return group


def labels_to_json(labels: Mapping[str, Label]) -> dict[str, Any]:
    """Writes labels as source.json holds them."""
    return {
        name: {"kind": "classes", "names": label.names}
        if isinstance(label, Classes)
        else {"kind": "numbers", "columns": label.columns}
        for name, label in labels.items()
    }


def labels_from_json(labels: Mapping[str, Any]) -> dict[str, Label]:
    """Reads labels as `labels_to_json` writes them."""
    return {
        name: Classes(tuple(label["names"])) if label["kind"] == "classes" else Numbers(tuple(label["columns"]))
        for name, label in labels.items()
    }


def _map_images(file: Path, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    if not file.is_file():
        raise ValueError(f"{where}: {IMAGES} must be there; it is missing, {AGAIN}")
    try:
        offset = _header_bytes(file)
        with file.open("rb") as stream:
            np.lib.format.read_magic(stream)
            found, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, OSError) as error:
        raise ValueError(f"{where}: {IMAGES} must be a numpy file; it is damaged ({error}), {AGAIN}") from error
    if found != shape or fortran or dtype != np.uint8:
        raise ValueError(f"{where}: {IMAGES} must be uint8 of shape {shape}; it is {dtype} of shape {found}, {AGAIN}")
    length, wanted = file.stat().st_size, offset + math.prod(shape)
    if length != wanted:
        raise ValueError(f"{where}: {IMAGES} must have {wanted} bytes; it has {length}, so it was cut, {AGAIN}")
    return np.memmap(file, dtype=np.uint8, mode="r", offset=offset, shape=shape)


def _header_bytes(file: Path) -> int:
    with file.open("rb") as stream:
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        return stream.tell()


def sha256(file: Path, skip: int = 0) -> str:
    """Hashes a file, from byte `skip` on."""
    with file.open("rb") as stream:
        stream.seek(skip)
        return hashlib.file_digest(stream, "sha256").hexdigest()
