"""Evaluates a run on any labelled store: `hmtl evaluate RUN STORE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.deployed.evaluation import evaluate, source_named, store_name
from engine.deployed.labels import read_labels
from engine.deployed.options import Calibrated, Checkpoint, Device, TaskFiles, define_tasks
from engine.reports.evaluation import write_evaluation
from engine.reports.page import write_page
from engine.training.device import choose_device
from loaders.class_map import read_map
from loaders.exit_status import exit_status
from loaders.files import replacing_folder
from loaders.terminal import Terminal

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
    checkpoint: Checkpoint = None,
    calibrated: Calibrated = False,
    out: Annotated[
        Path | None,
        typer.Option(help="folder to write; RUN/evaluations/STORE-SPLIT, with --calibrated -calibrated, if not given"),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="also write report.html, one file with its pictures inside, to send")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="write over the folder if it is there")] = False,
    device: Device = None,
    tasks: TaskFiles = None,
) -> None:
    """Evaluate a run on a labelled store, its own or another: figures, intervals, classes, predictions.

    Classes are matched by name, whatever their order; capitals do not matter. The faces are brought to the size and
    colour of those that the run was trained on.
    """
    console = Terminal()
    with exit_status():
        source, renamed, labels = source_named(store), read_map(rename, "evaluate"), read_labels(label)
        name = f"{store_name(source)}-{split}" + ("-calibrated" if calibrated else "")
        folder = out or run / "evaluations" / name
        if folder.exists() and not force:
            raise ValueError(f"evaluate: out (={folder}) is there already; write over it by --force, or name another")
        define_tasks(tasks)
        found = evaluate(
            run,
            source,
            split,
            checkpoint=checkpoint,
            calibrated=calibrated,
            renamed=renamed,
            labels=labels,
            device=choose_device(device),
            console=console,
        )
        with replacing_folder(folder, replace=True) as temporary:
            write_evaluation(found, temporary)
            if html:
                write_page(temporary / "report.md")
    console.print(f"checkpoint: {found.checkpoint}")
    found.print(Terminal())
    console.print(f"report: {folder / ('report.html' if html else 'report.md')}")


if __name__ == "__main__":
    app()
