"""Reading a run folder back: what the report, the summary and the comparison have in common.

A run folder may be of a run that still goes on or was interrupted, so every file but `recipe.json` may be missing or
unreadable; `Run.missing` then says so in words. Nothing here needs torch.
"""

from __future__ import annotations

import csv
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64

from engine.figures import Figure
from engine.intervals.groups import Groups, read_groups
from loaders.files import json_text

Json = TypeVar("Json", dict[str, Any], list[Any])

CHARTS = "charts"
"""The folder of a run's charts and sheets."""
_SPLIT_ORDER = ("val", "test")


@dataclass(frozen=True, slots=True)
class Scores:
    """The figures of one checkpoint."""

    epoch: int | None
    figures: Mapping[str, Mapping[str, float]]
    """Split to "task/metric" to value; only numbers are in here."""

    def value(self, split: str, quantity: str) -> float | None:
        return self.figures.get(split, {}).get(quantity)


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder, read."""

    path: Path
    name: str
    finished: bool
    recipe: Mapping[str, Any]
    source: str | None
    """Text of the recipe's file."""
    starts: tuple[Mapping[str, Any], ...]
    """The environment of each start of the run: the first, and one for every resume."""
    metrics: Mapping[str, Float64[np.ndarray, " e"]]
    """Column of `metrics.csv` to one value an epoch, NaN where the cell is empty."""
    result: Mapping[str, Any]
    last: Scores
    best: Scores | None
    declared: Mapping[str, Figure]
    """What each figure is, by `<task>/<figure>`, in the order it is shown."""
    missing: tuple[str, ...]
    """What could not be read, one sentence each."""

    @property
    def select_on(self) -> str | None:
        """The quantity that chose the best epoch, such as "val/expression/accuracy"."""
        return self.result.get("select_on") or None

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that there are figures for, val and test first."""
        found = {split for scores in (self.last, self.best) if scores for split, row in scores.figures.items() if row}
        return (*(s for s in _SPLIT_ORDER if s in found), *sorted(found.difference(_SPLIT_ORDER)))

    @property
    def figures(self) -> Mapping[str, Figure]:
        """The declared figures that have a value, by `<task>/<figure>`, in the order they are shown."""
        rows = [row for scores in (self.last, self.best) if scores for row in scores.figures.values()]
        return {name: figure for name, figure in self.declared.items() if any(name in row for row in rows)}

    @property
    def headlines(self) -> Mapping[str, Figure]:
        """Those of `figures` that summaries and comparisons show: of each task the first, and what leads beside it."""
        first: dict[str, str] = {}
        for name in self.figures:
            first.setdefault(name.rpartition("/")[0], name)
        return {name: figure for name, figure in self.figures.items() if figure.leads or name in first.values()}

    @property
    def supervised(self) -> frozenset[str]:
        """The tasks that learn a label."""
        tasks = [as_mapping(task) for task in self.recipe.get("tasks") or ()]
        return frozenset(self.classes) | {str(task["name"]) for task in tasks if task.get("label") is not None}

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """Class names of each task that has some: of the result or, before there is one, of the recipe."""
        if "classes" in self.result:
            found = as_mapping(self.result["classes"])
        else:
            tasks = [as_mapping(task) for task in self.recipe.get("tasks") or ()]
            found = {str(task.get("name")): task.get("names") for task in tasks}
        return {task: [str(name) for name in names] for task, names in found.items() if isinstance(names, list)}

    def constant_guess(self, split: str, name: str) -> float | None:
        """The figure on `split` of the best constant answer: the training data's largest class, or its median."""
        return as_number(as_mapping(as_mapping(self.result.get("majority")).get(split)).get(name))

    def constant_guess_name(self, *tasks: str) -> str:
        """What a constant guess at these tasks is called: "majority class" where there are any and all have classes."""
        return "majority class" if tasks and all(task in self.classes for task in tasks) else "constant guess"


