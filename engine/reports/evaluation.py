"""Writes what a run says of a store that it may not have been trained on: figures, classes and every prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.figures import Figure
from engine.intervals.bootstrap import ENOUGH, FEW, RESAMPLES
from engine.intervals.groups import Groups, drawn_over
from engine.reports import markdown
from engine.reports.classwise import confusion, confusion_counts, recall, recall_bars, recall_intervals
from engine.reports.facts import DRAWN
from engine.reports.intervals import too_narrow, write_ends
from engine.reports.report import chart_names
from engine.reports.table import Table
from engine.runs.result import CHARTS
from loaders.files import write_json, write_text
from loaders.terminal import Terminal

_SHARE = Figure("share", greater_is_better=True, unit="%")
_FILES = {
    "predictions.csv": "a row a face: its label, what the model said, and how sure it was",
    "predictions.npz": "the same as arrays, as a run folder has them",
    "result.json": "the figures, their intervals and what the labels became",
}


@dataclass(frozen=True, slots=True)
class MatchedClass:
    """Says what a class, or number, of a store became."""

    store: str
    model: str | None
    """None where its faces lose the label."""
    count: int
    """Faces of it."""
    unknown: bool = False
    """Whether it is lost because the model does not know it, and not because it was to be left out."""


@dataclass(frozen=True, slots=True)
class MatchedLabel:
    """Says what the classes, or numbers, of a label of a store became."""

    name: str
    """Of the label in the model."""
    own: str
    """Of the label in the store."""
    rows: tuple[MatchedClass, ...]
    wanted: tuple[str, ...]
    """The classes, or numbers, of the model."""

    classes: bool
    """Whether it has classes; else it has numbers."""
    missing: int
    """Faces without the label in the store."""

    def uncovered(self) -> Iterator[str]:
        """Says which faces are left out, and what of the model no face shows."""
        if self.missing:
            yield f"{self.own}: {self.missing:,} face(s) have no label in the store"
        for row in self.rows:
            if row.model is None and row.count:
                yield f"{self.own}: {row.count:,} face(s) of {row.store} are left out of the figures"
        covered = {row.model for row in self.rows if row.count}
        lacking = ", ".join(name for name in self.wanted if name not in covered)
        if lacking and self.classes:
            yield f"{self.own}: no face is {lacking}; where the model says so it is wrong, and means over classes sink"
        elif lacking:
            yield f"{self.own}: {lacking} is not known of any face, so figures of it are missing"


@dataclass(frozen=True, slots=True)
class Measured:
    """Holds one figure of an evaluation."""

    task: str
    figure: Figure
    value: float
    interval: tuple[float, float] | None
    """Its 95 % interval over groups where they are known, else over pictures; None where it has none."""
    support: int | None
    """How many labelled faces it is computed of; None where that is not known."""
    misleading: tuple[float, float] | None
    """Its interval over pictures, where that is less than half as wide as the one over groups."""
    constant: float | None
    """The figure of the best constant answer to these very faces."""
    own: float | None
    """The run's own figure on its test split, of the same checkpoint."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Holds what a model said of the faces of one split of a store."""

    run: str
    """Name of the run."""
    checkpoint: str
    store: str
    split: str
    drawn: bool
    """Whether its faces are drawn."""
    facts: tuple[str, ...]
    """What was done to the faces, and in which precision they were answered."""
    labels: tuple[MatchedLabel, ...]
    notes: tuple[str, ...]
    """What the store does not cover."""
    answers: Mapping[str, tuple[str, ...]]
    """Task to what its answers are: names of classes or of numbers."""
    classes: frozenset[str]
    """The tasks whose answers are classes."""
    figures: tuple[Measured, ...]
    own_split: str | None
    """The split that `Measured.own` are of."""
    arrays: Mapping[str, np.ndarray]
    """As `engine.training.evaluate.prediction_arrays` gives them."""
    groups: Groups | None
    """Which faces belong together; None where the store does not say."""
    group_names: tuple[str, ...]
    """What the numbers of `groups` are called."""
    paths: Sequence[str]
    """Where each face stood in the source of the store; none where that is not known."""

    @property
    def title(self) -> str:
        return f"{self.run} on {self.split} of {self.store}"

    def table(self, *, decimals: int = 2) -> Table:
        """Makes the table of the figures."""
        rows = []
        for each in self.figures:
            write = each.figure.write
            rows.append(
                (
                    each.task,
                    each.figure.label,
                    "–" if each.support is None else f"{each.support:,}",
                    write(each.value, decimals=decimals),
                    "–" if each.interval is None else write_ends(each.figure, *each.interval, decimals=decimals),
                    write(each.constant, decimals=decimals),
                    write(each.own, decimals=decimals),
                )
            )
        heads = ("task", "figure", "n", "value", "95 % interval", "constant\nguess", f"own\n{self.own_split or 'test'}")
        return Table(heads, rows, left=2, keys=2, title=self.title, caption=f"intervals are over {self.over}")

    def print(self, console: Terminal) -> None:
        """Prints the figures, and what the store does not cover."""
        for label in self.labels:
            if renamed := [
                f"{row.store} became {row.model}" for row in label.rows if row.model not in (None, row.store)
            ]:
                console.print(f"{label.own}: {', '.join(renamed)}")
        for note in (*self.facts, *self.notes):
            console.print(note)
        self.table(decimals=1).print(console)
        for warning in self.warnings():
            console.print(f"warning: {warning}", style="bold yellow", soft_wrap=False)

    @property
    def over(self) -> str:
        """Says what the intervals are over: "12 groups (person)", or pictures."""
        return drawn_over(self.groups, len(self.arrays["sample"]))

    def warnings(self) -> Iterator[str]:
        """Says which intervals would mislead if faces counted as independent, or why there is none."""
        if self.groups is not None and self.groups.count < 2:
            yield f"no figure has an interval: all faces are of {self.over}"
        elif self.groups is not None and self.groups.count < ENOUGH:
            yield FEW
        for each in self.figures:
            if each.interval is not None and each.misleading is not None:
                yield too_narrow(f"{each.task} {each.figure.label}", each.figure, each.interval, each.misleading)


