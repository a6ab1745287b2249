"""Searches fields of an experiment's rows on the split that recipes select on: `hmtl table EXPERIMENT --sweep ...`.

A search is an experiment too, so that it is run, resumed and kept as one is: each row of the experiment is a group of
it, and each combination of values a row of that group, a trial. Trials are trained without a test split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from engine.figures import format_count
from engine.recipe import Recipe, settings
from engine.recipe import file as recipe_file
from engine.reports import markdown
from engine.reports.table import Table
from engine.table import finished
from engine.table.experiment import ExperimentFile, Group, Row
from engine.table.plan import Plan
from engine.table.report import FLOPS, PICTURES, failed_runs, metric_in_words, number
from engine.table.results import Results, RowFigures

_NO_TEST = "test=None"
_SPLITS = ("train", "select", "test")
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Sweep:
    """Holds a field of recipes and the values that are tried."""

    field: str
    values: tuple[str, ...]
    """As `--set` takes them."""


@dataclass(frozen=True, slots=True)
class Search:
    """Holds the trials of an experiment's rows."""

    file: ExperimentFile
    """The trials as an experiment: a group a row, a row a trial."""
    sweeps: tuple[Sweep, ...]
    trials: Mapping[tuple[str, str], tuple[str, str, Mapping[str, str]]]
    """Group and row in `file` to group and row of the experiment, and the trial's values by field."""
    notes: tuple[str, ...]


def read_sweep(text: str) -> Sweep:
    """Reads `FIELD=VALUE,VALUE`; a comma within brackets or quotes belongs to a value.

    Raises:
        ValueError: It does not read so, a value is empty, or the field says which split is opened.
    """
    name, _, values = text.partition("=")
    found = tuple(dict.fromkeys(value.strip() for value in _split(values)))
    if name.strip() in _SPLITS:
        raise ValueError(f"table: sweep (={text!r}) must not name a split; every trial is judged on the same one")
    if not name.strip() or not all(found):
        raise ValueError(f"table: sweep (={text!r}) must read FIELD=VALUE,VALUE; e.g. --sweep optim.lr=1e-3,4e-3")
    return Sweep(name.strip(), found)


def _split(text: str) -> list[str]:
    """Splits at the commas that stand in no bracket and no quotes."""
    parts, closing, quote = [""], list[str](), ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _PAIRS:
            closing.append(_PAIRS[character])
        elif closing and character == closing[-1]:
            closing.pop()
        elif character == "," and not closing:
            parts.append("")
            continue
        parts[-1] += character
    return parts


def make_search(
    file: ExperimentFile, sweeps: Sequence[Sweep], *, set_: Sequence[str] = (), rows: Sequence[str] = ()
) -> Search:
    """Makes the trials of an experiment's rows: every combination of the values of the fields that a row's recipe has.

    Args:
        file: The experiment.
        sweeps: The fields and their values.
        set_: Fields that all trials set differently, before those that are searched.
        rows: Parts of names; rows that hold none of them are left out. All rows where there is none.

    Raises:
        ValueError: A field or a row is not there or comes twice, rows select on several splits, or a trial would be
            trained or judged on a test split.
    """
    names = [sweep.field for sweep in sweeps]
    if len(set(names)) < len(names):
        raise ValueError(f"table: sweep names a field twice (={', '.join(names)}); give all its values at once")
    every = [(group, row) for group in file.experiment.groups for row in group.rows if row.shown]
    chosen = [(group, row) for group, row in every if not rows or any(text in row.name for text in rows)]
    if not chosen:
        known = ", ".join(dict.fromkeys(repr(row.name) for _, row in every))
        raise ValueError(f"table: rows (={', '.join(rows)}) must be in the name of a row; there are {known}")
    own = [recipe_file.read(file.recipe(row)).recipe for _, row in chosen]
    recipes = [
        settings.apply(recipe, (*group.set, *row.set, *set_)) for (group, row), recipe in zip(chosen, own, strict=True)
    ]
    for (_, row), before, recipe in zip(chosen, own, recipes, strict=True):
        _refuse_test(row, recipe, before.test)
    for name in names:
        if not any(settings.has(recipe, name) for recipe in recipes):
            settings.apply(recipes[0], [f"{name}=0"])  # raises, and says which fields there are
    if len({recipe.select for recipe in recipes}) > 1:
        raise ValueError(
            f"table: sweep: rows select on several splits (={', '.join(sorted({r.select for r in recipes}))}); choose "
            "rows of one, by --rows or --only"
        )
    groups: list[Group] = []
    trials: dict[tuple[str, str], tuple[str, str, Mapping[str, str]]] = {}
    notes: list[str] = []
    for (group, row), recipe in zip(chosen, recipes, strict=True):
        title = ": ".join(filter(None, (group.title, row.name)))
        has = [sweep for sweep in sweeps if settings.has(recipe, sweep.field)]
        if lacks := [name for name in names if not settings.has(recipe, name)]:
            notes.append(f"{title} has no {' and no '.join(lacks)}: {'searched without' if has else 'not searched'}.")
        if not has:
            continue
        made: list[Row] = []
        for values in product(*(sweep.values for sweep in has)):
            tried = {sweep.field: value for sweep, value in zip(has, values, strict=True)}
            assignments = [f"{name}={value}" for name, value in tried.items()]
            name = ", ".join(assignments)
            made.append(Row(name, row.recipe, set=(*row.set, *set_, *assignments, _NO_TEST), start=row.start))
            trials[title, name] = group.title, row.name, tried
        groups.append(Group((*_starts(group, row, set_), *made), title, group.set))
    experiment = replace(file.experiment, groups=tuple(groups), split=recipes[0].select, at="last", seeds=1)
    return Search(replace(file, experiment=experiment), tuple(sweeps), trials, tuple(notes))