def as_mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a mapping, else an empty one: keys of an unfinished `result.json` may be null."""
    return value if isinstance(value, Mapping) else {}


def as_number(value: object) -> float | None:
    """`value` as a float if it is a finite number, else None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def read_run(path: Path, *, where: str = "read_run", result: Mapping[str, Any] | None = None) -> Run:
    """Read what there is in a run folder.

    Args:
        path: The folder.
        where: Opens the message of an error.
        result: What result.json will hold; for the run itself, which writes that file when all others are there.

    Raises:
        ValueError: `path` is no folder or not the folder of a run.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{where}: run (={path}) must be a folder; name one that hmtl train wrote")
    if not (path / "recipe.json").is_file():
        raise ValueError(
            f"{where}: run (={path}) must hold a recipe.json and has none, so it is not a run; "
            "name a folder that hmtl train wrote"
        )
    missing: list[str] = []
    recipe = _read_json(path / "recipe.json", missing, kind=dict, empty={})
    starts = _read_json(path / "environment.json", missing, kind=list, empty=[])
    metrics = _read_metrics(path / "metrics.csv", missing)
    if result is not None:
        result = json.loads(json_text(result))  # as it will be read back: tuples are lists
    elif (path / "result.json").exists():
        result = _read_json(path / "result.json", missing, kind=dict, empty={})
    else:
        result = {}
        missing.append("result.json is not there: the run has not ended, or was interrupted")
    best = _scores(as_mapping(result.get("best")))
    last = _scores(result["last"]) if isinstance(result.get("last"), Mapping) else _last_of(metrics)
    return Run(
        path=path,
        name=str(result.get("name") or path.resolve().name),
        finished=result.get("finished") is True,
        recipe=recipe,
        source=_read_text(path / "recipe.py", missing),
        starts=tuple(start for start in starts if isinstance(start, Mapping)),
        metrics=metrics,
        result=result,
        last=last,
        best=best if any(best.figures.values()) else None,
        declared=_read_figures(path / "figures.json", missing) or _figures_of_0_1(result, last, best),
        missing=tuple(missing),
    )


def _read_figures(path: Path, missing: list[str]) -> dict[str, Figure]:
    """What a run says of its figures; nothing where it does not, as those of version 0.1 do not."""
    if not path.exists():
        return {}
    said = _read_json(path, missing, kind=dict, empty={})
    try:
        return {name: Figure(**entry) for name, entry in said.items()}
    except TypeError as error:
        missing.append(f"{path.name} is damaged ({error})")
        return {}


_OF_0_1: tuple[tuple[str, Figure], ...] = (
    ("mae_(?P<angles>.*)", Figure("", unit="°")),
    ("macro_f1", Figure("", greater_is_better=True, unit="%", label="macro-F1", leads=True)),
    (".*(accuracy|recall)", Figure("", greater_is_better=True, unit="%")),
    ("calibration_error", Figure("", unit="%", label="ECE (15 bins)")),
    ("spread_of_error_rate", Figure("", unit="%", leads=True)),
    (".*error_rate", Figure("", unit="%")),
    ("cross_entropy", Figure("", label="cross-entropy")),
    ("l1", Figure("", label="L1")),
    (".*(?<!loss)", Figure("")),
)
"""What the figures of version 0.1 are, whose runs do not say it: a pattern of names, and the figure."""


def _figures_of_0_1(result: Mapping[str, Any], *all_scores: Scores) -> dict[str, Figure]:
    """Tells what the figures of a run of version 0.1 are, task by task, by their names and by the chance it says."""
    tasks: dict[str, dict[str, None]] = {}
    for name in (name for scores in all_scores for row in scores.figures.values() for name in row):
        tasks.setdefault(name.rpartition("/")[0], {})[name] = None
    chance = as_mapping(result.get("chance"))
    found: dict[str, Figure] = {}
    for name in (name for names in tasks.values() for name in names):
        word = name.rpartition("/")[2]
        matches = ((re.fullmatch(pattern, word), figure) for pattern, figure in _OF_0_1)
        if known := next(((match, figure) for match, figure in matches if match), None):
            angles = known[0].groupdict().get("angles", "").replace("_", ", ")
            label = f"MAE of {angles}" if angles else known[1].label
            found[name] = replace(known[1], name=word, label=label, chance=as_number(chance.get(name)))
    return found


def _read_text(path: Path, missing: list[str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        missing.append(f"{path.name} is not there")
    except (OSError, UnicodeDecodeError) as error:
        missing.append(f"{path.name} cannot be read ({error})")
    return None


def _read_json(path: Path, missing: list[str], *, kind: type[Json], empty: Json) -> Json:
    text = _read_text(path, missing)
    if text is None:
        return empty
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        missing.append(f"{path.name} is damaged (line {error.lineno}: {error.msg})")
        return empty
    if not isinstance(value, kind):
        missing.append(f"{path.name} is damaged (holds a {type(value).__name__}, not a {kind.__name__})")
        return empty
    return value


def _read_metrics(path: Path, missing: list[str]) -> dict[str, Float64[np.ndarray, " e"]]:
    text = _read_text(path, missing)
    rows = list(csv.reader((text or "").splitlines()))
    if text is not None and len(rows) < 2:
        missing.append("metrics.csv holds no epoch: none has ended yet")
    if len(rows) < 2:
        return {}
    header, body = rows[0], rows[1:]
    whole = [row for row in body if len(row) == len(header)]
    if len(whole) < len(body):
        missing.append(f"metrics.csv has {len(body) - len(whole)} cut row(s), left out")
    table = np.array([[_cell(text) for text in row] for row in whole], dtype=np.float64).reshape(-1, len(header))
    return {name: table[:, i] for i, name in enumerate(header)}


def _cell(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _scores(entry: Mapping[str, Any]) -> Scores:
    epoch = as_number(entry.get("epoch"))
    figures = {
        split: {name: number for name, value in row.items() if (number := as_number(value)) is not None}
        for split, row in entry.items()
        if isinstance(row, Mapping)
    }
    return Scores(None if epoch is None else int(epoch), figures)


def _last_of(metrics: Mapping[str, Float64[np.ndarray, " e"]]) -> Scores:
    """The figures of the last epoch that was evaluated, while there is no result."""
    evaluated = {
        name: values for name, values in metrics.items() if "/" in name and not name.startswith(("train/", "weight/"))
    }
    if not evaluated:
        return Scores(None, {})
    there = np.flatnonzero(np.isfinite(np.stack(list(evaluated.values()))).any(axis=0))
    if not len(there):
        return Scores(None, {})
    row = int(there[-1])
    figures: dict[str, dict[str, float]] = {}
    for name, values in evaluated.items():
        split, _, quantity = name.partition("/")
        if np.isfinite(values[row]):
            figures.setdefault(split, {})[quantity] = float(values[row])
    epoch = float(metrics["epoch"][row]) if "epoch" in metrics else math.nan
    return Scores(int(epoch) if math.isfinite(epoch) else None, figures)


@dataclass(frozen=True, slots=True)
class ClassPredictions:
    """The predictions of one task with classes, on one split, by one checkpoint."""

    split: str
    checkpoint: str
    """ "last" or "best"."""
    target: np.ndarray
    """Class numbers, int64 [n]; -1 where the label is missing."""
    probability: np.ndarray
    """Scores, float32 [n, k]."""
    groups: Groups | None = None
    """Which samples belong together; None where the run does not know."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of predictions; see `engine.training.evaluate.prediction_arrays`.

    Raises:
        ValueError: It is not there, cut or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"predictions/{path.name} cannot be read ({error})") from error


