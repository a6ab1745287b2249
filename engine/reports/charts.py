"""The charts of a report: learning curves, confusion matrix, recall of each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Float64, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from engine.quantities import in_brackets, is_percent, label_of, scale_of
from engine.reports.classwise import Counts, confusion_counts, recall, wilson_interval
from engine.reports.levels import draw_levels
from engine.reports.plotting import (
    BLUE,
    GREEN,
    INK,
    LIGHT_BLUE,
    MUTED,
    PURPLE,
    VERMILION,
    new_figure,
    quiet_axes,
    save_figure,
)

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


def confusion(
    names: Sequence[str],
    target: Int64[np.ndarray, " n"],
    probability: Float[np.ndarray, "n k"],
    path: Path,
    *,
    title: str = "",
) -> Path:
    """Draw the confusion matrix: rows are labels, coloured by their share, with percent and count in each cell.

    Args: as `engine.reports.classwise.confusion_counts`; `title` says which split and epoch this is.

    Raises:
        ValueError: As `confusion_counts`.
    """
    counts = confusion_counts(names, target, probability)
    k = len(names)
    support = counts.sum(axis=1)
    share = np.divide(counts, support[:, None], out=np.full((k, k), np.nan), where=support[:, None] > 0)
    cell = 0.62 if k <= 12 else 0.42
    longest = max(map(len, names), default=1)
    side = cell * k
    figure = new_figure(max(4.4, side + 0.075 * longest + 1.9), max(3.6, side + 0.05 * longest + 1.35))
    axes = figure.subplots()
    colours = mpl.colormaps["Blues"].with_extremes(bad="#f0f0f0")
    image = axes.imshow(np.ma.masked_invalid(share), cmap=colours, vmin=0.0, vmax=1.0)
    for row in range(k):
        if not support[row]:
            axes.text((k - 1) / 2, row, "no samples", ha="center", va="center", fontsize=8, color=MUTED, style="italic")
            continue
        for column in range(k):
            _write_cell(axes, row, column, float(share[row, column]), int(counts[row, column]), small=k > 12)
    axes.set_xticks(range(k), names, rotation=40, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(
        range(k), [f"{name}  (n = {n:,})" for name, n in zip(names, support, strict=True)], parse_math=False
    )
    axes.set_xticks(np.arange(1, k) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, k) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("predicted", fontsize=9, color=MUTED)
    axes.set_ylabel("labelled", fontsize=9, color=MUTED)
    left_out = int((np.asarray(target) < 0).sum())
    subtitle = f"n = {support.sum():,}" + (f", {left_out:,} without a label left out" if left_out else "")
    axes.set_title(f"{title}\n{subtitle}" if title else subtitle, fontsize=9.5, color=INK, loc="left", parse_math=False)
    _draw_scale(figure, axes, image)
    return save_figure(figure, path)


def _draw_scale(figure: Figure, axes: Axes, image: AxesImage) -> None:
    """What the colours of a confusion matrix say."""
    bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=26, pad=0.02)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0 %", "25 %", "50 %", "75 %", "100 %"])
    bar.ax.tick_params(labelsize=8, colors=MUTED, length=0)
    bar.set_label("share of the labelled class", fontsize=8, color=MUTED)
    bar.outline.set_visible(False)


def _write_cell(axes: Axes, row: int, column: int, share: float, count: int, *, small: bool) -> None:
    colour = "white" if share > 0.66 else (INK if count else "#b5b5b5")
    weight = "bold" if row == column else "normal"
    if small:
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour, weight=weight)
        return
    axes.text(
        column, row - 0.1, f"{100 * share:.0f} %", ha="center", va="center", fontsize=8.5, color=colour, weight=weight
    )
    axes.text(column, row + 0.25, f"{count:,}", ha="center", va="center", fontsize=6.5, color=colour)


def recall_bars(
    names: Sequence[str],
    target: Int64[np.ndarray, " n"],
    probability: Float[np.ndarray, "n k"],
    path: Path,
    *,
    title: str = "",
) -> Path:
    """Draw the recall of each class with its 95 % Wilson interval and its number of samples.

    Args: as `engine.reports.classwise.confusion_counts`; `title` says which split and epoch this is.

    Raises:
        ValueError: As `confusion_counts`.
    """
    counts = confusion_counts(names, target, probability)
    k = len(names)
    support = counts.sum(axis=1)
    share = recall(counts)
    low, high = wilson_interval(counts.diagonal(), support)
    figure = new_figure(7.0, 0.34 * k + 1.45)
    axes = figure.subplots()
    there = np.flatnonzero(support)
    # Bars and intervals cover the two lines, which are seen between them.
    axes.barh(there, 100 * share[there], height=0.64, color=LIGHT_BLUE, zorder=2.0)
    axes.errorbar(
        100 * share[there],
        there,
        xerr=100 * np.stack([share - low, high - share])[:, there].clip(0.0),
        fmt="none",
        ecolor=INK,
        elinewidth=1.0,
        capsize=2.5,
        zorder=3.0,
    )
    # In columns right of the bars, where neither intervals nor lines cross them.
    for i in range(k):
        text = f"{100 * share[i]:.1f} %" if support[i] else "–"
        axes.text(115, i, text, ha="right", va="center", fontsize=8.5, color=INK)
        axes.text(135, i, f"n = {support[i]:,}", ha="right", va="center", fontsize=8.5, color=MUTED)
    handles = _draw_means(axes, counts) if support.sum() else []
    axes.set_yticks(range(k), names, parse_math=False)
    axes.set_ylim(k - 0.4, -0.6)
    axes.set_xlim(0, 136)
    axes.set_xticks(range(0, 101, 20), [f"{x} %" for x in range(0, 101, 20)])
    quiet_axes(axes, grid="x")
    axes.spines["bottom"].set_bounds(0, 100)
    axes.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)
    axes.set_xlabel("recall, with its 95 % interval", fontsize=8.5, color=MUTED, x=50 / 136)
    axes.set_title(title, fontsize=9.5, color=INK, loc="left", parse_math=False)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8.5, labelcolor=INK)
    return save_figure(figure, path)


def _draw_means(axes: Axes, counts: Counts) -> list[Line2D]:
    """Lines at accuracy and mean recall, for the legend."""
    accuracy = 100 * counts.diagonal().sum() / counts.sum()
    mean = 100 * float(np.nanmean(recall(counts)))
    dashes = (0, (2, 2))
    return [
        axes.axvline(accuracy, color=VERMILION, linewidth=1.2, zorder=1.5, label=f"accuracy {accuracy:.1f} %"),
        axes.axvline(mean, color=INK, linewidth=1.2, linestyle=dashes, zorder=1.6, label=f"mean recall {mean:.1f} %"),
    ]
