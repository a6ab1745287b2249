"""The folder of a run: the one place that writes it.

    recipe.json, recipe.py      the recipe as resolved, and its source text
    figures.json                what its figures are: unit, better side, value at chance, label
    environment.json            machine, versions, commit; one entry for every start of the run
    log.jsonl, metrics.csv      a line every few steps, a row an epoch; tensorboard/ has the same
    checkpoints/                last, the one before, best
    predictions/                what the model said of every sample of a split
    result.json                 the figures in the end; report.md and charts/ show them

Rows written after the checkpoint that a run resumes from are cut off, so that a resumed run's folder equals an
uninterrupted one's but for times.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import nn

from engine.figures import Figure
from engine.runs import checkpoint
from engine.runs.result import CHARTS
from loaders.files import replacing, replacing_folder, write_json, write_text

_APPENDED = {"log": "log.jsonl", "events": "tensorboard/events.out.tfevents.run"}


def refuse_taken(path: Path) -> None:
    """Refuses a folder for a new run that is there already.

    Raises:
        ValueError: It is.
    """
    if path.exists():
        raise ValueError(f"run: {path} is there already; go on with it by --resume, or choose another --out")


class RunDir:
    """An open run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = (path / _APPENDED["log"]).open("ab")
        self._events = (path / _APPENDED["events"]).open("ab")
        self._records = RecordWriter(self._events)
        self._rows = read_metrics(path)

    @classmethod
    def create(cls, path: Path, recipe: Any, source: str) -> RunDir:
        """Makes the folder, whole or not at all.

        Raises:
            ValueError: It is there already.
        """
        refuse_taken(path)
        with replacing_folder(path) as temporary:
            for folder in ("checkpoints", "predictions", CHARTS, "tensorboard"):
                (temporary / folder).mkdir()
            write_json(temporary / "recipe.json", recipe)
            write_text(temporary / "recipe.py", source)
            write_json(temporary / "environment.json", [])
            (temporary / _APPENDED["log"]).touch()
            with (temporary / _APPENDED["events"]).open("wb") as events:
                version = Event(wall_time=time.time(), file_version="brain.Event:2")
                RecordWriter(events).write(version.SerializeToString())
        return cls(path)

    @classmethod
    def reopen(cls, path: Path, recipe_differences: list[str]) -> RunDir:
        """Opens a run to go on with it.

        Raises:
            ValueError: It is no run, or the run of another recipe.
        """
        if not (path / "recipe.json").is_file():
            raise ValueError(f"run: {path} is no run folder, it has no recipe.json; choose another --out")
        if recipe_differences:
            lines = "\n  ".join(recipe_differences)
            raise ValueError(
                f"run: {path} was started with another recipe, it cannot be resumed with this one; "
                f"start a new run with another --out, or undo the change:\n  {lines}"
            )
        for folder in (path, path / "predictions", path / CHARTS):
            for stale in folder.glob(".*.partial*"):  # of a kill; checkpoints clean up after themselves
                stale.unlink()
        return cls(path)

    def started(self, environment: Mapping[str, Any]) -> None:
        """Adds one start of the run to environment.json."""
        starts = json.loads((self.path / "environment.json").read_text())
        write_json(self.path / "environment.json", [*starts, dict(environment)])

    def declare(self, figures: Mapping[str, Figure]) -> None:
        """Writes figures.json: what the figures of the run are, by `<task>/<figure>`."""
        write_json(self.path / "figures.json", {name: asdict(figure) for name, figure in figures.items()})

    def log(self, event: str, **values: Any) -> None:
        """One line of log.jsonl."""
        self._log.write(json.dumps({"event": event, **values, "time": round(time.time(), 3)}).encode() + b"\n")
        self._log.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """TensorBoard's curves."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._records.write(Event(wall_time=time.time(), step=step, summary=summary).SerializeToString())
        self._records.flush()

    def epoch(self, row: Mapping[str, float | int | None]) -> None:
        """One row of metrics.csv; columns that come later are empty in the rows before."""
        self._rows.append({key: "" if value is None else _number(value) for key, value in row.items()})
        self._write_rows()

    def predictions(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """predictions/<name>.npz."""
        with replacing(self.path / "predictions" / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def checkpoint(self, name: str, model: nn.Module, about: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Writes checkpoints/<name>; see `engine.runs.checkpoint.save`."""
        checkpoint.save(self.path / "checkpoints", name, model, about, state)

    def step_back(self, bad_step: int) -> None:
        """Drops a last checkpoint that is no good; see `engine.runs.checkpoint.step_back`."""
        checkpoint.step_back(self.path / "checkpoints", bad_step)

    def result(self, values: Mapping[str, Any]) -> None:
        """result.json."""
        write_json(self.path / "result.json", values)

    def marks(self) -> dict[str, int]:
        """How much has been written, for the checkpoint: bytes of the files that grow, rows of the table."""
        self._log.flush()
        self._records.flush()
        return {
            **{key: (self.path / name).stat().st_size for key, name in _APPENDED.items()},
            "rows": len(self._rows),
        }

    def cut(self, marks: Mapping[str, int]) -> None:
        """Drops what was written after `marks` were taken."""
        for key, name in _APPENDED.items():
            os.truncate(self.path / name, marks[key])
        self._rows = self._rows[: marks["rows"]]
        self._write_rows()

    def close(self) -> None:
        self._log.close()
        self._records.close()

    def _write_rows(self) -> None:
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path / "metrics.csv", text.getvalue())


class UnwrittenRun(RunDir):
    """Stands for the run folder where another rank writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def started(self, environment: Mapping[str, Any]) -> None:
        pass

    def declare(self, figures: Mapping[str, Figure]) -> None:
        pass

    def log(self, event: str, **values: Any) -> None:
        pass

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def epoch(self, row: Mapping[str, float | int | None]) -> None:
        pass

    def predictions(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        pass

    def checkpoint(self, name: str, model: nn.Module, about: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        pass

    def step_back(self, bad_step: int) -> None:
        pass

    def result(self, values: Mapping[str, Any]) -> None:
        pass

    def marks(self) -> dict[str, int]:
        return {}

    def cut(self, marks: Mapping[str, int]) -> None:
        pass

    def close(self) -> None:
        pass


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv; none before the first epoch's end."""
    file = path / "metrics.csv"
    if not file.is_file():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def _number(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
