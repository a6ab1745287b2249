"""Gives charts and sheets their look: palette, canvas and saving, by matplotlib's object API (no pyplot)."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from loaders.files import replacing

DPI = 120
LARGEST_FILE = 300_000
"""Bytes above which a chart or sheet is saved in 256 colours, so that a folder of runs stays small."""

# Okabe and Ito's palette, distinguishable with every common colour blindness.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
LIGHT_BLUE = "#4a9fcf"
"""For areas beside lines and text."""
INK, MUTED, RULE = "#222222", "#666666", "#dddddd"


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """Makes an empty white figure of `width` x `height` inches on an Agg canvas; `constrained` keeps labels inside."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08) if constrained else "none")
    FigureCanvasAgg(figure)
    return figure


def quiet_axes(axes: Axes, *, grid: str | None = "y") -> None:
    """Takes the box away, keeps small muted ticks, and draws a faint grid along `grid` ("x", "y" or None)."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#aaaaaa")
    axes.tick_params(colors=MUTED, labelsize=8, length=3, width=0.8)
    axes.set_axisbelow(True)
    if grid == "x":
        axes.xaxis.grid(True, color=RULE, linewidth=0.7)
    elif grid == "y":
        axes.yaxis.grid(True, color=RULE, linewidth=0.7)


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes `figure` as PNG at `DPI`, whole or not at all; makes the folder.

    A figure of more than `LARGEST_FILE` bytes, which only a sheet of large photographs reaches, is saved in the 256
    colours that suit it best (2 to 3 gray levels off on average).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    # Without the version stamp equal figures are equal bytes.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    if len(buffer.getvalue()) > LARGEST_FILE:
        full, buffer = Image.open(buffer).convert("RGB"), io.BytesIO()
        full.quantize(256, method=Image.Quantize.MEDIANCUT).save(buffer, format="png", optimize=True)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path
