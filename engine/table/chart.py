"""A table as a picture: every run of every row, and the differences with their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from engine.quantities import scale_of
from engine.reports.plotting import BLUE, INK, MUTED, RULE, VERMILION, new_figure, quiet_axes, save_figure
from engine.table.results import Results
from engine.table.text import metric_in_words

_LINE = 0.3  # inches


def draw(table: Results, path: Path) -> Path:
    """Writes the chart as PNG: on the left a dot a run and a bar at the mean, on the right differences, if any."""
    lines = max(len(table.rows), len(table.differences))
    across = 2 if table.differences else 1
    figure = new_figure(6.2 * across, _LINE * lines + 1.1)
    panels = figure.subplots(1, across, squeeze=False)[0]
    _draw_rows(panels[0], table)
    if table.differences:
        _draw_differences(panels[1], table)
    return save_figure(figure, path)


def _draw_rows(axes: Axes, table: Results) -> None:
    experiment = table.experiment
    scale = scale_of(experiment.metric)
    names = []
    for line, row in enumerate(table.rows):
        sample = row.last if experiment.at == "last" else row.best
        values = scale * np.array(sample.values)
        axes.plot(values, np.full(len(values), line), "o", color=BLUE, markersize=4, alpha=0.55, markeredgewidth=0)
        if len(values):
            axes.plot([values.mean()], [line], "|", color=INK, markersize=13, markeredgewidth=2)
        names.append(row.name if len(values) else f"{row.name} (–)")
    _name_lines(axes, names, [row.group for row in table.rows])
    axes.set_title(
        f"{metric_in_words(experiment.metric)} on {experiment.split}, {experiment.at} epoch",
        fontsize=9,
        color=INK,
        loc="left",
        parse_math=False,
    )


def _draw_differences(axes: Axes, table: Results) -> None:
    scale = scale_of(table.experiment.metric)
    axes.axvline(0, color=MUTED, linewidth=1)
    for line, difference in enumerate(table.differences):
        colour = MUTED if difference.verdict == "undecided" else VERMILION if difference.verdict == "worse" else BLUE
        if difference.interval is not None:
            ends = scale * np.array([difference.interval.low, difference.interval.high])
            axes.plot(ends, [line, line], "-", color=colour, linewidth=2.2, solid_capstyle="butt")
        if np.isfinite(difference.mean):
            axes.plot([scale * difference.mean], [line], "o", color=colour, markersize=5)
    names = [f"{difference.row} − {difference.against}" for difference in table.differences]
    _name_lines(axes, names, [difference.group for difference in table.differences])
    axes.set_title("difference, 95 % interval", fontsize=9, color=INK, loc="left")


def _name_lines(axes: Axes, names: list[str], groups: list[str]) -> None:
    """One name a line from the top, a rule where a group begins."""
    quiet_axes(axes, grid="x")
    labels = [f"{group}: {name}" if group else name for name, group in zip(names, groups, strict=True)]
    axes.set_yticks(range(len(names)), labels, fontsize=7.5, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    for line in range(1, len(groups)):
        if groups[line] != groups[line - 1]:
            axes.axhline(line - 0.5, color=RULE, linewidth=1)