def write_evaluation(found: Evaluation, folder: Path) -> None:
    """Writes report, charts, predictions and figures into a folder that is there and empty."""
    (folder / CHARTS).mkdir()
    with (folder / "predictions.npz").open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **found.arrays)
    write_text(folder / "predictions.csv", predictions_csv(found))
    write_json(folder / "result.json", _result(found))
    write_text(folder / "report.md", _report(found, folder))


def predictions_csv(found: Evaluation) -> str:
    """Writes a row a face: its id and path, and of each task its label, the answer and the numbers of the answer."""
    heads, columns = ["sample"], [[str(sample) for sample in found.arrays["sample"]]]
    if found.paths:
        heads.append("path")
        columns.append(list(found.paths))
    if found.groups is not None:
        heads.append(f"group/{found.groups.label}")
        columns.append([found.group_names[i] if i >= 0 else "" for i in found.groups.number])
    for task, names in found.answers.items():
        kinds = ("probability",) if task in found.classes else ("angles", "numbers")
        said = next((found.arrays[name] for kind in kinds if (name := f"{task}.{kind}") in found.arrays), None)
        target = found.arrays.get(f"{task}.target")
        if target is None or said is None:
            continue
        if task in found.classes:
            heads += [f"{task}/label", task]
            columns.append([names[i] if i >= 0 else "" for i in target])
            columns.append([names[i] for i in said.argmax(axis=1)])
        else:
            heads += [f"{task}/label/{name}" for name in names]
            columns += [["" if math.isnan(x) else f"{x:.6g}" for x in values] for values in target.T]
        heads += [f"{task}/{name}" for name in names]
        columns += [[f"{x:.6g}" for x in values] for values in said.T]
    return Table(heads, list(zip(*columns, strict=True))).csv()


def _result(found: Evaluation) -> dict[str, Any]:
    return {
        "run": found.run,
        "checkpoint": found.checkpoint,
        "store": found.store,
        "split": found.split,
        "faces": len(found.arrays["sample"]),
        "labels": {
            label.name: {"store": label.own, "classes": {row.store: row.model for row in label.rows}}
            for label in found.labels
        },
        "intervals_over": found.over,
        "notes": [*found.facts, *found.notes],
        "figures": {
            f"{each.task}/{each.figure.name}": {
                "value": _number(each.value),
                "n": each.support,
                "interval": each.interval,
                "constant_guess": _number(each.constant),
                "own": _number(each.own),
            }
            for each in found.figures
        },
    }


