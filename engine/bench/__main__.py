"""Reads the arguments of both benchmarks: `hmtl bench loaders` and `hmtl bench step`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from engine.bench import report
from engine.bench.both_ways import STEP_NAMES, of_recipe
from engine.bench.cases import NAMES, find
from engine.bench.peak import Work, work_of
from engine.bench.stepping import measure_steps
from engine.bench.throughput import measure
from engine.recipe import Recipe, settings
from engine.recipe import file as recipe_file
from engine.training.device import choose_device
from engine.training.meters import NonFiniteLossError
from engine.training.ranks import LostRankError, joined
from loaders.exit_status import exit_status
from loaders.terminal import Terminal

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_REPEATED = "may be repeated, left out: all that fit"
Names = Annotated[list[str] | None, typer.Option("--source", help=f"{', '.join(NAMES)}; {_REPEATED}")]
StepNames = Annotated[list[str] | None, typer.Option("--source", help=f"{', '.join(STEP_NAMES)}; {_REPEATED}")]
Out = Annotated[Path | None, typer.Option(help="folder for the table (md), all figures (json) and a chart (png)")]
Faces = Annotated[int, typer.Option(help="faces of the split, spread evenly; 0: all")]
Scratch = Annotated[
    Path | None, typer.Option(help="where other forms of the faces are written meanwhile; left out: TMPDIR")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; left out: the GPU if there is one")]


@app.command("loaders")
def loaders_command(
    data: Annotated[Path, typer.Argument(help="prepared store, FFCV store, or folder of pictures")],
    source: Names = None,
    importer: Annotated[
        str | None, typer.Option(help="DATA is a data set as it was published, e.g. fairface; see hmtl prepare")
    ] = None,
    split: Annotated[str, typer.Option(help="split that is read")] = "train",
    faces: Faces = 8192,
    size: Annotated[int | None, typer.Option(help="side of the faces, where pictures have different sizes")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="in each, every source has one turn")] = 5,
    seconds: Annotated[float, typer.Option(min=0, help="a turn is whole epochs until this time has passed")] = 1.0,
    cold: Annotated[
        bool, typer.Option("--cold/--no-cold", help="also drop files from the page cache and read them")
    ] = True,
    device: Device = None,
    out: Out = None,
    scratch: Scratch = None,
) -> None:
    """Measure how fast each source delivers the faces of DATA; each after a check of what it delivers."""
    console = Terminal()
    with exit_status(NonFiniteLossError), _scratch(scratch) as folder:
        where = str(choose_device(device))
        with console.status("writing the faces in other forms") as status:
            found = find(
                data, folder, importer=importer, split=split, faces=faces, size=size, names=tuple(source or ())
            )
            rows = measure(
                found,
                batch_size=batch_size,
                rounds=rounds,
                seconds=seconds,
                device=where,
                cold=cold,
                say=status.update,
            )
        facts: dict[str, Any] = {"batch size": batch_size, "rounds": rounds, "seconds a turn": seconds}
        _show(report.of_loaders(found, rows, facts, where), out, console)


@app.command(cls=settings.CommandWithSet)
def step(
    recipe: Annotated[str, typer.Argument(help="NAME or path.py; with :VARIANT another recipe in it")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="change a field, e.g. batch_size=64")
    ] = None,
    source: StepNames = None,
    steps: Annotated[int, typer.Option(min=1, help="optimiser steps of a turn")] = 30,
    rounds: Annotated[int, typer.Option(min=1, help="in each, every source has one turn")] = 3,
    faces: Faces = 8192,
    device: Device = None,
    out: Out = None,
    scratch: Scratch = None,
) -> None:
    """Measure the training step of RECIPE, fed by one batch repeated and by each source.

    DALI and FFCV come twice: with the kernel augmenting in the step, and augmenting by themselves ahead of it.
    """
    with (
        joined(device) as ranks,
        exit_status(NonFiniteLossError, LostRankError, speaks=ranks.speaks),
        _scratch(scratch) as folder,
    ):
        console = Terminal(quiet=not ranks.first)
        where = choose_device(ranks.device(device))
        file = recipe_file.read(recipe)
        chosen = settings.apply(file.recipe, set_ or [])
        with console.status("writing the faces in other forms") as status:
            found = of_recipe(chosen, folder, faces=faces, names=tuple(source or ()))
            rows, compiled = measure_steps(
                chosen, found, device=where, steps=steps, rounds=rounds, say=status.update, ranks=ranks
            )
        facts: dict[str, Any] = {
            "recipe": recipe,
            "batch size": chosen.batch_size,
            "batches a step": chosen.accumulate,
            "ranks": ranks.world,
            "steps a turn": steps,
            "rounds": rounds,
        }
        if ranks.first:
            _show(report.of_steps(found, rows, facts, where, compiled, _work(chosen, where, ranks.world)), out, console)


def _work(recipe: Recipe, device: torch.device, ranks: int) -> Work | str:
    """Measures what a step computes and what its device can, or says why that is not known."""
    if ranks > 1:
        return "several ranks took the steps, which may share a device"
    try:
        return work_of(recipe, device)
    except ValueError as error:
        return str(error)


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    if parent is not None and not parent.is_dir():
        raise ValueError(f"bench: scratch (={parent}) must be a folder; it is not there")
    with tempfile.TemporaryDirectory(prefix="hmtl-bench-", dir=parent) as folder:
        yield Path(folder)


def _show(found: report.Measurement, out: Path | None, console: Terminal) -> None:
    found.print(console)
    if out is not None:
        for file in found.write(out):
            console.print(f"wrote {file}")


if __name__ == "__main__":
    app()
