"""Reads what runs said of the faces of one store that they were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from engine.intervals.groups import Groups, read_groups
from engine.recipe import Recipe
from engine.recipe import file as recipe_file
from engine.runs.result import read_arrays, read_run
from engine.runs.same_data import refuse_other_data
from engine.tasks.softmax import SoftmaxTask
from loaders import Folds, HideLabels, Packed, Source, WrongLabels
from loaders.store.opening import open_store
from loaders.targets import with_home


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Holds what one run said of its test faces."""

    run: str
    """Name of its folder."""
    sample: Int64[np.ndarray, " n"]
    target: Int64[np.ndarray, " n"]
    """Class of each, -1 where its label is missing."""
    probability: Float64[np.ndarray, "n k"]
    groups: Groups | None
    """Which of them belong together; None where the data does not say."""
    trained: Bool[np.ndarray, " s"]
    """Of each face of the store, whether it is neither in the test nor in the val of the run."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Holds the labels of faces, and what runs said of them that had not been trained on them."""

    store: Path
    faces: int
    """Of the store."""
    task: str
    label: str
    names: tuple[str, ...]
    sample: Int64[np.ndarray, " n"]
    """Ids of the labelled faces that were answered, ascending."""
    given: Int64[np.ndarray, " n"]
    """Class of each, as the runs were given it."""
    probability: Float64[np.ndarray, "n k"]
    """Mean over the runs that answered."""
    held: tuple[HeldOut, ...]
    started: tuple[str, ...]
    """Runs that started from other weights, of which it is not known what these were trained on."""


def read_answers(folders: Sequence[Path], task: str | None = None) -> Answers:
    """Reads the answers of runs, of the last epoch: those on test, and those on val where no run has a face in test.

    Args:
        folders: Finished runs on one prepared store, such as those of all folds.
        task: The task whose label is looked at; by default the first of the recipe that has classes.

    Raises:
        ValueError: A folder is no finished run, predicts the split that it was trained on, was trained on other data
            than is here or on other than one prepared store; or runs differ in their store, classes or labels.
    """
    read = [_read(folder, task) for folder in folders]
    first = read[0]
    for other in read[1:]:
        for what in ("store", "task", "names"):
            one, two = getattr(first, what), getattr(other, what)
            if one != two:
                raise ValueError(
                    f"labels: {other.where} must have the {what} of {first.where} (={one}), and has {two}; name runs "
                    "on one store and task"
                )
    faces, classes = first.faces, len(first.names)
    given, total = np.full(faces, -1), np.zeros((faces, classes))
    times = np.zeros(faces, np.int64)
    for split in ("test", "select"):
        known = times > 0
        for run in read:
            if (arrays := run.said.get(split)) is None:
                continue
            sample, target, probability = arrays
            conflict = (given[sample] >= 0) & (given[sample] != target)
            if conflict.any():
                raise ValueError(
                    f"labels: {run.where} was given another label of {int(conflict.sum()):,} faces than runs named "
                    "before it; name runs with the same labels"
                )
            given[sample] = target
            new = ~known[sample]
            total[sample[new]] += probability[new]
            times[sample[new]] += 1
    labelled = np.flatnonzero((given >= 0) & (times > 0))
    probability = total[labelled] / times[labelled, None]
    return Answers(
        first.store,
        faces,
        first.task,
        first.label,
        first.names,
        labelled,
        given[labelled],
        probability / probability.sum(axis=1, keepdims=True),
        tuple(run.held() for run in read if "test" in run.said),
        tuple(run.where for run in read if run.starts),
    )


_Said = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Sample ids, their classes and probabilities."""


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    where: str
    store: Path
    faces: int
    task: str
    label: str
    names: tuple[str, ...]
    said: dict[str, _Said]
    """By "test" and "select"."""
    groups: Groups | None
    """Of the test faces."""
    starts: bool

    def held(self) -> HeldOut:
        sample, target, probability = self.said["test"]
        trained = np.ones(self.faces, bool)
        for held, *_ in self.said.values():
            trained[held] = False
        return HeldOut(Path(self.where).resolve().name, sample, target, probability, self.groups, trained)


def _read(folder: Path, name: str | None) -> _Run:
    where = f"labels: {folder}"
    run = read_run(folder, where="labels")
    if not run.finished:
        raise ValueError(f"{where} must have ended; go on with it by hmtl train RECIPE --out {folder} --resume")
    recipe = recipe_file.read(str(folder.resolve())).recipe
    splits = {"select": recipe.select} | ({} if recipe.test is None else {"test": recipe.test})
    if recipe.train in splits.values():
        raise ValueError(
            f"{where} predicts the faces it was trained on, which it may know by heart with their wrong labels; name "
            "runs that hold faces out, such as those of all folds: data=Folds(Packed(...), k=5, fold=0), then 1, 2, ..."
        )
    refuse_other_data(run, recipe.data, where)
    store = _store_of(recipe.data, where)
    task = _task(recipe, name, where)
    faces = len(open_store(store).manifest)
    arrays = {
        kind: read_arrays(folder / "predictions" / f"{split}-last.npz")
        for kind, split in splits.items()
        if kind == "test" or split != recipe.test
    }
    return _Run(
        where=str(folder),
        store=store,
        faces=faces,
        task=task.name,
        label=task.label,
        names=task.names,
        said={kind: _said(each, task.name, where) for kind, each in arrays.items()},
        groups=read_groups(arrays["test"]) if "test" in arrays else None,
        starts=bool(run.result.get("init")),
    )


def _said(arrays: dict[str, np.ndarray], task: str, where: str) -> _Said:
    target, probability = arrays[f"{task}.target"], arrays[f"{task}.probability"].astype(np.float64)
    if not np.isfinite(probability).all():
        raise ValueError(f"{where} holds probabilities that are not finite: it has diverged; train it again")
    return arrays["sample"], target, probability


def _store_of(source: Source, where: str) -> Path:
    """Finds the store whose sample ids a source has."""
    inner: Any = source
    while isinstance(inner, Folds | HideLabels | WrongLabels):
        inner = inner.source
    if not isinstance(inner, Packed):
        raise ValueError(
            f"{where} must be trained on one prepared store, as it is or in Folds, HideLabels or WrongLabels; it was "
            f"trained on {type(inner).__name__}, whose faces are not told apart by the rows of a store"
        )
    return with_home(inner.path)


def _task(recipe: Recipe, name: str | None, where: str) -> SoftmaxTask:
    """Finds a task that says of each face which one of several classes it is."""
    usable = {task.name: task for task in recipe.supervised if isinstance(task, SoftmaxTask)}
    if name is None and usable:
        return next(iter(usable.values()))
    if name not in usable:
        said = (
            f"its tasks must have one that has classes, and have {', '.join(map(str, recipe.tasks))}; name other runs"
        )
        if name is not None:
            said = f"task (={name!r}) must be one with classes; those are {', '.join(usable) or 'none'}"
        raise ValueError(f"{where}: {said}")
    return usable[name]
