"""Picture files looked through once: what a source that decodes at every access knows before its first batch."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from loaders.importers.base import Importer, Record
from loaders.manifest import Manifest, ManifestWriter, read_manifest
from loaders.pictures import Form, mean_colour
from loaders.reading import Face, read_faces


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """The readable pictures of a source."""

    records: list[Record]
    """By sample id; each picture is a file."""
    shape: tuple[int, int, int]
    """(height, width, channels) of the faces."""
    manifest: Manifest


def scan(importer: Importer, form: Form, where: str) -> Scanned:
    """Decode every picture once, as `loaders.prepare` does; those that cannot be read are left out, as there.

    Raises:
        ValueError: What the importer raises; pictures that are no files, or none that can be read. `where` begins it.
    """
    contents = importer.survey()
    text = io.StringIO(newline="")
    writer = ManifestWriter(text, contents.labels)
    records: list[Record] = []
    height = width = channels = 0
    with closing(contents.records()) as listed, closing(read_faces(listed, form)) as chunks:
        for face in (face for chunk in chunks for face in chunk if isinstance(face, Face)):
            if not isinstance(face.record.picture, Path):
                raise ValueError(
                    f"{where}: must hold picture files; {face.record.path} is none, "
                    "prepare it with `python -m loaders.prepare` and use Packed"
                )
            height, width = face.pixels.shape[:2]
            channels = max(channels, face.pixels.shape[2])
            mean = mean_colour(face.pixels[None])[0].tolist()
            writer.add(face.record.split, face.record.path, face.record.labels, mean)
            records.append(face.record)
    if not records:
        raise ValueError(f"{where}: must hold a readable picture; none of those listed can be read")
    text.seek(0)
    return Scanned(records, (height, width, channels), read_manifest(text, contents.labels, where))
