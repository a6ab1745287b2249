"""Goes through photos, videos and a camera: finds the faces, asks a deployed model about them, draws what it says."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from engine.deployed.drawing import Copies, annotated
from engine.deployed.finding import FaceFinder
from loaders.decoding.pictures import Form, UnreadableError, decode
from loaders.decoding.video import Camera, Frame, frames, is_video
from loaders.importers import Skipped

PHOTO = Form(colour="rgb")
"""How pictures are read that are searched for faces: upright, at their own size."""
Rows = list[list[str]]
"""What is said of the faces of one picture."""


def find_in(
    finder: FaceFinder,
    files: Sequence[Path | Camera | Skipped],
    copies: Copies | None = None,
    every: int = 1,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Rows | Skipped]:
    """Gives the rows of each picture, also of those of videos, in their order, and what was skipped or is unreadable.

    Args:
        finder: Finds faces and asks about them.
        files: Files, a camera, and what is to be listed as skipped.
        copies: Where annotated copies are written.
        every: Of a video each such picture is looked at, and the others are in no copy.
        stopped: Says when a camera has been looked through long enough.

    Raises:
        OSError: A copy cannot be written.
        ValueError: There is a video and the package that reads it is missing.
    """
    for file in files:
        if isinstance(file, Skipped):
            yield file
            continue
        try:
            if isinstance(file, Camera):
                yield from _video(finder, Path(str(file)), file.frames(every, stopped, where="predict"), copies, every)
            elif is_video(file):
                yield from _video(finder, file, frames(file, every, where="predict"), copies, every)
            else:
                yield from _photo(finder, file, copies)
        except UnreadableError as error:
            yield Skipped(str(file), error.reason, error.detail)


def _photo(finder: FaceFinder, file: Path, copies: Copies | None) -> Iterator[Rows]:
    picture = decode(file, PHOTO)
    faces = finder(picture)
    if copies is not None:
        copies.write(file, annotated(picture, faces, finder.model))
    yield finder.rows(str(file), None, faces)


def _video(
    finder: FaceFinder, file: Path, shown: Generator[Frame, None, None], copies: Copies | None, every: int
) -> Iterator[Rows]:
    unreadable: UnreadableError | None = None
    with ExitStack() as copied, closing(shown) as video:
        write = None
        try:
            for frame in video:
                faces = finder(frame.pixels)
                if copies is not None:
                    if write is None:
                        height, width = frame.pixels.shape[:2]
                        write = copied.enter_context(copies.video(file, width, height, frame.rate / every))
                    write(np.asarray(annotated(frame.pixels, faces, finder.model)))
                yield finder.rows(str(file), frame.number, faces)
        except UnreadableError as error:  # the copy of what could be read is kept, as its rows are
            unreadable = error
    if unreadable is not None:
        raise unreadable
