"""Draws heads on purpose: plain, symmetric ones at a stated pose, where the product draws random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from loaders.synthetic.scene import paint_faces
from loaders.synthetic.tables import Faces, Uniform, faces_from

_PLAIN = {
    "expression": 0.0,  # Neutral
    "Look.hair": 0.0,  # short
    "Look.fringe": 0.0,
    "Setting.shape": 0.0,
    "Setting.ground_turn": 0.25,  # from top to bottom
    "Setting.blur": 0.0,
    "Setting.noise": 0.0,
}


def middle(n: int = 1, streams: Mapping[str, float] | None = None) -> Uniform:
    """Stands in for the generator: every stream gives the middle of its range, but those named."""
    given = _PLAIN | dict(streams or {})
    return lambda name: np.full((n, 1), given.get(name, 0.5))


def heads(n: int = 1, streams: Mapping[str, float] | None = None, **angles: float) -> Faces:
    """n heads that are alike; `angles` are yaw, pitch and roll in degrees, `streams` as for `middle`."""
    faces = faces_from(middle(n, streams), np.zeros(n, np.uint64))
    return replace(faces, **{name: np.full((n, 1), angle) for name, angle in angles.items()})


def picture(size: int, streams: Mapping[str, float] | None = None, **angles: float) -> NDArray[np.uint8]:
    """One such head, "size size 3"."""
    return paint_faces(heads(1, streams, **angles), size)[0]
