"""Sets runs beside each other: figures, how their recipes differ, what changes class by class, and their curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float64, Int64
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.quantities import format_count, format_value, in_brackets, label_of
from engine.recipe.written import differences
from engine.reports import markdown
from engine.reports.classwise import confusion_counts, recall
from engine.reports.curves import overlaid_curves
from engine.runs.result import ClassPredictions, Run, as_mapping, as_number, read_arrays, read_predictions, read_run

# These lead; others follow in the order the runs have them.
_LEADING = ("/accuracy", "/macro_f1")
_NARROWEST_NAME = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of text: heads of one or more lines, and one row a run."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    recipes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Each run after the first, and where its recipe differs from the first's: `field: first -> this one`."""
    classes: tuple[ClassTable, ...] = ()
    warnings: tuple[str, ...] = ()
    """What makes figures of these runs mislead where they stand beside each other."""


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Recalls of one task's classes as text: a line a class, a column a run; after the first with its change."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def compare(paths: Sequence[Path]) -> Comparison:
    """Read runs and lay their figures side by side.

    A figure of the last epoch stands before that of the best one, "last | best". Unfinished runs are marked with a
    star and show what they have. Runs evaluated on other pictures than the first one are warned of.

    Raises:
        ValueError: There is no path, or one is not the folder of a run.
    """
    if not paths:
        raise ValueError("compare: runs (=none) must be at least one; name the folders that engine.run wrote")
    runs = [read_run(path, where="compare") for path in paths]
    columns: list[tuple[str, Callable[[Run], str]]] = [
        ("views", lambda run: ", ".join(map(str, run.result.get("views") or ())) or "–"),
        ("epochs", _epochs),
        ("pictures\nseen", lambda run: format_count(as_number(run.result.get("pictures_through_encoder")))),
        ("parameters\nat inference", lambda run: format_count(_parameters(run))),
        ("minutes", _minutes),
    ]
    tasks = dict.fromkeys(quantity.rpartition("/")[0] for run in runs for quantity in run.quantities)
    ambiguous = len(tasks) > 1
    columns += [
        (_head(quantity, split, ambiguous), partial(_pair, split=split, quantity=quantity))
        for quantity in _headlines(runs)
        for split in dict.fromkeys(split for run in runs for split in run.splits)
        if any(_pair(run, split=split, quantity=quantity) != "–" for run in runs)
    ]
    names = _names(runs)
    labels = _marked(names, runs)
    rows = tuple((label, *(text(run) for _, text in columns)) for label, run in zip(labels, runs, strict=True))
    notes = ["Figures are last | best epoch; a best epoch is chosen on val, where it is optimistic."]
    unfinished = [name for name, run in zip(names, runs, strict=True) if not run.finished]
    if unfinished:
        notes.append(f"* unfinished, figures so far: {', '.join(unfinished)}.")
    changes, left_out = class_changes(runs)
    recipes = [
        (name, tuple(differences(runs[0].recipe, run.recipe))) for name, run in zip(names[1:], runs[1:], strict=True)
    ]
    return Comparison(
        ("run", *(head for head, _ in columns)),
        rows,
        (*notes, *left_out),
        tuple(recipes),
        tuple(_class_table(each, names) for each in changes),
        tuple(evaluated_on_others(runs, names)),
    )


def _class_table(changes: ClassChanges, names: Sequence[str]) -> ClassTable:
    first = changes.recalls[0]
    rows = [
        (
            name,
            f"{changes.support[i]:,}",
            *(_recall(recall[i], None if row == 0 else first[i]) for row, recall in enumerate(changes.recalls)),
        )
        for i, name in enumerate(changes.names)
    ]
    title = f"Recall of each class of {changes.task} on {changes.split}, last epoch (%)"
    if len(changes.runs) > 1:
        title += f", and the change from {names[changes.runs[0]]}"
    return ClassTable(title, ("class", "n", *(names[position] for position in changes.runs)), tuple(rows))


def _recall(value: float, first: float | None) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f}" if first is None else f"{100 * value:.1f} ({100 * (value - first):+.1f})"


def overlay(paths: Sequence[Path], image: Path) -> Path:
    """Draws the runs' learning curves over each other.

    Raises:
        ValueError: A path is not the folder of a run, or no epoch has ended.
    """
    runs = [read_run(path, where="compare") for path in paths]
    labels = _marked(_names(runs), runs)
    return overlaid_curves(dict(zip(labels, (run.metrics for run in runs), strict=True)), image)


