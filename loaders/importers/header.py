"""The first row of a csv file: what is said where it is not the header that a list must have."""

from __future__ import annotations

from collections.abc import Sequence

MOST = 80


def check_header(where: str, header: Sequence[str], columns: Sequence[str], do: str) -> None:
    """Refuse a header without the columns that are read.

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
    if not "".join(header).isprintable():
        raise ValueError(f"{where}: must be a csv file; its first row (={shown(header)}) is no text, unpack it or {do}")
    missing = [name for name in columns if name not in header]
    if len(missing) == len(columns) and any(_is_number(cell) for cell in header):
        raise ValueError(
            f"{where}: must have a header with the columns {names}; its first row (={shown(header)}) looks like data, "
            f"put the header above it or {do}"
        )
    if missing:
        raise ValueError(f"{where}: columns (={shown(header)}) must have {', '.join(missing)}; {do}")


def shown(cells: Sequence[str]) -> str:
    """The cells of a row as a message can show them: one line, not too long, whatever is in them."""
    text = ",".join(cells)
    # Bytes that are no text come as single surrogates, which no terminal can print.
    whole = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: MOST + 1])
    return whole if len(whole) <= MOST else f"{whole[: MOST - 3]}..."


def _is_number(cell: str) -> bool:
    words = cell.split()
    try:
        return bool(words) and all(float(word) is not None for word in words)
    except ValueError:
        return False
