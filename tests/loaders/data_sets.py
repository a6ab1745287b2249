"""Data sets made on the spot: pictures that carry their own label in their pixels, and rows of FER2013."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("angry", "happy", "sad")
COUNTS = {"train": (11, 8, 4), "val": (3, 4, 0), "test": (1, 1, 1)}

Rows = list[tuple[int, NDArray[np.uint8], str]]
"""(emotion, pixels, Usage) of each row of FER2013."""


def picture(kind: int, place: int, height: int = 10, width: int = 10) -> NDArray[np.uint8]:
    """A random RGB picture whose first pixel says its class and its place in the class."""
    pixels = np.random.default_rng([kind, place]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[0, 0] = (kind, place, 77)
    return pixels


def write_folders(root: Path, counts: Mapping[str, tuple[int, ...]] = COUNTS) -> Path:
    """`<split>/<class>/*.png`; a split named "" leaves its level out."""
    for split, of in counts.items():
        for kind, (name, count) in enumerate(zip(CLASSES, of, strict=True)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for place in range(count):
                Image.fromarray(picture(kind, place)).save(folder / f"{place:03}.png")
    return root


def fer_rows() -> Rows:
    """70 faces, more than are parsed together; every emotion in every split."""
    usage = ["Training"] * 50 + ["PublicTest"] * 10 + ["PrivateTest"] * 10
    draw = np.random.default_rng(0)
    return [(i % 7, draw.integers(0, 256, (48, 48), dtype=np.uint8), usage[i]) for i in range(70)]


def fer_text(rows: Rows) -> str:
    """The rows as fer2013.csv holds them."""
    lines = [f"{emotion},{pixel_text(pixels)},{usage}" for emotion, pixels, usage in rows]
    return "\n".join(["emotion,pixels,Usage", *lines]) + "\n"


def pixel_text(pixels: NDArray[np.uint8]) -> str:
    return " ".join(map(str, pixels.ravel().tolist()))
