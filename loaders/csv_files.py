"""Reads the rows of csv files strictly, and numbers in text by one rule, for every list and manifest."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
MISSING = frozenset(("", "nan", "<na>"))
LARGEST = float(np.finfo(np.float32).max)


def read_rows(lines: Iterable[str], where: str, do: str) -> Iterator[tuple[int, list[str]]]:
    """Reads the cells of each row, with the number of the line where the row begins, from 1.

    Lines without a cell that holds something are passed over.

    Args:
        lines: The text, line by line, as `open(..., newline="")` gives it.
        where: The kind of file and its path; begins errors.
        do: What to do; ends errors.

    Raises:
        ValueError: A quote is not closed, or something other than a comma follows a closed one.
    """
    # Not strict, csv.reader would end an open quote at the end of the file and make one cell of all rows below it.
    rows = csv.reader(lines, strict=True)
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise ValueError(
                f'{where}: line {line} must close each quote (") before a comma or its end; {error}, {do}'
            ) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, cells


def number(text: str) -> float:
    """Reads a finite number in plain or scientific notation, within the range of float32; NaN where it is missing.

    Python's own `float` would take `1_0` for ten, digits of every script, and `inf`.

    Raises:
        ValueError: It is no such number.
    """
    word = text.strip()
    if is_missing(word):
        return math.nan
    if not _NUMBER.fullmatch(word) or abs(value := float(word)) > LARGEST:
        raise ValueError(f"{text!r} is no finite number")
    return value


def is_missing(cell: str) -> bool:
    """Tells whether a cell holds no value: nothing, or what pandas writes for nothing."""
    return cell.strip().lower() in MISSING


def whole_number(text: str) -> int | None:
    """Reads a whole number from 0 on, written in the digits 0 to 9; None where it is none."""
    return int(text) if text.isascii() and text.isdigit() else None
