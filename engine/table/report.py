"""Writes an experiment's results: as Markdown, as csv and as a chart."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from engine.cost import Cost
from engine.figures import Figure, format_count
from engine.intervals.bootstrap import FEW
from engine.reports import markdown
from engine.reports.plotting import BLUE, INK, MUTED, RULE, VERMILION, new_figure, quiet_axes, save_figure
from engine.reports.table import Table
from engine.table.results import Difference, Results, RowFigures, Sample, Verdict

_READING: Mapping[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "undecided": "no claim: the interval holds 0",
}
_LINE = 0.26  # inches
_FOLD = 44  # characters of a name in a line of the chart
PICTURES, FLOPS = "pictures trained / forward only", "training FLOPs"
"""Heads of what rows cost beside their minutes."""


def to_markdown(results: Results, *, command: str, failures: Mapping[str, str], notes: Sequence[str]) -> str:
    """Writes the tables of rows and differences, with what must be said about them.

    Args:
        command: What printed it.
        failures: Name of each run that failed to the end of its output.
        notes: Further sentences.
    """
    return markdown.document(
        [
            f"# {markdown.plain(results.experiment.title)}",
            _subtitle(results),
            _rows(results),
            _differences(results) if results.differences else "",
            _reading(results),
            *_environment(results),
            *map(markdown.plain, notes),
            *failed_runs(failures),
            markdown.fence(command, "sh"),
        ]
    )


def failed_runs(failures: Mapping[str, str]) -> list[str]:
    """Writes a paragraph for each run that failed: its name, and the end of its output."""
    return [
        f"**Failed: {markdown.plain(name)}.** The end of its output:\n\n{markdown.fence(tail)}"
        for name, tail in failures.items()
    ]


def _subtitle(results: Results) -> str:
    experiment = results.experiment
    published = f" Published figures are of {experiment.published_on}." if experiment.published_on else ""
    reached = results.figure.chance
    chance = "" if reached is None else f"; guessing reaches {results.figure.write(reached)}"
    text = (
        f"{experiment.table}. Ours: {experiment.data}; {metric_in_words(results)} on "
        f"{experiment.split}{chance}.{published}"
    )
    return markdown.plain(text)


def metric_in_words(results: Results) -> str:
    """Names what is measured with its unit, such as "accuracy of expression (%)"."""
    task = results.experiment.metric.rpartition("/")[0]
    return f"{results.figure.label} of {task}{results.figure.in_brackets}"


def number(figure: Figure, value: float | None, *, sign: bool = False) -> str:
    """Writes a figure in its unit, which stands elsewhere: percent with two digits, others with three; "–" for none."""
    if value is None or not math.isfinite(value):
        return "–"
    plus = "+" if sign else ""
    return f"{figure.scale * value:{plus}.{2 if figure.unit == '%' else 3}f}"


def _sample(figure: Figure, sample: Sample) -> str:
    if not sample.values:
        return "–"
    if len(sample.values) == 1:
        return number(figure, sample.mean)
    return f"{number(figure, sample.mean)} ± {number(figure, sample.deviation)}"


def _published(row: RowFigures) -> str:
    return "–" if row.published is None else f"{row.published:g}"


def _minutes(row: RowFigures) -> str:
    if not row.minutes.values:
        return "–"
    return f"{row.minutes.mean:.1f}" if row.minutes.mean >= 1 else f"{row.minutes.mean:.2g}"


def _rows(results: Results) -> str:
    rows, figure = results.rows, results.figure
    return _table(
        {
            "group": _once([row.group for row in rows]),
            "row": [row.name for row in rows],
            "published": [_published(row) for row in rows],
            "ours, last epoch": [_sample(figure, row.last) for row in rows],
            "ours, best epoch": [_sample(figure, row.best) for row in rows],
            **({"over folds": [_sample(figure, row.over_folds) for row in rows]} if results.experiment.folds else {}),
            "n": [str(len(row.last.values)) for row in rows],
            PICTURES: [row.cost.pictures_in_words() for row in rows],
            FLOPS: [format_count(row.cost.flops) for row in rows],
            f"{_unit_of_time(results)} a run": [_minutes(row) for row in rows],
            "note": [row.state for row in rows],
        },
        text=("group", "row"),
    )


def _differences(results: Results) -> str:
    differences, figure = results.differences, results.figure
    return _table(
        {
            "group": _once([each.group for each in differences]),
            "row": [each.row for each in differences],
            "minus": [each.against for each in differences],
            "reading": [_verdict(each) for each in differences],
            "points" if figure.unit == "%" else f"difference{figure.in_brackets}": [
                number(figure, each.mean, sign=True) for each in differences
            ],
            "95 % interval": [_interval(figure, each) for each in differences],
            "relative": [_relative(each) for each in differences],
            "cost": [each.cost for each in differences],
            "n seeds": [str(each.seeds) for each in differences],
            "n pictures": [f"{each.pictures:,}" if each.pictures else "–" for each in differences],
            "drawn": [each.groups or "pictures" for each in differences] if _any_groups(results) else [],
        },
        text=("group", "row", "minus", "reading"),
    )


def _any_groups(results: Results) -> bool:
    return any(each.groups for each in results.differences)


def _table(columns: Mapping[str, Sequence[str]], text: Sequence[str]) -> str:
    """Writes columns beside each other, but for those without any text; `text` names those aligned left."""
    kept = {head: cells for head, cells in columns.items() if any(cells)}
    rows = list(zip(*kept.values(), strict=True))
    return Table(tuple(kept), rows, left=sum(head in text for head in kept)).markdown()


def _once(groups: Sequence[str]) -> list[str]:
    """Names a group in its first line alone."""
    return ["" if i and groups[i - 1] == group else group for i, group in enumerate(groups)]


def _verdict(difference: Difference) -> str:
    return f"no interval: {difference.reason}" if difference.verdict is None else _READING[difference.verdict]


def _interval(figure: Figure, difference: Difference) -> str:
    if difference.interval is None:
        return "–"
    return " to ".join(number(figure, end, sign=True) for end in (difference.interval.low, difference.interval.high))


def _unit_of_time(results: Results) -> str:
    devices = {str(run.environment.get("device", "")).partition(":")[0] for run in results.done}
    return {frozenset({"cpu"}): "CPU-minutes", frozenset({"cuda"}): "GPU-minutes"}.get(frozenset(devices), "minutes")


def _relative(difference: Difference) -> str:
    if not math.isfinite(difference.mean) or not difference.reference:
        return "–"
    return f"{100 * difference.mean / difference.reference:+.1f} %"


def _reading(results: Results) -> str:
    experiment = results.experiment
    at = "last epoch" if experiment.at == "last" else "best epoch, chosen on the split that the recipe selects on"
    folds = (
        f"Each seed trained {experiment.folds} runs, one a fold; its figure is that of all faces, each answered by the "
        "run that did not train on it, and its cost that of all of them. Beside it stand the folds one by one. "
        if experiment.folds
        else ""
    )
    return (
        f"{folds}Figures are mean ± standard deviation of a single run over n seeds. The best epoch was chosen on the "
        f"split that the recipe selects on, where it is optimistic. Differences are of the {at}, over the seeds that "
        "both rows have; intervals are paired bootstraps over test pictures and seeds (over pictures alone with one "
        f"seed), and {_independence(results)}. Costs are of training, with that of what a row starts "
        "from; a picture through a teacher or a frozen encoder only passes forward."
    )


def _independence(results: Results) -> str:
    """Says which pictures count as independent of each other."""
    grouped = [bool(each.groups) for each in results.differences if each.interval is not None]
    if not any(grouped):
        return "pictures count as independent of each other"
    whole = f"pictures that belong together are drawn whole, as the groups that the table names ({FEW})"
    return whole if all(grouped) else f"{whole}; where it says pictures, not all runs know which belong together"


def _environment(results: Results) -> list[str]:
    """Says machine, precision, versions and commit of the runs, one line for each kind."""
    kinds: dict[str, list[str]] = {}
    for run in results.done:
        told = run.environment
        machine = told.get("gpu") or f"{told.get('cpu')}, threads: {told.get('threads')}"
        precision = f", {told['precision']}" if "precision" in told else ""
        versions = f"Python {told.get('python')}, torch {told.get('torch')}"
        kind = f"{machine}{precision}; {versions}; commit {told.get('commit')}"
        kinds.setdefault(kind, []).append(str(told.get("date", ""))[:10])
    lines = []
    for kind, dates in kinds.items():
        days = sorted({date for date in dates if date})
        when = "" if not days else f", {days[0]}" if len(days) == 1 else f", {days[0]} to {days[-1]}"
        lines.append(markdown.plain(f"{len(dates)} runs on {kind}{when}."))
    return lines


def to_csv(results: Results) -> str:
    """Writes a line a row and a line a difference, in the units of the runs: shares on 0..1, `published` as printed."""
    names = (
        ["kind", "group", "row", "against", "metric", "split", "published", "n"]
        + [*Cost().written(), "minutes", "cost"]
        + [f"{at}_{what}" for at in ("last", "best", "folds") for what in ("mean", "sd", "values")]
        + ["difference", "low", "high", "n_pictures", "groups", "verdict", "note"]
    )
    lines: list[Mapping[str, object]] = []
    common = {"metric": results.experiment.metric, "split": results.experiment.split}
    for row in results.rows:
        cells: dict[str, object] = {
            "kind": "row",
            "group": row.group,
            "row": row.name,
            "published": row.published,
            "n": len(row.last.values),
            **row.cost.written(),
            "minutes": _cell(row.minutes.mean),
            "note": row.state,
        }
        for at, sample in (("last", row.last), ("best", row.best), ("folds", row.over_folds)):
            cells |= {f"{at}_mean": _cell(sample.mean), f"{at}_sd": _cell(sample.deviation)}
            cells[f"{at}_values"] = " ".join(f"{value:.6g}" for value in sample.values)
        lines.append(common | cells)
    for difference in results.differences:
        interval = difference.interval
        lines.append(
            common
            | {
                "kind": "difference",
                "group": difference.group,
                "row": difference.row,
                "against": difference.against,
                "n": difference.seeds,
                "difference": _cell(difference.mean),
                "low": "" if interval is None else _cell(interval.low),
                "high": "" if interval is None else _cell(interval.high),
                "n_pictures": difference.pictures,
                "groups": difference.groups,
                "verdict": difference.verdict,
                "cost": difference.cost,
                "note": difference.reason,
            }
        )
    rows = [["" if (cell := line.get(name)) is None else str(cell) for name in names] for line in lines]
    return Table(names, rows).csv()


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def draw_chart(results: Results, path: Path) -> Path:
    """Draws the chart: on the left a dot a run and a bar at the mean, on the right differences, if any.

    Rows that have not been run are left out, unless none has.
    """
    rows = [row for row in results.rows if row.at(results.experiment.at).values]
    rows = rows or list(results.rows)
    left = _Lines([row.name for row in rows], [row.group for row in rows])
    names = [f"{difference.row} − {difference.against}" for difference in results.differences]
    right = _Lines(names, [difference.group for difference in results.differences])
    across = 2 if names else 1
    figure = new_figure(6.2 * across, _LINE * max(left.height, right.height) + 1.1)
    panels = figure.subplots(1, across, squeeze=False)[0]
    _draw_rows(panels[0], results, rows, left)
    if names:
        _draw_differences(panels[1], results, right)
    return save_figure(figure, path)


class _Lines:
    """Lays names out from the top, long ones folded, those of a group below its title."""

    def __init__(self, names: Sequence[str], groups: Sequence[str]) -> None:
        self.at: list[float] = []
        """Where each name stands."""
        self.labels: list[str] = []
        self.titles: dict[float, str] = {}
        """Where the title of each group stands."""
        self.height = 0.0
        """Of all, in lines."""
        for i, (name, group) in enumerate(zip(names, groups, strict=True)):
            if group and (i == 0 or group != groups[i - 1]):
                self.titles[self.height] = group
                self.height += 1
            self.labels.append(textwrap.fill(name, _FOLD, break_on_hyphens=False))
            tall = 1 + 0.6 * self.labels[-1].count("\n")
            self.at.append(self.height + (tall - 1) / 2)
            self.height += tall

    def write(self, axes: Axes) -> None:
        """Writes names and titles beside an axis."""
        quiet_axes(axes, grid="x")
        axes.tick_params(axis="y", length=0)
        titles = [textwrap.shorten(title, _FOLD, placeholder=" …") for title in self.titles.values()]
        axes.set_yticks([*self.at, *self.titles], [*self.labels, *titles], fontsize=7.5, parse_math=False)
        for label in axes.get_yticklabels()[len(self.at) :]:
            label.set_fontweight("bold")
            label.set_color(INK)
        axes.set_ylim(self.height - 0.5, -0.5)
        for line in list(self.titles)[1:]:
            axes.axhline(line - 0.5, color=RULE, linewidth=1)


def _draw_rows(axes: Axes, results: Results, rows: Sequence[RowFigures], lines: _Lines) -> None:
    experiment = results.experiment
    for at, row in zip(lines.at, rows, strict=True):
        sample = row.at(experiment.at)
        values = results.figure.scale * np.array(sample.values)
        axes.plot(values, np.full(len(values), at), "o", color=BLUE, markersize=4, alpha=0.55, markeredgewidth=0)
        if len(values):
            axes.plot([values.mean()], [at], "|", color=INK, markersize=13, markeredgewidth=2)
    lines.write(axes)
    axes.set_title(
        f"{metric_in_words(results)} on {experiment.split}, {experiment.at} epoch",
        fontsize=9,
        color=INK,
        loc="left",
        parse_math=False,
    )


def _draw_differences(axes: Axes, results: Results, lines: _Lines) -> None:
    scale = results.figure.scale
    axes.axvline(0, color=MUTED, linewidth=1)
    for at, difference in zip(lines.at, results.differences, strict=True):
        colour = MUTED if difference.verdict == "undecided" else VERMILION if difference.verdict == "worse" else BLUE
        if difference.interval is not None:
            ends = scale * np.array([difference.interval.low, difference.interval.high])
            axes.plot(ends, [at, at], "-", color=colour, linewidth=2.2, solid_capstyle="butt")
        if np.isfinite(difference.mean):
            axes.plot([scale * difference.mean], [at], "o", color=colour, markersize=5)
    lines.write(axes)
    axes.set_title("difference, 95 % interval", fontsize=9, color=INK, loc="left")
