"""Exports a run in a form that needs nothing of this project: `hmtl export RUN --to onnx --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.deployed import Which, hub, load
from engine.deployed.card import CARD, model_card
from engine.deployed.evaluation import source_named
from engine.deployed.export import FILES, Format, compare, export, faces_of, opened
from engine.recipe import written
from engine.recipe.file import run_file
from engine.runs.result import read_run
from loaders import Source
from loaders.exit_status import exit_status
from loaders.files import replacing_folder, write_text
from loaders.terminal import Terminal

UNKNOWN = "unknown"
"""What hubs call a licence that nobody has stated."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    to: Annotated[
        Format,
        typer.Option(help="the format; torch is an exported program of torch, hub what `timm.create_model` loads"),
    ],
    out: Annotated[Path, typer.Option(help="folder to write, which must not be there yet")],
    checkpoint: Annotated[Which | None, typer.Option(help="which one of the run; best if not given")] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="give probabilities at the temperature that suits the run's val best")
    ] = False,
    encoder: Annotated[
        bool, typer.Option("--encoder", help="with --to hub: leave the heads out; the encoder gives features")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="with --to hub: of the weights, as the card states it; unknown if not given")
    ] = None,
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

    What `hmtl train` did to the stored faces is inside; --to hub writes weights, config.json and a model card for
    timm, which takes normalised pictures. The file is opened as its user would, and tried on faces in batches of two
    sizes: where it does not say what the model says, nothing is written.
    """
    console = Terminal()
    with exit_status():
        if out.exists():
            raise ValueError(f"export: out (={out}) is there already; name a folder that is not")
        _refuse_out_of_place(to, encoder, licence, calibrated)
        for file in tasks or ():
            run_file(file, what="tasks")
        of = read_run(run, where="export")
        model = load(run, checkpoint=checkpoint, calibrated=calibrated, headless=encoder)
        source: Source = (
            written.read(of.recipe["data"], Source, f"export: data of {run}") if faces is None else source_named(faces)
        )
        tried = split or of.recipe["test"] or of.recipe["select"]
        with replacing_folder(out) as temporary:
            if to == "hub":
                hub.export(model, temporary, encoder=encoder, licence=licence or UNKNOWN)
                found = hub.compare(model, temporary, faces_of(model, source, tried))
                card = model_card(model, of, found, tried, licence=licence or UNKNOWN)
                write_text(temporary / CARD, card)
            else:
                found = compare(model, opened(export(model, to, temporary), to), faces_of(model, source, tried))
    console.print(f"checkpoint: {model.taken}")
    for each in found:
        console.print(f"{tried}: {each}")
    files = [FILES[to], *((hub.CONFIG, CARD) if to == "hub" else ())]
    console.print(f"wrote {', '.join(str(out / file) for file in files)}")


def _refuse_out_of_place(to: Format, encoder: bool, licence: str | None, calibrated: bool) -> None:
    for name, value in (("encoder", encoder or None), ("licence", licence)):
        if to != "hub" and value is not None:
            raise ValueError(f"export: {name} (={value}) must go with --to hub (to is {to}); leave it out")
    if encoder and calibrated:
        raise ValueError("export: calibrated (=True) must be left out with --encoder, which gives no probabilities")


if __name__ == "__main__":
    app()
