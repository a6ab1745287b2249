"""Trains a recipe: reads the arguments of `hmtl train RECIPE`."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from engine.recipe import file as recipe_file
from engine.recipe import settings
from engine.recipe.smoke import smoke
from engine.recipe.written import assignments, describe
from engine.reports.report import print_summary
from engine.tracking import TRACKERS
from engine.training.device import choose_device
from engine.training.loop import StoppedError
from engine.training.meters import NonFiniteLossError
from engine.training.ranks import LostRankError, check_restarts, joined
from engine.training.train import train
from loaders.exit_status import INTERRUPTED, exit_status
from loaders.terminal import Terminal

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=settings.CommandWithSet)
def main(
    recipe: Annotated[
        str, typer.Argument(help="NAME or path.py, with :VARIANT another recipe in it; a run's folder runs it again")
    ],
    out: Annotated[Path | None, typer.Option(help="folder of the run; runs/NAME if not given")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU if there is one")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run that is in the folder")] = False,
    smoke_test: Annotated[
        bool,
        typer.Option(
            "--smoke", help="a try on drawn faces, through everything the recipe uses, in well under a minute"
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="change a field, e.g. optim.lr=3e-4; may be repeated: epochs=1 often needs optim.warmup_epochs=0 too",
        ),
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="deterministic algorithms, no autotuning; a CPU is exact without")
    ] = False,
    print_: Annotated[
        bool, typer.Option("--print", help="print what the recipe sets, but for defaults, and train nothing")
    ] = False,
    print_all: Annotated[
        bool, typer.Option("--print-all", help="print all fields of the recipe, as its recipe.json, and train nothing")
    ] = False,
    profile: Annotated[
        int | None, typer.Option(metavar="N", help="write a torch profiler trace of N steps into the run folder")
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"tell a tracker of the run too: {', '.join(TRACKERS)}; may be repeated: docs/recipes.md",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="threads of this process; under torchrun its share of the cores"),
    ] = None,
) -> None:
    """Train RECIPE and write its run folder with checkpoints, figures and a report.

    torchrun starts it on several processes, which share the batches of each step: docs/ranks.md.
    """
    with joined(device, threads) as ranks, exit_status(NonFiniteLossError, LostRankError, speaks=ranks.speaks):
        console = Terminal(quiet=not ranks.first)
        check_restarts(resume)
        chosen = choose_device(ranks.device(device))
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # must be set before cuBLAS starts
        file = recipe_file.read(recipe)
        file = replace(file, recipe=settings.apply(file.recipe, set_ or []))
        folder = out or Path("runs") / file.name
        if smoke_test:
            small = smoke(file.recipe)
            if small.init != file.recipe.init and not (print_ or print_all):
                console.print(f"--smoke: from fresh weights, not from {file.recipe.init}")
            file = replace(file, recipe=small)
            folder = out or Path("runs") / f"{file.name}-smoke"
        if print_ or print_all:
            described = describe(file.recipe)
            text = (
                json.dumps(described, indent=2, ensure_ascii=False) if print_all else "\n".join(assignments(described))
            )
            if ranks.first:
                typer.echo(text)
            return
        if smoke_test and ranks.first:
            _clear_smoke(folder, keep=resume or out is not None)
        try:
            report = train(
                file,
                folder,
                device=chosen,
                resume=resume,
                deterministic=deterministic,
                profile=profile,
                track=track or (),
                console=console,
                ranks=ranks,
            )
        except StoppedError as stopped:
            console.print(str(stopped))
            raise typer.Exit(INTERRUPTED) from stopped
        if ranks.first:
            print_summary(folder)
        console.print(f"report: {report}")


def _clear_smoke(folder: Path, *, keep: bool) -> None:
    """A smoke run in its default place takes the place of the one before."""
    if not keep and (folder / "recipe.json").is_file():
        shutil.rmtree(folder)


if __name__ == "__main__":
    app()
