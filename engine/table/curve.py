"""Draws the curve of an experiment: what each row reaches over the number of labels that it learns from."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np

from engine.reports.plotting import BLUE, GREEN, INK, MUTED, PURPLE, VERMILION, new_figure, quiet_axes, save_figure
from engine.table.report import metric_in_words
from engine.table.results import Results, RowFigures

Curve = dict[int, RowFigures]
"""A row's figures by the number of labels."""


def curves(results: Results) -> dict[str, Curve]:
    """Gives the curve of each row that has been run in two or more groups whose number of labels is known."""
    labels = {group.title: group.labels for group in results.experiment.groups}
    found: dict[str, Curve] = {}
    for row in results.rows:
        known = labels[row.group]
        if known is not None and row.at(results.experiment.at).values:
            found.setdefault(row.name, {})[known] = row
    return {name: dict(sorted(curve.items())) for name, curve in found.items() if len(curve) > 1}


def draw_curve(results: Results, path: Path) -> Path | None:
    """Draws a line a row over the number of labels, at the mean, with a dot a run; None where no row has a line."""
    drawn = curves(results)
    if not drawn:
        return None
    figure = new_figure(6.8, 4.2)
    axes = figure.subplots()
    quiet_axes(axes)
    looks = zip(cycle((BLUE, VERMILION, GREEN, PURPLE, MUTED)), cycle("osD^v"), strict=False)
    for (name, curve), (colour, marker) in zip(drawn.items(), looks, strict=False):
        samples = [row.at(results.experiment.at) for row in curve.values()]
        means = [results.figure.scale * sample.mean for sample in samples]
        axes.plot([*curve], means, color=colour, marker=marker, markersize=5, linewidth=1.8, label=name)
        for labels, sample in zip(curve, samples, strict=True):
            values = results.figure.scale * np.array(sample.values)
            axes.plot(np.full(len(values), labels), values, marker, color=colour, markersize=3, alpha=0.45)
    ticks = sorted({labels for curve in drawn.values() for labels in curve})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{labels:,}" for labels in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("labels (logarithmic)", fontsize=8.5, color=INK)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title(
        f"{metric_in_words(results)} on {results.experiment.split}, {results.experiment.at} epoch",
        fontsize=9,
        color=INK,
        loc="left",
        parse_math=False,
    )
    return save_figure(figure, path)
