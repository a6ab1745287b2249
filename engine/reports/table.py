"""Holds text in rows and columns, prints it to a terminal of any width and writes it as Markdown or csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box, table
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape

from engine.reports import markdown

_GAP = 2  # characters between columns: one of the cell and one of the box
_NARROWEST_KEYS = 16


@dataclass(frozen=True, slots=True)
class Table:
    """Holds rows of text under heads, in the order in which they are read."""

    heads: Sequence[str]
    """One a column; a terminal shows its lines below each other."""
    rows: Sequence[Sequence[str]]
    left: int = 1
    """How many columns hold text, which is aligned left and may be folded; those after them hold numbers."""
    keys: int = 1
    """How many columns name a row: a terminal too narrow for all columns repeats them in each block of columns."""
    title: str = ""
    caption: str = ""

    def print(self, console: Console) -> None:
        """Prints the table; where the console is too narrow for a row, in blocks of columns below each other."""
        blocks = self.blocks(console.width)
        for block in blocks:
            drawn = table.Table(
                title=escape(self.title) if self.title and block is blocks[0] else None,
                caption=escape(self.caption) if self.caption and block is blocks[-1] else None,
                title_justify="left",
                caption_justify="left",
                box=box.SIMPLE_HEAD,
                show_edge=False,
                pad_edge=False,
                padding=(0, 1, 0, 0),
            )
            for column in block:
                text = column < self.left
                drawn.add_column(
                    escape(self.heads[column]),
                    justify="left" if text else "right",
                    overflow="fold",
                    no_wrap=not text,
                )
            for row in self.rows:
                drawn.add_row(*(escape(row[column]) for column in block))
            console.print(drawn)
            console.print()

    def blocks(self, width: int) -> list[list[int]]:
        """Chooses which columns stand together in lines of `width` characters; each block begins with the keys."""
        widths = [
            max(cell_len(line) for text in column for line in text.split("\n"))
            for column in zip(self.heads, *self.rows, strict=True)
        ]
        keys = list(range(self.keys))
        free = width - min(sum(widths[: self.keys]), max(_NARROWEST_KEYS, width // 3)) - _GAP * self.keys
        found: list[list[int]] = []
        room = 0
        for column in range(self.keys, len(widths)):
            if not found or widths[column] > room:
                found.append(keys.copy())
                room = free
            found[-1].append(column)
            room -= widths[column] + _GAP
        return found or [keys]

    def markdown(self) -> str:
        """Writes heads and rows as Markdown whose source is aligned too; the title is the document's to place."""
        cells = [[markdown.plain(cell).replace("|", "\\|") for cell in row] for row in (self.heads, *self.rows)]
        widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
        cells.insert(1, ["-" * w if i < self.left else "-" * (w - 1) + ":" for i, w in enumerate(widths)])
        align = [str.ljust if i < self.left else str.rjust for i in range(len(widths))]
        lines = (" | ".join(place(cell, w) for place, cell, w in zip(align, row, widths, strict=True)) for row in cells)
        return "\n".join(f"| {line} |" for line in lines)

    def csv(self) -> str:
        """Writes heads and rows as comma-separated values."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.heads, *self.rows])
        return text.getvalue()
