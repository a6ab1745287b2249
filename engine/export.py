"""Exports a run in a form that needs nothing of this project: `hmtl export RUN --to onnx --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.deployed import hub, load
from engine.deployed.card import CARD, model_card
from engine.deployed.evaluation import evaluate, source_named
from engine.deployed.export import BATCHES, FILES, Format, answers_of, compare, export, faces_of, opened
from engine.deployed.int8 import FILE as INT8_FILE
from engine.deployed.int8 import LOSS, Loss, losses, quantise, refuse_losses, training_faces
from engine.deployed.options import Calibrated, Checkpoint, TaskFiles, define_tasks
from engine.recipe import written
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
    checkpoint: Checkpoint = None,
    calibrated: Calibrated = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help=f"with --to onnx: also write {INT8_FILE}, with the weights and inputs of its layers in 8 bits",
        ),
    ] = False,
    int8_loss: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="with --int8: how much worse a figure may be, in points or degrees, else nothing is written; "
            f"{LOSS:g} if not given",
        ),
    ] = None,
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
    tasks: TaskFiles = None,
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
        _refuse_int8(to, int8, int8_loss)
        define_tasks(tasks)
        of = read_run(run, where="export")
        model = load(run, checkpoint=checkpoint, calibrated=calibrated, headless=encoder)
        own = f"export: data of {run}"
        source: Source = written.read(of.recipe["data"], Source, own) if faces is None else source_named(faces)
        tried = split or of.recipe["test"] or of.recipe["select"]
        lost: list[Loss] = []
        with replacing_folder(out) as temporary:
            if to == "hub":
                hub.export(model, temporary, encoder=encoder, licence=licence or UNKNOWN)
                found = hub.compare(model, temporary, faces_of(model, source, tried))
                card = model_card(model, of, found, tried, licence=licence or UNKNOWN)
                write_text(temporary / CARD, card)
            else:
                file, tried_on = export(model, to, temporary), faces_of(model, source, tried)
                found = compare(model, opened(file, to), tried_on)
                if int8:
                    trained_on: Source = written.read(of.recipe["data"], Source, own)
                    drawn = training_faces(model, trained_on, of.recipe["train"], of.recipe["seed"])
                    said = answers_of(opened(quantise(file, temporary, drawn), to), tried_on.numpy(), BATCHES[0])
                    told = evaluate(run, source, tried, checkpoint=checkpoint, calibrated=calibrated)
                    lost = losses(model.tasks, told, dict(zip(model.tasks, said, strict=True)))
                    refuse_losses(lost, LOSS if int8_loss is None else int8_loss)
    console.print(f"checkpoint: {model.taken}")
    for each in (*found, *lost):
        console.print(f"{tried}: {each}")
    files = [FILES[to], *((hub.CONFIG, CARD) if to == "hub" else ()), *((INT8_FILE,) if int8 else ())]
    console.print(f"wrote {', '.join(str(out / file) for file in files)}")


def _refuse_out_of_place(to: Format, encoder: bool, licence: str | None, calibrated: bool) -> None:
    for name, value in (("encoder", encoder or None), ("licence", licence)):
        if to != "hub" and value is not None:
            raise ValueError(f"export: {name} (={value}) must go with --to hub (to is {to}); leave it out")
    if encoder and calibrated:
        raise ValueError("export: calibrated (=True) must be left out with --encoder, which gives no probabilities")


def _refuse_int8(to: Format, int8: bool, most: float | None) -> None:
    if int8 and to != "onnx":
        raise ValueError(f"export: int8 (=True) must go with --to onnx (to is {to}); leave it out")
    if most is not None and not int8:
        raise ValueError(f"export: int8-loss (={most:g}) must go with --int8; add it, or leave this out")
    if most is not None and not most >= 0:
        raise ValueError(f"export: int8-loss (={most:g}) must be 0 or more, in points or degrees; {LOSS:g} is usual")


if __name__ == "__main__":
    app()
