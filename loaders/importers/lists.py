"""Reads the lists of published layouts: csv files, and lines of words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from loaders.csv_files import number, read_rows

MOST = 80


def csv_rows(
    where: str, file: Path, columns: Sequence[str], do: str, *, headless: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """Reads a csv file: the number of each row, from 1 below the header, and its cells by column.

    Lines that hold nothing but blanks and commas are passed over.

    Args:
        where: The kind of source; begins errors.
        file: The csv file.
        columns: Names that must be in its header.
        do: What to do; ends errors.
        headless: Take `columns` for the columns of a file whose first row does not hold the first of them.

    Raises:
        ValueError: The header is missing or lacks columns, a row has more cells or fewer than the header or repeats
            it, or a quote is not closed.
    """
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        rows: Iterator[list[str]] = (cells for _, cells in read_rows(stream, f"{where} {file}", do))
        header = next(rows, [])
        if headless and columns[0] not in header:
            rows, header = itertools.chain([header] if header else [], rows), list(columns)
        check_header(f"{where} {file}", header, columns, do)
        for row, cells in enumerate(rows, start=1):
            if len(cells) != len(header):
                raise ValueError(
                    f"{where} {file}: row {row} has {len(cells)} columns and must have {len(header)}; {do}"
                )
            if cells == header:
                raise ValueError(
                    f"{where} {file}: row {row} (={shown(cells)}) must be data; it repeats the header, as lists that "
                    "were put together do: remove it"
                )
            yield row, dict(zip(header, cells, strict=True))


def csv_header(where: str, file: Path, do: str) -> list[str]:
    """Reads the first row of a csv file; none of an empty one.

    Raises:
        ValueError: A quote in it is not closed.
    """
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        return next((cells for _, cells in read_rows(stream, f"{where} {file}", do)), [])


def word_lines(file: Path) -> Iterator[list[str]]:
    """Reads the words of each line of a text file, which any run of blanks parts; blank lines are passed over."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
        yield from (words for line in stream if (words := line.split()))


def check_header(where: str, header: Sequence[str], columns: Sequence[str], do: str) -> None:
    """Refuses a header without the columns that are read.

    Args:
        where: The kind of source and its file; begins the error.
        header: Cells of the first row; none where there is no row.
        columns: Names that must be among them.
        do: What to do; ends the error.

    Raises:
        ValueError: There is no row, the file is no text, its first row is no header, or columns are missing.
    """
    names = ", ".join(columns)
    if not any(header):
        raise ValueError(f"{where}: must have a header with the columns {names}; it is empty, {do}")
    missing = [name for name in columns if name not in header]
    for mark, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if missing and columns[0] in {cell.strip(' "') for cell in ",".join(header).split(mark)}:
            raise ValueError(
                f"{where}: columns (={shown(header)}) must be parted by commas; they are by {called}, save the list "
                "with commas"
            )
    if not "".join(header).isprintable():
        raise ValueError(f"{where}: must be a csv file; its first row (={shown(header)}) is no text, unpack it or {do}")
    if len(missing) == len(columns) and any(_is_number(cell) for cell in header):
        raise ValueError(
            f"{where}: must have a header with the columns {names}; its first row (={shown(header)}) looks like data, "
            f"put the header above it or {do}"
        )
    if missing:
        raise ValueError(f"{where}: columns (={shown(header)}) must have {', '.join(missing)}; {do}")


def shown(cells: Sequence[str]) -> str:
    """Writes the cells of a row as a message can show them: one line, not too long, whatever is in them."""
    text = ",".join(cells)
    # Bytes that are no text come as single surrogates, which no terminal can print.
    whole = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: MOST + 1])
    return whole if len(whole) <= MOST else f"{whole[: MOST - 3]}..."


def _is_number(cell: str) -> bool:
    words = cell.split()
    try:
        return bool(words) and all(number(word) is not None for word in words)
    except ValueError:
        return False
