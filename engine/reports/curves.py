"""Draws learning curves: of one run with the levels they are read against, and of several runs over each other."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea, VPacker
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from engine.figures import Figure, figure_of
from engine.reports.plotting import BLUE, GREEN, INK, MUTED, PURPLE, VERMILION, new_figure, quiet_axes, save_figure

Metrics = Mapping[str, Float64[np.ndarray, " e"]]
"""Column of metrics.csv to one value an epoch, NaN where the cell is empty."""
Panel = TypeVar("Panel")

_SPLIT_COLOUR = {"train": BLUE, "val": VERMILION, "test": GREEN}
# Okabe and Ito's other hues follow those of the splits; more runs than colours begin again, broken.
_RUN_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, "#E69F00", "#56B4E9", INK)
_RUN_STYLES = ("-", "--", ":", "-.")
_LEVEL_STYLES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.0, (4.0, 2.0)),
    (0.0, (1.0, 1.5)),
    (0.0, (6.0, 1.5, 1.0, 1.5)),
)
_ACROSS = 3
_ROOM = 0.13
"""Of the axis, for a note."""


def curve_panels(metrics: Metrics) -> list[dict[str, dict[str, str]]]:
    """Chooses what is drawn: rows of panels, each a quantity ("loss", "lr", "expression/accuracy") to split to column.

    First comes what belongs to no task (total loss, learning rate), then task by task, its loss first and its weight,
    where that follows a schedule, last. Columns of time (`seconds`, ...) and those without one finite value are left
    out.
    """
    tasks: dict[str, dict[str, dict[str, str]]] = {"": {}}
    weights = {column.partition("/")[2]: column for column in metrics if column.startswith("weight/")}
    for column, values in metrics.items():
        split, slash, quantity = column.partition("/")
        if slash and split != "weight" and np.isfinite(values).any():
            task = quantity.rpartition("/")[0]
            tasks.setdefault(task, {}).setdefault(quantity, {})[split] = column
    for task, column in weights.items():
        tasks.setdefault(task, {})[f"{task}/weight"] = {"": column}
    if "lr" in metrics and np.isfinite(metrics["lr"]).any():
        tasks[""]["lr"] = {"": "lr"}
    panels = [
        (quantity, task[quantity])
        for task in tasks.values()
        for quantity in sorted(task, key=lambda quantity: not quantity.endswith("loss"))
    ]
    return [dict(row) for row in _in_rows(panels)]


def _in_rows(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    """Splits panels into rows of three or two, so that no place stays empty."""
    count = -(-len(panels) // _ACROSS)
    ends = [round(len(panels) * (row + 1) / count) for row in range(count)]
    return [panels[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _add_axes(figure: Canvas, rows: Sequence[Collection[object]]) -> list[Axes]:
    """Adds one axes a panel, row by row; a row of fewer panels has wider ones."""
    parts = math.lcm(*map(len, rows))
    grid = figure.add_gridspec(len(rows), parts)
    return [
        figure.add_subplot(grid[place, column * parts // len(row) : (column + 1) * parts // len(row)])
        for place, row in enumerate(rows)
        for column in range(len(row))
    ]


def learning_curves(
    metrics: Metrics,
    path: Path,
    *,
    figures: Mapping[str, Figure] | None = None,
    levels: Mapping[str, Mapping[str, float]] | None = None,
    best: int | None = None,
) -> Path:
    """Draws every quantity of `metrics.csv` over the epochs, train beside val, one panel each, task by task.

    Args:
        metrics: The columns; needs "epoch".
        path: The PNG to write.
        figures: What the figures among the columns are, by `<task>/<figure>`; other columns are plain numbers.
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
    figure = new_figure(max(4.8, 3.3 * max(map(len, rows))), 2.3 * len(rows) + 0.45)
    panels = [panel for row in rows for panel in row.items()]
    keys: dict[str, Line2D] = {}
    for axes, (quantity, columns) in zip(_add_axes(figure, rows), panels, strict=True):
        shown = figure_of(quantity, figures or {})
        for split, column in columns.items():
            colour = _SPLIT_COLOUR.get(split, PURPLE if split else MUTED)
            # A curve of one point is a marker; markers on a long curve would hide it.
            line = _draw_curve(axes, metrics, column, shown, marked=25, color=colour)
            if split:
                keys.setdefault(split, line)
        _name_panel(axes, quantity, shown)
        _set_epoch_axis(axes, metrics["epoch"])
        least = _least_reach(axes, percent=shown.unit == "%")
        heights = {name: at[quantity] for name, at in (levels or {}).items() if quantity in at}
        draw_levels(axes, shown, heights, keys, styles=list(levels or {}), least=least)
        _widen_flat_axis(axes, least, percent=shown.unit == "%")
        if best is not None and len(metrics["epoch"]) > 1:
            keys["best epoch"] = axes.axvline(best, color="#b8b8b8", linewidth=1.1, zorder=0.5)
    splits = {split: keys[split] for split in _SPLIT_COLOUR if split in keys}
    _add_legend(figure, splits | keys, ncols=max(1, len(keys)), handlelength=1.8, columnspacing=1.6)
    return save_figure(figure, path)


