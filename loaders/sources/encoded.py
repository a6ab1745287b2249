"""Picture files as DALI gets them: the file's bytes and the part that is shown, or a finished face in their place.

DALI decodes JPEG and PNG of 8-bit gray or RGB as `loaders.decoding.pictures` does. Pictures that it would show
otherwise (turned ones, 16 bits, transparency, CMYK, palettes, long texts, other formats), crops that are turned or
leave the picture, and what is padded, are decoded, cut and resized there and given to DALI as uncompressed PNM, so that
every source shows the same face.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loaders.decoding.crops import Square
from loaders.decoding.pictures import Box, Form, UnreadableError, decode, plain, window
from loaders.decoding.records import Record
from loaders.sources.kept import remember
from loaders.sources.scan import Scanned


@dataclass(frozen=True, slots=True)
class Encoded:
    """One picture file that was readable when its split was opened."""

    record: Record
    length: int
    """Bytes of the file."""
    shown: Box | None
    """Left, top, right, bottom of what is shown, in pixels of the picture; None where it is given finished."""

    def read(self, form: Form) -> NDArray[np.uint8]:
        """The bytes of the file, or those of the finished face.

        Raises:
            ValueError: The file has changed since.
        """
        path = self.record.picture
        assert isinstance(path, Path)
        try:
            data = _read(path, self.length)
            if len(data) != self.length:
                raise ValueError(
                    f"dali: {self.record.path} must stay as it was when it was opened; it changed, open it again"
                )
            return data if self.shown is not None else _pnm(decode(path, form, self.record.box))
        except (OSError, UnreadableError) as error:
            raise _unreadable(self.record, error) from error


def _read(path: Path, length: int) -> NDArray[np.uint8]:
    """A file of this length, or a byte more than it where it has grown. Numpy and `open` take several times as long."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(file, length + 1)
        while len(data) < length and (more := os.read(file, length + 1 - len(data))):
            data += more
    finally:
        os.close(file)
    return np.frombuffer(data, np.uint8)


def look_at_all(scanned: Scanned, form: Form) -> Sequence[Encoded]:
    """How DALI gets each picture, by sample id; what the headers of the files say is kept (`loaders.sources.kept`).

    Raises:
        ValueError: A file has changed since it was scanned.
    """

    def headers() -> dict[str, NDArray[Any]]:
        return {"headers": np.array([_header(record) for record in scanned.records], np.int64).reshape(-1, 4)}

    found = remember(f"headers-{scanned.key}", headers)["headers"].tolist()
    return [_encoded(record, header, form) for record, header in zip(scanned.records, found, strict=True)]


def _header(record: Record) -> tuple[int, int, int, int]:
    """Width and height of a picture that DALI reads as we do, whether it does, and bytes of the file."""
    path = record.picture
    assert isinstance(path, Path)
    try:
        length = path.stat().st_size
        with Image.open(path) as image:
            return *image.size, int(plain(image)), length
    except ValueError:  # a PNG with a text that is too long for Pillow, which decoding knows how to read
        return 0, 0, 0, length
    except (OSError, Image.DecompressionBombError) as error:
        raise _unreadable(record, error) from error


def _encoded(record: Record, header: Sequence[int], form: Form) -> Encoded:
    width, height, direct, length = header
    try:
        return Encoded(record, length, _shown((width, height), record, form) if direct else None)
    except UnreadableError as error:
        raise _unreadable(record, error) from error


def _unreadable(record: Record, error: Exception) -> ValueError:
    return ValueError(f"dali: {record.path} must stay readable while it is used; {error}, open the split again")


def _shown(upright: tuple[int, int], record: Record, form: Form) -> Box | None:
    width, height = upright
    if form.size is None:
        return 0.0, 0.0, float(width), float(height)
    if not isinstance(record.box, Square):
        shown = window(upright, form.fit, record.box)
        square = shown[2] - shown[0] == shown[3] - shown[1]
        return shown if square or form.fit != "pad" else None
    left, top, right, bottom = record.box.bounds()
    inside = left >= 0 and top >= 0 and right <= width and bottom <= height
    return (left, top, right, bottom) if record.box.turn == 0.0 and inside else None


def _pnm(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, channels = face.shape
    header = f"P{5 if channels == 1 else 6}\n{width} {height}\n255\n".encode()
    return np.concatenate([np.frombuffer(header, np.uint8), face.reshape(-1)])
