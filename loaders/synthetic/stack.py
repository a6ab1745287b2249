"""Collects the shapes of a chunk of faces, bottom first, for the rasteriser.

Every face of a chunk has the same list of layers; one that a face does not show has alpha 0. Shapes come in head units
(half a head's width is about 1) and leave in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float64, Int8, Int64

Array = npt.NDArray[np.float64]

NONE, HEAD, NECK, HAIR, OPENING, BELOW_HAT, HAT, EYE_LEFT, EYE_RIGHT, MOUTH = -1, 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Coverage planes: a layer may keep its coverage in one, and later layers may be clipped to it or carved by it."""
SLOTS = 9


@dataclass(frozen=True, slots=True)
class Layers:
    """l layers of n faces, v vertices in all; a blob's three vertices are its centre and the ends of its axes."""

    points: Float64[np.ndarray, "n v 2"]
    first: Int64[np.ndarray, " l+1"]
    soft: Bool[np.ndarray, " l"]
    """True for a blob, False for a polygon."""
    clip: Int8[np.ndarray, " l"]
    carve: Int8[np.ndarray, " l"]
    keep: Int8[np.ndarray, " l"]
    lit: Float64[np.ndarray, " l"]
    """0 keeps the colour, 1 multiplies it by the head's shading."""
    paint: Float64[np.ndarray, "n l 4"]
    """RGB on 0..255 and alpha on 0..1."""


class Stack:
    """Layers of n faces in the order they are painted."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._points: list[Array] = []
        self._paint: list[Array] = []
        self._row: list[tuple[bool, int, int, int, float]] = []

    def polygon(
        self,
        points: Float64[np.ndarray, "n k 2"],
        colour: Float64[np.ndarray, "n 3"],
        alpha: Float64[np.ndarray, " n"] | float = 1.0,
        *,
        lit: float = 1.0,
        clip: int = NONE,
        carve: int = NONE,
        keep: int = NONE,
    ) -> None:
        """A filled closed polygon."""
        self._add(False, points, colour, alpha, lit, clip, carve, keep)

    def stroke(
        self,
        points: Float64[np.ndarray, "n k 2"],
        width: Float64[np.ndarray, "n k"] | Float64[np.ndarray, "n 1"],
        colour: Float64[np.ndarray, "n 3"],
        alpha: Float64[np.ndarray, " n"] | float = 1.0,
        *,
        lit: float = 1.0,
        clip: int = NONE,
        carve: int = NONE,
        keep: int = NONE,
    ) -> None:
        """An open line with its full width at each point."""
        along = np.empty_like(points)
        along[:, 1:-1] = points[:, 2:] - points[:, :-2]
        along[:, 0], along[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
        length = np.sqrt(along[..., 0] ** 2 + along[..., 1] ** 2) + 1e-9
        half = 0.5 * width / length
        side = np.stack([-along[..., 1] * half, along[..., 0] * half], axis=-1)
        outline = np.concatenate([points + side, (points - side)[:, ::-1]], axis=1)
        self._add(False, outline, colour, alpha, lit, clip, carve, keep)

    def blob(
        self,
        points: Float64[np.ndarray, "n 3 2"],
        colour: Float64[np.ndarray, "n 3"],
        alpha: Float64[np.ndarray, " n"] | float = 1.0,
        *,
        lit: float = 1.0,
        clip: int = NONE,
        carve: int = NONE,
    ) -> None:
        """A Gaussian: centre, and the ends of two axes one standard deviation long."""
        self._add(True, points, colour, alpha, lit, clip, carve, NONE)

    def _add(
        self,
        soft: bool,
        points: Array,
        colour: Array,
        alpha: Array | float,
        lit: float,
        clip: int,
        carve: int,
        keep: int,
    ) -> None:
        assert points.shape[0] == self.n, points.shape
        assert points.shape[1] >= 3, points.shape
        paint = np.empty((self.n, 4))
        paint[:, :3], paint[:, 3] = colour, alpha
        self._points.append(points)
        self._paint.append(paint)
        self._row.append((soft, clip, carve, keep, lit))

    def layers(self, *, centre: Float64[np.ndarray, "n 2"], scale: Float64[np.ndarray, " n"]) -> Layers:
        """All layers in pixels: head units times `scale` about `centre`."""
        points = np.concatenate(self._points, axis=1) * scale[:, None, None] + centre[:, None, :]
        counts = [p.shape[1] for p in self._points]
        soft, clip, carve, keep, lit = zip(*self._row, strict=True)
        return Layers(
            points=np.ascontiguousarray(points),
            first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            soft=np.array(soft, np.bool_),
            clip=np.array(clip, np.int8),
            carve=np.array(carve, np.int8),
            keep=np.array(keep, np.int8),
            lit=np.array(lit, np.float64),
            paint=np.ascontiguousarray(np.stack(self._paint, axis=1)),
        )
