"""Cuts faces as squares of a picture: around a box, around landmarks, or turned so that they meet a template.

Coordinates are pixels of the upright picture with the origin at the outer corner of its first pixel. A square may reach
over the edge of its picture; there the nearest edge pixel is shown, as the view kernels do, so that faces at the edge
keep their scale and place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64
from PIL import Image

Crop = Literal["none", "box", "align"]
WIDEST = 2.0

# Eyes (image left, image right), tip of the nose, corners of the mouth (left, right) of an upright face in a square of
# side 1. Source: the 112 x 112 template of SphereFace and ArcFace, whose coordinates are pixel centres counted from 0.
TEMPLATE = (
    np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) + 0.5
) / 112.0


@dataclass(frozen=True, slots=True)
class Square:
    """Names a square of a picture.

    Attributes:
        x: Centre, pixels from the left.
        y: Centre, pixels from the top.
        side: Pixels.
        turn: Degrees in -180..180 by which it is turned clockwise on the screen.
    """

    x: float
    y: float
    side: float
    turn: float = 0.0

    def bounds(self) -> tuple[float, float, float, float]:
        """Computes left, top, right, bottom of the upright box that holds the square."""
        angle = math.radians(self.turn)
        reach = self.side / 2 * (abs(math.cos(angle)) + abs(math.sin(angle)))
        return self.x - reach, self.y - reach, self.x + reach, self.y + reach


def check_crop(where: str, crop: str, margin: float, allowed: tuple[Crop, ...] = get_args(Crop)) -> None:
    """Refuses a kind of crop that a data set does not have, and margins out of range.

    Raises:
        ValueError: `crop` is not in `allowed`, or `margin` is not in 0..2.
    """
    if crop not in allowed:
        raise ValueError(f"{where}: crop (={crop!r}) must be one of {', '.join(allowed)} here; choose one of them")
    if not 0.0 <= margin <= WIDEST:
        raise ValueError(
            f"{where}: margin (={margin}) must be in 0..{WIDEST:g}; it is the share of the side added on each side"
        )


def around_box(left: float, top: float, right: float, bottom: float, margin: float = 0.0) -> Square | None:
    """Takes the square about a box's centre: its longer side plus `margin` times that on each side.

    Returns:
        None if the box has no extent or a number is not finite.
    """
    side = max(right - left, bottom - top)
    if not (all(map(math.isfinite, (left, top, right, bottom))) and right > left and bottom > top):
        return None
    return Square((left + right) / 2, (top + bottom) / 2, side * (1 + 2 * margin))


def around_points(points: Float64[np.ndarray, "n 2"], margin: float = 0.0) -> Square | None:
    """Takes the square about the smallest box that holds landmarks; None if they have no extent."""
    if len(points) == 0:
        return None
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return around_box(left, top, right, bottom, margin)


def aligned(points: Float64[np.ndarray, "5 2"], margin: float = 0.0) -> Square | None:
    """Finds the square that shows five landmarks as near as possible to `TEMPLATE` (least squares over similarities).

    Args:
        points: Eyes (image left, image right), tip of the nose, corners of the mouth (left, right).
        margin: Shrinks the template about its centre, so that as much more is seen as `around_box` would add.

    Returns:
        None if the landmarks have no extent or a number is not finite.
    """
    assert points.shape == (5, 2)
    # As complex numbers a similarity without mirroring is p = a u + b; |a| is its scale and arg(a) its angle.
    wanted = (TEMPLATE - 0.5) @ np.array([1, 1j]) / (1 + 2 * margin)
    given = points @ np.array([1, 1j])
    centred = wanted - wanted.mean()
    a = complex(np.vdot(centred, given - given.mean()) / np.vdot(centred, centred).real)
    b = complex(given.mean() - a * wanted.mean())
    if not (np.isfinite(given).all() and abs(a) > 1.0):
        return None
    return Square(b.real, b.imag, abs(a), math.degrees(math.atan2(a.imag, a.real)))


def five_of_68(points: Float64[np.ndarray, "68 2"]) -> Float64[np.ndarray, "5 2"]:
    """Takes eye centres, tip of the nose and corners of the mouth from the 68 landmarks of 300-W (iBUG order)."""
    assert points.shape == (68, 2)
    return np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])


def cut(image: Image.Image, square: Square, size: int) -> Image.Image:
    """Shows a square of a picture upright, `size` pixels a side.

    Pixels are averaged down to two to four times the size, turned there with bicubic interpolation where a turn is
    asked for, and brought to size with Lanczos. Memory depends on `size`, not on the square. Beyond the picture the
    nearest pixel is shown, of the averaged picture where pixels are averaged.

    Args:
        image: Mode L or RGB.
        square: Must overlap the picture, and be so small that the picture is more than one pixel of what is shown.
        size: Pixels.
    """
    left, top, right, bottom = square.bounds()
    assert left < image.width
    assert top < image.height
    assert min(right, bottom) > 0
    factor = max(1, int(square.side / (2 * size)))
    # Two pixels more than the square on each side, where there are some: interpolation looks at neighbours.
    spare = 2 * factor
    first_x, first_y = max(0, math.floor(left) - spare), max(0, math.floor(top) - spare)
    end_x, end_y = min(image.width, math.ceil(right) + spare), min(image.height, math.ceil(bottom) + spare)
    part = image.reduce(factor, (first_x, first_y, end_x, end_y))
    bounds = (
        (left - first_x) / factor,
        (top - first_y) / factor,
        (right - first_x) / factor,
        (bottom - first_y) / factor,
    )
    part, shift_x, shift_y = _extended(part, bounds)
    x, y = (square.x - first_x) / factor + shift_x, (square.y - first_y) / factor + shift_y
    side = square.side / factor
    if square.turn == 0.0:
        box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
        return part.resize((size, size), Image.Resampling.LANCZOS, box)
    wide = max(size, math.ceil(side))
    step = side / wide
    cos, sin = step * math.cos(math.radians(square.turn)), step * math.sin(math.radians(square.turn))
    middle = wide / 2
    matrix = (cos, -sin, x - (cos - sin) * middle, sin, cos, y - (sin + cos) * middle)
    turned = part.transform((wide, wide), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return turned if wide == size else turned.resize((size, size), Image.Resampling.LANCZOS)


def _extended(part: Image.Image, bounds: tuple[float, float, float, float]) -> tuple[Image.Image, int, int]:
    """Repeats edge pixels as far as `bounds` reaches over; returns the shift of the origin too."""
    left, top, right, bottom = bounds
    over_x, over_y = max(0, math.ceil(-left)), max(0, math.ceil(-top))
    beyond_x, beyond_y = max(0, math.ceil(right) - part.width), max(0, math.ceil(bottom) - part.height)
    if not (over_x or over_y or beyond_x or beyond_y):
        return part, 0, 0
    pixels = np.asarray(part)
    pads = [(over_y + 2, beyond_y + 2), (over_x + 2, beyond_x + 2), (0, 0)][: pixels.ndim]
    return Image.fromarray(np.pad(pixels, pads, mode="edge")), over_x + 2, over_y + 2
