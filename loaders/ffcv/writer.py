"""Writes one .beton file with FFCV's fields and allocator, in this process.

FFCV's own `DatasetWriter` hands samples to processes, and an error in one of them leaves it waiting for ever; here
errors are raised where they happen. Copying pictures needs no second core, and JPEG is encoded at OpenCV's speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.base import Classes, Split
from loaders.decoding.pictures import as_channels
from loaders.ffcv.layout import NAME_BYTES, SMALLEST_PAGE, VERSION
from loaders.ffcv.package import ffcv

PAGE = SMALLEST_PAGE
STEP = 256  # samples between two reports of progress
PICTURE, SAMPLE, MEAN = "image", "sample", "mean"


def field_names(labels: Sequence[str]) -> dict[str, str]:
    """Names the field of each label: as the label where FFCV can hold it, else its first letters, `~` and a number."""
    names: dict[str, str] = {}
    for number, label in enumerate(labels):
        ascii_only = label.encode("ascii", "replace").decode().replace("?", "_")
        fits = label.isascii() and len(label) <= NAME_BYTES and label not in (PICTURE, SAMPLE, MEAN)
        names[label] = label if fits else f"{ascii_only[: NAME_BYTES - 5]}~{number}"
    return names


def write_split(
    file: Path,
    images: NDArray[np.uint8],
    split: Split,
    mean: NDArray[np.float32],
    *,
    jpeg: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Writes the .beton file of a split, its samples in their order.

    Fields: `image` (RGB; gray faces have three equal channels), `sample` (id in the manifest), `mean` (float32, 3),
    and each label under the name that `field_names` gives it: int64, -1 where missing, for classes; float32, NaN
    where missing, for numbers.

    Args:
        file: To be written; an existing one is replaced.
        images: All faces of the store, uint8 "n h w c"; sample ids are their rows.
        split: The samples and their targets.
        mean: Mean colour of each sample of the split, "m 3".
        jpeg: Quality of JPEG pictures, 1 to 100; None stores the pixels as they are.
        advance: Told how many samples more are written.

    Raises:
        ValueError: FFCV is not installed, or `jpeg` is out of range.
        OSError: The disk is full, or the file cannot be written.
    """
    check_quality(jpeg)
    types = ffcv("ffcv.types")
    fields = _fields(types, split, jpeg)
    height, width, _ = split.shape
    largest = height * width * 3 + 4 * sum(_width(split, label) for label in split.labels) + (1 << 12)
    page = max(PAGE, 1 << (largest - 1).bit_length())
    if page > 1 << 31:
        raise ValueError(f"FFCV: faces (={width} x {height}) must fit a page of 2 GiB; make them smaller with --size")
    header = np.zeros(1, types.HeaderType)[0]
    header["version"], header["num_samples"] = VERSION, len(split.sample)
    header["num_fields"], header["page_size"] = len(fields), page
    descriptions = _descriptions(types, fields)
    records = np.zeros(len(split.sample), types.get_metadata_type(list(fields.values())))
    start = header.nbytes + descriptions.nbytes
    file.write_bytes(header.tobytes() + descriptions.tobytes())
    allocator = ffcv("ffcv.memory_allocator").MemoryAllocator(str(file), start + records.nbytes, page)
    encode = ffcv("ffcv.writer").handle_sample
    with allocator:
        for place, sample in enumerate(_samples(images, split, mean)):
            encode(sample, place, records.dtype.names, records, allocator, fields)
            if (place + 1) % STEP == 0:
                advance(STEP)
    advance(len(split.sample) % STEP)
    with file.open("r+b") as stream:
        stream.seek(start)
        stream.write(records.tobytes())
        header["alloc_table_ptr"] = stream.seek(0, 2)
        stream.write(np.array(allocator.allocations, types.ALLOC_TABLE_TYPE).tobytes())
        stream.seek(0)
        stream.write(header.tobytes())


def check_quality(jpeg: int | None) -> None:
    """Refuses a quality of JPEG that is none.

    Raises:
        ValueError: `jpeg` is not None and not in 1..100.
    """
    if jpeg is not None and not 1 <= jpeg <= 100:
        raise ValueError(f"FFCV: jpeg (={jpeg}) must be a quality of 1 to 100; leave it out for exact pixels")


def _width(split: Split, label: str) -> int:
    return int(np.prod(split.target[label].shape[1:]))


def _fields(types: Any, split: Split, jpeg: int | None) -> dict[str, Any]:
    mode = {"write_mode": "raw"} if jpeg is None else {"write_mode": "jpg", "jpeg_quality": jpeg}
    number = np.dtype("<f4")
    fields = {
        PICTURE: types.RGBImageField(**mode),
        SAMPLE: types.IntField(),
        MEAN: types.NDArrayField(number, (3,)),
    }
    for label, name in field_names(list(split.labels)).items():
        of_classes = isinstance(split.labels[label], Classes)
        fields[name] = types.IntField() if of_classes else types.NDArrayField(number, (_width(split, label),))
    return fields


def _descriptions(types: Any, fields: dict[str, Any]) -> NDArray[np.void]:
    kind_of = {kind: number for number, kind in types.TYPE_ID_HANDLER.items()}
    found = np.zeros(len(fields), types.FieldDescType)
    for place, (name, field) in enumerate(fields.items()):
        found[place]["type_id"] = kind_of[type(field)]
        found[place]["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
        found[place]["arguments"][:] = field.to_binary()[0]
    return found


def _samples(images: NDArray[np.uint8], split: Split, mean: NDArray[np.float32]) -> Iterator[tuple[Any, ...]]:
    """Yields the values of each sample, in the order of the fields and of the dtypes that they declare."""
    targets = [split.target[label].numpy() for label in split.labels]
    for place, sample in enumerate(split.sample.tolist()):
        yield (as_channels(images[sample], 3), sample, mean[place], *(target[place] for target in targets))
