"""Draws picture sheets: what the network saw, in-painting before and after, and what was named rightly and wrongly.

Pictures keep their pixels: small ones are magnified by a whole number, so that a pixel is a square; only those larger
than a sheet's cell are averaged down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float32, Int16, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke
from PIL import Image

from engine.reports.plotting import DPI, INK, MUTED, new_figure, save_figure

LARGEST = 144
"""The longest side of a picture on a sheet, in pixels."""
AVERAGED = 112
"""The longest side of a picture that was too large for the sheet."""
SMALLEST_NUMBERED = 16
"""The shortest side of a tile that carries its number, in pixels of the sheet."""
DIFFERENCE_SCALE = 128
"""The absolute difference, in gray levels, at the bright end of the in-painting sheet's scale."""

_MARGIN, _GAP, _LINE = 14, 8, 17
_TITLE_FONT, _CAPTION_FONT = FontProperties(size=8.5), FontProperties(size=7.5)

_EMPTY = np.full((1, 1, 3), 255, np.uint8)

Pictures = UInt8[np.ndarray, "n h w c"]
Segment = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Column:
    """Holds one column of a sheet: the same n samples under one view."""

    title: str
    pictures: Pictures
    """c = 3 or 1."""
    shows: Int16[np.ndarray, "n cells"] | None = None
    """Which cell of the un-cut view stands at each cell, row-major; -1 where hidden; None for a picture not cut."""


@dataclass(frozen=True, slots=True)
class TileNumber:
    """Holds the number of a tile's source and the top left corner of the place where it stands, in picture pixels."""

    x: float
    y: float
    text: str


def tile_numbers(shows: Int16[np.ndarray, " cells"], height: float, width: float) -> list[TileNumber]:
    """Numbers the visible tiles of a picture of `height` x `width`: at each place, the index of its source tile."""
    grid = math.isqrt(len(shows))
    return [
        TileNumber(j % grid * width / grid, j // grid * height / grid, str(int(source)))
        for j, source in enumerate(shows)
        if source >= 0
    ]


def is_puzzle(shows: Int16[np.ndarray, "n cells"]) -> bool:
    """Tells whether any visible cell of any sample stands elsewhere than in the un-cut view."""
    return bool(((shows >= 0) & (shows != np.arange(shows.shape[1]))).any())


def magnify(picture: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "H W 3"]:
    """Scales a picture for a sheet: RGB, its longest side up to `LARGEST` by a whole factor, else `AVERAGED`."""
    rgb = np.broadcast_to(picture, (*picture.shape[:2], 3))
    side = max(rgb.shape[:2])
    if side > LARGEST:
        height, width = (max(1, round(AVERAGED * length / side)) for length in rgb.shape[:2])
        return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize((width, height), Image.Resampling.BOX))
    factor = LARGEST // side
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1)


def views_sheet(columns: Sequence[Column], path: Path, *, rows: int = 6) -> Path:
    """Draws "what the network saw": a row a sample, a column a view.

    A column with `shows` gets the lines of its cells; where tiles were moved, each carries the number of its source
    tile (row-major from 0); hidden cells are outlined as one area. A column whose cells all stand in their own place
    gets no lines, as its pictures were not cut.

    Args:
        columns: Views of the same n samples; their picture sizes may differ.
        path: The PNG to write.
        rows: How many of the n samples to draw, from the first.

    Raises:
        ValueError: No column or sample, columns of different n, or arrays that are not as `Column` says.
    """
    _check_columns(columns, rows)
    shown = [[magnify(picture) for picture in column.pictures[:rows]] for column in columns]
    moved = [column.shows is not None and is_puzzle(column.shows[:rows]) for column in columns]
    # The side of a column's tiles; those too small for a number have lines only.
    tiles = [
        0.0 if column.shows is None else min(pictures[0].shape[:2]) / math.isqrt(column.shows.shape[1])
        for column, pictures in zip(columns, shown, strict=True)
    ]
    numbered = [cut and tile >= SMALLEST_NUMBERED for cut, tile in zip(moved, tiles, strict=True)]
    notes = []
    if any(numbered):
        notes.append("Numbers: the tile of the un-cut view (row-major from 0) that stands here.")
    if numbered != moved:
        notes.append("Where tiles are too small, numbers are left out.")
    if any(column.shows is not None and (column.shows[:rows] < 0).any() for column in columns):
        notes.append("Outlined: hidden cells.")
    sheet = _Sheet([column.title for column in columns], shown, " ".join(notes))
    for c, column in enumerate(columns):
        if column.shows is None:
            continue
        for r, shows in enumerate(column.shows[:rows]):
            height, width = shown[c][r].shape[:2]
            x, y = sheet.corner[c][r]
            if moved[c]:
                _draw_lines(sheet.axes, _grid_lines(len(shows), height, width), x, y)
            if numbered[c]:
                for number in tile_numbers(shows, height, width):
                    _draw_number(sheet.axes, x + number.x, y + number.y, number.text, tiles[c])
            if (shows < 0).any():
                _draw_lines(sheet.axes, _hidden_outline(shows, height, width), x, y)
    return save_figure(sheet.figure, path)


