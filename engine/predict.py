"""Writes what a trained model says of pictures as csv: `hmtl predict RUN PICTURES`."""

from __future__ import annotations

import csv
import io
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from engine.deployed import Deployed, load
from engine.deployed.drawing import Copies
from engine.deployed.finding import Cut, FaceFinder
from engine.deployed.options import Calibrated, Checkpoint, Device, TaskFiles, define_tasks
from engine.deployed.photos import find_in
from engine.deployed.pictures import answers_of, as_csv, perhaps_photos, picture_files, treatment
from engine.training.device import choose_device
from loaders.base import Fit
from loaders.decoding.video import Camera, ffmpeg, is_video
from loaders.detection import FaceDetector
from loaders.exit_status import FAILED, exit_status
from loaders.files import replacing
from loaders.importers import Skipped
from loaders.importers.walk import NO_LOSS
from loaders.progress import progress
from loaders.targets import file_target
from loaders.terminal import Terminal

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, a checkpoint or a weights.safetensors")],
    pictures: Annotated[
        list[Path] | None, typer.Argument(help="picture files, with --find also videos, and folders with them")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the csv file; printed if not given")] = None,
    device: Device = None,
    tasks: TaskFiles = None,
    checkpoint: Checkpoint = None,
    calibrated: Calibrated = False,
    fit: Annotated[
        Fit | None,
        typer.Option(
            help="of a picture that is not square: its centre square (crop), all of it out of proportion (stretch) or "
            "between pixels of its edge (pad); as was done to those of the training if not given"
        ),
    ] = None,
    find: Annotated[
        bool, typer.Option("--find", help="search pictures and videos for faces; needs the extra `faces`")
    ] = False,
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="with --find: look through this camera in place of PICTURES, until Ctrl-C; 0 is the first one, on "
            "Windows it is its name",
        ),
    ] = None,
    crop: Annotated[
        Cut | None,
        typer.Option(
            help="with --find: cut faces around their box, or turned upright by landmarks; as those of the training "
            "if not given"
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="with --find: share of the crop's side that is added on each side, 0 to 2; as in the training, "
            "and 0 where its pictures were faces already, if not given"
        ),
    ] = None,
    every: Annotated[
        int | None, typer.Option(help="with --find: of a video or camera, look at each such picture; 1 if not given")
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="with --find: a new folder for copies of the pictures with what is said drawn into them"
        ),
    ] = None,
) -> None:
    """Write what the model of RUN says of PICTURES: a row a picture, a column a class or angle.

    Pictures must show faces cut out as those that the model was trained on; with --find they are any pictures and
    videos, or what a camera shows, whose faces are searched for and cut out so, and each face has a row. Pictures are
    turned upright, resized and fitted as `hmtl prepare` did with those of the training; what is done is said. Nothing
    leaves this machine.
    """
    console = Terminal(stderr=True)
    with exit_status():
        _refuse_out_of_place(
            find, fit, {"camera": camera, "crop": crop, "margin": margin, "every": every, "draw": draw}
        )
        if bool(pictures) is (camera is not None):
            raise ValueError(
                f"predict: PICTURES (there are {len(pictures or ())}) or camera (={camera}) must be given, and not "
                "both; name files and folders, or --find --camera 0"
            )
        if camera is not None:
            Camera(camera).check("predict")
        if out is not None:
            file_target(out)
        copies = None if draw is None else Copies(draw)
        detector = FaceDetector("predict") if find else None
        define_tasks(tasks)
        deployed = load(model, choose_device(device), checkpoint=checkpoint, calibrated=calibrated)
        console.print(f"checkpoint: {deployed.taken}")
        files = picture_files(pictures or (), videos=find)
        if detector is not None:
            finder = FaceFinder(deployed, detector, crop, margin)
            console.print(finder.treatment)
            skipped = _find(finder, files if camera is None else [Camera(camera)], out, copies, every or 1, console)
        else:
            console.print(treatment(deployed, fit))
            skipped = _answer(deployed, files, fit, out, console)
    for one in skipped:
        console.print(f"skipped: {one.path}: {one.reason} ({one.detail})")
    if any(one.reason not in NO_LOSS for one in skipped):
        raise typer.Exit(FAILED)


def _refuse_out_of_place(find: bool, fit: Fit | None, of_find: dict[str, object]) -> None:
    given = [name for name, value in of_find.items() if value is not None]
    if given and not find:
        raise ValueError(f"predict: {given[0]} (={of_find[given[0]]}) must go with --find; add it, or leave this out")
    every = of_find["every"]
    if isinstance(every, int) and every < 1:
        raise ValueError(f"predict: every (={every}) must be 1 or more; 1 looks at each picture of a video")
    if find and fit is not None:
        raise ValueError(
            f"predict: fit (={fit}) must be left out with --find, which cuts squares; choose how by --crop and --margin"
        )


def _answer(
    model: Deployed, files: Sequence[Path | Skipped], fit: Fit | None, out: Path | None, console: Terminal
) -> list[Skipped]:
    """Writes a row a picture that shows one face, in the end."""
    rows, skipped = answers_of(model, files, fit)
    if note := perhaps_photos(model, rows):
        console.print(note)
    text = as_csv(model, rows).encode("utf-8", "surrogateescape")  # names of files may be any bytes
    if out is None:
        typer.echo(text, nl=False)
    else:
        with replacing(out) as temporary:
            temporary.write_bytes(text)
    return skipped


def _find(
    finder: FaceFinder,
    files: Sequence[Path | Camera | Skipped],
    out: Path | None,
    copies: Copies | None,
    every: int,
    console: Terminal,
) -> list[Skipped]:
    """Writes a row a face that is found, picture by picture; printed as they come where there is no file."""
    if any(isinstance(file, Camera) or (isinstance(file, Path) and is_video(file)) for file in files):
        ffmpeg("predict")  # before any work
    skipped: list[Skipped] = []
    until = ctrl_c() if any(isinstance(file, Camera) for file in files) else nullcontext(lambda: False)
    with until as stopped, _csv(out) as write, progress("pictures", None, console) as advance:
        write(finder.heads)
        for found in find_in(finder, files, copies, every, stopped):
            if isinstance(found, Skipped):
                skipped.append(found)
                continue
            for row in found:
                write(row)
            advance(1)
    return skipped


@contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed while the block runs; the second one interrupts as ever."""
    pressed = False

    def press(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _csv(out: Path | None) -> Iterator[Callable[[Sequence[str]], object]]:
    """Opens a csv file, which appears whole when the block ends well, or the standard output."""
    if out is None:
        yield lambda row: typer.echo(_line(row), nl=False)
        return
    with replacing(out) as temporary, temporary.open("wb") as file:
        yield lambda row: file.write(_line(row))


def _line(row: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode("utf-8", "surrogateescape")  # names of files may be any bytes


if __name__ == "__main__":
    app()
