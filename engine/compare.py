"""Runs beside each other: one table, a row a run.

python -m engine.compare RUN RUN ... [--out FILE.md]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine import markdown
from engine.files import whole
from engine.quantities import format_count, format_value, label_of, unit_of
from engine.results import Run, as_mapping, as_number, read_run

# These lead; others follow in the order the runs have them.
_LEADING = ("/accuracy", "/macro_f1")
_NARROWEST_NAME = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of text: heads of one or more lines, and one row a run."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def compare(paths: Sequence[Path]) -> Comparison:
    """Read runs and lay their figures side by side.

    A figure of the last epoch stands before that of the best one, "last | best". Unfinished runs are marked with a
    star and show what they have.

    Raises:
        ValueError: There is no path, or one is not the folder of a run.
    """
    if not paths:
        raise ValueError("compare: runs (=none) must be at least one; name the folders that engine.run wrote")
    runs = [read_run(path, where="compare") for path in paths]
    columns: list[tuple[str, Callable[[Run], str]]] = [
        ("views", lambda run: ", ".join(map(str, run.result.get("views") or ())) or "–"),
        ("epochs", _epochs),
        ("pictures\nseen", lambda run: format_count(as_number(run.result.get("pictures_through_encoder")))),
        ("parameters\nat inference", lambda run: format_count(_parameters(run))),
        ("minutes", _minutes),
    ]
    tasks = dict.fromkeys(quantity.rpartition("/")[0] for run in runs for quantity in run.quantities)
    ambiguous = len(tasks) > 1
    columns += [
        (_head(quantity, split, ambiguous), partial(_pair, split=split, quantity=quantity))
        for quantity in _headlines(runs)
        for split in dict.fromkeys(split for run in runs for split in run.splits)
        if any(_pair(run, split=split, quantity=quantity) != "–" for run in runs)
    ]
    rows = tuple((label, *(text(run) for _, text in columns)) for label, run in zip(_labels(runs), runs, strict=True))
    notes = ["Figures are last | best epoch; a best epoch is chosen on val, where it is optimistic."]
    unfinished = [label.removesuffix(" *") for label, run in zip(_labels(runs), runs, strict=True) if not run.finished]
    if unfinished:
        notes.append(f"* unfinished, figures so far: {', '.join(unfinished)}.")
    return Comparison(("run", *(head for head, _ in columns)), rows, tuple(notes))


def _headlines(runs: Sequence[Run]) -> list[str]:
    """What a comparison shows of each task: the figure that it reports first, and macro-F1 beside accuracy."""
    found = []
    for run in runs:
        first: dict[str, str] = {}
        for quantity in run.quantities:
            first.setdefault(quantity.rpartition("/")[0], quantity)
        found += [q for q in run.quantities if q in first.values() or q.endswith("/macro_f1")]
    return sorted(dict.fromkeys(found), key=lambda quantity: not quantity.endswith(_LEADING))


def _head(quantity: str, split: str, with_task: bool) -> str:
    task = quantity.rpartition("/")[0]
    unit = f" ({sign})" if (sign := unit_of(quantity)) else ""
    return "\n".join([*([task] if with_task else []), label_of(quantity), split + unit])


def _pair(run: Run, *, split: str, quantity: str) -> str:
    values = [scores.value(split, quantity) if scores else None for scores in (run.last, run.best)]
    if values == [None, None]:
        return "–"
    return " | ".join(format_value(quantity, value, decimals=1, unit=False) for value in values)


def _epochs(run: Run) -> str:
    done, planned = as_number(run.result.get("epochs")), as_number(run.recipe.get("epochs"))
    if run.finished or planned is None:
        return "–" if done is None else f"{done:g}"
    ended = len(next(iter(run.metrics.values()), ())) if done is None else done
    return f"{ended:g} of {planned:g}"


def _minutes(run: Run) -> str:
    seconds = as_number(run.result.get("seconds"))
    return "–" if seconds is None else f"{seconds / 60:.1f}"


def _parameters(run: Run) -> float | None:
    return as_number(as_mapping(run.result.get("parameters")).get("inference"))


def _labels(runs: Sequence[Run]) -> list[str]:
    """Names of the runs: the recipe's where they differ, else the folders', else the paths."""
    for label in (lambda run: run.name, lambda run: run.path.resolve().name, lambda run: str(run.path)):
        names = [label(run) for run in runs]
        if len(set(names)) == len(names):
            break
    return [name if run.finished else f"{name} *" for name, run in zip(names, runs, strict=True)]


def blocks(table: Comparison, width: int) -> list[list[int]]:
    """Which columns stand together so that a line has at most `width` characters; each block begins with the name."""
    widths = [
        max(cell_len(line) for text in column for line in text.split("\n"))
        for column in zip(table.heads, *table.rows, strict=True)
    ]
    padding = 2  # one of the cell and one of the box
    name = min(widths[0], max(_NARROWEST_NAME, width // 3))
    found: list[list[int]] = []
    room = 0
    for column in range(1, len(widths)):
        if not found or widths[column] + padding > room:
            found.append([0])
            room = width - name - padding
        found[-1].append(column)
        room -= widths[column] + padding
    return found


def print_comparison(table: Comparison, console: Console) -> None:
    """Print the table; where the terminal is too narrow for a row, it is continued in further blocks of columns."""
    for block in blocks(table, console.width):
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
        for column in block:
            drawn.add_column(
                escape(table.heads[column]),
                justify="left" if column <= 1 else "right",
                overflow="fold",
                no_wrap=column > 1,
            )
        for row in table.rows:
            drawn.add_row(*(escape(row[column]) for column in block))
        console.print(drawn)
        console.print()
    for note in table.notes:
        console.print(escape(note), style="dim", highlight=False)


def to_markdown(table: Comparison) -> str:
    """The table and its notes as Markdown."""
    heads = [head.replace("\n", " ") for head in table.heads]
    notes = "\n\n".join(note.replace("*", "\\*") for note in table.notes)
    return f"{markdown.table(heads, table.rows, left=2)}\n\n{notes}\n"


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Also write the table as Markdown.", show_default=False)] = None,
) -> None:
    """Lay runs side by side."""
    try:
        table = compare(runs)
        if out is not None and not out.parent.is_dir():
            raise ValueError(f"compare: out (={out}) must lie in a folder that exists; make {out.parent} first")
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    print_comparison(table, Console())
    if out is not None:
        with whole(out) as temporary:
            temporary.write_text(to_markdown(table), encoding="utf-8")
        typer.echo(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
