"""Writes the reports of runs anew, of those that still go on or were interrupted as well.

hmtl report RUN ... [--html]
hmtl report RUN --watch
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from engine.reports.page import write_page
from engine.reports.report import write_report
from engine.reports.watching import served
from loaders.exit_status import exit_status


def main(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders; with --html also Markdown files, e.g. table.md.", show_default=False),
    ],
    html: Annotated[
        bool, typer.Option("--html", help="Also write one HTML file each, with its pictures inside, to send.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Serve the report of one run on this machine; its page follows the training."),
    ] = False,
    port: Annotated[int | None, typer.Option(help="With --watch: where; a free one if not given.")] = None,
) -> None:
    """Write the report of each run anew."""
    with exit_status():
        if watch:
            _watch(runs, html, port)
            return
        if port is not None:
            raise ValueError(f"report: port (={port}) must go with --watch; add it, or leave this out")
        for run in runs:
            report = run if html and run.is_file() else write_report(run)
            typer.echo(write_page(report) if html else report)


def _watch(runs: Sequence[Path], html: bool, port: int | None) -> None:
    """Serves the page of a run until Ctrl-C, which is how it ends well."""
    if len(runs) != 1 or html:
        raise ValueError(
            f"report: --watch must stand with one run (there are {len(runs)}) and without --html; start it for each"
        )
    with served(runs[0], port or 0) as address:
        typer.echo(f"{runs[0]}: {address} until Ctrl-C")
        with suppress(KeyboardInterrupt):
            Event().wait()


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(main)

if __name__ == "__main__":
    app()
