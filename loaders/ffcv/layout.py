"""Checks the layout of a .beton file of FFCV 1.0, read with numpy alone.

    header          24 bytes: version 2, fields, size of a page, samples, address of the table of data
    fields          1,041 bytes each: kind, name of at most 16 bytes, arguments
    samples         one aligned record each: for a picture its mode, width, height and address, for a number itself,
                    for an array its address
    pages           the data, none over the edge of a page
    table of data   to the end of the file: sample, address and size of every piece of data

FFCV trusts all of it: what is wrong ends the process inside its compiled code, so it is checked here first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loaders.store.opening import AGAIN

VERSION = 2
HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
FIELD = np.dtype([("kind", "u1"), ("name", "S16"), ("arguments", "u1", (1024,))], align=True)
DATA = np.dtype([("sample", "<u8"), ("address", "<u8"), ("size", "<u8")])
PICTURE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("address", "<u8")])
OF_KIND = {0: np.dtype("<f8"), 1: np.dtype("<i8"), 2: PICTURE, 4: np.dtype("<u8")}
"""Kinds of field that `loaders.prepare` writes, and what a sample's record holds for them."""
JPEG, RAW = 0, 1  # modes of a picture
SMALLEST_PAGE = 1 << 21
NAME_BYTES = 16


@dataclass(frozen=True, slots=True, eq=False)
class BetonFile:
    """Names a .beton file whose layout holds."""

    path: Path
    bytes: int
    fields: tuple[str, ...]
    """Names, the picture's first."""
    samples: int


def check_layout(path: Path, *, bytes: int, samples: int, shape: tuple[int, int]) -> BetonFile:
    """Reads the layout of a file written by `loaders.prepare` and refuses one that FFCV could not read.

    Args:
        path: The file.
        bytes: Its length when it was written.
        samples: Samples that it must hold.
        shape: (height, width) of each picture.

    Raises:
        ValueError: The file is missing, cut or damaged.
    """
    where = f"file {path}"
    if not path.is_file():
        raise ValueError(f"{where}: must be there; it is missing, {AGAIN}")
    length = path.stat().st_size
    if length != bytes:
        raise ValueError(f"{where}: must have {bytes} bytes; it has {length}, so it was cut or changed, {AGAIN}")

    def demand(holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{where}: {rule}; it is damaged, {AGAIN}")

    demand(length >= HEADER.itemsize, f"must begin with a header of {HEADER.itemsize} bytes")
    header = np.fromfile(path, HEADER, count=1)[0]
    demand(int(header["version"]) == VERSION, f"version (={header['version']}) must be {VERSION}")
    page, table = int(header["page"]), int(header["table"])
    demand(page >= SMALLEST_PAGE and page & (page - 1) == 0, f"page (={page}) must be a power of 2 from 2 MiB on")
    demand(int(header["samples"]) == samples, f"samples (={header['samples']}) must be {samples}")
    fields = np.fromfile(path, FIELD, count=int(header["fields"]), offset=HEADER.itemsize)
    kinds = [int(kind) for kind in fields["kind"]]
    demand(
        len(fields) == header["fields"] > 0 and kinds[0] == 2 and set(kinds) <= OF_KIND.keys(),
        f"fields (={kinds}) must begin with a picture and be of kinds {', '.join(map(str, OF_KIND))}",
    )
    record = np.dtype([("", OF_KIND[kind]) for kind in kinds], align=True)
    start = HEADER.itemsize + fields.nbytes
    first = start + samples * record.itemsize
    pieces, rest = divmod(length - table, DATA.itemsize)
    demand(first <= table <= length and rest == 0, f"table (={table}) must lie behind the samples and fill the file")
    data = np.fromfile(path, DATA, count=pieces, offset=table)
    # Compared from both sides, so that no sum can pass 2**64.
    inside = (data["address"] >= first) & (data["address"] <= table) & (data["size"] <= table - data["address"])
    demand(bool(inside.all()), "data must lie between the samples and the table")
    pictures = np.fromfile(path, record, count=samples, offset=start)["f0"]
    _check_pictures(pictures, data, shape, demand)
    return BetonFile(path, length, tuple(name.decode("ascii", "replace") for name in fields["name"].tolist()), samples)


def _check_pictures(
    pictures: NDArray[np.void], data: NDArray[np.void], shape: tuple[int, int], demand: Callable[[bool, str], None]
) -> None:
    height, width = shape
    demand(
        bool(((pictures["height"] == height) & (pictures["width"] == width)).all()),
        f"pictures must be {width} x {height} (width x height)",
    )
    raw = pictures["mode"] == RAW
    demand(bool((raw | (pictures["mode"] == JPEG)).all()), "pictures must be raw or JPEG")
    order = np.argsort(data["address"], kind="stable")
    addresses = data["address"][order]
    place = np.minimum(np.searchsorted(addresses, pictures["address"]), max(0, len(addresses) - 1))
    found = len(addresses) > 0 and bool((addresses[place] == pictures["address"]).all())
    demand(found, "pictures must have an entry in the table of data")
    sizes = data["size"][order][place]
    demand(bool((~raw | (sizes == height * width * 3)).all()), f"raw pictures must have {height * width * 3} bytes")
