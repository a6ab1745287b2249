"""What a long run tells a person: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 5.0


class _Line(TypedDict):
    markup: bool
    highlight: bool
    soft_wrap: bool


LINE: _Line = {"markup": False, "highlight": False, "soft_wrap": True}  # printed as it is, on one line


@contextmanager
def progress(what: str, total: int | None, console: Console) -> Iterator[Callable[[int], None]]:
    """Shows progress while the block runs; call what it gives with the number of items just done."""
    if not console.is_terminal:
        yield _lines(what, total, console)
        return
    rate = TextColumn("{task.fields[rate]}")
    with Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task(what, total=total, rate="")
        start = time.perf_counter()

        def advance(count: int) -> None:
            bar.advance(task, count)
            done = bar.tasks[0].completed
            bar.update(task, rate=f"{done / max(time.perf_counter() - start, 1e-9):,.0f}/s")

        yield advance


def _lines(what: str, total: int | None, console: Console) -> Callable[[int], None]:
    start = printed = time.perf_counter()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, printed
        done += count
        now = time.perf_counter()
        if now - printed >= LINE_SECONDS:
            printed = now
            of = "" if total is None else f" of {total:,}"
            console.print(f"{what}: {done:,}{of}, {done / (now - start):,.0f}/s", highlight=False)

    return advance
