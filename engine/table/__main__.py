"""Runs what is missing of an experiment and prints its table: `hmtl table EXPERIMENT`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from engine.intervals.bootstrap import RESAMPLES
from engine.recipe import settings
from engine.table.experiment import read
from engine.table.making import commands_of, make_sweep, make_table, reasons_of, runs_of
from engine.table.plan import make_plan
from engine.table.slurm import submit
from engine.table.sweep import make_search, read_sweep
from engine.training.device import choose_device
from engine.training.precision import emulated
from loaders.exit_status import exit_status

RESULTS, SWEEPS = Path("benchmarks/results/runs"), Path("benchmarks/results/sweeps")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=settings.CommandWithSet)
def main(
    experiment_file: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="NAME or path.py with an `experiment`")],
    seeds: Annotated[
        int | None, typer.Option(help="runs of each row; if not given the experiment's number, in a search 1")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder of runs and table; runs/NAME if not given")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="change a field in all rows, e.g. epochs=15; repeatable"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="groups whose title holds TEXT; may be given several times")
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="with --sweep: rows whose name holds TEXT; repeatable")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=A,B",
            help="search: each row with each of these values, judged on the split it selects on; the test split is "
            "not opened; repeatable, for every combination",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="runs at once on this machine")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU if there is one")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="print one command for each missing run, for a scheduler, and run nothing")
    ] = False,
    format_: Annotated[
        Literal["text", "json"] | None, typer.Option("--format", help="of --list; json for programs; text if not given")
    ] = None,
    on: Annotated[
        Literal["slurm"] | None,
        typer.Option(help="submit what is neither done nor queued to Slurm, in place of running it (docs/cluster.md)"),
    ] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTIONS", help='of a row, e.g. "--partition=gpu --time=02:00:00"; repeatable'),
    ] = None,
    no_run: Annotated[bool, typer.Option("--no-run", help="print the table of what is done, and run nothing")] = False,
    html: Annotated[
        bool, typer.Option("--html", help="also write the table as one HTML file whose columns sort, to send")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(help=f"folder of the small files that finished runs leave; if not given {RESULTS} or {SWEEPS}"),
    ] = None,
    resamples: Annotated[int, typer.Option(help="draws of the bootstrap")] = RESAMPLES,
) -> None:
    """Run what is missing of EXPERIMENT, go on with what was interrupted, skip what is done, and print the table."""
    with exit_status():
        for name, value in (("seeds", seeds), ("jobs", jobs), ("resamples", resamples)):
            if value is not None and value < 1:
                raise ValueError(f"table: {name} (={value}) must be 1 or more")
        _check_together(on=on, sbatch=sbatch, list_=list_, format_=format_, no_run=no_run, jobs=jobs)
        file = read(experiment_file).only(only or ())
        folder = out or Path("runs") / file.name
        search = None
        if sweep:
            search = make_search(file, [read_sweep(text) for text in sweep], set_=set_ or (), rows=rows or ())
            file, folder, set_ = search.file, out or folder / "sweep", None
        elif rows:
            raise ValueError(f"table: rows (={', '.join(rows)}) goes with --sweep; choose groups by --only")
        small = results or (SWEEPS if search else RESULTS)
        plan = make_plan(file, seeds=seeds, out=folder, results=small, set_=set_ or (), device=device)
        if list_:
            for note in plan.notes:
                typer.echo(f"note: {note}", err=True)
            for reason in reasons_of(plan):
                typer.echo(f"# {reason}", err=format_ == "json")
            if format_ == "json":
                typer.echo(json.dumps(list(runs_of(plan)), indent=2, ensure_ascii=False))
            else:
                for line in commands_of(plan):
                    typer.echo(line)
            return
        if on is not None:
            for line in submit(plan, folder, sbatch or ()):
                typer.echo(line, err=True)
        run = not no_run and on is None
        in_bf16 = run and any(job.identity["recipe"]["precision"] == "bf16" for job in plan.missing)
        if in_bf16 and (warning := emulated("bf16", choose_device(device))):
            typer.echo(f"{warning}; with --set precision=fp32 the runs are others, and so is the table", err=True)
        if search is not None:
            make_sweep(search, plan, folder, run=run, at_once=jobs, html=html)
        else:
            make_table(plan, folder, run=run, at_once=jobs, resamples=resamples, html=html)


def _check_together(
    *, on: str | None, sbatch: list[str] | None, list_: bool, format_: str | None, no_run: bool, jobs: int
) -> None:
    """Refuses options that mean nothing together."""
    if on is None and sbatch:
        raise ValueError(f"table: sbatch (={' '.join(sbatch)}) goes with --on slurm; add it")
    if on is not None and (list_ or no_run or jobs > 1):
        raise ValueError(
            f"table: on (={on}) submits, and Slurm says how many run at once; leave out --list, --no-run and --jobs"
        )
    if format_ is not None and not list_:
        raise ValueError(f"table: format (={format_}) goes with --list; add it")


if __name__ == "__main__":
    app(prog_name="python -m engine.table")
