"""Sets runs beside each other: figures, how their recipes differ, what changes class by class, and their curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np

from engine.cost import Cost
from engine.figures import Figure, format_count
from engine.intervals.bootstrap import Interval
from engine.recipe.written import differences
from engine.reports import markdown
from engine.reports.classwise import confusion_counts, recall
from engine.reports.curves import Metrics, overlaid_curves
from engine.reports.facts import is_smoke
from engine.reports.intervals import paired
from engine.reports.table import Table
from engine.runs.result import ClassPredictions, Run, as_mapping, as_number, read_arrays, read_predictions, read_run
from loaders.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Comparison:
    """Holds what is said of runs beside each other; prints itself and writes itself as Markdown."""

    figures: Table
    """A row a run."""
    differences: Table | None
    """How far the figures of each run after the first are from the first one's, with intervals; None without any."""
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    """What makes figures of these runs mislead where they stand beside each other."""
    recipes: Mapping[str, Sequence[str]]
    """Title to lines `field: first -> this one`, for each run after the first."""
    classes: tuple[Table, ...]
    """Recalls of each task's classes: a row a class, a column a run; after the first with its change."""
    curves: Mapping[str, Metrics]
    """Name of each run to its metrics epoch by epoch."""
    declared: Mapping[str, Figure]
    """What the figures of the runs are, by `<task>/<figure>`."""

    def print(self, console: Terminal) -> None:
        """Prints all but the curves; tables fit any width."""
        self.figures.print(console)
        if self.differences is not None:
            self.differences.print(console)
        for warning in self.warnings:
            console.print(f"warning: {warning}", style="bold yellow", soft_wrap=False)
        for note in self.notes:
            console.print(note, style="dim", soft_wrap=False)
        for title, lines in self.recipes.items():
            console.print(f"\n{title}", soft_wrap=False)
            for line in lines:
                console.print(f"  {line}", soft_wrap=False)
        for table in self.classes:
            console.print()
            table.print(console)

    def markdown(self, image: str | None = None) -> str:
        """Writes all of it as Markdown; `image` is where the curves are, from the Markdown file."""
        parts = ["# Runs beside each other", self.figures.markdown()]
        if self.differences is not None:
            title = f"## {markdown.plain(self.differences.title)}"
            parts += [title, self.differences.markdown(), markdown.plain(self.differences.caption)]
        parts += [f"**Warning: {markdown.plain(warning)}**" for warning in self.warnings]
        parts += [note.replace("*", "\\*") for note in self.notes]
        for title, lines in self.recipes.items():
            parts += [f"## {markdown.plain(title)}", markdown.fence("\n".join(lines))]
        for table in self.classes:
            parts += [f"## {markdown.plain(table.title)}", table.markdown()]
        if image is not None:
            parts.append(f"![Learning curves over each other]({quote(image)})")
        return markdown.document(parts)

    def draw_curves(self, image: Path) -> Path:
        """Draws the runs' learning curves over each other.

        Raises:
            ValueError: No epoch has ended.
        """
        return overlaid_curves(self.curves, image, figures=self.declared)


def compare(paths: Sequence[Path]) -> Comparison:
    """Reads runs and sets their figures side by side.

    A figure of the last epoch stands before that of the best one, "last | best". Unfinished runs are marked with a
    star and show what they have. Runs trained on other stores, or evaluated on other pictures, than the first one are
    warned of.

    Raises:
        ValueError: There is no path, or one is not the folder of a run.
    """
    if not paths:
        raise ValueError("compare: runs (=none) must be at least one; name the folders that hmtl train wrote")
    runs = [read_run(path, where="compare") for path in paths]
    names = _names(runs)
    labels = [name if run.finished else f"{name} *" for name, run in zip(names, runs, strict=True)]
    notes = ["Figures are last | best epoch; a best epoch is chosen on val, where it is optimistic."]
    if guesses := [
        f"{figure.label} of {name.rpartition('/')[0]} {figure.write(figure.chance)}"
        for name, figure in _headlines(runs).items()
        if figure.chance is not None
    ]:
        notes.append(f"Guessing reaches: {', '.join(guesses)}.")
    if unfinished := [name for name, run in zip(names, runs, strict=True) if not run.finished]:
        notes.append(f"* unfinished, figures so far: {', '.join(unfinished)}.")
    notes += _costs(runs, names)
    classes, left_out = _classes(runs, names)
    return Comparison(
        _figures(runs, labels),
        _differences(runs, labels),
        notes=(*notes, *left_out),
        warnings=(
            *(
                f"{name} is a smoke test on drawn faces, its figures mean nothing"
                for name, run in zip(names, runs, strict=True)
                if is_smoke(run)
            ),
            *_trained_on_others(runs, names),
            *evaluated_on_others(runs, names),
        ),
        recipes={
            f"Recipe: {names[0]} -> {name}": differences(runs[0].recipe, run.recipe) or ["the same recipe"]
            for name, run in zip(names[1:], runs[1:], strict=True)
        },
        classes=tuple(classes),
        curves=dict(zip(labels, (run.metrics for run in runs), strict=True)),
        declared={name: figure for run in runs for name, figure in run.declared.items()},
    )