def _check_columns(columns: Sequence[Column], rows: int) -> None:
    if not columns or rows < 1:
        raise ValueError(f"views_sheet: columns (={len(columns)}) and rows (={rows}) must be at least 1 each")
    n = len(columns[0].pictures)
    for column in columns:
        pictures, shows = column.pictures, column.shows
        where = f"views_sheet: column {column.title!r}:"
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] not in (1, 3) or 0 in pictures.shape:
            raise ValueError(
                f"{where} pictures (={pictures.dtype} {list(pictures.shape)}) must be uint8 [n, h, w, 3 or 1], "
                "none of them 0; undo the normalisation and move the channels last"
            )
        if len(pictures) != n:
            raise ValueError(
                f"{where} pictures (={len(pictures)}) must be of as many samples as the first column's (={n}); "
                "pass the same samples in every column"
            )
        if shows is None:
            continue
        if shows.ndim != 2 or len(shows) != n or math.isqrt(shows.shape[1]) ** 2 != shows.shape[1]:
            raise ValueError(
                f"{where} shows (={list(shows.shape)}) must be [{n}, cells] with a square number of cells; "
                "pass the table that rendered these pictures"
            )
        if shows.size and (shows.min() < -1 or shows.max() >= shows.shape[1]):
            raise ValueError(
                f"{where} shows (={shows.min()}..{shows.max()}) must lie in -1..{shows.shape[1] - 1}; -1 hides a cell"
            )


def inpaint_sheet(truth: Pictures, hidden: Pictures, completed: Pictures, path: Path, *, rows: int = 6) -> Path:
    """Draws in-painting before and after: the view, what the encoder saw, the completed picture, and what differs.

    Args:
        truth: The view without its holes.
        hidden: The view as the encoder saw it.
        completed: The known pixels with the decoder's in the holes.
        path: The PNG to write.
        rows: How many of the n samples to draw, from the first.

    Raises:
        ValueError: No sample, or the arrays are not uint8 [n, h, w, 3] of one shape.
    """
    arrays = {"truth": truth, "hidden": hidden, "completed": completed}
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or array.shape != truth.shape:
            raise ValueError(
                f"inpaint_sheet: {name} (={array.dtype} {list(array.shape)}) must be uint8 [n, h, w, 3], in the shape "
                "of truth; undo the normalisation and move the channels last"
            )
    if not truth.size or rows < 1:
        raise ValueError(f"inpaint_sheet: truth (={list(truth.shape)}) and rows (={rows}) must hold a picture")
    pairs = zip(truth[:rows].astype(np.int16), completed[:rows].astype(np.int16), strict=True)
    apart = [np.abs(a - b).mean(axis=2) for a, b in pairs]
    scale = mpl.colormaps["magma"]
    heat = [(255 * scale(d / DIFFERENCE_SCALE)[..., :3]).round().astype(np.uint8) for d in apart]
    columns: list[list[np.ndarray]] = [list(array[:rows]) for array in arrays.values()]
    shown = [[magnify(picture) for picture in column] for column in (*columns, heat)]
    note = (
        "Difference: mean over R, G, B of |before − completed| in gray levels, "
        f"black 0 to pale {DIFFERENCE_SCALE} and more."
    )
    sheet = _Sheet(["before", "hidden", "completed", "difference"], shown, note)
    return save_figure(sheet.figure, path)


@dataclass(frozen=True, slots=True)
class Answered:
    """Holds a face that a network was asked about, and what it said."""

    face: UInt8[np.ndarray, "h w c"]
    heat: Float32[np.ndarray, "h w"]
    """How much each place spoke for what was said, 0..1."""
    words: str
    """What was said and what is true, for the line below."""


