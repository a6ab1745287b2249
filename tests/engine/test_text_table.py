"""Tables of text: nothing is lost on a narrow terminal, and Markdown and csv hold the same cells."""

from __future__ import annotations

import csv
import io

import pytest

from engine.reports.table import Table
from loaders.terminal import Terminal, column_blocks

TABLE = Table(
    ("task", "metric", "val,\nlast", "test,\nlast", "chance"),
    [("expression", "accuracy", "69.0 %", "70.1 %", "12.5 %"), ("a|b", "[red]L1", "0.11", "–", "–")],
    left=2,
    keys=2,
    title="Figures [of a run]",
    caption="last = epoch 3",
)


def blocks_of(table: Table, width: int) -> list[list[int]]:
    return column_blocks(table.heads, table.rows, table.keys, width)


def printed(table: Table, width: int) -> str:
    console = Terminal(file=io.StringIO(), width=width)
    table.print(console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(("width", "blocks"), [(80, 1), (40, 2), (30, 3)])
def test_a_narrow_terminal_continues_the_table_below_and_repeats_its_keys(width: int, blocks: int) -> None:
    assert len(blocks_of(TABLE, width)) == blocks
    assert all(block[:2] == [0, 1] for block in blocks_of(TABLE, width))
    text = printed(TABLE, width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("expression") == text.count("[red]L1") == blocks
    assert text.count("Figures [of a run]") == text.count("last = epoch 3") == 1
    assert all(cell in text for row in TABLE.rows for cell in row)


def test_markdown_is_aligned_and_its_cells_cannot_end_it() -> None:
    assert TABLE.markdown().splitlines() == [
        "| task       | metric    | val, last | test, last | chance |",
        "| ---------- | --------- | --------: | ---------: | -----: |",
        "| expression | accuracy  |    69.0 % |     70.1 % | 12.5 % |",
        r"| a\|b       | \[red\]L1 |      0.11 |          – |      – |",
    ]


def test_csv_holds_the_cells_as_they_are() -> None:
    assert [tuple(row) for row in csv.reader(io.StringIO(TABLE.csv()))] == [TABLE.heads, *TABLE.rows]
