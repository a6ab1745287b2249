"""Exports a run as one file that needs nothing of this project: `hmtl export RUN --to onnx --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engine.deployed import Which, load
from engine.deployed.evaluation import source_named
from engine.deployed.export import BATCHES, FILES, Format, compare, export, opened
from engine.recipe import written
from engine.recipe.file import run_file
from engine.runs.result import read_run
from loaders import Source
from loaders.exit_status import exit_status
from loaders.files import replacing_folder

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    to: Annotated[Format, typer.Option(help="the format; torch is an exported program of torch, read without hmtl")],
    out: Annotated[Path, typer.Option(help="folder to write, which must not be there yet")],
    checkpoint: Annotated[Which | None, typer.Option(help="which one of the run; best if not given")] = None,
    faces: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="a prepared store whose faces it is tried on; the run's own if not given"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="the split it is tried on; the run's test if not given")] = None,
    tasks: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="a Python file with tasks of your own that the model has, e.g. your recipe"),
    ] = None,
) -> None:
    """Write the model of RUN as one file: uint8 faces in, probabilities or degrees out, in batches of any size.

    What `hmtl train` did to the stored faces is inside. The file is opened as its user would, and tried on faces in
    batches of two sizes: where it does not say what the model says, nothing is written.
    """
    console = Console(soft_wrap=True)
    with exit_status():
        if out.exists():
            raise ValueError(f"export: out (={out}) is there already; name a folder that is not")
        for file in tasks or ():
            run_file(file, what="tasks")
        recipe = read_run(run, where="export").recipe
        model = load(run, checkpoint=checkpoint)
        source: Source = (
            written.read(recipe["data"], Source, f"export: data of {run}") if faces is None else source_named(faces)
        )
        tried = split or recipe["test"] or recipe["select"]
        with replacing_folder(out) as temporary:
            found = compare(model, opened(export(model, to, temporary), to), source, tried)
    console.print(f"checkpoint: {model.taken}", highlight=False, markup=False)
    for each in found:
        console.print(f"{tried}: {each}, in batches of {BATCHES[0]} and {BATCHES[1]}", highlight=False, markup=False)
    console.print(f"wrote {out / FILES[to]}", highlight=False, markup=False)


if __name__ == "__main__":
    app()
