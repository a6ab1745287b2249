"""Writes a packed store: in a temporary folder beside the target, renamed when whole.

Faces go straight to the file as they come, so memory does not grow with the data set. A set that turns out to hold a
colour picture after gray ones is rewritten once with three channels. An interrupted run leaves a hidden
`.NAME.partial-HOST-PID` folder, which the next run for the same target removes.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from loaders.base import Classes, Label
from loaders.decoding.pictures import as_channels, mean_colour
from loaders.decoding.reading import Face
from loaders.decoding.records import Skipped
from loaders.files import FULL_DISK
from loaders.store.manifest import ManifestWriter
from loaders.store.opening import FORMAT, IMAGES, MANIFEST, SKIPPED, SOURCE, VERSION, labels_to_json

EXAMPLES = 10
COPY_BYTES = 1 << 24


class StoreWriter:
    """Writes one store; use it in a `with` block, which leaves nothing behind unless `finish` was reached.

    Args:
        out: The store's folder; its parent is made where it is missing.
        labels: Declared labels.
        origin: What the store is made from and how, JSON values; compared by the next run.
        notes: What a user of the labels must know.
        replace: Take the place of a store that is already there.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
    """

    def __init__(
        self,
        out: Path,
        labels: Mapping[str, Label],
        *,
        origin: Mapping[str, Any],
        notes: Sequence[str] = (),
        replace: bool = False,
    ) -> None:
        self._out = out
        self._labels = labels
        self._origin = origin
        self._notes = notes
        self._replace = replace
        self._part = beside(out, "partial")
        self._faces: _FaceFile | None = None
        self._reasons: Counter[str] = Counter()
        self._examples: list[Skipped] = []

    def __enter__(self) -> StoreWriter:
        self._out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._out)
        self._part.mkdir()
        try:
            self._manifest_file = (self._part / MANIFEST).open(
                "w", encoding="utf-8", errors="surrogateescape", newline=""
            )
            self._manifest = ManifestWriter(self._manifest_file, self._labels)
            self._skipped_file = (self._part / SKIPPED).open(
                "w", encoding="utf-8", errors="surrogateescape", newline=""
            )
            self._skipped = csv.writer(self._skipped_file, lineterminator="\n")
            self._skipped.writerow(["path", "reason", "detail"])
        except BaseException:
            shutil.rmtree(self._part)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._manifest_file, self._skipped_file, self._faces):
            # What was buffered cannot be written to a full disk; the folder is thrown away below.
            with suppress(OSError):
                if file is not None:
                    file.close()
        if self._part.exists():
            shutil.rmtree(self._part)
        if isinstance(error, OSError):
            _say_if_full(self._out, error, f" after {self._manifest.count:,}")

    def add(self, faces: Iterable[Face | Skipped]) -> None:
        """Write faces, all of one size, and note what was skipped."""
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
            self._faces = _FaceFile(self._part / IMAGES, (*kept[0].pixels.shape[:2], channels))
        elif channels > self._faces.shape[2]:
            self._faces = self._faces.in_colour()
        pixels = np.stack([as_channels(face.pixels, self._faces.shape[2]) for face in kept])
        self._faces.append(pixels)
        for face, mean in zip(kept, mean_colour(pixels).tolist(), strict=True):
            self._manifest.add(face.record.split, face.record.path, face.record.labels, mean)

    def finish(self) -> dict[str, Any]:
        """Complete the store and rename it into place.

        Returns:
            The contents of source.json.

        Raises:
            ValueError: No face was added, or a finished store has appeared meanwhile.
        """
        skipped = {
            "total": self._reasons.total(),
            "reasons": dict(self._reasons),
            "examples": [{"path": s.path, "reason": s.reason, "detail": s.detail} for s in self._examples],
        }
        if self._faces is None:
            first = "".join(f"; first: {s.path}: {s.reason} {s.detail}" for s in self._examples[:1])
            raise ValueError(
                f"store {self._out}: the source must hold a readable picture; "
                f"it has none and {skipped['total']} were skipped{first}"
            )
        images_hash = self._faces.finish()
        for file in (self._manifest_file, self._skipped_file):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        with (self._part / MANIFEST).open("rb") as stream:
            manifest_hash = hashlib.file_digest(stream, "sha256").hexdigest()
        source = {
            "format": FORMAT,
            "version": VERSION,
            "origin": self._origin,
            "shape": [self._manifest.count, *self._faces.shape],
            "labels": labels_to_json(self._labels),
            "notes": list(self._notes),
            "counts": self._counts(),
            "skipped": skipped,
            "images_sha256": images_hash,
            "manifest_sha256": manifest_hash,
        }
        text = json.dumps(source, indent=2, ensure_ascii=True) + "\n"
        with (self._part / SOURCE).open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        move_into_place(self._part, self._out, replace=self._replace)
        return dict(json.loads(text))

    def _counts(self) -> dict[str, Any]:
        """Faces of each split, and of each class in it."""
        counts: dict[str, Any] = {}
        for split, total in self._manifest.totals.items():
            counts[split] = {"total": total}
            for name, label in self._labels.items():
                if isinstance(label, Classes):
                    of = {text: self._manifest.classes[split, name, text] for text in label.names}
                    missing = self._manifest.classes[split, name, ""]
                    counts[split][name] = of | ({"(missing)": missing} if missing else {})
        return counts


@contextmanager
def moved_into_place(out: Path, *, replace: bool) -> Iterator[Path]:
    """An empty hidden folder to fill: renamed to `out` when the block is through, thrown away when it fails.

    Raises:
        ValueError: Something is at `out` that may not be replaced.
        OSError: The disk is full, or the folder cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = beside(out, "partial")
    part.mkdir()
    try:
        yield part
        move_into_place(part, out, replace=replace)
    except OSError as error:
        _say_if_full(out, error)
        raise
    finally:
        if part.exists():
            shutil.rmtree(part)


