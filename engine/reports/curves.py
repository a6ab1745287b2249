"""Learning curves of several runs over each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from engine.quantities import in_brackets, label_of, scale_of
from engine.reports.plotting import BLUE, GREEN, INK, MUTED, PURPLE, VERMILION, new_figure, quiet_axes, save_figure

# Okabe and Ito's other hues follow those of the reports; more runs than colours begin again, broken.
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, "#E69F00", "#56B4E9", INK)
_STYLES = ("-", "--", ":", "-.")
_ACROSS = 3

Metrics = Mapping[str, Float64[np.ndarray, " e"]]
"""Column of metrics.csv to one value an epoch, NaN where the cell is empty."""


def curves(runs: Mapping[str, Metrics], path: Path, *, select: str = "val") -> Path:
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
