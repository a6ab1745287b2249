"""Picture files looked through once: what a source that decodes at every access knows before its first batch."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from loaders.base import Preparation
from loaders.decoding.pictures import Form, mean_colour
from loaders.decoding.reading import Face, read_faces
from loaders.decoding.records import Contents, Importer, Record, Skipped
from loaders.sources.kept import remember
from loaders.store.manifest import Manifest, ManifestWriter, read_manifest
from loaders.store.preparation import crop_of, preparation

_VERSION = 3  # of what is kept; another one where decoding or the mean colour changes


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """The readable pictures of a source."""

    records: list[Record]
    """By sample id; each picture is a file."""
    shape: tuple[int, int, int]
    """(height, width, channels) of the faces."""
    manifest: Manifest
    prepared: Preparation
    """What is done to the pictures."""
    note: str
    """How many entries of the source were left out, and why; empty where none was."""
    key: str
    """Says which files these are and what was read of them: path, length, time of the last change, crop, form."""


def scan(importer: Importer, form: Form, where: str) -> Scanned:
    """Decode every picture once, as `loaders.prepare` does; those that cannot be read are left out, as there.

    What was found is kept (`loaders.sources.kept`) for as long as no file changes its length or its time: then opening
    another split, or the same in another process, only lists the files.

    Raises:
        ValueError: What the importer raises; pictures that are no files, or none that can be read. `where` begins it.
    """
    contents = importer.survey()
    listed, left_out = _files(contents, where)
    key = _key(listed, form)
    found = remember(f"scan-{key}", lambda: _decode(listed, form))
    records = list(itertools.compress(listed, found["readable"]))
    if not records:
        raise ValueError(f"{where}: must hold a readable picture; none of those listed can be read")
    left_out["unreadable picture"] += len(listed) - len(records)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items() if count)
    text = io.StringIO(newline="")
    writer = ManifestWriter(text, contents.labels)
    for record, mean in zip(records, found["mean"].tolist(), strict=True):
        writer.add(record.split, record.path, record.labels, mean)
    text.seek(0)
    height, width, channels = found["shape"].tolist()
    return Scanned(
        records,
        (height, width, channels),
        read_manifest(text, contents.labels, where, group=contents.group),
        preparation(importer, form, {crop_of(record.box) for record in records}),
        f"left out of {importer.source}: {reasons}; `hmtl prepare` lists them" if reasons else "",
        key,
    )


def _files(contents: Contents, where: str) -> tuple[list[Record], Counter[str]]:
    """Lists the pictures, and counts what the importer leaves out by its reasons."""
    records: list[Record] = []
    left_out: Counter[str] = Counter()
    with closing(contents.records()) as listed:
        for record in listed:
            if isinstance(record, Skipped):
                left_out[record.reason] += 1
                continue
            if not isinstance(record.picture, Path):
                raise ValueError(
                    f"{where}: must hold picture files; {record.path} is none, "
                    "prepare it with `hmtl prepare` and use Packed"
                )
            records.append(record)
    return records, left_out


def _key(records: Sequence[Record], form: Form) -> str:
    digest = hashlib.sha256(f"{_VERSION} {PIL.__version__} {form!r}".encode())
    for record in records:
        assert isinstance(record.picture, Path)
        try:
            status = record.picture.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "unreadable"
        digest.update(f"{record.picture.absolute()}\0{state} {record.box!r}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _decode(records: list[Record], form: Form) -> dict[str, NDArray[Any]]:
    """Which pictures can be read, the mean colour of each of these, and (height, width, channels) of all."""
    readable, means = [], []
    height = width = channels = 0
    with closing(read_faces(records, form)) as chunks:
        for face in itertools.chain.from_iterable(chunks):
            readable.append(isinstance(face, Face))
            if isinstance(face, Face):
                height, width = face.pixels.shape[:2]
                channels = max(channels, face.pixels.shape[2])
                means.append(mean_colour(face.pixels[None])[0])
    return {
        "readable": np.array(readable, np.bool_),
        "mean": np.array(means, np.float32).reshape(-1, 3),
        "shape": np.array([height, width, channels], np.int64),
    }
