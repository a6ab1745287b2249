"""Draws learning curves: of one run with the levels they are read against, and of several runs over each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea, VPacker
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from engine.quantities import format_value, in_brackets, is_percent, label_of, scale_of
from engine.reports.plotting import BLUE, GREEN, INK, MUTED, PURPLE, VERMILION, new_figure, quiet_axes, save_figure

_SPLIT_COLOUR = {"train": BLUE, "val": VERMILION, "test": GREEN}
_ACROSS = 3


def curve_panels(metrics: Mapping[str, Float64[np.ndarray, " e"]]) -> list[dict[str, dict[str, str]]]:
    """What is drawn where: rows of panels, each a quantity ("loss", "lr", "expression/accuracy") to split to column.

    First comes what belongs to no task (total loss, learning rate), then task by task, its loss first; three panels or
    two to a row, so that no place stays empty. Columns without one finite value and the columns of time (`seconds`,
    ...) are left out.
    """
    rows: dict[str, dict[str, dict[str, str]]] = {"": {}}
    for column, values in metrics.items():
        split, slash, quantity = column.partition("/")
        if slash and np.isfinite(values).any():
            task = quantity.rpartition("/")[0]
            rows.setdefault(task, {}).setdefault(quantity, {})[split] = column
    if "lr" in metrics and np.isfinite(metrics["lr"]).any():
        rows[""]["lr"] = {"": "lr"}
    panels = [
        (quantity, row[quantity])
        for row in rows.values()
        for quantity in sorted(row, key=lambda quantity: not quantity.endswith("loss"))
    ]
    count = -(-len(panels) // _ACROSS)
    ends = [round(len(panels) * (row + 1) / count) for row in range(count)]
    return [dict(panels[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def learning_curves(
    metrics: Mapping[str, Float64[np.ndarray, " e"]],
    path: Path,
    *,
    levels: Mapping[str, Mapping[str, float]] | None = None,
    best: int | None = None,
) -> Path:
    """Draw every quantity of `metrics.csv` over the epochs, train beside val, one panel each, task by task.

    Args:
        metrics: Column name to one value an epoch, NaN where the cell is empty; needs "epoch".
        path: The PNG to write.
        levels: Name of a level ("chance") to quantity ("expression/accuracy") to its height.
        best: Epoch to mark.

    Raises:
        ValueError: There is no epoch, or nothing to draw.
    """
    rows = curve_panels(metrics)
    if "epoch" not in metrics or not np.isfinite(metrics["epoch"]).any() or not rows:
        raise ValueError(
            f"learning_curves: metrics (columns {', '.join(metrics) or 'none'}) must hold at least one epoch of at "
            "least one loss or metric; wait for the first epoch to end"
        )
    across = max(map(len, rows))
    figure = new_figure(max(4.8, 3.3 * across), 2.3 * len(rows) + 0.45)
    parts = math.lcm(*map(len, rows))  # a row of fewer panels has wider ones
    grid = figure.add_gridspec(len(rows), parts)
    keys: dict[str, Line2D] = {}
    for place, row in enumerate(rows):
        width = parts // len(row)
        for column, (quantity, columns) in enumerate(row.items()):
            axes = figure.add_subplot(grid[place, column * width : (column + 1) * width])
            _draw_panel(axes, quantity, columns, metrics, keys)
            least = _least_reach(axes, percent=is_percent(quantity))
            draw_levels(axes, quantity, levels or {}, keys, least=least)
            _widen_flat_axis(axes, least, percent=is_percent(quantity))
            if best is not None and len(metrics["epoch"]) > 1:
                keys["best epoch"] = axes.axvline(best, color="#b8b8b8", linewidth=1.1, zorder=0.5)
    names = sorted(keys, key=lambda name: list(_SPLIT_COLOUR).index(name) if name in _SPLIT_COLOUR else len(keys))
    figure.legend(
        [keys[name] for name in names],
        names,
        loc="outside upper left",
        ncols=max(1, len(names)),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.6,
    )
    return save_figure(figure, path)


def _draw_panel(
    axes: Axes,
    quantity: str,
    columns: Mapping[str, str],
    metrics: Mapping[str, Float64[np.ndarray, " e"]],
    keys: dict[str, Line2D],
) -> None:
    epochs = metrics["epoch"]
    scale = scale_of(quantity)
    for split, column in columns.items():
        drawn = np.isfinite(metrics[column]) & np.isfinite(epochs)
        colour = _SPLIT_COLOUR.get(split, PURPLE if split else MUTED)
        # A curve of one point is a marker; markers on a long curve would hide it.
        marker = "o" if drawn.sum() <= 25 else ""
        (line,) = axes.plot(
            epochs[drawn], scale * metrics[column][drawn], color=colour, linewidth=1.5, marker=marker, markersize=2.8
        )
        if split:
            keys.setdefault(split, line)
    _name_panel(axes, quantity)
    _set_epoch_axis(axes, epochs)


def _least_reach(axes: Axes, *, percent: bool) -> float:
    """No scale is finer than what a difference means: 2 points of percent, else 5 % of the value."""
    low, high = axes.dataLim.intervaly
    return 2.0 if percent else 0.05 * abs(low + high) / 2 or 1.0


def _widen_flat_axis(axes: Axes, least: float, *, percent: bool) -> None:
    """The axis reaches `least` far, and shows no negative percents."""
    low, high = axes.get_ylim()
    middle = (low + high) / 2
    if high - low < least:
        low, high = middle - least / 2, middle + least / 2
    if percent and low < 0.0:
        low, high = -0.05 * max(high, least), max(high, least)  # room for the width of a line along zero
    axes.set_ylim(low, high)


def _name_panel(axes: Axes, quantity: str) -> None:
    task, _, metric = quantity.rpartition("/")
    name = "learning rate" if quantity == "lr" else label_of(metric)
    title = f"{task} · {name}" if task else ("total loss" if quantity == "loss" else name)
    axes.set_title(title + in_brackets(metric), fontsize=9, color=INK, loc="left", parse_math=False)
    quiet_axes(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if quantity == "lr":
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _set_epoch_axis(axes: Axes, epochs: Float64[np.ndarray, " e"]) -> None:
    first, last = float(np.nanmin(epochs)), float(np.nanmax(epochs))
    room = max(0.6 if first == last else 0.0, 0.03 * (last - first))
    axes.set_xlim(first - room, last + room)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch", fontsize=8, color=MUTED)


# Okabe and Ito's other hues follow those of the reports; more runs than colours begin again, broken.
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, "#E69F00", "#56B4E9", INK)
_STYLES = ("-", "--", ":", "-.")

Metrics = Mapping[str, Float64[np.ndarray, " e"]]
"""Column of metrics.csv to one value an epoch, NaN where the cell is empty."""


def overlaid_curves(runs: Mapping[str, Metrics], path: Path, *, select: str = "val") -> Path:
    """Draws the losses in training and every figure on `select`: a panel each, a line a run that has it.

    Raises:
        ValueError: No run has ended an epoch.
    """
    columns = dict.fromkeys(column for metrics in runs.values() for column in _drawn(metrics, select))
    if not columns:
        raise ValueError("curves: runs must include one that has ended an epoch; wait for the first epoch to end")
    across = min(_ACROSS, len(columns))
    down = -(-len(columns) // across)
    figure = new_figure(max(4.8, 3.6 * across), 2.3 * down + 0.35 + 0.2 * len(runs))
    panels = figure.subplots(down, across, squeeze=False).reshape(-1)
    for axes, column in zip(panels, columns, strict=False):
        scale = scale_of(column)
        for index, metrics in enumerate(runs.values()):
            if column in metrics:
                known = np.isfinite(metrics[column])
                marker = "o" if known.sum() == 1 else ""
                axes.plot(
                    metrics["epoch"][known], scale * metrics[column][known], marker=marker, markersize=3, **_look(index)
                )
        quiet_axes(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_title(_title(column), fontsize=9, color=INK, loc="left", parse_math=False)
    for axes in panels[len(columns) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(columns) - across) : len(columns)]:
        axes.set_xlabel("epoch", fontsize=8, color=MUTED)
    keys = [Line2D([], [], **_look(index)) for index in range(len(runs))]
    legend = figure.legend(keys, list(runs), loc="outside upper left", frameon=False, fontsize=8.5, labelcolor=INK)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return save_figure(figure, path)


def _drawn(metrics: Metrics, select: str) -> list[str]:
    """Columns of one run that are drawn: losses of training first, then what evaluation found."""
    if "epoch" not in metrics:
        return []
    known = [column for column, values in metrics.items() if np.isfinite(values).any()]
    losses = [column for column in known if column.startswith("train/") and column.endswith("loss")]
    return losses + [column for column in known if column.startswith(f"{select}/")]


def _title(column: str) -> str:
    split, _, quantity = column.partition("/")
    task, _, metric = quantity.rpartition("/")
    return f"{task + ' · ' if task else ''}{label_of(metric)}, {split}{in_brackets(metric)}"


def _look(index: int) -> dict[str, Any]:
    style = _STYLES[index // len(_COLOURS) % len(_STYLES)]
    return {"color": _COLOURS[index % len(_COLOURS)], "linestyle": style, "linewidth": 1.5}


_LEVEL_STYLES: tuple[tuple[float, tuple[float, ...]], ...] = (
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
        line = Line2D([], [], color=MUTED, linewidth=1.0, linestyle=_LEVEL_STYLES[index % len(_LEVEL_STYLES)])
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
