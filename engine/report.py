"""Writes the reports of runs anew, of those that still go on or were interrupted as well.

hmtl report RUN ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.reports.report import write_report
from loaders.exit_status import exit_status


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)]) -> None:
    """Write the report of each run anew."""
    with exit_status():
        for run in runs:
            typer.echo(write_report(run))


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(main)

if __name__ == "__main__":
    app()