def overlaid_curves(
    runs: Mapping[str, Metrics], path: Path, *, figures: Mapping[str, Figure] | None = None, select: str = "val"
) -> Path:
    """Draws the losses in training and every figure on `select`: a panel each, a line a run that has it.

    Raises:
        ValueError: No run has ended an epoch.
    """
    columns = list(dict.fromkeys(column for metrics in runs.values() for column in _compared(metrics, select)))
    if not columns:
        raise ValueError("curves: runs must include one that has ended an epoch; wait for the first epoch to end")
    rows = _in_rows(columns)
    figure = new_figure(max(4.8, 3.6 * max(map(len, rows))), 2.3 * len(rows) + 0.35 + 0.2 * len(runs))
    looks: list[dict[str, Any]] = [
        {
            "color": _RUN_COLOURS[index % len(_RUN_COLOURS)],
            "linestyle": _RUN_STYLES[index // len(_RUN_COLOURS) % len(_RUN_STYLES)],
        }
        for index in range(len(runs))
    ]
    epochs = np.concatenate([metrics["epoch"] for metrics in runs.values() if "epoch" in metrics])
    for axes, column in zip(_add_axes(figure, rows), columns, strict=True):
        split, _, quantity = column.partition("/")
        shown = figure_of(quantity, figures or {})
        for metrics, look in zip(runs.values(), looks, strict=True):
            if column in metrics:
                _draw_curve(axes, metrics, column, shown, marked=1, **look)
        _name_panel(axes, quantity, shown, split)
        _set_epoch_axis(axes, epochs)
    keys = (Line2D([], [], linewidth=1.5, **look) for look in looks)
    _add_legend(figure, dict(zip(runs, keys, strict=True)))
    return save_figure(figure, path)


def _compared(metrics: Metrics, select: str) -> list[str]:
    """Lists the columns of one run that are compared: losses of training first, then what evaluation found."""
    if "epoch" not in metrics:
        return []
    known = [column for column, values in metrics.items() if np.isfinite(values).any()]
    losses = [column for column in known if column.startswith("train/") and column.endswith("loss")]
    return losses + [column for column in known if column.startswith(f"{select}/")]


def _draw_curve(axes: Axes, metrics: Metrics, column: str, shown: Figure, *, marked: int, **look: Any) -> Line2D:
    """Draws a column over the epochs, with a marker at each point where there are at most `marked`."""
    drawn = np.isfinite(metrics[column]) & np.isfinite(metrics["epoch"])
    marker = "o" if drawn.sum() <= marked else ""
    values = shown.scale * metrics[column][drawn]
    (line,) = axes.plot(metrics["epoch"][drawn], values, linewidth=1.5, marker=marker, markersize=2.8, **look)
    return line


def _add_legend(figure: Canvas, keys: Mapping[str, Line2D], **options: Any) -> None:
    legend = figure.legend(
        list(keys.values()),
        list(keys),
        loc="outside upper left",
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        **options,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _least_reach(axes: Axes, *, percent: bool) -> float:
    """Gives the reach below which a difference means nothing: 2 points of percent, else 5 % of the value."""
    low, high = axes.dataLim.intervaly
    return 2.0 if percent else 0.05 * abs(low + high) / 2 or 1.0


def _widen_flat_axis(axes: Axes, least: float, *, percent: bool) -> None:
    """Makes the axis reach `least` far, and show no negative percents."""
    low, high = axes.get_ylim()
    middle = (low + high) / 2
    if high - low < least:
        low, high = middle - least / 2, middle + least / 2
    if percent and low < 0.0:
        low, high = -0.05 * max(high, least), max(high, least)  # room for the width of a line along zero
    axes.set_ylim(low, high)


def _name_panel(axes: Axes, quantity: str, shown: Figure, split: str = "") -> None:
    task = quantity.rpartition("/")[0]
    title = f"{task} · {shown.label}" if task else ("total loss" if quantity == "loss" else shown.label)
    title += f", {split}" if split else ""
    axes.set_title(title + shown.in_brackets, fontsize=9, color=INK, loc="left", parse_math=False)
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


def draw_levels(
    axes: Axes,
    shown: Figure,
    levels: Mapping[str, float],
    keys: dict[str, Line2D],
    *,
    styles: Sequence[str],
    least: float,
) -> None:
    """Draws levels into a panel of curves; curves keep half of the panel's height at least.

    A level further from the curves than they reach from their lowest to their highest point is not drawn, as it would
    squeeze them: its value is noted in the corner on its side, behind a piece of its line and with an arrow to it.

    Args:
        axes: With the curves.
        shown: What they show.
        levels: Name of a level to its height.
        keys: Lines of the legend by name; what is drawn or noted is added.
        styles: Names of all levels of the chart: a level has one style in all panels.
        least: Smallest reach that counts, in the unit of the axis: curves that do not move are given no finer scale.
    """
    low, high = axes.dataLim.intervaly
    reach = max(high - low, least)
    moves = len({float(x) for line in axes.get_lines() for x in np.asarray(line.get_xdata())}) > 1
    notes: dict[bool, list[tuple[float, HPacker]]] = {True: [], False: []}
    for name, value in levels.items():
        height = shown.scale * value
        style = _LEVEL_STYLES[styles.index(name) % len(_LEVEL_STYLES)]
        line = Line2D([], [], color=MUTED, linewidth=1.0, linestyle=style)
        keys.setdefault(name, line)
        if moves and not low - reach <= height <= high + reach:
            above = bool(height > high)
            text = f"{shown.write(value, decimals=1)} {'↑' if above else '↓'}"
            notes[above].append((height, _note(text, line)))
        else:
            axes.axhline(height, color=MUTED, linewidth=1.0, linestyle=style, zorder=1)
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
    """Frees places over and under the curves for so many notes."""
    if above or below:
        low, high = axes.get_ylim()
        spare = max(0.0, least - (high - low)) / 2
        low, high = low - spare, high + spare
        each = _ROOM * (high - low) / (1 - _ROOM * (above + below))
        axes.set_ylim(low - below * each, high + above * each)
