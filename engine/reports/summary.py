"""The table a run ends with on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.quantities import format_value, in_brackets, label_of
from engine.runs.result import Run, read_run


def print_summary(run: Path, *, console: Console | None = None) -> None:
    """Print the figures of a run: a row a metric; val and test, last and best epoch, chance, constant guess.

    Raises:
        ValueError: `run` is not the folder of a run.
    """
    found = read_run(run, where="print_summary")
    console = console or Console()
    if not found.quantities:
        console.print(f"{escape(found.name)}: no figures yet", highlight=False)
        return
    console.print(_table(found))


def _table(run: Run) -> Table:
    epochs = f"last = epoch {_epoch(run.last.epoch)}"
    if run.best:
        epochs += f", best = epoch {_epoch(run.best.epoch)} by {run.select_on or 'val'}"
    table = Table(
        title=escape(run.name) + ("" if run.finished else " (unfinished)"),
        caption=escape(epochs),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("task", overflow="fold")
    table.add_column("metric", overflow="fold")
    for split in run.splits:
        table.add_column(f"{escape(split)}\nlast", justify="right", no_wrap=True)
        table.add_column(f"{escape(split)}\nbest", justify="right", no_wrap=True)
    table.add_column("chance", justify="right", no_wrap=True)
    guess = run.constant_guess_name.split()[0]
    table.add_column(f"{guess}\n" + escape(" / ".join(run.splits)), justify="right", no_wrap=True)
    previous = None
    for quantity in run.quantities:
        task = quantity.rpartition("/")[0]
        cells = [
            format_value(quantity, scores.value(split, quantity) if scores else None, decimals=1, unit=False)
            for split in run.splits
            for scores in (run.last, run.best)
        ]
        guesses = [format_value(quantity, run.constant_guess(s, quantity), decimals=1, unit=False) for s in run.splits]
        table.add_row(
            "" if task == previous else escape(task),
            escape(label_of(quantity)) + in_brackets(quantity),
            *cells,
            format_value(quantity, run.chance(quantity), decimals=1, unit=False),
            "–" if set(guesses) == {"–"} else " / ".join(guesses),
        )
        previous = task
    return table


def _epoch(epoch: int | None) -> str:
    return "?" if epoch is None else str(epoch)