def _figures(runs: Sequence[Run], labels: Sequence[str]) -> Table:
    columns: list[tuple[str, Callable[[Run], str]]] = [
        ("views", lambda run: ", ".join(map(str, run.result.get("views") or ())) or "–"),
        ("epochs", _epochs),
        ("pictures\ntrained /\nforward only", lambda run: Cost.read(run.result).pictures_in_words()),
        ("training\nFLOPs", lambda run: format_count(Cost.read(run.result).flops)),
        ("parameters\nat inference", lambda run: format_count(_parameters(run))),
        ("minutes", _minutes),
    ]
    tasks = {name.rpartition("/")[0] for run in runs for name in run.figures}
    columns += [
        (_head(name, figure, split, with_task=len(tasks) > 1), partial(_pair, split=split, name=name, figure=figure))
        for name, figure in _headlines(runs).items()
        for split in dict.fromkeys(split for run in runs for split in run.splits)
        if any(_pair(run, split=split, name=name, figure=figure) != "–" for run in runs)
    ]
    rows = [(label, *(text(run) for _, text in columns)) for label, run in zip(labels, runs, strict=True)]
    return Table(("run", *(head for head, _ in columns)), rows, left=2)


def _differences(runs: Sequence[Run], labels: Sequence[str]) -> Table | None:
    """Writes the differences to the first run at the last epoch, where both runs answered the same pictures."""
    first, *others = runs
    tasks = {name.rpartition("/")[0] for run in runs for name in run.figures}
    columns: dict[str, list[str]] = {}
    drawn: dict[str, None] = {}
    for name, figure in _headlines(runs).items():
        for split in first.splits:
            found = [paired(other, first, split, name) for other in others]
            if any(found):
                columns[_head(name, figure, split, with_task=len(tasks) > 1)] = [
                    "–" if each is None else _write_difference(figure, each[0]) for each in found
                ]
                drawn |= dict.fromkeys(each[1] for each in found if each is not None)
    if not columns:
        return None
    rows = list(zip(labels[1:], *columns.values(), strict=True))
    return Table(
        ("run", *columns),
        rows,
        title=f"minus {labels[0]}, last epoch, with 95 % intervals",
        caption=f"paired bootstrap over {' and '.join(drawn)}; it knows nothing of other seeds",
    )


def _write_difference(figure: Figure, found: Interval) -> str:
    gap, low, high = (figure.scale * each for each in (found.difference, found.low, found.high))
    return f"{gap:+.1f} ({low:+.1f} to {high:+.1f})"


