"""Asks a deployed model about picture files, and writes what it says as csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from engine.deployed.model import Deployed
from engine.reports.table import Table
from loaders.base import Fit, Preparation
from loaders.decoding.pictures import Form
from loaders.decoding.reading import Face, read_faces
from loaders.decoding.video import is_video
from loaders.importers import Record, Skipped
from loaders.importers.walk import NO_PICTURE, pictures_below

Answers = dict[str, np.ndarray]
"""Task name to the numbers of `Deployed.answers`, of one face."""
Row = tuple[str, Answers]
"""A picture, and what is said of it."""

PHOTO = 4
"""How many times as long as the model's faces the shorter side of a whole photo is, at least."""


def answers_of(
    model: Deployed, pictures: Sequence[Path | Skipped], fit: Fit | None = None
) -> tuple[list[Row], list[Skipped]]:
    """Asks a model about picture files, in their order, and lists what was skipped or cannot be read.

    Args:
        model: Loaded.
        pictures: Files, and what is to be listed as skipped.
        fit: Of a picture that is not square; by default what was done to the pictures that it was trained on.

    Raises:
        ValueError: The model was trained on faces that are not square, and a picture is not of their size; or on faces
            made in several ways, and no fit is given.
    """
    height, width, channels = model.faces
    form = Form(height if height == width else None, fit or fit_of(model), "gray" if channels == 1 else "rgb")
    rows: list[Row] = []
    skipped: list[Skipped] = []
    records = [Record("test", str(one), {}, one) if isinstance(one, Path) else one for one in pictures]
    # Without a size all must be alike, and which is wrong is for us to say: then one by one.
    reads = read_faces(records, form) if form.size else (each for one in records for each in read_faces([one], form))
    for read in reads:
        skipped += [one for one in read if isinstance(one, Skipped)]
        if not (faces := [one for one in read if isinstance(one, Face)]):
            continue
        _refuse_other_size(faces[0], (height, width))
        said = ask(model, [face.pixels for face in faces])
        rows += [(face.record.path, answers) for face, answers in zip(faces, said, strict=True)]
    return rows, skipped


def ask(model: Deployed, faces: Sequence[UInt8[np.ndarray, "h w c"]]) -> list[Answers]:
    """Asks a model about faces of one size, in one batch."""
    said = model(torch.from_numpy(np.stack(faces)).to(next(model.parameters()).device))
    numbers = {task: values.cpu().numpy() for task, values in said.items()}
    return [{task: numbers[task][i] for task in numbers} for i in range(len(faces))]


def fit_of(model: Deployed) -> Fit:
    """Finds how pictures that were not square became the faces that a model was trained on.

    Raises:
        ValueError: Some became it in one way, some in another.
    """
    fits = _fits(model)
    if len(fits) > 1:
        raise ValueError(
            f"predict: fit (=None) must be one of {', '.join(fits)}: the faces that the model was trained on were made "
            "in all these ways; choose by --fit"
        )
    return fits[0] if fits else "crop"


def _fits(model: Deployed) -> list[Fit]:
    return sorted({each.fit for each in model.prepared if each.size is not None})


def treatment(model: Deployed, fit: Fit | None) -> str:
    """Says what is done to pictures before the model sees them, and where that differs from its training."""
    height, width, channels = model.faces
    if height != width:
        return f"pictures: must be {width} x {height} pixels, as the faces that the model was trained on"
    done = Preparation(height, fit or fit_of(model), "gray" if channels == 1 else "rgb")
    said = [f"pictures: {done}"]
    if made := " or ".join(map(str, model.prepared)):
        said.append(f"those that the model was trained on: {made}")
    elif "prepared" not in model.about["preprocessing"]:
        said.append("the checkpoint, of an older version, does not say how its own were made; --fit chooses")
    if fit is not None and _fits(model) and fit not in _fits(model):
        said.append(f"--fit {fit} is not theirs")
    if any(each.crop != "none" for each in model.prepared):
        said.append("faces are not searched for: give pictures cut alike, or --find them")
    return "; ".join(said)


def perhaps_photos(model: Deployed, rows: Sequence[Row]) -> str | None:
    """Notices answered pictures that may show more than a face: not square, and many times as large as the model's."""
    least = PHOTO * max(model.faces[:2])
    sizes = {path: _size(path) for path, _ in rows}
    if not (found := {path: (w, h) for path, (w, h) in sizes.items() if w != h and min(w, h) >= least}):
        return None
    path, (width, height) = next(iter(found.items()))
    others = f" and {len(found) - 1} more are" if len(found) > 1 else " is"
    return (
        f"note: {path} ({width} x {height} pixels){others} not square and large for a face cut out; "
        "of whole photos, --find the faces"
    )


def _size(path: str) -> tuple[int, int]:
    """Reads width and height from the header of a picture that was read before."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError):  # gone meanwhile, or one that only `decode` reads
        return 0, 0


def as_csv(model: Deployed, rows: Sequence[Row]) -> str:
    """Writes a row a picture: its path, and for each task the likeliest class and all probabilities, or the angles."""
    return Table(("path", *columns(model)), [(path, *cells(model, said)) for path, said in rows]).csv()


def columns(model: Deployed) -> list[str]:
    """Names the columns of what a model says: of each task the class and its probabilities, or the angles."""
    return [column for task in model.tasks for column in _columns(model, task)]


def cells(model: Deployed, said: Answers) -> list[str]:
    """Writes what a model says of a face, in the order of `columns`."""
    return [cell for task in model.tasks for cell in _cells(model, task, said[task])]


def _columns(model: Deployed, task: str) -> list[str]:
    each = [f"{task}/{answer}" for answer in model.answers[task]]
    return [task, *each] if task in model.about["classes"] else each


def _cells(model: Deployed, task: str, numbers: np.ndarray) -> list[str]:
    each = [f"{value:.6g}" for value in numbers]
    return [model.answers[task][numbers.argmax()], *each] if task in model.about["classes"] else each


def picture_files(pictures: Sequence[Path], *, videos: bool = False) -> list[Path | Skipped]:
    """Lists files as given, and those in folders with what else is there; refuses a missing name before any work.

    Args:
        pictures: Files and folders.
        videos: Take the videos in folders too.
    """
    return [file for path in pictures for file in _files_of(path, videos)]


def _files_of(path: Path, videos: bool) -> Iterator[Path | Skipped]:
    if not path.exists():
        raise ValueError(f"predict: {path} is not there; give picture files, or folders with pictures in them")
    if not path.is_dir():
        yield path
        return
    found, others = pictures_below(path)
    others = [replace(one, path=str(path / one.path)) for one in others]
    if videos:
        found = sorted([*found, *(Path(one.path) for one in others if _is_video(one))])
    if not found:
        what = "picture or video" if videos else "picture"
        raise ValueError(f"predict: {path} has no {what} in it or in its folders; give another")
    yield from found
    yield from (one for one in others if not (videos and _is_video(one)))


def _is_video(one: Skipped) -> bool:
    return one.reason == NO_PICTURE and is_video(Path(one.path))


def _refuse_other_size(face: Face, size: tuple[int, int]) -> None:
    height, width = face.pixels.shape[:2]
    if (height, width) != size:
        raise ValueError(
            f"predict: {face.record.path} (={width} x {height}) must be {size[1]} x {size[0]} pixels, as the faces "
            "that the model was trained on, which are not square; resize it first"
        )