def _number(value: float | None) -> float | None:
    """Writes a number as JSON has it, which knows no NaN."""
    return None if value is None or not math.isfinite(value) else value


def _report(found: Evaluation, folder: Path) -> str:
    facts = [
        f"checkpoint: `{found.checkpoint}`",
        f"faces: {len(found.arrays['sample']):,}, split {markdown.plain(found.split)} of `{found.store}`",
        *map(markdown.plain, (*found.facts, *found.notes)),
    ]
    intervals = f"Intervals are percentiles of {RESAMPLES:,} bootstrap draws of {found.over}" + (
        ", which count as independent of each other." if found.groups is None else ": faces of one are drawn together."
    )
    warnings = [f"**Warning: {markdown.plain(warning)}**" for warning in found.warnings()]
    own = f" *Own {found.own_split}* is what the run reached there, by the same checkpoint." if found.own_split else ""
    guess = " *Constant guess* is the best constant answer to these very faces."
    return markdown.document(
        [
            f"# {markdown.plain(found.title)}",
            DRAWN.format(what="The faces of this store are drawn by `Synthetic`.") if found.drawn else "",
            markdown.bullets(facts),
            f"## Figures\n\n{found.table().markdown()}\n\n{intervals}{guess}{own}",
            *warnings,
            "## Labels",
            *(_label(label) for label in found.labels),
            *(_classes(found, task, folder) for task in found.answers if task in found.classes),
            f"## Files\n\n{markdown.bullets(f'`{name}`: {what}' for name, what in _FILES.items())}",
        ]
    )


def _label(label: MatchedLabel) -> str:
    rows = [
        (row.store, f"{row.count:,}", row.model or ("left out" if row.count else "not known, and no face is"))
        for row in label.rows
    ]
    named = label.name if label.name == label.own else f"{label.own}, taken for {label.name}"
    return f"{markdown.plain(named)}:\n\n" + Table(("of the store", "faces", "of the model"), rows).markdown()


def _classes(found: Evaluation, task: str, folder: Path) -> str:
    """Writes a task class by class, with its charts; empty where no face has a label."""
    names, target = found.answers[task], found.arrays[f"{task}.target"]
    probability = found.arrays[f"{task}.probability"]
    title = f"{task} · {found.split} of {found.store}"
    matrix, bars = (folder / CHARTS / name for name in chart_names(task))
    confusion(names, target, probability, matrix, title=title)
    recall_bars(names, target, probability, bars, title=title, groups=found.groups)
    pictures = [
        f"![{what} of {markdown.plain(title)}]({CHARTS}/{chart.name})"
        for what, chart in (("Confusion matrix", matrix), ("Recall of each class", bars))
    ]
    return f"## Classes of {markdown.plain(task)}\n\n" + "\n\n".join(
        [class_table(names, target, probability, found.groups).markdown(), *pictures]
    )


def class_table(names: Sequence[str], target: np.ndarray, probability: np.ndarray, groups: Groups | None) -> Table:
    """Makes the table of a task class by class: faces, recall with its 95 % interval, precision, F1."""
    counts = confusion_counts(names, target, probability)
    support, right = counts.sum(axis=1), counts.diagonal()
    recalls, precisions = recall(counts), recall(counts.T)
    low, high = recall_intervals(names, target, probability, groups)
    rows = []
    for i, name in enumerate(names):
        both = counts[i].sum() + counts[:, i].sum()
        rows.append(
            (
                name,
                f"{support[i]:,}",
                _SHARE.write(float(recalls[i])),
                write_ends(_SHARE, float(low[i]), float(high[i])) if np.isfinite(low[i]) else "–",
                _SHARE.write(float(precisions[i])),
                _SHARE.write(float(2 * right[i] / both) if both else None),
            )
        )
    return Table(("class", "n", "recall", "95 % interval", "precision", "F1"), rows)
