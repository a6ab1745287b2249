"""Finding the files of a published layout: users name the folder itself, or one a level above or below."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from loaders.importers.folder import ENDINGS


def check_folder(where: str, source: Path) -> None:
    """Refuse a source that is no folder.

    Raises:
        ValueError: There is no folder at `source`.
    """
    if not source.is_dir():
        raise ValueError(f"{where} {source}: must be a folder, unpacked as it was published; there is none")


def find(source: Path, *places: str) -> Path | None:
    """The first of `places`, relative to `source`, that is there."""
    return next((source / place for place in places if (source / place).exists()), None)


def require(where: str, source: Path, *places: str) -> Path:
    """`find`, or an error that lists where it was looked for.

    Raises:
        ValueError: None of them is there.
    """
    found = find(source, *places)
    if found is None:
        raise ValueError(f"{where} {source}: must hold {' or '.join(places)}; it has none, name the folder that does")
    return found


def is_picture(path: Path) -> bool:
    """Whether its name ends like a picture's and it is not hidden (`._name.jpg` of some archives)."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def pictures_below(folder: Path) -> list[Path]:
    """All picture files in a folder and its folders, sorted."""
    return sorted(path for path in folder.rglob("*") if is_picture(path) and path.is_file())


def csv_rows(file: Path) -> Iterator[list[str]]:
    """The rows of a csv file, blank lines left out."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        yield from (row for row in csv.reader(stream) if row)


def word_lines(file: Path) -> Iterator[list[str]]:
    """The words of each line of a text file, which any run of blanks parts; blank lines left out."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
        yield from (words for line in stream if (words := line.split()))
