"""What a long run tells a person: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from loaders.terminal import Terminal

FIRST_SECONDS, LINE_SECONDS = 10.0, 60.0
"""Where there is no terminal: how long a command works before its first line, and how long between two of them."""


class Pace:
    """Says when a line is due where there is no terminal."""

    def __init__(self) -> None:
        self._next = time.perf_counter() + FIRST_SECONDS

    def due(self) -> bool:
        """Tells whether a line is to be printed now; if so, the next one is due a minute later."""
        if time.perf_counter() < self._next:
            return False
        self.said()
        return True

    def said(self) -> None:
        """Takes note of a line that was printed anyway."""
        self._next = time.perf_counter() + LINE_SECONDS


@contextmanager
def progress(what: str, total: int | None, console: Terminal) -> Iterator[Callable[[int], None]]:
    """Shows progress while the block runs; call what it gives with the number of items just done."""
    if not console.is_terminal:
        yield _lines(what, total, console)
        return
    rate = TextColumn("{task.fields[rate]}")
    with Progress(
        TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task(what, total=total, rate="")
        start = time.perf_counter()

        def advance(count: int) -> None:
            bar.advance(task, count)
            done = bar.tasks[0].completed
            bar.update(task, rate=f"{done / max(time.perf_counter() - start, 1e-9):,.0f}/s")

        yield advance


def _lines(what: str, total: int | None, console: Terminal) -> Callable[[int], None]:
    start, pace = time.perf_counter(), Pace()
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if pace.due():
            of = "" if total is None else f" of {total:,}"
            console.print(f"{what}: {done:,}{of}, {done / (time.perf_counter() - start):,.0f}/s")

    return advance
