"""Data sets made on the spot: pictures that carry their own label in their pixels, and rows of FER2013."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from loaders import Classes, Faces, Label, Split

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


@dataclass(frozen=True)
class Given:
    """Faces of 2 x 2 that are one gray level each, by split; with labels in turn."""

    levels: Mapping[str, tuple[int, ...]]
    labels: Mapping[str, Label]

    def open(self, split: str, device: torch.device | str) -> Faces:
        if split not in self.levels:
            raise ValueError(f"given: split (={split!r}) must be one of {', '.join(self.levels)}")
        levels = torch.tensor(self.levels[split], dtype=torch.uint8)
        n = len(levels)
        target = {
            name: torch.arange(n) % len(label.names) if isinstance(label, Classes) else torch.zeros(n, 1)
            for name, label in self.labels.items()
        }
        pixels = levels[:, None, None, None].expand(n, 2, 2, 1).contiguous()
        part = Split(split, torch.arange(n), (2, 2, 1), self.labels, target)
        return Faces(part, levels[:, None].expand(n, 3).float(), pixels, torch.device("cpu"))
