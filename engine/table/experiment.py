"""Says which recipes stand in which row of a table, as a frozen value, and reads it from a file.

The border: an experiment file is a Python file, by habit in `recipes/`, with an `Experiment` called `experiment`. It
chooses and defines nothing: its rows name recipes (`recipes/x.py`, `recipes/x.py:variant`, or `:variant` for a
recipe of the experiment's own file) and the fields that are set differently. Everything else is done by `engine.table`:
what is run, in which order, and what is printed. A run differs from its row's recipe by `seed` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from engine import catalogue
from engine.recipe import file as recipe_file
from engine.recipe.hints import check_fields


@dataclass(frozen=True, slots=True)
class Start:
    """Names the weights that a row takes over from the run of another row of its group, with the same seed.

    Args:
        row: Name of the other row.
        field: Field of this row's recipe that is set to the checkpoint's folder.
        checkpoint: Which of its checkpoints; the last epoch's where nothing may be chosen.
    """

    row: str
    field: str = "init"
    checkpoint: Literal["last", "best"] = "last"


@dataclass(frozen=True, slots=True)
class Row:
    """Describes one line of the table: a recipe, trained once for each seed.

    Args:
        name: What the line is called; one word for one thing over all groups.
        recipe: `path.py`, `path.py:variant`, or `:variant` for a recipe of the experiment's own file.
        published: The paper's figure, as it prints it (accuracies and error rates in percent).
        baseline: Whether the group's other rows are compared with this one.
        against: Names of the rows it is compared with; None for all baselines of the group.
        set: Fields of the recipe that are set differently, as `--set` takes them.
        start: Another row whose weights it starts from.
        shown: Whether the table has a line for it; pre-training, which has no supervised figure, may need none.
    """

    name: str
    recipe: str
    published: float | None = None
    baseline: bool = False
    against: tuple[str, ...] | None = None
    set: tuple[str, ...] = ()
    start: Start | None = None
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Holds rows that stand together and are compared with each other.

    Args:
        rows: The lines, in the paper's order.
        title: What they have in common, such as "20 % of the training data".
        set: Fields that all of them set differently, before their own.
        labels: How many labels its rows learn from. Where two or more groups say it, the table has a curve over them.
    """

    rows: tuple[Row, ...]
    title: str = ""
    set: tuple[str, ...] = ()
    labels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Describes a table: its rows and what is measured.

    Args:
        title: What is asked.
        table: Which table or statement of which paper it stands beside.
        data: Data set and version that *our* figures are of.
        published_on: Data set and network that the *published* figures are of; they may be others.
        groups: The rows.
        metric: "task/metric" of the evaluation.
        split: The split it is measured on.
        at: The checkpoint whose figures are compared: the last epoch's, or the best's, which was chosen on `select`.
        seeds: Runs of each row unless `--seeds` says otherwise: `seed` 0, 1, ...
        folds: Folds of the data, each of which is the test split of a run of its own, with every seed: a seed's figure
            is that of the answers of all folds together. 0 for data that is not folded.
        fold_field: The field of the recipe that chooses the fold: that of a `loaders.Folds`.

    Raises:
        ValueError: A field is not of its type, or a name does not fit the others.
    """

    title: str
    table: str
    data: str
    groups: tuple[Group, ...]
    published_on: str = ""
    metric: str = "expression/accuracy"
    split: str = "test"
    at: Literal["last", "best"] = "last"
    seeds: int = 3
    folds: int = 0
    fold_field: str = "data.fold"

    def __post_init__(self) -> None:
        check_fields(self, "Experiment", leave=("groups",) if _all_are(self.groups, Group) else ())
        if self.seeds < 1:
            raise ValueError(f"Experiment: seeds (={self.seeds}) must be 1 or more")
        if self.folds < 0 or self.folds in (1, 2):
            raise ValueError(f"Experiment: folds (={self.folds}) must be 3 or more, or 0 for data that is not folded")
        task, slash, metric = self.metric.partition("/")
        if not (task and slash and metric):
            raise ValueError(f"Experiment: metric (={self.metric!r}) must read task/metric; e.g. 'expression/accuracy'")
        titles = [group.title for group in self.groups]
        if not self.groups or len(set(titles)) < len(titles):
            raise ValueError(f"Experiment: groups (titles {titles}) must be one or more with different titles")
        for group in self.groups:
            _check_group(group)


def _check_group(group: Group) -> None:
    where = f"Experiment: group {group.title!r}"
    check_fields(group, where, leave=("rows",) if _all_are(group.rows, Row) else ())
    if group.labels is not None and group.labels < 1:
        raise ValueError(f"{where}: labels (={group.labels}) must be 1 or more, or None where it is not to be drawn")
    names = [row.name for row in group.rows]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{where}: rows (={names}) must be one or more with different names")
    for row in group.rows:
        check_fields(row, f"{where}: row {row.name!r}")
        for other in row.against or ():
            if other not in names or other == row.name:
                raise ValueError(
                    f"{where}: row {row.name!r}: against names {other!r}; name other rows, of {', '.join(names)}"
                )
        if row.start is not None and row.start.row not in names[: names.index(row.name)]:
            raise ValueError(
                f"{where}: row {row.name!r}: start names the row {row.start.row!r}, which must stand before it; "
                f"before it stand {', '.join(names[: names.index(row.name)]) or 'none'}"
            )


def _all_are(values: object, kind: type) -> bool:
    """Says whether it is a tuple of such values, which are then checked one by one, by their names."""
    return isinstance(values, tuple) and all(isinstance(value, kind) for value in values)


def compared_with(row: Row, group: Group) -> tuple[str, ...]:
    """Names the rows that a row is compared with."""
    if row.against is not None:
        return row.against
    return () if row.baseline or not row.shown else tuple(other.name for other in group.rows if other.baseline)


@dataclass(frozen=True, slots=True)
class ExperimentFile:
    """Holds an experiment with the file it came from."""

    name: str
    """The file's stem."""
    path: Path
    experiment: Experiment
    prepared: Mapping[str, str] = field(default_factory=dict)
    """Folder of a data set to the `hmtl prepare` that writes it, as the file's docstring says."""

    def recipe(self, row: Row) -> str:
        """Says where a row's recipe is, as `hmtl train` takes it."""
        return f"{self.path}{row.recipe}" if row.recipe.startswith(":") else row.recipe

    def only(self, titles: Sequence[str]) -> ExperimentFile:
        """Keeps the groups whose title holds one of these; all of them where none is given.

        Raises:
            ValueError: There is no such group.
        """
        groups = tuple(g for g in self.experiment.groups if not titles or any(text in g.title for text in titles))
        if not groups:
            known = ", ".join(repr(group.title) for group in self.experiment.groups)
            raise ValueError(f"table: only (={', '.join(titles)}) must be in the title of a group; there are {known}")
        return replace(self, experiment=replace(self.experiment, groups=groups))


def read(where: str | Path) -> ExperimentFile:
    """Reads the `experiment` of a Python file, or of a recipe file of the package by its name.

    Raises:
        ValueError: No such file, a file that cannot be run, or no Experiment called `experiment` in it.
    """
    path = catalogue.find(str(where))
    defined = recipe_file.run_file(path, what="experiment")
    found = defined.get("experiment")
    if not isinstance(found, Experiment):
        raise ValueError(
            f"experiment: {path} has no Experiment called 'experiment'; see recipes/e2_fer2013.py, "
            "or train a recipe alone with hmtl train"
        )
    return ExperimentFile(path.stem, path, found, _prepared(defined["__doc__"] or ""))


def _prepared(doc: str) -> dict[str, str]:
    """Finds the `hmtl prepare` commands of a docstring, by the folder that each writes."""
    commands = re.findall(r"hmtl prepare(?: \S+)+", doc)  # a comment behind one is set off by several blanks
    return {command.partition(" --out ")[2].partition(" ")[0]: command for command in commands}
