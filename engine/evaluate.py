"""Evaluates a run on any labelled store: `hmtl evaluate RUN STORE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engine.deployed import Which
from engine.deployed.evaluation import evaluate, source_named, store_name
from engine.deployed.labels import read_labels, read_map
from engine.recipe.file import run_file
from engine.reports.evaluation import write_evaluation
from engine.training.device import choose_device
from loaders.exit_status import exit_status
from loaders.files import replacing_folder

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="a run folder")],
    store: Annotated[str, typer.Argument(help="a prepared store, or a source as recipes have it: 'Synthetic(seed=1)'")],
    split: Annotated[str, typer.Option(help="the split that is evaluated")] = "test",
    rename: Annotated[
        str,
        typer.Option(
            "--map", metavar="OLD=NEW,...", help="classes of the store under other names; OLD= leaves one out"
        ),
    ] = "",
    label: Annotated[
        str, typer.Option(metavar="OWN=STORE,...", help="labels of the run that have another name in the store")
    ] = "",
    checkpoint: Annotated[Which | None, typer.Option(help="which one of the run; best if not given")] = None,
    out: Annotated[Path | None, typer.Option(help="folder to write; RUN/evaluations/STORE-SPLIT if not given")] = None,
    force: Annotated[bool, typer.Option("--force", help="write over the folder if it is there")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU if there is one")] = None,
    tasks: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="a Python file with tasks of your own that the model has, e.g. your recipe"),
    ] = None,
) -> None:
    """Evaluate a run on a labelled store, its own or another: figures, intervals, classes, predictions.

    Classes are matched by name, whatever their order; capitals do not matter. The faces are brought to the size and
    colour of those that the run was trained on.
    """
    console = Console(soft_wrap=True)
    with exit_status():
        source, renamed, labels = source_named(store), read_map(rename), read_labels(label)
        folder = out or run / "evaluations" / f"{store_name(source)}-{split}"
        if folder.exists() and not force:
            raise ValueError(f"evaluate: out (={folder}) is there already; write over it by --force, or name another")
        for file in tasks or ():
            run_file(file, what="tasks")
        found = evaluate(
            run,
            source,
            split,
            checkpoint=checkpoint,
            renamed=renamed,
            labels=labels,
            device=choose_device(device),
        )
        with replacing_folder(folder, replace=True) as temporary:
            write_evaluation(found, temporary)
    console.print(f"checkpoint: {found.checkpoint}", highlight=False, markup=False)
    found.print(Console())
    console.print(f"report: {folder / 'report.md'}", highlight=False, markup=False)


if __name__ == "__main__":
    app()
