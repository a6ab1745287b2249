"""Levels that a chart's curves are read against, such as chance: a broken line, or a note where they lie far off."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea, VPacker

from engine.quantities import format_value, scale_of
from engine.reports.plotting import MUTED

_STYLES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.0, (4.0, 2.0)),
    (0.0, (1.0, 1.5)),
    (0.0, (6.0, 1.5, 1.0, 1.5)),
)
_ROOM = 0.13
"""Of the axis, for a note."""


def draw_levels(
    axes: Axes,
    quantity: str,
    levels: Mapping[str, Mapping[str, float]],
    keys: dict[str, Line2D],
    *,
    least: float,
) -> None:
    """Draws levels into a panel of curves; curves keep half of the panel's height at least.

    A level further from the curves than they reach from their lowest to their highest point is not drawn, as it would
    squeeze them: its value is noted in the corner on its side, behind a piece of its line and with an arrow to it.

    Args:
        axes: With the curves.
        quantity: What they show.
        levels: Name of a level to quantity to its height.
        keys: Lines of the legend by name; what is drawn or noted is added.
        least: Smallest reach that counts, in the unit of the axis: curves that do not move are given no finer scale.
    """
    low, high = axes.dataLim.intervaly
    reach = max(high - low, least)
    moves = len({float(x) for line in axes.get_lines() for x in np.asarray(line.get_xdata())}) > 1
    notes: dict[bool, list[tuple[float, HPacker]]] = {True: [], False: []}
    for index, (name, heights) in enumerate(levels.items()):
        if quantity not in heights:
            continue
        height = scale_of(quantity) * heights[quantity]
        line = Line2D([], [], color=MUTED, linewidth=1.0, linestyle=_STYLES[index % len(_STYLES)])
        keys.setdefault(name, line)
        if moves and not low - reach <= height <= high + reach:
            above = bool(height > high)
            text = f"{format_value(quantity, heights[quantity], decimals=1)} {'↑' if above else '↓'}"
            notes[above].append((height, _note(text, line)))
        else:
            axes.axhline(height, color=MUTED, linewidth=1.0, linestyle=line.get_linestyle(), zorder=1)
    _make_room(axes, least=least, above=len(notes[True]), below=len(notes[False]))
    for above, here in notes.items():
        if here:
            packed: list[Artist] = [note for _, note in sorted(here, key=lambda item: item[0], reverse=True)]
            column = VPacker(children=packed, align="right", pad=0, sep=1)
            box = AnchoredOffsetbox("upper right" if above else "lower right", child=column, pad=0.0, borderpad=0.1)
            box.patch.set(facecolor="white", edgecolor="none")  # over the grid and the mark of the best epoch
            axes.add_artist(box)


def _note(text: str, line: Line2D) -> HPacker:
    piece = DrawingArea(18, 6)
    sample = Line2D([0, 18], [3, 3])
    sample.update_from(line)
    piece.add_artist(sample)
    return HPacker(children=[piece, TextArea(text, textprops={"fontsize": 7.5, "color": MUTED})], align="center", sep=3)


def _make_room(axes: Axes, *, least: float, above: int, below: int) -> None:
    """Free places over and under the curves for so many notes."""
    if above or below:
        low, high = axes.get_ylim()
        spare = max(0.0, least - (high - low)) / 2
        low, high = low - spare, high + spare
        each = _ROOM * (high - low) / (1 - _ROOM * (above + below))
        axes.set_ylim(low - below * each, high + above * each)
