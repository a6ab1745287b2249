"""Sets a finished run beside its baselines, where they were trained too: one picture of what the method gains."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.cost import Cost
from engine.figures import Figure
from engine.reports.intervals import paired
from engine.reports.plotting import BLUE, INK, MUTED, new_figure, quiet_axes, save_figure
from engine.reports.table import Table
from engine.runs.result import CHARTS, Run, read_run


def baselines_of(run: Run) -> list[Run]:
    """Reads the finished runs whose folders lie beside that of a run and are called as it is, with `-variant` after."""
    pattern = f"{glob.escape(run.path.resolve().name)}-*"
    folders = sorted(path for path in run.path.resolve().parent.glob(pattern) if (path / "result.json").is_file())
    runs = [read_run(folder, where="report") for folder in folders]
    return [other for other in runs if other.finished]


def beside_baselines(run: Run, others: Sequence[Run]) -> tuple[Table, Path] | None:
    """Compares the first figure of a run's first supervised task with that of others, on the last split they share.

    Returns:
        A table, and a chart in the folder of the run; None where no figure is known of all of them.
    """
    runs = [run, *others]
    found = [
        (split, name)
        for split in reversed(run.splits)
        for name in run.headlines
        if name.rpartition("/")[0] in run.supervised and all(_value(each, split, name) is not None for each in runs)
    ]
    if not others or not found:
        return None
    split, name = found[0]
    figure, cost = run.figures[name], Cost.read(run.result)
    labels = [each.path.resolve().name.replace("_", " ") for each in runs]
    rows = []
    for label, other in zip(labels, runs, strict=True):
        value = _value(other, split, name)
        assert value is not None
        own = Cost.read(other.result)
        rows.append(
            (
                label,
                own.pictures_in_words(),
                "–" if other is run else own.beside(cost),
                figure.write(value, decimals=1),
                "–" if other is run else difference(run, other, split, name, figure),
            )
        )
    heads = (
        *("run", "pictures trained / forward only", f"cost beside {labels[0]}"),
        *(f"{figure.label} on {split}, last epoch", f"{labels[0]} minus it, 95 % interval"),
    )
    values = [figure.scale * (_value(each, split, name) or 0.0) for each in runs]
    chart = _draw(labels, values, figure, f"{name.rpartition('/')[0]} · {figure.label}, {split}", run.path)
    return Table(heads, rows, left=3), chart


def difference(run: Run, other: Run, split: str, name: str, figure: Figure) -> str:
    """Writes the difference of two runs in a figure; with an interval where both kept what they answered.

    The interval is a paired bootstrap over groups, or over pictures where the runs know of none; it knows nothing of
    other seeds.
    """
    found = paired(run, other, split, name)
    if found is None:
        gap = figure.scale * ((_value(run, split, name) or 0.0) - (_value(other, split, name) or 0.0))
        return f"{gap:+.1f}"
    of, over = found
    gap, low, high = (figure.scale * each for each in (of.difference, of.low, of.high))
    return f"{gap:+.1f} ({low:+.1f} to {high:+.1f}, over {over})"


def _value(run: Run, split: str, name: str) -> float | None:
    return run.last.value(split, name)


def _draw(labels: Sequence[str], values: Sequence[float], figure: Figure, title: str, folder: Path) -> Path:
    """Draws a bar a run from 0, the run itself in colour."""
    drawing = new_figure(6.4, 0.9 + 0.42 * len(labels))
    axes = drawing.add_subplot()
    places = np.arange(len(labels))[::-1]
    axes.barh(places, values, height=0.62, color=[BLUE, *["#b9c4cc"] * (len(labels) - 1)])
    axes.set_yticks(places, labels)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:.1f}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
        )
    if figure.chance is not None:
        axes.axvline(figure.scale * figure.chance, color=MUTED, linewidth=1.0, linestyle="--")
        axes.annotate(
            "chance", (figure.scale * figure.chance, 1.0), (3, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=7.5, color=MUTED,
        )  # fmt: skip
    axes.set_title(title + figure.in_brackets, fontsize=9, color=INK, loc="left", parse_math=False, pad=14)
    quiet_axes(axes, grid="x")
    axes.set_xlim(0, 1.12 * max(*values, 1e-9))
    return save_figure(drawing, folder / CHARTS / "baselines.png")
