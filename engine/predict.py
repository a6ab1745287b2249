"""Writes what a trained model says of pictures as csv: `hmtl predict RUN PICTURES`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engine.deployed import Which, load
from engine.deployed.pictures import answers_of, as_csv, picture_files
from engine.recipe.file import run_file
from engine.training.device import choose_device
from loaders.decoding.pictures import Fit
from loaders.exit_status import FAILED, exit_status
from loaders.files import replacing
from loaders.targets import file_target

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, a checkpoint or a weights.safetensors")],
    pictures: Annotated[list[Path], typer.Argument(help="picture files, and folders with pictures in them")],
    out: Annotated[Path | None, typer.Option(help="the csv file; printed if not given")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU if there is one")] = None,
    tasks: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="a Python file with tasks of your own that the model has, e.g. your recipe"),
    ] = None,
    checkpoint: Annotated[Which | None, typer.Option(help="which one of a run; best if not given")] = None,
    fit: Annotated[Fit, typer.Option(help="of a picture that is not square: its centre square, or all of it")] = "crop",
) -> None:
    """Write what the model of RUN says of PICTURES: a row a picture, a column a class or angle.

    Pictures must show faces cut out as those that the model was trained on: faces are not searched for. They are turned
    upright and resized as `hmtl prepare` does.
    """
    console = Console(stderr=True, soft_wrap=True)
    with exit_status():
        if out is not None:
            file_target(out)
        for file in tasks or ():
            run_file(file, what="tasks")
        deployed = load(model, choose_device(device), checkpoint=checkpoint)
        console.print(f"checkpoint: {deployed.taken}", highlight=False, markup=False)
        rows, skipped = answers_of(deployed, picture_files(pictures), fit)
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


if __name__ == "__main__":
    app()
