"""Writes a packed store.

Faces go straight to the file as they come, so memory does not grow with the data set. A set that turns out to hold a
colour picture after gray ones is rewritten once with three channels.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from loaders.base import Classes, Label, Preparation
from loaders.decoding.pictures import as_channels, mean_colour
from loaders.decoding.reading import Face
from loaders.decoding.records import Skipped
from loaders.files import replacing_folder
from loaders.store.manifest import MISSING, ManifestWriter
from loaders.store.opening import IMAGES, MANIFEST, PACKED_STORE, SKIPPED, VERSION, labels_to_json, sha256, write_source
from loaders.store.preparation import crop_of

EXAMPLES = 10
COPY_BYTES = 1 << 24


@contextmanager
def new_store(
    out: Path,
    labels: Mapping[str, Label],
    *,
    origin: Mapping[str, Any],
    notes: Sequence[str] = (),
    group: str | None = None,
    replace: bool = False,
) -> Iterator[StoreWriter]:
    """Opens a new store, which is finished and renamed into place when the block ends well; else nothing is left.

    Args:
        out: The store's folder; its parent is made where it is missing.
        labels: Declared labels.
        origin: What the store is made from and how, JSON values; compared by the next run.
        notes: What a user of the labels must know.
        group: The label of groups, if any; see `loaders.base.Split.group`.
        replace: Take the place of a store that is already there.

    Raises:
        ValueError: No face was added, or a finished store has appeared meanwhile.
        OSError: The disk is full, or the folder cannot be written.
    """
    with replacing_folder(out, replace=replace) as folder:
        writer = StoreWriter(folder, labels)
        try:
            yield writer
            writer.finish(out, origin, notes, group)
        finally:
            writer.close()


class StoreWriter:
    """Writes the files of a store into a folder; `new_store` opens and finishes it.

    Attributes:
        source: The contents of source.json, once the store is finished.
        crops: Those that the faces so far were cut by, as `preparation.crop_of` names them.
        prepared: What was done to the pictures, to be set before the store is finished; None where nothing is known.
    """

    def __init__(self, folder: Path, labels: Mapping[str, Label]) -> None:
        self.source: dict[str, Any] = {}
        self.crops: set[str] = set()
        self.prepared: Preparation | None = None
        self._folder = folder
        self._labels = labels
        self._faces: _FaceFile | None = None
        self._reasons: Counter[str] = Counter()
        self._examples: list[Skipped] = []
        self._texts = [
            (folder / name).open("w", encoding="utf-8", errors="surrogateescape", newline="")
            for name in (MANIFEST, SKIPPED)
        ]
        manifest, skipped = self._texts
        self._manifest = ManifestWriter(manifest, labels)
        self._skipped = csv.writer(skipped, lineterminator="\n")
        self._skipped.writerow(["path", "reason", "detail"])

    def add(self, faces: Iterable[Face | Skipped]) -> None:
        """Writes faces, all of one size, and notes what was skipped."""
        kept: list[Face] = []
        for face in faces:
            if isinstance(face, Face):
                kept.append(face)
                continue
            self._reasons[face.reason] += 1
            self._skipped.writerow([face.path, face.reason, face.detail])
            if len(self._examples) < EXAMPLES:
                self._examples.append(face)
        if not kept:
            return
        channels = max(face.pixels.shape[2] for face in kept)
        if self._faces is None:
            self._faces = _FaceFile(self._folder / IMAGES, (*kept[0].pixels.shape[:2], channels))
        elif channels > self._faces.shape[2]:
            self._faces = self._faces.in_colour()
        pixels = np.stack([as_channels(face.pixels, self._faces.shape[2]) for face in kept])
        self._faces.append(pixels)
        for face, mean in zip(kept, mean_colour(pixels).tolist(), strict=True):
            self._manifest.add(face.record.split, face.record.path, face.record.labels, mean)
        self.crops.update(crop_of(face.record.box) for face in kept)

    def finish(self, out: Path, origin: Mapping[str, Any], notes: Sequence[str], group: str | None) -> None:
        """Completes the files and writes source.json; `out` names the store in the error.

        Raises:
            ValueError: No face was added.
        """
        skipped = {
            "total": self._reasons.total(),
            "reasons": dict(self._reasons),
            "examples": [{"path": s.path, "reason": s.reason, "detail": s.detail} for s in self._examples],
        }
        if self._faces is None:
            first = "".join(f"; first: {s.path}: {s.reason} {s.detail}" for s in self._examples[:1])
            raise ValueError(
                f"store {out}: the source must hold a readable picture; "
                f"it has none and {skipped['total']} were skipped{first}"
            )
        images_hash = self._faces.finish()
        for file in self._texts:
            file.close()
        source = {
            "format": PACKED_STORE,
            "version": VERSION,
            "origin": origin,
            **({"prepared": asdict(self.prepared)} if self.prepared else {}),
            "shape": [self._manifest.count, *self._faces.shape],
            "labels": labels_to_json(self._labels),
            **({} if group is None else {"group": group}),
            "notes": list(notes),
            "counts": self._counts(),
            "skipped": skipped,
            "images_sha256": images_hash,
            "manifest_sha256": sha256(self._folder / MANIFEST),
        }
        self.source = write_source(self._folder, source)

    def close(self) -> None:
        """Closes the files, finished or not."""
        for file in (*self._texts, self._faces):
            # What was buffered cannot be written to a full disk; the folder is thrown away then.
            with suppress(OSError):
                if file is not None:
                    file.close()

    def _counts(self) -> dict[str, Any]:
        """Counts the faces of each split, and of each class in it."""
        counts: dict[str, Any] = {}
        for split, total in self._manifest.totals.items():
            counts[split] = {"total": total}
            for name, label in self._labels.items():
                if isinstance(label, Classes):
                    of = {text: self._manifest.classes[split, name, text] for text in label.names}
                    missing = self._manifest.classes[split, name, ""]
                    counts[split][name] = of | ({MISSING: missing} if missing else {})
        return counts


class _FaceFile:
    """Writes images.npy as it grows: numpy pads the header, so that the final count can be written in place."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self._path = path
        self._count = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("wb")
        self._file.write(self._header())

    def append(self, faces: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        assert faces.shape[1:] == self.shape
        assert faces.dtype == np.uint8
        data = np.ascontiguousarray(faces).data.cast("B")
        self._file.write(data)
        self._hash.update(data)
        self._count += len(faces)

    def in_colour(self) -> _FaceFile:
        """Copies the faces with three equal channels, into a file of the same name."""
        self._file.close()
        gray = self._path.with_suffix(".gray")
        self._path.rename(gray)
        h, w, _ = self.shape
        wide = _FaceFile(self._path, (h, w, 3))
        with gray.open("rb") as stream:
            stream.seek(len(self._header()))
            while data := stream.read(max(1, COPY_BYTES // (h * w)) * h * w):
                wide.append(np.repeat(np.frombuffer(data, np.uint8).reshape(-1, h, w, 1), 3, axis=3))
        gray.unlink()
        return wide

    def finish(self) -> str:
        """Writes the final header; returns the hash of the pixels."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()

    def _header(self) -> bytes:
        header = io.BytesIO()
        shape = (self._count, *self.shape)
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        assert len(header.getvalue()) == 128
        return header.getvalue()
