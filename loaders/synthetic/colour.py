"""Makes colours, RGB on 0..255, from columns of numbers on 0..1."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from loaders.synthetic.tables import Array, Column

Colour = Float64[Array, "n 3"]

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

_THIRDS = np.array((0.0, 2.0 / 3.0, 1.0 / 3.0))

BLACK = np.array((22.0, 16.0, 18.0))
WHITE = np.array((250.0, 247.0, 242.0))


def skin(tone: Column, ruddy: Column) -> Colour:
    """Tints skin from pale (0) to dark (1) and from yellowish (0) to reddish (1)."""
    tinted: Colour = _along(_SKIN, tone) * (1.0 + (ruddy - 0.5) * np.array((0.05, -0.05, -0.09)))
    return tinted


def hair(t: Column) -> Colour:
    """Goes from black over brown, red and fair to white."""
    return _along(_HAIR, t)


def iris(t: Column) -> Colour:
    """Goes from brown over green to blue and gray."""
    return _along(_IRIS, t)


def hue(h: Column, saturation: Column | float, value: Column | float) -> Colour:
    """Converts hue (once round on 0..1), saturation and value, each on 0..1."""
    ramp = np.clip(np.abs((h + _THIRDS) % 1.0 * 6.0 - 3.0) - 1.0, 0.0, 1.0)
    converted: Colour = 255.0 * value * (1.0 - saturation + saturation * ramp)
    return converted


def mix(a: Colour, b: Colour, t: Column | float) -> Colour:
    """Goes from colour a (t = 0) to colour b (t = 1)."""
    mixed: Colour = a + (b - a) * t
    return mixed


def _along(palette: Float64[Array, "m 3"], t: Column) -> Colour:
    """Finds a point of the broken line through the palette's colours."""
    place = np.clip(t, 0.0, 1.0) * (len(palette) - 1)
    low = np.minimum(place.astype(np.int64), len(palette) - 2)
    share = place - low
    found: Colour = palette[low[:, 0]] * (1.0 - share) + palette[low[:, 0] + 1] * share
    return found
