"""Colours (RGB on 0..255) from numbers on 0..1."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic.columns import Array

_SKIN = np.array(
    [
        (255, 224, 205),
        (246, 205, 178),
        (232, 184, 150),
        (213, 158, 120),
        (184, 127, 90),
        (148, 97, 67),
        (110, 71, 50),
        (80, 52, 39),
    ],
    np.float64,
)
_HAIR = np.array(
    [
        (28, 24, 26),
        (52, 36, 28),
        (88, 56, 34),
        (132, 82, 44),
        (172, 112, 56),
        (160, 68, 36),
        (206, 164, 96),
        (236, 208, 146),
        (150, 146, 144),
        (222, 220, 218),
    ],
    np.float64,
)
_IRIS = np.array(
    [(52, 34, 24), (92, 60, 32), (112, 104, 52), (76, 112, 78), (72, 116, 150), (104, 116, 126)], np.float64
)

BLACK = np.array((22.0, 16.0, 18.0))
WHITE = np.array((250.0, 247.0, 242.0))


def along(palette: Float64[np.ndarray, "m 3"], t: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 3"]:
    """A point on the broken line through the palette's colours, t on 0..1."""
    place = np.clip(t, 0.0, 1.0) * (len(palette) - 1)
    low = np.minimum(place.astype(np.int64), len(palette) - 2)
    share = (place - low)[:, None]
    colours: Array = palette[low] * (1.0 - share) + palette[low + 1] * share
    return colours


def skin(tone: Array, ruddy: Array) -> Array:
    """From pale (0) to dark (1), from yellowish (0) to reddish (1)."""
    tinted: Array = along(_SKIN, tone) * (1.0 + (ruddy[:, None] - 0.5) * np.array((0.05, -0.05, -0.09)))
    return tinted


def hair(t: Array) -> Array:
    """Black over brown, red and fair to white."""
    return along(_HAIR, t)


def iris(t: Array) -> Array:
    """Brown over green to blue and gray."""
    return along(_IRIS, t)


def hue(h: Array, saturation: Array | float, value: Array | float) -> Array:
    """Hue (once round on 0..1), saturation and value, each on 0..1."""
    s, v = (np.broadcast_to(np.asarray(x, np.float64), h.shape) for x in (saturation, value))
    ramp = [np.clip(np.abs((h + k) % 1.0 * 6.0 - 3.0) - 1.0, 0.0, 1.0) for k in (0.0, 2.0 / 3.0, 1.0 / 3.0)]
    return np.stack([255.0 * v * (1.0 - s + s * r) for r in ramp], axis=-1)


def mix(a: Array, b: Array, t: Array | float) -> Array:
    """From colour a (t = 0) to colour b (t = 1)."""
    share = np.asarray(t, np.float64)
    share = share[:, None] if share.ndim else share
    return a + (b - a) * share
