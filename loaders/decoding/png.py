"""Drops from PNG files what no pixel depends on: Pillow refuses a file whose texts or colour profile are long."""

from __future__ import annotations

from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
ORIENTED = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""How texts begin that may say which way is up."""


def lighter(data: bytes) -> Iterator[bytes]:
    """Yields a PNG file without its other texts, then without any; nothing of what is no PNG or has none."""
    if data.startswith(SIGNATURE):
        without = [b"".join(_kept(data, begins)) for begins in (ORIENTED, ())]
        yield from (each for each in without if len(each) < len(data))


def _kept(data: bytes, begins: tuple[bytes, ...]) -> Iterator[bytes]:
    """Cuts the file into chunks (length, kind, body, checksum) and leaves texts out that do not begin so."""
    yield SIGNATURE
    at = len(SIGNATURE)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] not in TEXTS or data.startswith(begins, at + 8):
            yield data[at:end]
        at = end
