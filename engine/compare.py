"""Sets runs beside each other: their figures, how their recipes differ, what changes class by class, and their curves.

hmtl compare RUN RUN ... [--out FILE.md]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engine.reports.comparison import compare
from loaders.exit_status import exit_status
from loaders.files import write_text
from loaders.targets import file_target


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Also write Markdown here, and the curves beside it as PNG.", show_default=False)
    ] = None,
) -> None:
    """Set runs side by side: figures, recipes, classes and, with --out, curves."""
    with exit_status():
        if out is not None:
            file_target(out)
        found = compare(runs)
        found.print(Console())
        if out is not None:
            try:
                image = found.draw_curves(out.with_suffix(".png"))
            except ValueError as error:
                image = None
                typer.echo(f"no curves: {error}", err=True)
            write_text(out, found.markdown(None if image is None else image.name))
            typer.echo(f"wrote {out}" + ("" if image is None else f" and {image}"))


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(main)

if __name__ == "__main__":
    app()
