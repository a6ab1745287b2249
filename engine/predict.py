"""Writes what a trained model says of pictures as csv: `hmtl predict RUN PICTURES`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

from engine.deployed import Deployed, load
from engine.training.device import choose_device
from loaders.decoding.pictures import Fit, Form
from loaders.decoding.reading import Face, read_faces
from loaders.exit_status import FAILED, exit_status
from loaders.files import replacing
from loaders.importers import Record, Skipped
from loaders.importers.layout import pictures_below

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, a checkpoint or a weights.safetensors")],
    pictures: Annotated[list[Path], typer.Argument(help="picture files, and folders with pictures in them")],
    out: Annotated[Path | None, typer.Option(help="the csv file; printed if not given")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU if there is one")] = None,
    fit: Annotated[Fit, typer.Option(help="of a picture that is not square: its centre square, or all of it")] = "crop",
) -> None:
    """Write what the model of RUN says of PICTURES: a row a picture, a column a class or angle.

    Pictures must show faces cut out as those that the model was trained on: faces are not searched for. They are turned
    upright and resized as `loaders.prepare` does.
    """
    console = Console(stderr=True, soft_wrap=True)
    with exit_status():
        if out is not None and (out.is_dir() or not out.parent.is_dir()):
            raise ValueError(f"predict: out (={out}) must be a file in a folder that exists; make the folder first")
        deployed = load(model, choose_device(device))
        rows, skipped = answers_of(deployed, _files(pictures), fit)
        text = as_csv(deployed, rows).encode("utf-8", "surrogateescape")  # names of files may be any bytes
        if out is None:
            typer.echo(text, nl=False)
        else:
            with replacing(out) as temporary:
                temporary.write_bytes(text)
    for one in skipped:
        console.print(f"skipped: {one.path}: {one.reason} ({one.detail})", highlight=False, markup=False)
    if skipped:
        raise typer.Exit(FAILED)


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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *(column for task in model.tasks for column in _columns(model, task))])
    for path, numbers in rows:
        writer.writerow([path, *(cell for task in model.tasks for cell in _cells(model, task, numbers[task]))])
    return text.getvalue()


def _columns(model: Deployed, task: str) -> list[str]:
    each = [f"{task}/{answer}" for answer in model.answers[task]]
    return [task, *each] if task in model.about["classes"] else each


def _cells(model: Deployed, task: str, numbers: np.ndarray) -> list[str]:
    each = [f"{value:.6g}" for value in numbers]
    return [model.answers[task][numbers.argmax()], *each] if task in model.about["classes"] else each


def _files(pictures: Sequence[Path]) -> list[Path]:
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


if __name__ == "__main__":
    app()
