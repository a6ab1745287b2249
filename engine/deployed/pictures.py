"""Asks a deployed model about picture files, and writes what it says as csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from engine.deployed.model import Deployed
from engine.reports.table import Table
from loaders.decoding.pictures import Fit, Form
from loaders.decoding.reading import Face, read_faces
from loaders.importers import Record, Skipped
from loaders.importers.layout import pictures_below

Row = tuple[str, dict[str, np.ndarray]]
"""A picture, and task name to the numbers of `Deployed.answers`."""


def answers_of(model: Deployed, pictures: Sequence[Path], fit: Fit = "crop") -> tuple[list[Row], list[Skipped]]:
    """Asks a model about picture files, in their order, and lists those that cannot be read.

    Raises:
        ValueError: The model was trained on faces that are not square, and a picture is not of their size.
    """
    height, width, channels = model.faces
    form = Form(height if height == width else None, fit, "gray" if channels == 1 else "rgb")
    device = next(model.parameters()).device
    rows: list[Row] = []
    skipped: list[Skipped] = []
    records = [Record("test", str(path), {}, path) for path in pictures]
    # Without a size all must be alike, and which is wrong is for us to say: then one by one.
    reads = read_faces(records, form) if form.size else (each for one in records for each in read_faces([one], form))
    for read in reads:
        skipped += [one for one in read if isinstance(one, Skipped)]
        if not (faces := [one for one in read if isinstance(one, Face)]):
            continue
        _refuse_other_size(faces[0], (height, width))
        said = model(torch.from_numpy(np.stack([face.pixels for face in faces])).to(device))
        numbers = {task: values.cpu().numpy() for task, values in said.items()}
        rows += [(face.record.path, {task: numbers[task][i] for task in numbers}) for i, face in enumerate(faces)]
    return rows, skipped


def as_csv(model: Deployed, rows: Sequence[Row]) -> str:
    """Writes a row a picture: its path, and for each task the likeliest class and all probabilities, or the angles."""
    heads = ("path", *(column for task in model.tasks for column in _columns(model, task)))
    cells = [(path, *(cell for task in model.tasks for cell in _cells(model, task, said[task]))) for path, said in rows]
    return Table(heads, cells).csv()


def _columns(model: Deployed, task: str) -> list[str]:
    each = [f"{task}/{answer}" for answer in model.answers[task]]
    return [task, *each] if task in model.about["classes"] else each


def _cells(model: Deployed, task: str, numbers: np.ndarray) -> list[str]:
    each = [f"{value:.6g}" for value in numbers]
    return [model.answers[task][numbers.argmax()], *each] if task in model.about["classes"] else each


def picture_files(pictures: Sequence[Path]) -> list[Path]:
    """Lists files as given, and those in folders in their order; refuses a missing name before work starts."""
    return [file for path in pictures for file in _files_of(path)]


def _files_of(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise ValueError(f"predict: {path} is not there; give picture files, or folders with pictures in them")
    if not path.is_dir():
        yield path
        return
    found = pictures_below(path)
    if not found:
        raise ValueError(f"predict: {path} has no picture in it or in its folders; give another")
    yield from found


def _refuse_other_size(face: Face, size: tuple[int, int]) -> None:
    height, width = face.pixels.shape[:2]
    if (height, width) != size:
        raise ValueError(
            f"predict: {face.record.path} (={width} x {height}) must be {size[1]} x {size[0]} pixels, as the faces "
            "that the model was trained on, which are not square; resize it first"
        )
