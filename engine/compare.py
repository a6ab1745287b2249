"""Sets runs beside each other: their figures, how their recipes differ, what changes class by class, and their curves.

hmtl compare RUN RUN ... [--out FILE.md] [--html]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.reports.comparison import compare
from engine.reports.page import page_of, write_page
from loaders.exit_status import exit_status
from loaders.files import write_text
from loaders.targets import file_target
from loaders.terminal import Terminal


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Also write Markdown here, and the curves beside it as PNG.", show_default=False)
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="With --out: also write one HTML file with the curves inside, to send.")
    ] = False,
) -> None:
    """Set runs side by side: figures, recipes, classes and, with --out, curves."""
    with exit_status():
        if html and out is None:
            raise ValueError("compare: html (=True) must go with --out; add it, such as --out compared.md")
        if out is not None:
            file_target(out)
            if html:
                page_of(out)
        found = compare(runs)
        found.print(Terminal())
        if out is not None:
            try:
                image = found.draw_curves(out.with_suffix(".png"))
            except ValueError as error:
                image = None
                typer.echo(f"no curves: {error}", err=True)
            write_text(out, found.markdown(None if image is None else image.name))
            written = [out, *([] if image is None else [image]), *([write_page(out)] if html else [])]
            typer.echo(f"wrote {', '.join(map(str, written))}")


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(main)

if __name__ == "__main__":
    app()
