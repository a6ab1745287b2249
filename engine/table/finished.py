"""Writes and reads the small file of a finished run, by which its table is made again without the run folder.

format, version      "hmtl finished run", 1
key                  fingerprint of recipe and data; the run's folder is named after it
name, command        what was run
recipe, data         the recipe as resolved; what the data is known by (see `engine.table.fingerprint`)
data_as_named        where the recipe found its data, for machines that do not have it
seed, seconds, ...   what the run cost
last, best           the figures of both checkpoints: epoch, then split to task/metric to value
environment          of the run's last start: machine, precision, versions, commit, date
pictures             split to checkpoint to task: every answer, packed; `samples`, a fingerprint of their ids; and
                     `groups`, which of them belong together, where the data says so
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.cost import Cost
from engine.intervals.answers import Measure, Pictures, from_arrays, measured_rows, unpack
from engine.intervals.groups import Groups, read_groups, unpack_groups
from engine.recipe import written
from engine.runs.result import Run, as_mapping, as_number, read_arrays, read_run
from engine.table.fingerprint import fingerprint
from engine.tasks.base import Task
from loaders.files import json_text, write_text

FORMAT, VERSION = "hmtl finished run", 1
_COST = (
    *("epochs", "steps", "seconds", "pictures_through_encoder", "pictures_trained", "pictures_forward_only"),
    *("training_flops", "parameters", "views", "select_on", "counts"),
)
_IDENTITY = ("key", "recipe", "data", "data_as_named")
_METRIC_TOLERANCE = 2e-3


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Holds what a run answered, picture by picture."""

    pictures: Pictures
    samples: str
    """Fingerprint of the pictures' ids."""
    groups: Groups | None
    """Which pictures belong together; None where the run does not say, as those of version 0.2 and older."""


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """Holds a finished run."""

    path: Path
    """Its small file."""
    content: Mapping[str, Any]

    @property
    def key(self) -> str:
        return str(self.content["key"])

    def figure(self, at: str, split: str, metric: str) -> float | None:
        """Reads a metric of the checkpoint "last" or "best"."""
        return as_number(as_mapping(as_mapping(self.content.get(at)).get(split)).get(metric))

    def epoch(self, at: str) -> float | None:
        return as_number(as_mapping(self.content.get(at)).get("epoch"))

    @property
    def seconds(self) -> float | None:
        return as_number(self.content.get("seconds"))

    @property
    def cost(self) -> Cost:
        """Reads what its training cost, without that of the run it starts from."""
        return Cost.read(self.content)

    @property
    def environment(self) -> Mapping[str, Any]:
        return as_mapping(self.content.get("environment"))

    def answers(self, at: str, split: str, metric: str) -> Answers | str:
        """Reads the pictures a metric can be resampled over, or why it cannot.

        Answers whose own figure is not the one that the run reported are refused: they are of another definition.
        """
        kept = as_mapping(as_mapping(as_mapping(self.content.get("pictures")).get(split)).get(at))
        task, _, name = metric.rpartition("/")
        if task not in kept:
            return f"no answers of {task} on {split} are kept, picture by picture"
        try:
            pictures = unpack(kept[task], partial(_measure_of, task, self.content["recipe"]))
        except ValueError as error:
            return str(error)
        own = pictures.figure(name, np.ones((1, pictures.count), np.float32))
        if own is None:
            return f"{name} cannot be computed from single pictures"
        reported = self.figure(at, split, metric)
        if reported is None or not abs(own[0] - reported) <= _METRIC_TOLERANCE * max(abs(reported), 1e-6):
            return f"the kept pictures give {metric} {own[0]:.4g}, the run reported {reported}"
        return Answers(pictures, str(kept["samples"]), unpack_groups(kept.get("groups")))


def _measure_of(task: str, recipe: Mapping[str, Any]) -> Measure:
    """Finds what measures a task of a described recipe.

    Raises:
        ValueError: The recipe has no such task, or its class is not known.
    """
    described = [each for each in recipe["tasks"] if each["name"] == task]
    if not described:
        raise ValueError(f"{task} is no task of the recipe, whose figures could be measured again")
    made: Task = written.read(described[0], Task, f"{task}, whose figures are measured again")
    return made.measure


def record(folder: Path, identity: Mapping[str, Any], splits: Sequence[str], metric: str) -> dict[str, Any]:
    """Makes what the small file of a finished run holds.

    Args:
        folder: The run's folder.
        identity: key, recipe, data and data_as_named.
        splits: Splits whose answers are kept, picture by picture.
        metric: "task/metric" that the answers must be able to give.

    Raises:
        ValueError: The folder is not of a finished run.
    """
    run = read_run(folder, where="table")
    if not run.finished:
        raise ValueError(f"table: run (={folder}) must have ended; go on with it by --resume")
    environment = dict(run.starts[-1]) if run.starts else {}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": run.name,
        "command": environment.pop("command", None),
        **identity,
        "seed": run.recipe.get("seed"),
        **{name: run.result[name] for name in _COST if name in run.result},
        **{at: as_mapping(run.result.get(at)) for at in ("last", "best")},
        "environment": environment,
        "pictures": {split: kept for split in splits if (kept := _answers(run, split, metric))},
    }


def _answers(run: Run, split: str, metric: str) -> dict[str, Any]:
    """Maps checkpoint to task to packed answers; what cannot be read or packed is left out and has no interval."""
    measured, _, name = metric.rpartition("/")
    found: dict[str, Any] = {}
    described = {str(task["name"]): task for task in run.recipe.get("tasks", ())}
    for at in ("last", "best"):
        try:
            arrays = read_arrays(run.path / "predictions" / f"{split}-{at}.npz")
        except ValueError:
            continue
        tasks = dict.fromkeys(name.rpartition(".")[0] for name in arrays if "." in name)
        kept = {task: from_arrays(arrays, task, described.get(task, {})) for task in tasks}
        known = kept.get(measured)
        if measured in kept and (known is None or known.figure(name, np.ones((1, known.count), np.float32)) is None):
            with suppress(ValueError):
                kept[measured] = measured_rows(arrays, measured, _measure_of(measured, run.recipe)) or known
        packed = {task: answers.pack() for task, answers in kept.items() if answers is not None}
        groups = read_groups(arrays)
        found[at] = packed | {
            "samples": fingerprint(arrays["sample"].tolist()),
            **({} if groups is None else {"groups": groups.pack()}),
        }
    return found


def write(content: Mapping[str, Any], path: Path) -> Finished:
    """Writes a small file, whole or not at all; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f" {json.dumps(key)}: {json_text(value, ensure_ascii=False)}" for key, value in content.items())
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")  # a line a key: a diff shows what has changed
    return Finished(path, content)


def read_all(folder: Path) -> tuple[list[Finished], list[str]]:
    """Reads all small files in a folder and below it; says which cannot be used."""
    found, notes = [], []
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            notes.append(f"{path} cannot be read ({error}); left out")
            continue
        if not (isinstance(content, dict) and content.get("format") == FORMAT and content.get("version") == VERSION):
            notes.append(f"{path} is no finished run of version {VERSION}; left out")
        elif lost := [name for name in _IDENTITY if name not in content]:
            notes.append(f"{path} has no {', '.join(lost)}; left out")
        else:
            found.append(Finished(path, content))
    return found, notes
