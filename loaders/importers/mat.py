"""Reads arrays of numbers from MATLAB files of version 5 to 7, of which damaged ones end SciPy's reader in a crash.

The format is MathWorks' "MAT-File Format": a header of 128 bytes, then elements, each a type, a length and its bytes,
which fill up to a multiple of eight. A matrix is an element of elements: flags, sizes, name, numbers column by column.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_MOST_BYTES = 1 << 26
"""Of what is unpacked: a face's landmarks and shape take some kilobytes."""


def read_mat(file: Path, names: Collection[str]) -> dict[str, NDArray[np.float64]]:
    """Reads the arrays of these names; what is not there, or holds no real numbers, is left out.

    Raises:
        ValueError: It is of another format, cut or damaged.
        OSError: It cannot be read.
    """
    data = file.read_bytes()
    if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
        raise ValueError("it is no MATLAB file of version 5 to 7")
    order = "<" if data[126:128] == b"IM" else ">"
    found = {}
    try:
        for kind, body in _elements(data[128:], order):
            if kind == _COMPRESSED:
                ((kind, body),) = list(_elements(zlib.decompressobj().decompress(body, _MOST_BYTES), order))[:1]
            if kind == _MATRIX and (named := _matrix(body, order)) is not None and named[0] in names:
                found[named[0]] = named[1]
    except (struct.error, zlib.error, ValueError, LookupError, RuntimeError) as error:
        raise ValueError(f"it is cut or damaged ({error})") from error
    return found


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yields the type and the bytes of each element."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(f"{order}II", data, at)
        begin = at + 8
        if kind >> 16:  # a small one: the length stands in the type, the bytes in the length's place
            kind, length, begin = kind & 0xFFFF, kind >> 16, at + 4
        if begin + length > len(data):
            raise ValueError(f"an element of {length} bytes at {at} ends behind the file")
        yield kind, data[begin : begin + length]
        whole = begin + length
        at = whole if kind == _COMPRESSED else whole + -whole % 8


def _matrix(body: bytes, order: str) -> tuple[str, NDArray[np.float64]] | None:
    """Reads a matrix with its name; None where it is empty, complex, or of text, cells or structures."""
    parts = _elements(body, order)
    flags = next(parts, None)
    if flags is None:
        return None
    kind, complex_ = flags[1][0 if order == "<" else 3], flags[1][1 if order == "<" else 2] & 8
    if complex_ or not 6 <= kind <= 15:
        return None
    (_, sizes), (_, name), (stored, numbers) = next(parts), next(parts), next(parts)
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    values = np.frombuffer(numbers, f"{order}{_NUMBERS[stored]}").astype(np.float64)
    return name.decode("latin-1"), values.reshape(shape, order="F")
