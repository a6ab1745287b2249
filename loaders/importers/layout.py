"""Finds the files of a published layout: users name the folder itself, or one a level above or below."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from loaders.targets import with_home


@dataclass(frozen=True, slots=True)
class Located:
    """Is what all importers derive from: paths may be given as text, and `~` in front is the home folder."""

    source: Path

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str | Path) and "Path" in str(field.type):
                object.__setattr__(self, field.name, with_home(value))


def check_folder(where: str, source: Path) -> None:
    """Refuses a source that is no folder.

    Raises:
        ValueError: There is no folder at `source`.
    """
    if not source.is_dir():
        raise ValueError(f"{where} {source}: must be a folder, unpacked as it was published; there is none")


def find(source: Path, *places: str) -> Path | None:
    """Finds the first of `places`, relative to `source`, that is there."""
    return next((source / place for place in places if (source / place).exists()), None)


def require(where: str, source: Path, *places: str) -> Path:
    """Finds the first of `places` that is there, or says where it looked.

    Raises:
        ValueError: None of them is there.
    """
    found = find(source, *places)
    if found is None:
        raise ValueError(f"{where} {source}: must hold {' or '.join(places)}; it has none, name the folder that does")
    return found
