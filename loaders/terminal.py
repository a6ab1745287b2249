"""Prints to a terminal: text as it is, tables at any width, and an escape for each character that it cannot show."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import IO

from rich import box, table
from rich.cells import cell_len
from rich.console import Console

_GAP = 2  # characters between columns: one of the cell and one of the box
_NARROWEST_KEYS = 16


class Terminal(Console):
    """Prints text as it is: no markup in it is read, no number is coloured, no line is broken or cut.

    Args:
        file: Where to print, by default the standard output.
        stderr: Print to the standard error instead.
        quiet: Print nothing.
        width: Characters in a line of a table; by default those of the terminal, 80 where there is none.
    """

    def __init__(
        self, file: IO[str] | None = None, *, stderr: bool = False, quiet: bool = False, width: int | None = None
    ) -> None:
        escape_what_cannot_be_shown()
        super().__init__(
            file=file,
            stderr=stderr,
            quiet=quiet,
            width=width,
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=True,
        )


def escape_what_cannot_be_shown() -> None:
    """Makes the standard output write `\\udcfc` for what its encoding lacks, as the standard error does anyway.

    A name on a disk may be no text, and a terminal may know ASCII alone: neither may end a command.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_table(
    console: Console,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    keys: int = 1,
    title: str = "",
    caption: str = "",
) -> None:
    """Prints a table; where the terminal is too narrow for a row, in blocks of columns below each other.

    Args:
        console: Where it is printed.
        heads: One a column; their lines stand below each other.
        rows: Their cells.
        left: How many columns hold text, which is aligned left and may be folded; those after them hold numbers.
        keys: How many columns name a row; each block begins with them.
        title: Stands above.
        caption: Stands below.
    """
    blocks = column_blocks(heads, rows, keys, console.width)
    for block in blocks:
        drawn = table.Table(
            title=title if title and block is blocks[0] else None,
            caption=caption if caption and block is blocks[-1] else None,
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for column in block:
            text = column < left
            drawn.add_column(heads[column], justify="left" if text else "right", overflow="fold", no_wrap=not text)
        for row in rows:
            drawn.add_row(*(row[column] for column in block))
        console.print(drawn, soft_wrap=False)
        console.print()


def column_blocks(heads: Sequence[str], rows: Sequence[Sequence[str]], keys: int, width: int) -> list[list[int]]:
    """Chooses which columns stand together in lines of `width` characters; each block begins with the keys."""
    widths = [
        max(cell_len(line) for text in column for line in text.split("\n")) for column in zip(heads, *rows, strict=True)
    ]
    names = list(range(keys))
    free = width - min(sum(widths[:keys]), max(_NARROWEST_KEYS, width // 3)) - _GAP * keys
    found: list[list[int]] = []
    room = 0
    for column in range(keys, len(widths)):
        if not found or widths[column] > room:
            found.append(names.copy())
            room = free
        found[-1].append(column)
        room -= widths[column] + _GAP
    return found or [names]