def _headlines(runs: Sequence[Run]) -> list[str]:
    """What a comparison shows of each task: the figure that it reports first, and macro-F1 beside accuracy."""
    found = []
    for run in runs:
        first: dict[str, str] = {}
        for quantity in run.quantities:
            first.setdefault(quantity.rpartition("/")[0], quantity)
        found += [q for q in run.quantities if q in first.values() or q.endswith("/macro_f1")]
    return sorted(dict.fromkeys(found), key=lambda quantity: not quantity.endswith(_LEADING))


def _head(quantity: str, split: str, with_task: bool) -> str:
    task = quantity.rpartition("/")[0]
    return "\n".join([*([task] if with_task else []), label_of(quantity), split + in_brackets(quantity)])


def _pair(run: Run, *, split: str, quantity: str) -> str:
    values = [scores.value(split, quantity) if scores else None for scores in (run.last, run.best)]
    if values == [None, None]:
        return "–"
    return " | ".join(format_value(quantity, value, decimals=1, unit=False) for value in values)


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
    """Names of the runs: the recipe's where they differ, else the folders', else the paths."""
    for label in (lambda run: run.name, lambda run: run.path.resolve().name, lambda run: str(run.path)):
        names = [label(run) for run in runs]
        if len(set(names)) == len(names):
            break
    return names


