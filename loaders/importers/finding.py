"""Finds the faces of pictures that a data set gives whole, so that they are cut out while the store is written."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from loaders.decoding.crops import Crop, check_crop
from loaders.decoding.pictures import Form, UnreadableError, decode
from loaders.decoding.records import Contents, Record, Skipped
from loaders.detection import FaceDetector

NO_FACE, NO_SQUARE = "no face found", "face that cannot be cut out"
_WHOLE = Form(colour="rgb")


def with_faces_found(contents: Contents, where: str, *, find: bool, crop: Crop, margin: float) -> Contents:
    """Lets the largest face of each picture be found and cut out, where that is asked for.

    A picture without a face is skipped, with its reason. Pictures are searched one after another, as they are read.

    Args:
        contents: Of a source whose records are whole pictures.
        where: Begins errors.
        find: Whether it is asked for.
        crop: "align" turns faces upright by their landmarks, else they are cut around their box.
        margin: Share of the crop's side that is added on each side, 0..2.

    Raises:
        ValueError: A crop or margin is given and faces are not to be found, the margin is out of range, or a package
            of the extra `faces` is missing.
    """
    if not find:
        given = {"crop": crop if crop != "none" else None, "margin": margin or None}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{where}: {name} (={value}) must go with find; add it, or leave this out")
        return contents
    chosen: Crop = "align" if crop == "align" else "box"
    check_crop(where, chosen, margin)
    detector = FaceDetector(where)
    how = "turned upright by their landmarks" if chosen == "align" else "cut around their box"
    note = (
        f"faces were found by CenterFace and {how}, margin {margin:g}: of a picture with several the largest; pictures "
        "in which none was found are skipped"
    )
    return replace(
        contents,
        notes=(*contents.notes, note),
        records=lambda: _found(contents.records(), detector, chosen, margin),
    )


def _found(
    records: Generator[Record | Skipped, None, None], detector: FaceDetector, crop: Crop, margin: float
) -> Generator[Record | Skipped, None, None]:
    with closing(records):
        for record in records:
            yield record if isinstance(record, Skipped) else _with_face(record, detector, crop, margin)


def _with_face(record: Record, detector: FaceDetector, crop: Crop, margin: float) -> Record | Skipped:
    try:
        faces = detector(decode(record.picture, _WHOLE))
    except UnreadableError as error:
        return Skipped(record.path, error.reason, error.detail)
    if not faces:
        return Skipped(record.path, NO_FACE)
    square = max(faces, key=lambda face: face.side).square(crop, margin)
    if square is None:
        return Skipped(record.path, NO_SQUARE, "its landmarks lie on one another")
    return replace(record, box=square)
