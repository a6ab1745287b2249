"""Runs what is missing of an experiment and prints its table: `hmtl table EXPERIMENT`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from engine.quantities import label_of
from engine.runs.environment import as_shell, command
from engine.table import chart
from engine.table.bootstrap import RESAMPLES
from engine.table.experiment import read
from engine.table.plan import Job, Plan, collect, make_plan
from engine.table.results import make_results
from engine.table.running import Ended, InterruptedTableError, log_of, run_all
from engine.table.text import number, to_csv, to_markdown
from loaders.exit_status import FAILED, INTERRUPTED, exit_status
from loaders.files import write_text

RESULTS = Path("benchmarks/results/runs")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    experiment_file: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="NAME or path.py with an `experiment`")],
    seeds: Annotated[int | None, typer.Option(help="runs of each row; the experiment's number if not given")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of runs and table; runs/NAME if not given")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="change a field in all rows, e.g. epochs=15; repeatable"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="groups whose title holds TEXT; may be given several times")
    ] = None,
    jobs: Annotated[int, typer.Option(help="runs at once on this machine")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; the GPU if there is one")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="print one command for each missing run, for a scheduler, and run nothing")
    ] = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="print the table of what is done, and run nothing")] = False,
    results: Annotated[Path, typer.Option(help="folder of the small files that finished runs leave")] = RESULTS,
    resamples: Annotated[int, typer.Option(help="draws of the bootstrap")] = RESAMPLES,
) -> None:
    """Run what is missing of EXPERIMENT, go on with what was interrupted, skip what is done, and print the table."""
    with exit_status():
        for name, value in (("seeds", seeds), ("jobs", jobs), ("resamples", resamples)):
            if value is not None and value < 1:
                raise ValueError(f"table: {name} (={value}) must be 1 or more")
        file = read(experiment_file).only(only or ())
        folder = out or Path("runs") / file.name
        plan = make_plan(file, seeds=seeds, out=folder, results=results, set_=set_ or (), device=device)
        if list_:
            _print_commands(plan)
            return
        progress = _Progress(plan, total=len(plan.missing))
        stopped = None
        if not no_run and plan.missing:
            try:
                run_all(plan.missing, at_once=jobs, started=progress.started, ended=progress.ended)
            except InterruptedTableError as error:
                stopped = error
        _write(progress, folder, resamples)
        if stopped is not None:
            typer.echo(str(stopped), err=True)
            raise typer.Exit(INTERRUPTED)
        if progress.failed:
            typer.echo(
                f"error: {len(progress.failed)} of {progress.total} runs failed; their logs are in {folder}", err=True
            )
            raise typer.Exit(FAILED)


def _print_commands(plan: Plan) -> None:
    """One command a line; a run that starts from another one stands after it and says so."""
    for note in plan.notes:
        typer.echo(f"note: {note}", err=True)
    names = {job.key: job.name for job in plan.jobs}
    for job in plan.jobs:
        if job.done is None and job.missing is not None:
            typer.echo(f"# {job.name}: not run: {job.missing}")
        elif job.done is None:
            after = f"  # after {names[job.needs]}" if job.needs in {each.key for each in plan.missing} else ""
            typer.echo(as_shell(["python", *job.words]) + after)


@dataclass(slots=True)
class _Progress:
    """Says what is going on, and keeps the plan up to date."""

    plan: Plan
    total: int
    begun: int = 0
    seen: set[str] = field(default_factory=set)
    failed: dict[str, Ended] = field(default_factory=dict)

    def started(self, job: Job, elsewhere: bool) -> None:
        self.begun += job.key not in self.seen  # a run that another process had may have to be started after all
        self.seen.add(job.key)
        what = "another process has" if elsewhere else "going on with" if job.folder.is_dir() else "starting"
        typer.echo(f"[{self.begun}/{self.total}] {what} {job.name} (log: {log_of(job)})", err=True)

    def ended(self, ended: Ended) -> None:
        job, experiment = ended.job, self.plan.file.experiment
        done = collect(job, self.plan.file, self.plan.results) if ended.code == 0 else None
        if done is None:
            self.failed[job.key] = ended
            typer.echo(f"failed: {job.name} ({ended.how}): {ended.tail.rpartition(chr(10))[2]}", err=True)
            return
        self.plan = self.plan.with_done(job.key, done)
        value = number(experiment.metric, done.figure("last", experiment.split, experiment.metric))
        typer.echo(
            f"done: {job.name} in {ended.seconds / 60:.1f} min, {label_of(experiment.metric)} {value} on "
            f"{experiment.split}",
            err=True,
        )


def _write(progress: _Progress, folder: Path, resamples: int) -> None:
    """The table on the terminal and, with CSV and chart, in the folder."""
    failures = {ended.job.name: ended.tail for ended in progress.failed.values()}
    tails = {key: ended.tail for key, ended in progress.failed.items()}
    table = make_results(progress.plan, tails, resamples=resamples)
    text = to_markdown(table, command=command(), failures=failures, notes=progress.plan.notes)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", to_csv(table))
    chart.draw(table, folder / "chart.png")
    typer.echo(text)
    typer.echo(f"wrote {folder / 'table.md'}, table.csv and chart.png", err=True)


if __name__ == "__main__":
    app(prog_name="python -m engine.table")
