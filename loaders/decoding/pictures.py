"""Decodes one picture file to one stored face: the only place that does, so that sources give the same bytes.

The picture is turned upright by its orientation, wherever Pillow finds one (Exif or XMP of any format), brought to gray
or RGB, cropped and resized with Pillow's Lanczos filter (`reducing_gap=3`: large pictures are first box-averaged to at
least three times the target size). Where it is padded to a square, the rest shows the nearest pixels of its edge, as do
crops that leave their picture and the view kernels. 16-bit gray is scaled to 8 bits, CMYK and palettes become RGB, a
palette of grays becomes gray. Transparent parts lie over white, in every mode: an alpha channel, a palette with one,
and the one clear colour of a PNG or GIF. Metadata that is damaged or long keeps no picture from being read. `plain`
tells what a decoder that knows none of this may be given.
"""

from __future__ import annotations

import errno
import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from loaders.base import Fit
from loaders.decoding.crops import Square, cut
from loaders.decoding.png import lighter
from loaders.decoding.records import Picture

Colour = Literal["auto", "gray", "rgb"]
Box = tuple[float, float, float, float]

# Errors of the file itself; any other (too many open files, no memory) would wrongly skip pictures that are fine.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture of each orientation upright."""
FILE_ERRORS = (errno.ENOENT, errno.EACCES, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class Form:
    """Says what stored faces look like.

    Attributes:
        size: Side of the square face in pixels; by default pictures stay as they are and must share one size.
        fit: Crop a picture that is not square to its centre square, stretch it, or pad it with the pixels of its edge.
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
        if isinstance(picture, Path) and not (picture.is_file() or picture.is_dir()) and picture.exists():
            raise UnreadableError("not a file", "it is a pipe, a socket or a device")  # which might be waited for
        try:
            return _loaded(picture if isinstance(picture, Path) else io.BytesIO(picture))
        except ValueError:  # of a PNG: a text is too long
            for data in lighter(picture.read_bytes() if isinstance(picture, Path) else picture):
                with suppress(ValueError):
                    return _loaded(io.BytesIO(data))
            raise
    except (UnreadableError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None and error.errno not in FILE_ERRORS:
            raise
        missing = error.errno == errno.ENOENT
        raise UnreadableError("no such file" if missing else "unreadable picture", str(error)) from error
    except Exception as error:  # Pillow's plugins raise anything on a damaged file: SyntaxError, struct.error, ...
        raise UnreadableError("unreadable picture", f"{type(error).__name__}: {error}") from error


def _loaded(file: Path | io.BytesIO) -> Image.Image:
    with Image.open(file) as image:
        packed = _packed(image)
        image.load()
        method = TURNS.get(orientation(image))
        shown = _eight_bits(image, packed)
        return shown if method is None else shown.transpose(method)


def orientation(image: Image.Image) -> int:
    """Finds how an opened picture is turned, 1 to 8 (Exif 2.3, tag 274); 1 where nothing readable says it."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's readers raise anything on damaged metadata, for which no viewer refuses a picture
        return 1
    return value if isinstance(value, int) and value in TURNS else 1


def plain(image: ImageFile.ImageFile) -> bool:
    """Tells whether an opened picture is JPEG or PNG of 8-bit gray or RGB, upright, and without a clear colour."""
    known = image.format == "JPEG" or (image.format == "PNG" and _packed(image) == image.mode)
    if known and image.format == "PNG":
        image.load()  # what is said of its pixels may follow them
    return known and image.mode in ("L", "RGB") and "transparency" not in image.info and orientation(image) == 1


def _packed(image: ImageFile.ImageFile) -> str:
    """Says how a PNG that is not loaded yet packs its pixels: its mode, or e.g. "L;4", "RGB;16B"."""
    return str(image.tile[0].args) if image.format == "PNG" and image.tile else image.mode


def _eight_bits(image: Image.Image, packed: str) -> Image.Image:
    """To mode L or RGB."""
    mode = image.mode
    clear = image.info.get("transparency")
    if mode in ("L", "RGB") and clear is None:
        return image
    if mode in ("1", "L", "RGB") or mode.startswith("I;16"):
        pixels = np.array(image.convert("L") if mode == "1" else image)
        if clear is not None:
            # Pillow gives the colour as the file has it, and pixels spread over 8 bits, or the upper 8 of 16.
            colour = np.array(clear) * {"L;2": 85, "L;4": 17}.get(packed, 1) >> (8 if packed == "RGB;16B" else 0)
            hit = pixels == colour
            pixels[hit.all(axis=2) if mode == "RGB" else hit] = 65535 if mode.startswith("I") else 255
        if mode.startswith("I"):
            pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        return Image.fromarray(pixels)
    if mode in ("I", "F"):
        raise UnreadableError("no defined range", f"a picture of mode {mode} does not say what white is")
    if mode in ("LA", "La"):
        gray, alpha = image.convert("LA").split()
        return Image.composite(gray, Image.new("L", image.size, 255), alpha)
    into = "L" if _has_gray_palette(image) else "RGB"
    if mode in ("RGBA", "RGBa", "PA") or clear is not None:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB").convert(into)
    return image.convert("RGB").convert(into)


def _has_gray_palette(image: Image.Image) -> bool:
    """Tells whether a picture has a palette and uses nothing but grays of it, as scanners write gray TIFF files."""
    if image.mode not in ("P", "PA"):
        return False
    used = np.unique(np.array(image if image.mode == "P" else image.getchannel("P")))
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    shown = colours[used[used < len(colours)]]
    return bool((shown == shown[:, :1]).all())


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
    sides = (shown[2] - shown[0], shown[3] - shown[1])
    width, height = (max(1, round(size * side / max(sides))) if fit == "pad" else size for side in sides)
    resized = image.resize((width, height), Image.Resampling.LANCZOS, shown, reducing_gap=3.0)
    if (width, height) == (size, size):
        return resized
    pixels = np.asarray(resized)
    across, down = size - width, size - height
    pads = [(down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0)][: pixels.ndim]
    return Image.fromarray(np.pad(pixels, pads, mode="edge"))


def _squared(image: Image.Image, size: int, square: Square) -> Image.Image:
    left, top, right, bottom = square.bounds()
    if not (left < image.width and top < image.height and right > 0 and bottom > 0):
        raise UnreadableError("box outside the picture", f"{square} of a {image.width} x {image.height} picture")
    if square.side > size * max(image.size):  # all of the picture in one pixel, as a damaged list of landmarks has it
        raise UnreadableError("box far larger than the picture", f"{square} of {image.width} x {image.height}")
    inside = left >= 0 and top >= 0 and right <= image.width and bottom <= image.height
    if square.turn == 0.0 and inside:
        return image.resize((size, size), Image.Resampling.LANCZOS, (left, top, right, bottom), reducing_gap=3.0)
    return cut(image, square, size)
