"""Makes an experiment's table: runs what is missing, says how it goes, and writes what is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from engine.reports.page import write_page
from engine.runs.environment import as_shell, command
from engine.table import sweep
from engine.table.curve import draw_curve
from engine.table.plan import Job, Plan, collect
from engine.table.report import draw_chart, number, to_csv, to_markdown
from engine.table.results import make_results
from engine.table.running import Ended, InterruptedTableError, log_of, run_all
from engine.table.sweep import Search
from loaders.exit_status import FAILED, INTERRUPTED
from loaders.files import write_text


def commands_of(plan: Plan) -> Iterator[str]:
    """Writes one command a line for each missing run; one that starts from another stands after it and says so."""
    for run in runs_of(plan):
        yield as_shell(run["command"]) + (f"  # after {run['after']}" if run["after"] else "")


def runs_of(plan: Plan) -> Iterator[dict[str, Any]]:
    """Describes each missing run for a scheduler, one that starts from another after it."""
    names = {job.key: job.name for job in plan.missing}
    for job in plan.missing:
        yield {
            "name": job.name,
            "command": ["hmtl", "train", *job.words[2:]],
            "folder": str(job.folder),
            "after": names.get(job.needs or ""),
        }


def reasons_of(plan: Plan) -> Iterator[str]:
    """Says how to prepare data that is not there, and which runs cannot be run and why."""
    reasons = Counter(job.missing for job in plan.jobs if job.done is None and job.missing is not None)
    for folder, prepare in plan.file.prepared.items():
        if reasons and not Path(folder).exists():
            yield f"{folder} is not there; prepare it: {prepare}"
    for reason, runs in reasons.items():
        yield f"not run, {runs} of {len(plan.jobs)} runs: {reason}"


def make_table(plan: Plan, folder: Path, *, run: bool, at_once: int, resamples: int, html: bool = False) -> None:
    """Runs what a plan misses and writes table.md, table.csv and charts into a folder; prints the table.

    Args:
        plan: The runs of an experiment.
        folder: Where the files go; made if it is not there.
        run: Whether to run what is missing.
        at_once: How many runs there may be at a time.
        resamples: Draws of the bootstrap.
        html: Whether to write table.html too.

    Raises:
        typer.Exit: With `INTERRUPTED` on Ctrl-C or SIGTERM, with `FAILED` where a run failed, or where runs are asked
            for and none is done or can be run; the table is written.
    """
    progress = _run(plan, at_once if run else 0)
    results = make_results(progress.plan, progress.failed, resamples=resamples)
    text = to_markdown(results, command=command(), failures=progress.failures, notes=plan.notes)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", to_csv(results))
    charts = [draw_chart(results, folder / "chart.png"), draw_curve(results, folder / "curve.png")]
    if html:
        write_page(folder / "table.md")
    typer.echo(text)
    for reason in reasons_of(progress.plan):
        typer.echo(reason, err=True)
    drawn = " and ".join(chart.name for chart in charts if chart is not None)
    typer.echo(f"wrote {folder / 'table.md'}, table.csv{', table.html' if html else ''}, {drawn}", err=True)
    progress.exit(folder)


def make_sweep(search: Search, plan: Plan, folder: Path, *, run: bool, at_once: int, html: bool = False) -> None:
    """Runs the trials of a search that are missing and writes sweep.md and sweep.csv into a folder; prints the table.

    Args:
        search: What is searched.
        plan: The runs of `search.file`.
        folder: Where the files go; made if it is not there.
        run: Whether to run what is missing.
        at_once: How many runs there may be at a time.
        html: Whether to write sweep.html too.

    Raises:
        typer.Exit: See `make_table`.
    """
    progress = _run(plan, at_once if run else 0)
    results = make_results(progress.plan, progress.failed)
    text = sweep.to_markdown(search, progress.plan, results, command=command(), failures=progress.failures)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "sweep.md", text)
    write_text(folder / "sweep.csv", sweep.to_table(search, results).csv())
    if html:
        write_page(folder / "sweep.md")
    typer.echo(text)
    for reason in reasons_of(progress.plan):
        typer.echo(reason, err=True)
    typer.echo(f"wrote {folder / 'sweep.md'}{', sweep.html' if html else ''} and sweep.csv", err=True)
    progress.exit(folder)


def _run(plan: Plan, at_once: int) -> _Progress:
    """Runs what a plan misses, `at_once` runs at a time; 0 runs nothing."""
    progress = _Progress(plan, total=len(plan.missing), asked=at_once > 0)
    if at_once and plan.missing:
        try:
            run_all(plan.missing, at_once=at_once, started=progress.started, ended=progress.ended)
        except InterruptedTableError as error:
            progress.stopped = str(error)
    return progress


@dataclass(slots=True)
class _Progress:
    """Says what is going on, and keeps the plan up to date."""

    plan: Plan
    total: int
    asked: bool
    """Whether what is missing was to be run."""
    begun: int = 0
    seen: set[str] = field(default_factory=set)
    failed: dict[str, Ended] = field(default_factory=dict)
    stopped: str = ""
    """Why not all were run; empty if all were."""

    @property
    def failures(self) -> dict[str, str]:
        """Maps the name of each run that failed to the end of its output."""
        return {ended.job.name: ended.tail for ended in self.failed.values()}

    def exit(self, folder: Path) -> None:
        """Raises typer.Exit where the runs were stopped, one failed or none could be run, and says so."""
        if self.stopped:
            typer.echo(self.stopped, err=True)
            raise typer.Exit(INTERRUPTED)
        if self.failed:
            typer.echo(f"error: {len(self.failed)} of {self.total} runs failed; their logs are in {folder}", err=True)
            raise typer.Exit(FAILED)
        if self.asked and not any(job.done for job in self.plan.jobs):
            typer.echo(f"error: none of the {len(self.plan.jobs)} runs can be run here; see why above", err=True)
            raise typer.Exit(FAILED)

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
        value = number(self.plan.figure, done.figure("last", experiment.split, experiment.metric))
        typer.echo(
            f"done: {job.name} in {ended.seconds / 60:.1f} min, {self.plan.figure.label} {value} on {experiment.split}",
            err=True,
        )