def _costs(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Says how the costs of runs stand to that of the first, and which leave out that of what they start from."""
    first = Cost.read(runs[0].result)
    costs = [(name, Cost.read(run.result).beside(first)) for name, run in zip(names[1:], runs[1:], strict=True)]
    notes = [f"Cost of {name} beside {names[0]}: {text}." for name, text in costs if text != "–"]
    if started := [name for name, run in zip(names, runs, strict=True) if as_mapping(run.result.get("init"))]:
        notes.append(f"Without the cost of what the encoder starts from: {', '.join(started)}.")
    return notes


def _headlines(runs: Sequence[Run]) -> dict[str, Figure]:
    """Finds the figures a comparison shows, those of supervised tasks first."""
    found = {name: figure for run in runs for name, figure in run.headlines.items()}
    supervised = {task for run in runs for task in run.supervised}
    return dict(sorted(found.items(), key=lambda item: item[0].rpartition("/")[0] not in supervised))


def _head(name: str, figure: Figure, split: str, *, with_task: bool) -> str:
    task = name.rpartition("/")[0]
    return "\n".join([*([task] if with_task else []), figure.label, split + figure.in_brackets])


def _pair(run: Run, *, split: str, name: str, figure: Figure) -> str:
    values = [scores.value(split, name) if scores else None for scores in (run.last, run.best)]
    if values == [None, None]:
        return "–"
    return " | ".join(figure.write(value, decimals=1, unit=False) for value in values)


def _epochs(run: Run) -> str:
    done, planned = as_number(run.result.get("epochs")), as_number(run.recipe.get("epochs"))
    if run.finished or planned is None:
        return "–" if done is None else f"{done:g}"
    ended = len(next(iter(run.metrics.values()), ())) if done is None else done
    return f"{ended:g} of {planned:g}"


def _minutes(run: Run) -> str:
    seconds = as_number(run.result.get("seconds"))
    return "–" if seconds is None else f"{seconds / 60:.1f}"


def _parameters(run: Run) -> float | None:
    return as_number(as_mapping(run.result.get("parameters")).get("inference"))


def _names(runs: Sequence[Run]) -> list[str]:
    """Names the runs: by the recipe's name where they differ, else the folders', else the paths."""
    for label in (lambda run: run.name, lambda run: run.path.resolve().name, lambda run: str(run.path)):
        names = [label(run) for run in runs]
        if len(set(names)) == len(names):
            break
    return names


def _classes(runs: Sequence[Run], names: Sequence[str]) -> tuple[list[Table], list[str]]:
    """Makes a table of recalls of every task with classes, on the split that most runs have predictions of.

    Returns:
        The tables, and sentences on runs that are left out because their classes or samples are others.
    """
    found: dict[str, dict[str, dict[int, ClassPredictions]]] = {}
    for position, run in enumerate(runs):
        for task, items in read_predictions(run)[0].items():
            for item in items:
                if item.checkpoint == "last":
                    found.setdefault(task, {}).setdefault(item.split, {})[position] = item
    tables, notes = [], []
    for task, splits in found.items():
        split = max(splits, key=lambda split: (len(splits[split]), split == "test"))
        (first, truth), *_ = splits[split].items()
        kept = {}
        for position, item in splits[split].items():
            same_names = runs[position].classes[task] == runs[first].classes[task]
            if same_names and np.array_equal(item.target, truth.target):
                kept[position] = item
            else:
                what = "samples" if same_names else "classes"
                notes.append(f"{runs[position].name} has other {what} of {task} on {split}, it is not set beside them.")
        if len(kept) > 1:
            title = f"Recall of each class of {task} on {split}, last epoch (%), and the change from {names[first]}"
            heads = ("class", "n", *(names[position] for position in kept))
            tables.append(Table(heads, _recalls(runs[first].classes[task], list(kept.values())), title=title))
    return tables, notes


def _recalls(classes: Sequence[str], runs: Sequence[ClassPredictions]) -> list[tuple[str, ...]]:
    counts = [confusion_counts(classes, run.target, run.probability) for run in runs]
    support = counts[0].sum(axis=1)
    first, *others = map(recall, counts)
    return [
        (
            name,
            f"{support[i]:,}",
            _percent(first[i]),
            *(f"{_percent(other[i])} ({100 * (other[i] - first[i]):+.1f})" if support[i] else "–" for other in others),
        )
        for i, name in enumerate(classes)
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if math.isfinite(share) else "–"


def _trained_on_others(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Says of each run whose prepared stores are not those of the first run that says what it was trained on."""
    hashed = [
        (name, set(_hashes(run.starts[-1].get("data")))) for name, run in zip(names, runs, strict=True) if run.starts
    ]
    first, *others = [(name, hashes) for name, hashes in hashed if hashes] or [("", set())]
    return [
        f"{name} was trained on other data than {first[0]}: the hashes of their prepared stores differ."
        for name, hashes in others
        if hashes != first[1]
    ]


def _hashes(data: object) -> Iterator[str]:
    """Lists the hashes of manifests and pixels in what a run says of its data."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if str(key).endswith("sha256"):
                yield f"{key} {value}"
            else:
                yield from _hashes(value)
    elif isinstance(data, list):
        for value in data:
            yield from _hashes(value)


def evaluated_on_others(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Says of each run and split whose pictures or labels are not those of the first run that has that split.

    Pictures are known by their ids, labels by the targets of the tasks that both runs have. A run without readable
    predictions of a split is not judged.
    """
    found = []
    for split in dict.fromkeys(split for run in runs for split in run.splits):
        read = [(name, _evaluated_on(run, split)) for name, run in zip(names, runs, strict=True)]
        first, *others = [(name, arrays) for name, arrays in read if arrays] or [("", {})]
        for name, arrays in others:
            if difference := _difference(first[1], arrays):
                beside = f"{name} was evaluated on other {difference} of {split} than {first[0]}"
                found.append(f"{beside}: their figures do not compare.")
    return found


def _evaluated_on(run: Run, split: str) -> Mapping[str, np.ndarray]:
    """Reads the ids and labels of the pictures that a run was evaluated on, by id; empty where it does not tell."""
    try:
        arrays = read_arrays(run.path / "predictions" / f"{split}-last.npz")
    except ValueError:
        return {}
    if "sample" not in arrays:
        return {}
    order = np.argsort(arrays["sample"], kind="stable")
    told = {name: array for name, array in arrays.items() if name == "sample" or name.endswith(".target")}
    return {name: array[order] for name, array in told.items() if len(array) == len(order)}


def _difference(first: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> str:
    """Names what differs; empty where nothing tells the two apart."""
    one, two = first["sample"], other["sample"]
    if len(one) != len(two):
        return f"pictures ({len(two):,} in place of {len(one):,})"
    if not np.array_equal(one, two):
        return "pictures"
    for name in first.keys() & other.keys():
        one, two = first[name], other[name]
        if one.shape != two.shape:  # other angles of a pose, say
            continue
        if not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
            return f"labels ({name.removesuffix('.target')})"
    return ""
