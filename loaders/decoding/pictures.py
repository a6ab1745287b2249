"""Decodes one picture file to one stored face: the only place that does, so that sources give the same bytes.

The picture is turned upright by its EXIF orientation, brought to gray or RGB, cropped and resized with Pillow's
Lanczos filter (`reducing_gap=3`: large pictures are first box-averaged to at least three times the target size).
16-bit gray is scaled to 8 bits, transparent parts lie over white, CMYK and palettes become RGB.
"""

from __future__ import annotations

import errno
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from loaders.decoding.crops import Square, cut
from loaders.decoding.records import Picture

Fit = Literal["crop", "stretch"]
Colour = Literal["auto", "gray", "rgb"]
Box = tuple[float, float, float, float]

# Errors of the file itself; any other (too many open files, no memory) would wrongly skip pictures that are fine.
FILE_ERRORS = (errno.ENOENT, errno.EACCES, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class Form:
    """Says what stored faces look like.

    Attributes:
        size: Side of the square face in pixels; by default pictures stay as they are and must share one size.
        fit: Crop a picture that is not square to its centre square, or stretch it.
        colour: One gray channel, three of RGB, or "auto": gray if every picture of the set is.
    """

    size: int | None = None
    fit: Fit = "crop"
    colour: Colour = "auto"

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= 4096:
            raise ValueError(f"pictures: size (={self.size}) must be 1 to 4096 pixels; leave it out to keep them as is")
        if self.fit not in get_args(Fit):
            raise ValueError(f"pictures: fit (={self.fit!r}) must be one of {', '.join(get_args(Fit))}; choose one")
        if self.colour not in get_args(Colour):
            raise ValueError(
                f"pictures: colour (={self.colour!r}) must be one of {', '.join(get_args(Colour))}; choose one"
            )


class UnreadableError(Exception):
    """Says why a picture cannot be used: `reason` is a fixed phrase, `detail` what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def decode(picture: Picture, form: Form, box: Box | Square | None = None) -> NDArray[np.uint8]:
    """Decodes, crops and resizes one picture.

    Args:
        picture: File, encoded bytes or decoded pixels.
        form: Size and colour; with colour "auto" a gray picture gives one channel and any other three.
        box: Crop in pixels of the upright picture: a box, cut off at its edges, or a square, which shows the nearest
            edge pixel where it reaches over.

    Returns:
        uint8 "h w c", c = 1 or 3.

    Raises:
        UnreadableError: The picture is missing, damaged, of a kind without a defined range, or outside its box.
        ValueError: A box without a size.
    """
    if box is not None and form.size is None:
        raise ValueError("pictures: size (=None) must be given where faces are cut from boxes; pass --size N")
    if isinstance(picture, np.ndarray) and form.size is None:
        kept = picture[:, :, None] if picture.ndim == 2 else picture
        if form.colour == "auto" or kept.shape[2] == {"gray": 1, "rgb": 3}[form.colour]:
            return kept
    image = _in_colour(_upright(picture), form.colour)
    if form.size is not None:
        if isinstance(box, Square):
            image = _squared(image, form.size, box)
        else:
            image = _resized(image, form.size, form.fit, box)
    pixels = np.array(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def as_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Gives a gray face "... 1" among colour ones three equal channels; others are returned as they are."""
    if pixels.shape[-1] == channels:
        return pixels
    assert pixels.shape[-1] == 1
    return np.repeat(pixels, channels, axis=-1)


def mean_colour(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Computes the mean colour of each face on 0..255: uint8 "n h w c" to float32 "n 3", gray thrice the same."""
    # By rows first: numpy is slow over an inner axis of three. Sums of whole numbers are exact in any order.
    total = faces.sum(axis=1, dtype=np.uint32).sum(axis=1, dtype=np.uint64)
    mean = (total / (faces.shape[1] * faces.shape[2])).astype(np.float32)
    return np.broadcast_to(mean, (len(faces), 3)) if mean.shape[1] == 1 else mean


def _upright(picture: Picture) -> Image.Image:
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    try:
        with Image.open(picture if isinstance(picture, Path) else io.BytesIO(picture)) as image:
            image.load()
            return _eight_bits(ImageOps.exif_transpose(image))
    except (UnreadableError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None and error.errno not in FILE_ERRORS:
            raise
        missing = error.errno == errno.ENOENT
        raise UnreadableError("no such file" if missing else "unreadable picture", str(error)) from error
    except Exception as error:  # Pillow's plugins raise anything on a damaged file: SyntaxError, struct.error, ...
        raise UnreadableError("unreadable picture", f"{type(error).__name__}: {error}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """To mode L or RGB."""
    mode = image.mode
    if mode in ("L", "RGB"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if mode in ("I", "F"):
        raise UnreadableError("no defined range", f"a picture of mode {mode} does not say what white is")
    if mode in ("LA", "La"):
        gray, alpha = image.convert("LA").split()
        return Image.composite(gray, Image.new("L", image.size, 255), alpha)
    if mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), clear).convert("RGB")
    return image.convert("RGB")


def _in_colour(image: Image.Image, colour: Colour) -> Image.Image:
    wanted = {"auto": image.mode, "gray": "L", "rgb": "RGB"}[colour]
    return image if image.mode == wanted else image.convert(wanted)


def window(picture: tuple[int, int], fit: Fit, box: Box | None) -> Box:
    """Computes left, top, right, bottom of what is shown of an upright picture of (width, height).

    Raises:
        UnreadableError: The box lies outside the picture.
    """
    left, top, right, bottom = box or (0.0, 0.0, *map(float, picture))
    left, top = max(left, 0.0), max(top, 0.0)
    right, bottom = min(right, float(picture[0])), min(bottom, float(picture[1]))
    width, height = right - left, bottom - top
    if not (width > 0 and height > 0):
        raise UnreadableError("box outside the picture", f"box {box} of a {picture[0]} x {picture[1]} picture")
    if fit == "crop":
        side = min(width, height)
        # Whole pixels, so that a centre square of the wanted size is copied and not interpolated.
        left, top = left + (width - side) // 2, top + (height - side) // 2
        right, bottom = left + side, top + side
    return left, top, right, bottom


def _resized(image: Image.Image, size: int, fit: Fit, box: Box | None) -> Image.Image:
    shown = window(image.size, fit, box)
    return image.resize((size, size), Image.Resampling.LANCZOS, shown, reducing_gap=3.0)


def _squared(image: Image.Image, size: int, square: Square) -> Image.Image:
    left, top, right, bottom = square.bounds()
    if not (left < image.width and top < image.height and right > 0 and bottom > 0):
        raise UnreadableError("box outside the picture", f"{square} of a {image.width} x {image.height} picture")
    inside = left >= 0 and top >= 0 and right <= image.width and bottom <= image.height
    if square.turn == 0.0 and inside:
        return image.resize((size, size), Image.Resampling.LANCZOS, (left, top, right, bottom), reducing_gap=3.0)
    return cut(image, square, size)
