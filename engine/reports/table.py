"""Holds text in rows and columns, prints it to a terminal of any width and writes it as Markdown or csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from engine.reports import markdown
from loaders.terminal import Terminal, print_table


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

    def print(self, console: Terminal) -> None:
        """Prints the table; where the terminal is too narrow for a row, in blocks of columns below each other."""
        print_table(
            console, self.heads, self.rows, left=self.left, keys=self.keys, title=self.title, caption=self.caption
        )

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