def _say_if_full(out: Path, error: OSError, when: str = "") -> None:
    """Raises in place of a full disk's error one that says what to do; any other error is left as it is."""
    if error.errno in FULL_DISK:
        raise OSError(
            error.errno,
            f"store {out}: the disk must have room for the faces; it was full{when}, make room or choose another --out "
            "(nothing was left behind)",
        ) from error


def move_into_place(part: Path, out: Path, *, replace: bool) -> None:
    """Rename a whole store to its name; what `replace` moves away is put back where that fails.

    Raises:
        ValueError: Something is at `out` that may not be replaced.
        OSError: The folder cannot be renamed.
    """
    old = beside(out, "replaced")
    if replace and out.exists():
        out.rename(old)
    try:
        part.rename(out)  # also over an empty folder
    except OSError as error:
        if old.exists() and not out.exists():
            old.rename(out)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise ValueError(
                f"store {out}: must not be there yet; another run finished it meanwhile, use that one"
            ) from error
        raise
    if old.exists():
        shutil.rmtree(old)


def remove_leftovers(out: Path) -> None:
    """Remove what interrupted runs for `out` on this machine left beside it; a store moved away is put back."""
    pattern = re.compile(
        rf"\.{re.escape(out.name)}\.(partial|scratch|replaced)-{re.escape(socket.gethostname())}-(\d+)"
    )
    if not out.parent.is_dir():
        return
    for path in out.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match is None or _running(int(match[2])):
            continue
        if match[1] == "replaced" and not out.exists():
            path.rename(out)
        else:
            shutil.rmtree(path)


def beside(out: Path, word: str) -> Path:
    """Hidden folder beside `out` for what this process does not show under its name yet, or any more."""
    # The host's name tells runs of machines that share a file system apart.
    return out.with_name(f".{out.name}.{word}-{socket.gethostname()}-{os.getpid()}")


def _running(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _FaceFile:
    """images.npy, growing: numpy pads the header so that the final count can be written in place."""

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
        """The same faces with three equal channels, in a file of the same name."""
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
        """Write the final header; returns the hash of the pixels."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()
        os.fsync(self._file.fileno())
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
