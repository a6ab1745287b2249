"""Shows a task class by class: its counts and recalls from predictions, confusion matrix and bars of recall."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from engine.intervals.bootstrap import intervals
from engine.intervals.groups import Groups
from engine.intervals.weighted import Weights
from engine.reports.plotting import INK, LIGHT_BLUE, MUTED, VERMILION, new_figure, quiet_axes, save_figure

Counts = Int64[np.ndarray, "k k"]


def confusion_counts(
    names: Sequence[str], target: Int64[np.ndarray, " n"], probability: Float[np.ndarray, "n k"]
) -> Counts:
    """Counts how often each class (row) was taken for each class (column), over the samples that have a label.

    Args:
        names: The k class names.
        target: Class numbers 0..k-1; -1 where the label is missing, which leaves the sample out.
        probability: One row of k finite scores a sample; the highest is the prediction (the first among equals).

    Raises:
        ValueError: Shapes, label range or scores are not as above.
    """
    target, probability = np.asarray(target), np.asarray(probability)
    k = len(names)
    if probability.ndim != 2 or probability.shape[1] != k or target.shape != probability.shape[:1]:
        raise ValueError(
            f"confusion_counts: target (={target.shape}) and probability (={probability.shape}) must be [n] and "
            f"[n, {k}], one score for each of the {k} class names; pass the arrays of one task and its own names"
        )
    if target.size and (target.min() < -1 or target.max() >= k):
        raise ValueError(
            f"confusion_counts: target (={target.min()}..{target.max()}) must lie in -1..{k - 1}; "
            "-1 marks a missing label"
        )
    labelled = target >= 0
    if not np.isfinite(probability[labelled]).all():
        raise ValueError(
            "confusion_counts: probability must be finite where there is a label; "
            "the model that predicted it has diverged, take an earlier checkpoint"
        )
    pairs = target[labelled].astype(np.int64) * k + probability[labelled].argmax(axis=1)
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def recall(counts: Counts) -> Float64[np.ndarray, " k"]:
    """Computes the share of each class that was recognised, 0..1; NaN for a class without samples."""
    support = counts.sum(axis=1)
    shares: Float64[np.ndarray, " k"] = np.full(len(support), np.nan)
    np.divide(counts.diagonal(), support, out=shares, where=support > 0)
    return shares


def wilson_interval(
    hits: Int64[np.ndarray, " k"], trials: Int64[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Computes the 95 % score interval of a proportion (Wilson, JASA 1927), inside 0..1; NaN where trials = 0."""
    z = 1.959964
    n = np.where(trials > 0, trials, np.nan).astype(np.float64)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def recall_intervals(
    names: Sequence[str],
    target: Int64[np.ndarray, " n"],
    probability: Float[np.ndarray, "n k"],
    groups: Groups | None,
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Computes the 95 % interval of each class's recall: over groups where they are known, else that of Wilson.

    Over groups it is a bootstrap; NaN for a class whose samples are of fewer than two groups.
    """
    counts = confusion_counts(names, target, probability)
    if groups is None:
        return wilson_interval(counts.diagonal(), counts.sum(axis=1))
    right, place = probability.argmax(axis=1) == target, groups.place
    figures = {
        name: partial(_recall_of, target == k, right)
        for k, name in enumerate(names)
        if len(np.unique(place[target == k])) > 1
    }
    found = intervals(figures, len(target), groups).of
    low, high = np.array([found.get(name, (np.nan, np.nan)) for name in names], np.float64).T
    return low, high


def _recall_of(members: Bool[np.ndarray, " n"], right: Bool[np.ndarray, " n"], weights: Weights) -> np.ndarray:
    """Computes the recall of a class under each weighting; NaN where none of it is drawn."""
    support = weights @ members.astype(weights.dtype)
    shares: np.ndarray = np.full(len(weights), np.nan)
    np.divide(weights @ (members & right).astype(weights.dtype), support, out=shares, where=support > 0)
    return shares


def confusion(
    names: Sequence[str],
    target: Int64[np.ndarray, " n"],
    probability: Float[np.ndarray, "n k"],
    path: Path,
    *,
    title: str = "",
) -> Path:
    """Draws the confusion matrix: rows are labels, coloured by their share, with percent and count in each cell.

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
    """Draws what the colours of a confusion matrix mean."""
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
    groups: Groups | None = None,
) -> Path:
    """Draws the recall of each class with its 95 % interval (`recall_intervals`) and its number of samples.

    Args: as `engine.reports.classwise.confusion_counts`; `title` says which split and epoch this is.

    Raises:
        ValueError: As `confusion_counts`.
    """
    counts = confusion_counts(names, target, probability)
    k = len(names)
    support = counts.sum(axis=1)
    share = recall(counts)
    low, high = recall_intervals(names, target, probability, groups)
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
    over = "" if groups is None else f" over {groups}"
    axes.set_xlabel(f"recall, with its 95 % interval{over}", parse_math=False, fontsize=8.5, color=MUTED, x=50 / 136)
    axes.set_title(title, fontsize=9.5, color=INK, loc="left", parse_math=False)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8.5, labelcolor=INK)
    return save_figure(figure, path)


def _draw_means(axes: Axes, counts: Counts) -> list[Line2D]:
    """Draws lines at accuracy and mean recall; returns them for the legend."""
    accuracy = 100 * counts.diagonal().sum() / counts.sum()
    mean = 100 * float(np.nanmean(recall(counts)))
    dashes = (0, (2, 2))
    return [
        axes.axvline(accuracy, color=VERMILION, linewidth=1.2, zorder=1.5, label=f"accuracy {accuracy:.1f} %"),
        axes.axvline(mean, color=INK, linewidth=1.2, linestyle=dashes, zorder=1.6, label=f"mean recall {mean:.1f} %"),
    ]
