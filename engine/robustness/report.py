"""Writes what was measured of corrupted faces: tables with intervals, a chart, and a sheet of what was shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from engine.figures import Figure
from engine.intervals.answers import figure_of
from engine.intervals.bootstrap import RESAMPLES, Interval, paired_difference, resampled
from engine.intervals.groups import Groups, shared_groups
from engine.reports import markdown
from engine.reports.plotting import BLUE, GREEN, INK, MUTED, PURPLE, VERMILION, new_figure, quiet_axes, save_figure
from engine.reports.sheets import Column, views_sheet
from engine.reports.table import Table
from engine.robustness.corruptions import CORRUPTIONS, PARTS, Corruption
from engine.robustness.measuring import CLEAN, Measured, condition, corrupted
from engine.training.render import Renderer
from engine.training.show import first_faces, to_bytes
from engine.views import EVALUATION
from loaders.base import Batch
from loaders.files import write_text

MEAN = "mean of all"
LINES = (CLEAN, MEAN, *(each.name for each in CORRUPTIONS))
FACES = 2
"""Faces on the sheet, each at every strength."""
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, MUTED)

Draws = Mapping[str, Float64[np.ndarray, " r"]]
"""Line of a table to a figure on every draw of the pictures, the first of which is the pictures themselves."""


def draws(measured: Measured, task: str, groups: Groups | None, *, resamples: int = RESAMPLES) -> Draws | None:
    """Computes the first figure of a task on draws of the pictures: clean, and the mean over strengths of each kind.

    Returns:
        None where it cannot be computed from single pictures, or all of them are of one group.
    """
    if groups is not None and groups.count < 2:
        return None
    names = list(measured.figures)
    answers = [measured.pictures[name].get(task) for name in names]
    known = [each for each in answers if each is not None]
    if len(known) < len(names):
        return None
    metric = measured.headlines[task].name
    figures = [figure_of(each, metric) for each in known]
    found = resampled(figures, known[0].count, groups=groups, resamples=resamples)
    column = dict(zip(names, found.T, strict=True))
    means = {each.name: np.mean([column[condition(each, s)] for s in each.strengths], axis=0) for each in CORRUPTIONS}
    return {CLEAN: column[CLEAN], MEAN: np.mean(list(means.values()), axis=0), **means}


def values(measured: Measured, task: str) -> dict[str, float]:
    """Gives the first figure of a task by line: clean, and the means over strengths."""
    means = {each.name: float(np.mean(_by_strength(measured, task, each))) for each in CORRUPTIONS}
    return {CLEAN: measured.value(CLEAN, task), MEAN: float(np.mean(list(means.values()))), **means}


def _by_strength(measured: Measured, task: str, corruption: Corruption) -> list[float]:
    return [measured.value(condition(corruption, strength), task) for strength in corruption.strengths]


def table_of(measured: Measured, task: str, *, resamples: int = RESAMPLES) -> Table:
    """Makes the table of one run: a line a kind, its figure at each strength, and their mean beside the clean one."""
    figure, drawn = measured.headlines[task], draws(measured, task, measured.groups, resamples=resamples)
    rows = []
    for line, value in values(measured, task).items():
        kind = next((each for each in CORRUPTIONS if each.name == line), None)
        each = (
            ["–"] * 5
            if kind is None
            else [figure.write(v, decimals=1, unit=False) for v in _by_strength(measured, task, kind)]
        )
        interval = None if drawn is None else _interval([drawn[line]], None)
        fall = None if drawn is None or line == CLEAN else _interval([drawn[line]], [drawn[CLEAN]])
        rows.append((line, *each, figure.write(value, decimals=1), _range(figure, interval), _difference(figure, fall)))
    heads = (
        "faces",
        *(f"strength {i}" for i in range(1, 6)),
        figure.label,
        f"95 % interval{_over(measured.groups)}",
        "minus clean",
    )
    return Table(heads, rows)


def _interval(
    first: Sequence[Float64[np.ndarray, " r"]], second: Sequence[Float64[np.ndarray, " r"]] | None
) -> Interval:
    """Computes the interval of a figure over pictures, and seeds where there are several, or of a difference."""
    one = np.stack(first, axis=1)
    return paired_difference(one, np.zeros_like(one) if second is None else np.stack(second, axis=1))


def _over(groups: Groups | None) -> str:
    """Says what an interval is over, where it is not pictures."""
    return "" if groups is None else f" over {groups}"


def _range(figure: Figure, interval: Interval | None) -> str:
    if interval is None:
        return "–"
    low, high = (figure.write(end, decimals=1, unit=False) for end in (interval.low, interval.high))
    return f"{low} to {high}"


def _difference(figure: Figure, interval: Interval | None) -> str:
    if interval is None:
        return "–"
    gap, low, high = (_signed(figure, each) for each in (interval.difference, interval.low, interval.high))
    return f"{gap} ({low} to {high})"


def _signed(figure: Figure, value: float) -> str:
    return f"{figure.scale * value:+.1f}" if figure.unit else f"{value:+.4g}"


def write_report(measured: Measured, renderer: Renderer, batch: Batch, *, resamples: int = RESAMPLES) -> Path:
    """Writes report.md, a chart a task and the sheet into the run's folder of robustness.

    Returns:
        The report.
    """
    folder = measured.folder
    draw_sheet(renderer, batch, measured.parts, folder / "sheet.png")
    parts = [f"# {markdown.plain(measured.run.name)} on corrupted faces", _what(measured)]
    for task, figure in measured.headlines.items():
        title = f"{task} · {figure.label}, {measured.split}, {measured.at} epoch"
        chart = draw_chart({measured.run.name: [measured]}, task, title, folder / f"{task}.png")
        parts += [
            f"## {markdown.plain(title)}{figure.in_brackets}",
            table_of(measured, task, resamples=resamples).markdown(),
            f"![{markdown.plain(title)}]({chart.name})",
        ]
    parts += [
        "## What was shown\n\nEach face from top to bottom at strengths 1 to 5.\n\n![Faces](sheet.png)",
        _kinds(),
    ]
    report = folder / "report.md"
    write_text(report, markdown.document(parts))
    return report


def _what(measured: Measured) -> str:
    clean = "The clean figures are those that the run reported."
    if measured.apart:
        gaps = (f"{n} {measured.figures[CLEAN][n]:.6g} for {measured.reported[n]:.6g}" for n in measured.apart)
        clean = f"On this machine the clean figures differ from those that the run reported: {', '.join(gaps)}."
    return (
        f"The {measured.split} split at five strengths of each kind; the figure of a kind is the mean over strengths. "
        f"{clean} Intervals hold 95 % of {RESAMPLES:,} draws of {measured.groups or 'the pictures'}, and know nothing "
        "of other seeds. "
        f"Parts of the face lie as in {measured.parts}."
    )


def _kinds() -> str:
    return "\n".join(
        ["## Strengths", "", *(f"- {each.name}: {each.measure}: {_strengths(each)}" for each in CORRUPTIONS)]
    )


def _strengths(corruption: Corruption) -> str:
    return ", ".join(f"{strength:g}" for strength in corruption.strengths)


def draw_chart(lines: Mapping[str, Sequence[Measured]], task: str, title: str, path: Path) -> Path:
    """Draws a panel a kind: the figure over strengths, from the clean one on; a line is the mean over some runs."""
    figure = next(iter(lines.values()))[0].headlines[task]
    drawing = new_figure(8.4, 6.6)
    panels = drawing.subplots(3, 3, sharex=True, sharey=True)
    for panel, kind in zip(panels.flat, CORRUPTIONS, strict=True):
        for i, (name, runs) in enumerate(lines.items()):
            each = [[run.value(CLEAN, task), *_by_strength(run, task, kind)] for run in runs]
            scaled = figure.scale * np.mean(each, axis=0)
            panel.plot(range(6), scaled, color=_COLOURS[i % len(_COLOURS)], marker="o", markersize=3, label=name)
            panel.axhline(scaled[0], color=_COLOURS[i % len(_COLOURS)], linewidth=0.7, linestyle=":")
        panel.set_title(kind.name, fontsize=9, color=INK, loc="left", parse_math=False)
        panel.set_xticks(range(6), [CLEAN, *map(str, range(1, 6))])
        quiet_axes(panel)
    panels[1][0].set_ylabel(f"{figure.label}{figure.in_brackets}", fontsize=8.5, color=INK)
    drawing.suptitle(title, fontsize=9.5, color=INK, parse_math=False)
    if len(lines) > 1:
        handles, names = panels[0][0].get_legend_handles_labels()
        drawing.legend(handles, names, loc="outside lower left", fontsize=8, frameon=False)
    return save_figure(drawing, path)


def draw_sheet(renderer: Renderer, batch: Batch, parts: str, path: Path) -> Path:
    """Draws what was shown: a column a kind, each face at all strengths below each other."""
    faces = first_faces(batch, FACES)
    own = replace(renderer, dtype=torch.float32)
    clean = to_bytes(own.evaluation(faces).pictures[EVALUATION], own).repeat(5, axis=0)
    columns = [Column(CLEAN, clean)]
    for kind in CORRUPTIONS:
        shown = [
            to_bytes(corrupted(own, faces, kind, strength, PARTS[parts]).pictures[EVALUATION], own)
            for strength in kind.strengths
        ]
        columns.append(Column(kind.name, np.stack(shown, axis=1).reshape(-1, *shown[0].shape[1:])))
    return views_sheet(columns, path, rows=5 * FACES)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Holds the runs of one recipe, by seed."""

    name: str
    runs: dict[int, Measured] = field(default_factory=dict)


