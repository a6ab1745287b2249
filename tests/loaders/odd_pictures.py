"""Pictures as other programs write them: clear colours, orientation in odd places, long texts."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from loaders.decoding.png import SIGNATURE


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(header: bytes, *chunks: tuple[bytes, bytes], rows: bytes) -> bytes:
    """A PNG as it is written by others: depth and colour type, further chunks, and rows with their filter bytes."""
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def exif(*entries: bytes, count: int | None = None, order: str = "<") -> bytes:
    """An Exif block with entries of its first directory, of which it says how many there are."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    number = len(entries) if count is None else count
    return b"Exif\0\0" + start + struct.pack(f"{order}IH", 8, number) + b"".join(entries) + b"\0\0\0\0"


def turned(value: int, kind: int = 3, number: int = 1, order: str = "<") -> bytes:
    """The entry of the orientation."""
    body = struct.pack(f"{order}I", value) if kind == 4 else struct.pack(f"{order}HH", value, 0)
    return struct.pack(f"{order}HHI", 0x112, kind, number) + body


XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
ODD = {
    "none": ([], 1),
    "plain": ([exif(turned(6))], 6),
    "big-endian": ([exif(turned(6, order=">"), order=">")], 6),
    "as a long number": ([exif(turned(6, kind=4))], 6),
    "wrong count": ([exif(turned(6), count=50)], 6),
    "after another segment": ([b"http://elsewhere\0", exif(turned(6))], 6),
    "in XMP alone": ([XMP], 6),
    "out of range": ([exif(turned(9))], 1),
    "no number": ([exif(turned(6, kind=2))], 1),
    "noise": ([b"Exif\0\0" + bytes(range(60))], 1),
    "empty": ([b"Exif\0\0"], 1),
    "cut": ([exif(turned(6))[:20]], 1),
    "directory out of reach": ([b"Exif\0\0II*\0\xff\xff\0\0"], 1),
    "twice": ([exif(turned(6)), exif(turned(3))], 6),
    "beside a tag that cannot be written again": ([exif(struct.pack("<HHII", 0x8769, 2, 9, 4), turned(6))], 6),
}
"""What stands in APP1 segments of a JPEG, and how the picture is turned."""


def jpeg_with(segments: list[bytes], image: Image.Image) -> bytes:
    data = encoded(image, "jpeg", quality=95, subsampling=0)
    return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments) + data[2:]


HEADER = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0)
ROWS = b"\0\1\2\3\0\4\5\6"
LONG = zlib.compress(b"x" * 3_000_000)
ORIENTED = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
"""An uncompressed iTXt chunk that says that the picture is turned."""


def long_text() -> PngInfo:
    """Holds a text that Pillow refuses to read."""
    info = PngInfo()
    info.add_text("history", "x" * 3_000_000, zip=True)
    return info
