"""Serves a page on which a model is tried: `hmtl try RUN`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from engine.deployed import load
from engine.deployed.finding import Cut
from engine.deployed.options import Calibrated, Checkpoint, Device, TaskFiles, define_tasks
from engine.deployed.try_page import served
from engine.deployed.trying import Trial
from engine.training.device import choose_device
from loaders.base import Fit
from loaders.detection import FaceDetector
from loaders.exit_status import exit_status
from loaders.terminal import Terminal

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, a checkpoint or a weights.safetensors")],
    device: Device = None,
    tasks: TaskFiles = None,
    checkpoint: Checkpoint = None,
    calibrated: Calibrated = False,
    crop: Annotated[
        Cut | None,
        typer.Option(help="cut faces around their box, or turned upright; as those of the training if not given"),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="share of the crop's side that is added on each side, 0 to 2; as in the training"),
    ] = None,
    fit: Annotated[
        Fit | None,
        typer.Option(help="of a picture that is itself the face: its centre square, or all of it; as in the training"),
    ] = None,
    port: Annotated[int | None, typer.Option(help="where; a free one from 7860 on if not given")] = None,
) -> None:
    """Serve a page on this machine alone on which the model of RUN answers a photo or the webcam.

    It finds the faces (extra `faces`; without it the picture is the face) and shows what the model says of each and
    where in the face it looks. Needs the extra `try`. Nothing leaves this machine, and no picture is kept.
    """
    console = Terminal()
    with exit_status():
        define_tasks(tasks)
        deployed = load(model, choose_device(device), checkpoint=checkpoint, calibrated=calibrated)
        detector = None
        try:
            detector = FaceDetector("try")
        except ValueError as error:  # of the extra that is missing
            console.print(f"faces are not searched for, each picture is taken for one: {error}")
        trial = Trial(deployed, detector, crop=crop, margin=margin, fit=fit)
        with served(trial, f"hmtl try {model}", port) as address:
            console.print(f"{model}: {address} until Ctrl-C")
            with suppress(KeyboardInterrupt):
                Event().wait()


if __name__ == "__main__":
    app()
