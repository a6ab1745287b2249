"""Finds the files of a published layout: users name the folder itself, or one a level above or below."""

from __future__ import annotations

from pathlib import Path

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm"})
"""How names of pictures end."""


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


def is_picture(path: Path) -> bool:
    """Tells whether a name ends like a picture's and is not hidden (`._name.jpg` of some archives)."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def pictures_below(folder: Path) -> list[Path]:
    """Lists all picture files in a folder and its folders, sorted."""
    return sorted(path for path in folder.rglob("*") if is_picture(path) and path.is_file())