def answers_sheet(rows: Sequence[tuple[Sequence[Answered], Sequence[Answered]]], path: Path) -> Path:
    """Draws faces that were named rightly and wrongly, and beside each where the network looked.

    Args:
        rows: Of each class right answers and mistakes; where some are lacking, their places are empty.
        path: The PNG to write.

    Raises:
        ValueError: No answer is given.
    """
    most = [max((len(row[kind]) for row in rows), default=0) for kind in (0, 1)]
    if not any(most):
        raise ValueError("answers_sheet: rows must hold an answer; give faces that were named rightly or wrongly")
    titles = [f"right {i + 1}" if most[0] > 1 else "right" for i in range(most[0])]
    titles += [f"mistake {i + 1}" for i in range(most[1])]
    shown: list[list[np.ndarray]] = [[] for _ in titles]
    below: list[list[str]] = [[] for _ in titles]
    for right, wrong in rows:
        placed = [*right, *[None] * (most[0] - len(right)), *wrong, *[None] * (most[1] - len(wrong))]
        for column, texts, answer in zip(shown, below, placed, strict=True):
            column.append(_EMPTY if answer is None else _beside_heat(answer))
            texts.append("" if answer is None else answer.words)
    note = "Beside each face: where it speaks most for what was said (Grad-CAM), bright; as coarse as the feature map."
    return save_figure(_Sheet(titles, shown, note, below).figure, path)


def _beside_heat(answer: Answered) -> UInt8[np.ndarray, "H W 3"]:
    """Puts a face and its heat over the gray face side by side."""
    return np.concatenate([magnify(answer.face), magnify(heated(answer.face, answer.heat))], axis=1)