def _marked(names: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Names with a star behind those of unfinished runs."""
    return [name if run.finished else f"{name} *" for name, run in zip(names, runs, strict=True)]


def blocks(table: Comparison, width: int) -> list[list[int]]:
    """Which columns stand together so that a line has at most `width` characters; each block begins with the name."""
    widths = [
        max(cell_len(line) for text in column for line in text.split("\n"))
        for column in zip(table.heads, *table.rows, strict=True)
    ]
    padding = 2  # one of the cell and one of the box
    name = min(widths[0], max(_NARROWEST_NAME, width // 3))
    found: list[list[int]] = []
    room = 0
    for column in range(1, len(widths)):
        if not found or widths[column] + padding > room:
            found.append([0])
            room = width - name - padding
        found[-1].append(column)
        room -= widths[column] + padding
    return found


def print_comparison(table: Comparison, console: Console) -> None:
    """Print the table; where the terminal is too narrow for a row, it is continued in further blocks of columns."""
    for block in blocks(table, console.width):
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
        for column in block:
            drawn.add_column(
                escape(table.heads[column]),
                justify="left" if column <= 1 else "right",
                overflow="fold",
                no_wrap=column > 1,
            )
        for row in table.rows:
            drawn.add_row(*(escape(row[column]) for column in block))
        console.print(drawn)
        console.print()
    for warning in table.warnings:
        console.print(f"warning: {escape(warning)}", style="bold yellow", highlight=False)
    for note in table.notes:
        console.print(escape(note), style="dim", highlight=False)
    for name, lines in table.recipes:
        console.print(f"\n{escape(_recipes_title(table, name))}", highlight=False)
        for line in lines or ("the same recipe",):
            console.print(f"  {escape(line)}", highlight=False)
    for each in table.classes:
        drawn = Table(
            title=escape(each.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
        )
        for column, head in enumerate(each.heads):
            drawn.add_column(escape(head), justify="right" if column else "left", overflow="fold")
        for row in each.rows:
            drawn.add_row(*map(escape, row))
        console.print()
        console.print(drawn)


def _recipes_title(table: Comparison, name: str) -> str:
    return f"Recipe: {table.rows[0][0].removesuffix(' *')} -> {name}"


def to_markdown(table: Comparison, image: str | None = None) -> str:
    """All of it as Markdown; `image` is where the curves are, from the Markdown file."""
    heads = [head.replace("\n", " ") for head in table.heads]
    notes = "\n\n".join(note.replace("*", "\\*") for note in table.notes)
    warnings = [f"**Warning: {markdown.plain(warning)}**" for warning in table.warnings]
    parts = [markdown.table(heads, table.rows, left=2), *warnings, notes]
    for name, lines in table.recipes:
        parts += [markdown.plain(_recipes_title(table, name)), markdown.fence("\n".join(lines) or "the same recipe")]
    for each in table.classes:
        parts += [markdown.plain(each.title), markdown.table(each.heads, each.rows, left=1)]
    if image is not None:
        parts.append(f"![Learning curves over each other]({quote(image)})")
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True, slots=True, eq=False)
class ClassChanges:
    """One task's recalls in several runs, on one split at the last epoch."""

    task: str
    split: str
    names: tuple[str, ...]
    support: Int64[np.ndarray, " k"]
    """Samples of each class."""
    runs: tuple[int, ...]
    """Which of the runs have it, by position; the first is what the others are held against."""
    recalls: Float64[np.ndarray, "m k"]
    """A row for each of `runs`, 0..1, NaN for a class without samples."""


def class_changes(runs: Sequence[Run]) -> tuple[list[ClassChanges], list[str]]:
    """Recalls of every task with classes, on the split that most runs have predictions of, test before others.

    Returns:
        The recalls, and sentences on runs that are left out because their classes or samples are others.
    """
    tables: dict[tuple[str, str], list[tuple[int, ClassPredictions]]] = {}
    for position, run in enumerate(runs):
        for task, items in read_predictions(run)[0].items():
            for item in items:
                if item.checkpoint == "last":
                    tables.setdefault((task, item.split), []).append((position, item))
    found, notes = [], []
    for task in dict.fromkeys(task for task, _ in tables):
        splits = {split: items for (name, split), items in tables.items() if name == task}
        split = max(splits, key=lambda split: (len(splits[split]), split == "test"))
        first, kept = splits[split][0], []
        for position, item in splits[split]:
            same_names = runs[position].classes[task] == runs[first[0]].classes[task]
            if same_names and np.array_equal(item.target, first[1].target):
                kept.append((position, item))
            else:
                what = "samples" if same_names else "classes"
                notes.append(f"{runs[position].name} has other {what} of {task} on {split}, it is not set beside them.")
        if len(kept) > 1:
            names = tuple(runs[first[0]].classes[task])
            counts = [confusion_counts(names, item.target, item.probability) for _, item in kept]
            recalls = np.stack([recall(table) for table in counts])
            positions = tuple(position for position, _ in kept)
            found.append(ClassChanges(task, split, names, counts[0].sum(axis=1), positions, recalls))
    return found, notes


@dataclass(frozen=True, slots=True, eq=False)
class _Evaluated:
    """What a run was evaluated on in one split, in the order of the ids."""

    samples: np.ndarray
    targets: Mapping[str, np.ndarray]


def evaluated_on_others(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """A sentence for each run and split whose pictures or labels are not those of the first run that has that split.

    Pictures are known by their ids, labels by the targets of the tasks that both runs have. A run without readable
    predictions of a split is not judged.
    """
    found = []
    for split in dict.fromkeys(split for run in runs for split in run.splits):
        kept = [(name, _evaluated(run, split)) for name, run in zip(names, runs, strict=True)]
        judged = [(name, on) for name, on in kept if on is not None]
        for name, on in judged[1:]:
            if difference := _other_than(judged[0][1], on):
                beside = f"{name} was evaluated on other {difference} of {split} than {judged[0][0]}"
                found.append(f"{beside}: their figures do not compare.")
    return found


def _evaluated(run: Run, split: str) -> _Evaluated | None:
    try:
        arrays = read_arrays(run.path / "predictions" / f"{split}-last.npz")
    except ValueError:
        return None
    if "sample" not in arrays:
        return None
    order = np.argsort(arrays["sample"], kind="stable")
    tasks = (name.rpartition(".")[0] for name in arrays if name.endswith(".target"))
    targets = {task: arrays[f"{task}.target"] for task in tasks}
    return _Evaluated(
        arrays["sample"][order], {task: target[order] for task, target in targets.items() if len(target) == len(order)}
    )


def _other_than(first: _Evaluated, other: _Evaluated) -> str:
    """What differs; empty if nothing tells them apart."""
    if len(first.samples) != len(other.samples):
        return f"pictures ({len(other.samples):,} in place of {len(first.samples):,})"
    if not np.array_equal(first.samples, other.samples):
        return "pictures"
    for task in first.targets.keys() & other.targets.keys():
        one, two = first.targets[task], other.targets[task]
        if one.shape != two.shape:  # other angles of a pose, say
            continue
        if not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
            return f"labels ({task})"
    return ""
