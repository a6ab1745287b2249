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
import hashlib
import io
import json
import os
import struct
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
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
from engine.runs.result import CHARTS, read_arrays
from loaders.files import full_disk_explained, json_text, replacing, replacing_folder, write_json, write_text
from loaders.lock import Lock
from loaders.targets import folder_target

_APPENDED = {"log": "log.jsonl", "events": "tensorboard/events.out.tfevents.run"}
_FILES = (
    "recipe.py",
    "figures.json",
    "environment.json",
    "metrics.csv",
    "result.json",
    "report.md",
    *_APPENDED.values(),
)
_FOLDERS = ("checkpoints", "predictions", CHARTS, "tensorboard")


def is_taken(path: Path) -> bool:
    """Says whether something is at a path, so that no new run can be; an empty folder does not count."""
    return path.exists() and not (path.is_dir() and next(path.iterdir(), None) is None)


def refuse_taken(path: Path) -> None:
    """Refuses a place for a new run where something is already, or where no folder can be.

    Raises:
        ValueError: Something is there, or no folder can be.
    """
    folder_target(path)
    if is_taken(path):
        raise ValueError(f"run: {path} is there already; go on with it by --resume, or choose another --out")


class RunDir:
    """An open run folder, which no other process can open meanwhile.

    Raises:
        ValueError: Another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        """What a user must know of the folder that is gone on with."""
        with full_disk_explained(path / ".lock"):
            self._lock = Lock(path / ".lock", f"run {path}")
        try:
            self._rows = read_metrics(path)
            self._log = (path / _APPENDED["log"]).open("ab")
            self._events = (path / _APPENDED["events"]).open("ab")
        except BaseException:
            self._lock.release()
            raise
        self._records = RecordWriter(self._events)
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._unwritten: deque[Future[None]] = deque()

    @classmethod
    def create(cls, path: Path, recipe: Any) -> RunDir:
        """Makes the folder, whole or not at all.

        Raises:
            ValueError: It is there already.
        """
        refuse_taken(path)
        with replacing_folder(path) as temporary:
            for folder in _FOLDERS:
                (temporary / folder).mkdir()
            write_json(temporary / "recipe.json", recipe)
            write_json(temporary / "environment.json", [])
            (temporary / _APPENDED["log"]).touch()
            with (temporary / _APPENDED["events"]).open("wb") as events:
                version = Event(wall_time=time.time(), file_version="brain.Event:2")
                RecordWriter(events).write(version.SerializeToString())
        return cls(path)

    @classmethod
    def reopen(cls, path: Path, recipe_differences: list[str], data_differences: list[str]) -> RunDir:
        """Opens a run to go on with it.

        Args:
            recipe_differences: What the recipe has otherwise than that of the run, in words.
            data_differences: What the data is otherwise than that which the run was trained on, in words.

        Raises:
            ValueError: It is no run, or the run of another recipe or on other data, or another process has it open.
        """
        if not (path / "recipe.json").is_file():
            raise ValueError(f"run: {path} is no run folder, it has no recipe.json; choose another --out")
        if recipe_differences:
            lines = "\n  ".join(recipe_differences)
            raise ValueError(
                f"run: {path} was started with another recipe (recipe.json), it cannot be resumed with this one; "
                f"start a new run with another --out, or undo the change:\n  {lines}"
            )
        if data_differences:
            lines = "\n  ".join(data_differences)
            weights = path / "checkpoints" / checkpoint.LAST
            raise ValueError(
                f"run: {path} was trained on other data, it cannot be resumed on this; prepare that data again, or "
                f"start a new run with another --out, from its weights by --set init={str(weights)!r}:\n  {lines}"
            )
        for name in _FOLDERS:
            (path / name).mkdir(exist_ok=True)
        files = [*(path / name for name in _FILES), *path.glob("predictions/*.npz"), *path.glob(f"{CHARTS}/*.png")]
        if folders := [file for file in files if file.is_dir()]:
            raise ValueError(f"run: {folders[0]} must be a file, and is a folder; move it away, then go on by --resume")
        run = cls(path)
        checkpoint.settle(path / "checkpoints")
        if read_starts(path) is None:
            run.notes.append(
                f"{path / 'environment.json'} is missing or damaged: what it knew of earlier starts is lost"
            )
        for folder in (path, path / "predictions", path / CHARTS):
            for stale in folder.glob(".*.partial*"):  # of a kill
                stale.unlink()
        return run

    def started(self, environment: Mapping[str, Any]) -> None:
        """Adds one start of the run to environment.json."""
        starts = read_starts(self.path) or []
        write_json(self.path / "environment.json", [*starts, dict(environment)])

    def declare(self, figures: Mapping[str, Figure], source: str) -> None:
        """Writes figures.json, what the figures of the run are by `<task>/<figure>`, and the source of the recipe."""
        write_text(self.path / "recipe.py", source)
        write_json(self.path / "figures.json", {name: asdict(figure) for name, figure in figures.items()})

    def log(self, event: str, **values: Any) -> None:
        """One line of log.jsonl."""
        with full_disk_explained(self.path / _APPENDED["log"]):
            self._log.write(json_text({"event": event, **values, "time": round(time.time(), 3)}).encode() + b"\n")
            self._log.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """TensorBoard's curves."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        with full_disk_explained(self.path / _APPENDED["events"]):
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

    def has_predictions(self, name: str) -> bool:
        """Says whether predictions/<name>.npz can be read."""
        try:
            return bool(read_arrays(self.path / "predictions" / f"{name}.npz"))
        except ValueError:
            return False

    def checkpoint(self, name: str, model: nn.Module, about: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Copies the model and the state, and writes checkpoints/<name> while training goes on, after those before it.

        See `engine.runs.checkpoint.save`; `settle` waits for the file, and raises what went wrong with it.
        """
        self._settle(left=1)  # in memory are `best` and `last` of the end of an epoch, and never more
        weights, copy = checkpoint.copied(model.state_dict()), checkpoint.copied(state)
        before = self._unwritten[-1] if self._unwritten else None

        def write() -> None:
            if before is not None:
                before.result()  # `last` knows of `best`: where that could not be written, it is not either
            checkpoint.save(self.path / "checkpoints", name, weights, about, copy)

        self._unwritten.append(self._writer.submit(write))

    def settle(self) -> None:
        """Waits until all checkpoints are written.

        Raises:
            OSError: The disk is full; what was there is kept.
        """
        self._settle(left=0)

    def _settle(self, left: int) -> None:
        while len(self._unwritten) > left or (self._unwritten and self._unwritten[0].done()):
            self._unwritten.popleft().result()

    def step_back(self, bad_step: int) -> None:
        """Drops a last checkpoint that is no good; see `engine.runs.checkpoint.step_back`."""
        self.settle()
        checkpoint.step_back(self.path / "checkpoints", bad_step)

    def result(self, values: Mapping[str, Any]) -> None:
        """result.json."""
        write_json(self.path / "result.json", values)

    def marks(self) -> dict[str, Any]:
        """How much has been written, for the checkpoint: bytes of files, rows of the table, their hashes."""
        self._log.flush()
        self._records.flush()
        sizes = {key: (self.path / name).stat().st_size for key, name in _APPENDED.items()}
        return sizes | {"rows": len(self._rows), "sha256": self._hashes()}

    def cut(self, marks: Mapping[str, Any]) -> None:
        """Drops what was written after `marks` were taken; what a power cut left of a line or record goes too."""
        for key, name in _APPENDED.items():
            file = self.path / name
            size = file.stat().st_size
            if size >= marks[key]:
                os.truncate(file, marks[key])
                continue
            os.truncate(file, end_of_lines(file) if key == "log" else end_of_records(file))
            self.notes.append(
                f"{file} has {size:,} of the {marks[key]:,} bytes that the checkpoint tells of: lines are lost"
            )
        self._rows = self._rows[: marks["rows"]]
        whole = self._hashes()
        for key, name in {**_APPENDED, "rows": "metrics.csv"}.items():
            kept = marks.get("sha256", whole)[key]  # checkpoints of version 0.2 and older have none
            if kept != whole[key] and not any(str(self.path / name) in note for note in self.notes):
                self.notes.append(
                    f"{self.path / name} is not as the run wrote it, going on with what is left; "
                    "put a copy back before the run is gone on with, if there is one"
                )
        self._write_rows()

    def close(self) -> None:
        with ExitStack() as stack:  # each of them, though a full disk refuses once more what is still to be written
            stack.callback(self._lock.release)
            stack.callback(self._writer.shutdown)
            stack.callback(self.settle)
            for key, file in (("events", self._records), ("log", self._log)):
                stack.enter_context(full_disk_explained(self.path / _APPENDED[key]))
                stack.callback(file.close)

    def _hashes(self) -> dict[str, str]:
        """Hashes what grows: the files, and the table as it is written."""
        contents = {key: (self.path / name).read_bytes() for key, name in _APPENDED.items()}
        contents["rows"] = self._table().encode()
        return {key: hashlib.sha256(content).hexdigest() for key, content in contents.items()}

    def _write_rows(self) -> None:
        write_text(self.path / "metrics.csv", self._table())

    def _table(self) -> str:
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        return text.getvalue()


class UnwrittenRun(RunDir):
    """Stands for the run folder where another rank writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = []

    def started(self, environment: Mapping[str, Any]) -> None:
        pass

    def declare(self, figures: Mapping[str, Figure], source: str) -> None:
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

    def settle(self) -> None:
        pass

    def step_back(self, bad_step: int) -> None:
        pass

    def result(self, values: Mapping[str, Any]) -> None:
        pass

    def marks(self) -> dict[str, Any]:
        return {}

    def cut(self, marks: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def read_starts(path: Path) -> list[dict[str, Any]] | None:
    """Reads the starts of a run, the first one first; None where the file is missing or damaged."""
    try:
        starts = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return starts if isinstance(starts, list) and all(isinstance(start, dict) for start in starts) else None


def end_of_lines(file: Path) -> int:
    """Finds where the last whole line of a file ends, in bytes from its start."""
    return file.read_bytes().rfind(b"\n") + 1


def end_of_records(file: Path) -> int:
    """Finds where the last whole record of a TensorBoard file ends: length, its check, as many bytes, their check."""
    content, end = file.read_bytes(), 0
    while end + 16 <= len(content):
        (length,) = struct.unpack_from("<Q", content, end)
        if end + 16 + length > len(content):
            break
        end += 16 + length
    return end


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Reads the rows of a run's metrics.csv; none before the first epoch's end.

    Raises:
        ValueError: It is no text any more.
    """
    file = path / "metrics.csv"
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return [{key: cell or "" for key, cell in row.items() if key is not None} for row in csv.DictReader(lines)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"run: {file} is damaged ({error}); delete it to go on without its rows, which log.jsonl has too"
        ) from error


def _number(value: float | int) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