def heated(face: UInt8[np.ndarray, "h w c"], heat: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Lays heat of 0..1 over the gray face, the hotter the brighter."""
    gray = np.broadcast_to(face, (*face.shape[:2], 3)).mean(axis=2, keepdims=True)
    colour = 255 * mpl.colormaps["inferno"](heat)[..., :3]
    share = 0.25 + 0.5 * heat[..., None]
    laid: UInt8[np.ndarray, "h w 3"] = ((1 - share) * gray + share * colour).round().astype(np.uint8)
    return laid


class _Sheet:
    """Places pictures in columns with titles above and a caption below, pixel by pixel.

    `axes` covers the figure in pixels with y downwards; `corner[column][row]` is where a picture's top left lies.
    `below` holds a text for each picture, which stands under it.
    """

    def __init__(
        self,
        titles: Sequence[str],
        shown: Sequence[Sequence[np.ndarray]],
        caption: str,
        below: Sequence[Sequence[str]] | None = None,
    ) -> None:
        measure = _TextMeasure()
        widths = [max(picture.shape[1] for picture in column) for column in shown]
        widths = [
            max([width, *(measure.width(word, _TITLE_FONT) for word in title.split())])
            for width, title in zip(widths, titles, strict=True)
        ]
        pictures = [max(picture.shape[0] for picture in row) for row in zip(*shown, strict=True)]
        texts = [
            [measure.wrap(text, width, _CAPTION_FONT) for text in column]
            for column, width in zip(below or [[""] * len(pictures)] * len(shown), widths, strict=True)
        ]
        heights = [
            height + _LINE * max(map(len, lines))
            for height, lines in zip(pictures, zip(*texts, strict=True), strict=True)
        ]
        heads = [measure.wrap(title, width, _TITLE_FONT) for title, width in zip(titles, widths, strict=True)]
        total_width = 2 * _MARGIN + sum(widths) + _GAP * (len(widths) - 1)
        foot = measure.wrap(caption, total_width - 2 * _MARGIN, _CAPTION_FONT)
        top = _MARGIN + _LINE * max(map(len, heads)) + 4
        bottom = top + sum(heights) + _GAP * (len(heights) - 1)
        total_height = bottom + (_GAP + _LINE * len(foot) if foot else 0) + _MARGIN

        canvas = np.full((total_height, total_width, 3), 255, np.uint8)
        self.corner: list[list[tuple[int, int]]] = []
        lefts = [_MARGIN + sum(widths[:c]) + _GAP * c for c in range(len(widths))]
        for column, left, width in zip(shown, lefts, widths, strict=True):
            corners = []
            for r, picture in enumerate(column):
                x = left + (width - picture.shape[1]) // 2
                y = top + sum(heights[:r]) + _GAP * r + (pictures[r] - picture.shape[0]) // 2
                canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
                corners.append((x, y))
            self.corner.append(corners)

        self.figure, self.axes = _in_pixels(canvas)
        for left, width, lines in zip(lefts, widths, heads, strict=True):
            for i, line in enumerate(lines):
                # Titles stand on the pictures: short ones leave their room above.
                y = top - 4 - _LINE * (len(lines) - i) + _LINE / 2
                self._write(left + width / 2, y, line, _TITLE_FONT, INK, "center")
        for wrapped, left, width in zip(texts, lefts, widths, strict=True):
            for r, under in enumerate(wrapped):
                for i, line in enumerate(under):
                    y = top + sum(heights[:r]) + _GAP * r + pictures[r] + _LINE * (i + 0.5)
                    self._write(left + width / 2, y, line, _CAPTION_FONT, INK, "center")
        for i, line in enumerate(foot):
            self._write(_MARGIN, bottom + _GAP + _LINE * (i + 0.5), line, _CAPTION_FONT, MUTED, "left")

    def _write(self, x: float, y: float, text: str, font: FontProperties, colour: str, align: str) -> None:
        self.axes.text(x, y, text, fontproperties=font, color=colour, ha=align, va="center", parse_math=False)


def _in_pixels(canvas: UInt8[np.ndarray, "h w 3"]) -> tuple[Figure, Axes]:
    """Makes a figure that shows a picture pixel by pixel, and axes over all of it in its pixels."""
    height, width = canvas.shape[:2]
    # Half a pixel more, as Agg takes the floor and a quotient may fall short by rounding.
    figure = new_figure((width + 0.5) / DPI, (height + 0.5) / DPI, constrained=False)
    figure.figimage(canvas, 0, 0, origin="upper")
    # Above the canvas, which would hide what the axes hold.
    axes = figure.add_axes((0.0, 0.0, width / (width + 0.5), height / (height + 0.5)), zorder=1)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


class _TextMeasure:
    """Measures text in pixels, as Agg will draw it."""

    def __init__(self) -> None:
        self._renderer = RendererAgg(DPI, DPI, DPI)  # type: ignore[no-untyped-call]

    def width(self, text: str, font: FontProperties) -> int:
        extent = self._renderer.get_text_width_height_descent(text, font, False)  # type: ignore[no-untyped-call]
        return math.ceil(float(extent[0]))

    def wrap(self, text: str, width: int, font: FontProperties) -> list[str]:
        lines: list[str] = []
        for word in text.split():
            if lines and self.width(f"{lines[-1]} {word}", font) <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines


def _grid_lines(cells: int, height: float, width: float) -> list[Segment]:
    grid = math.isqrt(cells)
    inner = range(1, grid)
    return [((0, k * height / grid), (width, k * height / grid)) for k in inner] + [
        ((k * width / grid, 0), (k * width / grid, height)) for k in inner
    ]


def _hidden_outline(shows: Int16[np.ndarray, " cells"], height: float, width: float) -> list[Segment]:
    """Finds the edges between hidden and visible cells, and between hidden cells and the picture's border."""
    grid = math.isqrt(len(shows))
    hidden = np.pad((shows < 0).reshape(grid, grid), 1)
    dy, dx = height / grid, width / grid
    flat = [
        ((j * dx, i * dy), ((j + 1) * dx, i * dy))
        for i, j in np.argwhere(hidden[1:, 1:-1] != hidden[:-1, 1:-1]).tolist()
    ]
    upright = [
        ((j * dx, i * dy), (j * dx, (i + 1) * dy))
        for i, j in np.argwhere(hidden[1:-1, 1:] != hidden[1:-1, :-1]).tolist()
    ]
    return flat + upright


def _draw_lines(axes: Axes, segments: Sequence[Segment], x: float, y: float) -> None:
    """Draws segments of a picture whose corner is at (x, y): white on a dark edge, readable on any picture."""
    placed = [((ax + x, ay + y), (bx + x, by + y)) for (ax, ay), (bx, by) in segments]
    for colour, width in (("#00000099", 1.5), ("white", 0.7)):
        axes.add_collection(LineCollection(placed, colors=colour, linewidths=width, capstyle="butt"))


def _draw_number(axes: Axes, x: float, y: float, text: str, tile: float) -> None:
    size = min(9.0, max(4.5, 0.25 * tile))
    axes.text(
        x + 0.07 * tile,
        y + 0.06 * tile,
        text,
        ha="left",
        va="top",
        fontsize=size,
        color="white",
        weight="bold",
        path_effects=[withStroke(linewidth=1.8, foreground="#000000cc")],
    )
