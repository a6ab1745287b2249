"""Reading a tiny copy of a data set back, and drawn heads whose pose a label must tell."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loaders.decoding.pictures import Form
from loaders.decoding.reading import Face, read_faces
from loaders.importers import Importer, Record, Skipped
from tests.posed_heads import picture

Pose = tuple[float, float, float]
"""Yaw, pitch, roll in degrees."""


def listed(importer: Importer) -> tuple[list[Record], list[Skipped]]:
    """What an importer lists, without opening a picture; its total must be kept."""
    contents = importer.survey()
    with closing(contents.records()) as records:
        found = list(records)
    kept = [record for record in found if isinstance(record, Record)]
    skipped = [record for record in found if isinstance(record, Skipped)]
    assert all(record.labels.keys() <= contents.labels.keys() for record in kept)
    return kept, skipped


def faces(importer: Importer, size: int) -> tuple[list[Face], list[Skipped]]:
    """The decoded faces of an importer."""
    with closing(importer.survey().records()) as records, closing(read_faces(records, Form(size), workers=1)) as chunks:
        found = [face for chunk in chunks for face in chunk]
    return [f for f in found if isinstance(f, Face)], [f for f in found if isinstance(f, Skipped)]


def splits(records: list[Record]) -> Counter[str]:
    return Counter(record.split for record in records)


def save(path: Path, pixels: NDArray[np.uint8] | None = None, seed: int = 0) -> Path:
    """Write a picture, by default 12 x 12 random pixels; folders are made."""
    if pixels is None:
        pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@functools.cache
def head(pose: Pose, size: int) -> NDArray[np.uint8]:
    """A drawn head, "size size 3". Do not change it."""
    yaw, pitch, roll = pose
    return picture(size, yaw=yaw, pitch=pitch, roll=roll)


def told_pose(pixels: NDArray[np.uint8], pose: Pose) -> Pose:
    """Of all heads with these angles, whatever their signs and order, the pose of the one most like the picture."""
    angles = sorted({abs(angle) for angle in pose})
    poses = {
        tuple(sign * angle for sign, angle in zip(signs, order, strict=True))
        for order in itertools.permutations(angles)
        for signs in itertools.product((1, -1), repeat=3)
    }
    error = {p: np.abs(head(p, len(pixels)).astype(float) - pixels).mean() for p in poses}
    return min(error, key=error.__getitem__)  # type: ignore[return-value]