def read_predictions(run: Run) -> tuple[dict[str, list[ClassPredictions]], list[str]]:
    """Predictions of every task with classes, and sentences on what was left out.

    Returns:
        Task name to its predictions (val before test, last before best), and the sentences.
    """
    tasks: dict[str, list[ClassPredictions]] = {}
    unread: list[str] = []
    left_out: dict[tuple[str, str], list[str]] = {}
    for path in _in_order(run.path.joinpath("predictions").glob("[!.]*.npz")):
        split, _, checkpoint = path.stem.rpartition("-")
        try:
            arrays = read_arrays(path)
        except ValueError as error:
            unread.append(str(error))
            continue
        for task in dict.fromkeys(name.rpartition(".")[0] for name in arrays if "." in name):
            if reason := _why_not(arrays, task, run.classes.get(task)):
                left_out.setdefault((task, reason), []).append(path.stem)
            else:
                target, probability = (arrays[f"{task}.{what}"] for what in ("target", "probability"))
                found = ClassPredictions(split, checkpoint, target, probability, read_groups(arrays))
                tasks.setdefault(task, []).append(found)
    sentences = [
        f"the predictions of `{task}` ({', '.join(stems)}) are not drawn: {reason}"
        for (task, reason), stems in left_out.items()
    ]
    return tasks, unread + sentences


def _in_order(paths: Iterable[Path]) -> list[Path]:
    def rank(path: Path) -> tuple[int, str, bool]:
        split, _, checkpoint = path.stem.rpartition("-")
        return (_SPLIT_ORDER.index(split) if split in _SPLIT_ORDER else len(_SPLIT_ORDER), split, checkpoint != "last")

    return sorted(paths, key=rank)


def _why_not(arrays: Mapping[str, np.ndarray], task: str, names: Sequence[str] | None) -> str:
    """Why a task's predictions cannot be counted by class; empty if they can."""
    target, probability = arrays.get(f"{task}.target"), arrays.get(f"{task}.probability")
    if target is None or probability is None or target.ndim != 1 or probability.ndim != 2:
        return "its answer is not one of a list of classes"
    if names is None:
        return "neither result.json nor the recipe names its classes"
    if probability.shape != (len(target), len(names)):
        return f"its scores (={list(probability.shape)}) are not [{len(target)}, {len(names)}], labels by class names"
    if target.size and (target.min() < -1 or target.max() >= len(names)):
        return f"its labels (={target.min()}..{target.max()}) lie outside its {len(names)} classes"
    if not np.isfinite(probability[target >= 0]).all():
        return "it holds scores that are not finite, the model has diverged"
    return "" if (target >= 0).any() else "none of its samples has a label"