def grouped(measured: Sequence[Measured]) -> list[Group]:
    """Groups runs whose recipes differ by their seed alone, in their order.

    Raises:
        ValueError: Two are of one recipe and seed, they were measured on different faces, or share no task.
    """
    groups: dict[str, Group] = {}
    for each in measured:
        recipe = dict(each.run.recipe)
        seed = int(recipe.pop("seed", 0))
        group = groups.setdefault(json.dumps(recipe, sort_keys=True), Group(each.run.path.resolve().name))
        if seed in group.runs:
            raise ValueError(
                f"robustness: {each.run.path} is of the recipe and seed of {group.runs[seed].run.path}; "
                "name one of them"
            )
        group.runs[seed] = each
        first = measured[0]
        if each.samples != first.samples:
            raise ValueError(
                f"robustness: {each.run.path} was measured on other faces than {first.run.path}; "
                "compare runs of one test split"
            )
    if not _shared_tasks(measured):
        raise ValueError("robustness: the runs have no supervised task in common; compare runs that answer the same")
    return list(groups.values())


def _shared_tasks(measured: Sequence[Measured]) -> list[str]:
    first, *others = measured
    return [task for task, of in first.headlines.items() if all(other.headlines.get(task) == of for other in others)]


def compared(groups: Sequence[Group], *, resamples: int = RESAMPLES) -> dict[str, Table]:
    """Makes a table of each task: a line a kind, the figure of each recipe, and its difference from the first."""
    tables = {}
    runs = [each for group in groups for each in group.runs.values()]
    belong = shared_groups([each.groups for each in runs])
    for task in _shared_tasks(runs):
        figure = next(iter(groups[0].runs.values())).headlines[task]
        drawn = [
            {seed: draws(each, task, belong, resamples=resamples) for seed, each in of.runs.items()} for of in groups
        ]
        rows = []
        for line in LINES:
            cells = [line]
            for i, group in enumerate(groups):
                mean = float(np.mean([values(each, task)[line] for each in group.runs.values()]))
                cells.append(figure.write(mean, decimals=1))
                if i:
                    cells.append(_difference(figure, _paired(drawn[i], drawn[0], line)))
            rows.append(cells)
        heads = ["faces", _head(groups[0])]
        for group in groups[1:]:
            heads += [_head(group), f"minus {groups[0].name}, 95 % interval{_over(belong)}"]
        tables[task] = Table(heads, rows)
    return tables


def _head(group: Group) -> str:
    return group.name if len(group.runs) == 1 else f"{group.name} ({len(group.runs)} seeds)"


def _paired(own: Mapping[int, Draws | None], other: Mapping[int, Draws | None], line: str) -> Interval | None:
    """Computes the interval of a difference over the seeds that both have; of one run each, whatever their seeds."""
    if len(own) == len(other) == 1:
        pairs = [(next(iter(own.values())), next(iter(other.values())))]
    else:
        pairs = [(own[seed], other[seed]) for seed in own if seed in other]
    known = [(a[line], b[line]) for a, b in pairs if a is not None and b is not None]
    if not known or len(known) < len(pairs):
        return None
    first, second = zip(*known, strict=True)
    return _interval(first, second)