def _refuse_test(row: Row, recipe: Recipe, test: str | None) -> None:
    for what, split in (("train", recipe.train), ("select", recipe.select)):
        if split in (test, recipe.test):
            raise ValueError(
                f"table: sweep: row {row.name!r} has {what} (={split!r}), its test split, which no search opens; name "
                "another split"
            )


def _starts(group: Group, row: Row, set_: Sequence[str]) -> tuple[Row, ...]:
    """Lists the rows that a row starts from, trained without a test split; their fields are not searched."""
    if row.start is None:
        return ()
    name = row.start.row
    start = next(other for other in group.rows if other.name == name)
    here = replace(start, set=(*start.set, *set_, _NO_TEST), shown=False, baseline=False, against=())
    return (*_starts(group, start, set_), here)


def to_table(search: Search, results: Results) -> Table:
    """Writes a line a trial, the best of each row first and marked; trials without a figure come last."""
    fields = [sweep.field for sweep in search.sweeps]
    figure = results.figure
    heads = (
        *("group", "row", *fields, "", f"{metric_in_words(results)} on {results.experiment.split}, last epoch"),
        *("seeds", "epochs", PICTURES, FLOPS, "seconds a run", "note"),
    )
    lines = []
    best: set[tuple[str, str]] = set()
    for row in sorted(results.rows, key=lambda row: _rank(row, results)):
        group, name, tried = search.trials[row.group, row.name]
        first = bool(row.last.values) and (group, name) not in best
        best |= {(group, name)} if first else set()
        epochs = row.done[0].content.get("epochs") if row.done else None
        lines.append(
            (
                *(group, name, *(tried.get(field, "–") for field in fields), "best" if first else ""),
                number(figure, row.last.mean),
                *(str(len(row.last.values)), format_count(epochs)),
                *(row.cost.pictures_in_words(), format_count(row.cost.flops)),
                f"{60 * row.minutes.mean:.0f}" if row.minutes.values else "–",
                row.state,
            )
        )
    return Table(heads, lines, left=3 + len(fields))


def _rank(row: RowFigures, results: Results) -> tuple[int, float]:
    """Orders trials: rows as the experiment has them, within a row the best first."""
    titles = [group.title for group in results.experiment.groups]
    value = -row.last.mean if results.figure.greater_is_better else row.last.mean
    return titles.index(row.group), math.inf if math.isnan(value) else value


def to_markdown(search: Search, plan: Plan, results: Results, *, command: str, failures: Mapping[str, str]) -> str:
    """Writes the table of all trials, and how many there were."""
    trials: dict[str, int] = {}
    for row, _ in search.trials:
        trials[row] = trials.get(row, 0) + 1
    counted = "; ".join(f"{name}: {count}" for name, count in trials.items())
    split = results.experiment.split
    earlier = len({run.key for run in finished.read_all(plan.results / plan.file.name)[0]} - {j.key for j in plan.jobs})
    return markdown.document(
        [
            f"# A search on {split}: {markdown.plain(results.experiment.title)}",
            markdown.plain(
                f"Trials: {len(search.trials)} ({counted}). All are judged on {split}, after their last epoch; no run "
                "of the search opens the test split. The figure of the best of several trials is optimistic: report "
                "that of another split."
            ),
            to_table(search, results).markdown(),
            *([f"{earlier} more runs of earlier searches count too; they are in `{plan.results}`."] if earlier else []),
            *map(markdown.plain, (*plan.notes, *search.notes)),
            *failed_runs(failures),
            markdown.fence(command, "sh"),
        ]
    )
