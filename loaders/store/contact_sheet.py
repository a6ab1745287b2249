"""Draws a contact sheet of a store: one picture of what its classes look like, and of what looks wrong."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from loaders.base import Classes, Numbers
from loaders.store.manifest import in_usual_order
from loaders.store.opening import Store

COLUMNS = 12
TILE = 96
NAMES = 170
GAP = 2
CAPTION = 32
ROWS = 60
"""At most this many rows; what is beyond is not drawn and the last row says how many."""


def draw_sheet(store: Store, suspects: Mapping[str, Sequence[int]]) -> Image.Image:
    """Draws rows of up to 12 faces: each class in each split, or a label of numbers from low to high; then suspects.

    Args:
        store: An opened store.
        suspects: Title of a row to the sample ids shown in it; empty ones are left out.

    Returns:
        An RGB picture; equal stores give equal ones.
    """
    rows = [*_rows_of_labels(store), *((title, list(samples)) for title, samples in suspects.items() if samples)]
    if len(rows) > ROWS:
        rows = [*rows[: ROWS - 1], (f"and {len(rows) - ROWS + 1} more rows", [])]
    width, height = NAMES + COLUMNS * (TILE + GAP), len(rows) * (TILE + GAP)
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for place, (title, samples) in enumerate(rows):
        top = place * (TILE + GAP)
        pen.multiline_text((6, top + 8), title, fill=(0, 0, 0), font=font, spacing=4)
        for column, sample in enumerate(samples[:COLUMNS]):
            sheet.paste(_tile(store, sample), (NAMES + column * (TILE + GAP), top))
    return sheet


def draw_captioned(store: Store, cells: Sequence[tuple[Sequence[int], str]], *, columns: int) -> Image.Image:
    """Draws faces in rows, each with two lines of text below.

    Args:
        store: An opened store.
        cells: The sample ids of a cell, as many in each, which are drawn side by side, and its text.
        columns: Cells of a row.

    Returns:
        An RGB picture.
    """
    faces = max((len(samples) for samples, _ in cells), default=1)
    width, height = faces * (TILE + GAP) + 4 * GAP, TILE + CAPTION
    sheet = Image.new("RGB", (columns * width, max(1, -(-len(cells) // columns)) * height), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for place, (samples, text) in enumerate(cells):
        left, top = place % columns * width, place // columns * height
        for number, sample in enumerate(samples):
            sheet.paste(_tile(store, sample), (left + number * (TILE + GAP), top))
        pen.multiline_text((left + 1, top + TILE), text, fill=(0, 0, 0), font=font, spacing=1)
    return sheet


def _tile(store: Store, sample: int) -> Image.Image:
    face = np.array(store.images[sample])
    image = Image.fromarray(face[:, :, 0] if face.shape[2] == 1 else face).convert("RGB")
    scale = Image.Resampling.LANCZOS if image.width > TILE else Image.Resampling.NEAREST
    return image.resize((TILE, TILE), scale)


def _rows_of_labels(store: Store) -> Iterator[tuple[str, list[int]]]:
    manifest = store.manifest
    for number, split in sorted(enumerate(manifest.splits), key=lambda item: in_usual_order(item[1])):
        members = torch.nonzero(manifest.split == number).flatten()
        classes = [(name, label) for name, label in manifest.labels.items() if isinstance(label, Classes)]
        if classes:
            # One label is enough to look at; the first is the one the data set is known for.
            first, kinds = classes[0]
            value = manifest.target[first][members]
            for index, of in enumerate(kinds.names):
                yield f"{split}\n{first}\n{of}", _some(members[value == index])
            continue
        for name, label in manifest.labels.items():
            for column, part in enumerate(label.columns if isinstance(label, Numbers) else ()):
                value = manifest.target[name][members, column]
                ordered = members[torch.argsort(value, stable=True)][: int((~value.isnan()).sum())]
                if len(ordered):
                    low, high = manifest.target[name][ordered[[0, -1]], column].tolist()
                    yield f"{split}\n{name}.{part}\n{low:.4g} to {high:.4g}", _spread(ordered)


def _some(samples: torch.Tensor) -> list[int]:
    """Makes a fixed choice that does not follow the order of the source, where neighbours look alike."""
    return sorted(samples.tolist(), key=lambda sample: zlib.crc32(str(sample).encode()))[:COLUMNS]


def _spread(samples: torch.Tensor) -> list[int]:
    places = torch.linspace(0, len(samples) - 1, min(COLUMNS, len(samples))).round().long()
    return [int(sample) for sample in samples[places]]
