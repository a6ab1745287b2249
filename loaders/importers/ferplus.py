"""Reads FER+ from `fer2013new.csv`: ten people's votes on each row of FER2013 (Barsoum et al., ICMI 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loaders.base import Classes, Label, Numbers
from loaders.csv_files import read_rows, whole_number
from loaders.importers.lists import check_header, shown

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
DROPPED = ("unknown", "NF")
HEADER = ("Usage", "Image name", *CLASSES, *DROPPED)
FILE = "fer2013new.csv"
LABELS: dict[str, Label] = {"ferplus": Classes(CLASSES), "ferplus_votes": Numbers(CLASSES)}
NOTE = (
    "ferplus: the class with the most of the ten votes, those for unknown and NF dropped; missing on a tie and where "
    "no vote remains. ferplus_votes: shares of the remaining votes, sum 1. Joined by row, not by image name"
)


@dataclass(frozen=True, slots=True)
class Votes:
    """Holds the votes on one row."""

    usage: str
    counts: tuple[int, ...]
    """Votes for each of CLASSES."""

    def majority(self) -> str | None:
        """Finds the class with the most votes; None on a tie or without votes."""
        most = max(self.counts)
        return CLASSES[self.counts.index(most)] if most > 0 and self.counts.count(most) == 1 else None

    def shares(self) -> tuple[float, ...] | None:
        """Computes the share of the votes for each class; None without votes."""
        total = sum(self.counts)
        return tuple(count / total for count in self.counts) if total else None


def read_votes(file: Path) -> list[Votes]:
    """Reads all rows, in file order.

    Raises:
        ValueError: The file is missing, its columns are not FER+'s, or a vote is not a whole number from 0 on.
    """
    if not file.is_file():
        raise ValueError(f"ferplus {file}: must be the file {FILE} of FER+; there is none")
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        rows = (cells for _, cells in read_rows(stream, f"ferplus {file}", f"take FER+'s {FILE}"))
        header = tuple(name.strip() for name in next(rows, []))
        if header != HEADER:
            check_header(f"ferplus {file}", header, HEADER, f"take FER+'s {FILE}")
            raise ValueError(
                f"ferplus {file}: columns (={shown(header)}) must be {','.join(HEADER)}; take FER+'s {FILE}"
            )
        return [_votes(file, number, row) for number, row in enumerate(rows, start=1)]


def _votes(file: Path, number: int, row: list[str]) -> Votes:
    counts = [count for cell in row[2:] if (count := whole_number(cell)) is not None]
    if len(row) != len(HEADER) or len(counts) < len(HEADER) - 2:
        raise ValueError(
            f"ferplus {file}: row {number} (={shown(row)}) must be a usage, a name and "
            f"{len(HEADER) - 2} counts of votes; take FER+'s {FILE}"
        )
    return Votes(row[0], tuple(counts[: len(CLASSES)]))
