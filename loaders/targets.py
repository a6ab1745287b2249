"""Decides where a file or folder is, before any work: in the home folder, through links, refused where none can be."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

LONGEST_NAME = 255
"""Bytes that the name of a file may have on the file systems of Linux and macOS."""


def with_home(path: str | Path) -> Path:
    """Writes the home folder for a `~` in front; leaves it where the user has no home folder."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises there


def file_target(path: Path) -> Path:
    """Finds where a file is really written: where the links that `path` may be lead, also if nothing is there yet.

    Raises:
        ValueError: A file of this name cannot be written, whatever is in it.
    """
    target = _end_of_links(path, f"file {path}")
    if path.is_fifo():
        if not target.exists():  # a pipe without a name, as /dev/stdout and the shell's >(...) may be
            return path
        raise ValueError(
            f"file {path}: must not be a named pipe, which nobody may read; let the shell write to it, by > {path}"
        )
    if target.is_dir():
        raise ValueError(f"file {path}: must not be a folder; name a file in it")
    if not target.parent.is_dir():
        raise ValueError(f"file {path}: must lie in a folder that exists; make {target.parent} first")
    return target


def folder_target(path: Path) -> Path:
    """Finds where a folder is really written: where the links that `path` may be lead, also if nothing is there yet.

    Raises:
        ValueError: A folder of this name cannot be written, whatever is in it.
    """
    target = _end_of_links(path, f"folder {path}")
    if target.exists() and not target.is_dir():
        raise ValueError(f"folder {path}: must be new or a folder, and is a file or device; choose another name")
    if os.path.ismount(target):
        raise ValueError(f"folder {path}: must not be where a disk is mounted, which cannot be renamed; name one in it")
    return target


def _end_of_links(path: Path, where: str) -> Path:
    """Follows the links that a path may be; refuses names that no file can have, and places where none can be."""
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise ValueError(f"{where}: its name must have at most {LONGEST_NAME} bytes; choose a shorter one")
    target = path
    if path.is_symlink():
        with suppress(RuntimeError):  # Python before 3.13, of a link that leads to itself
            target = path.resolve()
        if target.is_symlink():
            raise ValueError(f"{where}: must not be a link that leads to itself; choose another name")
    parent = next(folder for folder in target.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise ValueError(f"{where}: must be in a folder, and {parent} is none; choose another place")
    return target


def shortened(name: str, ending: str) -> str:
    """Leaves as much of a long name as a hidden one of its own with this ending may have, and a hash of the rest."""
    room = LONGEST_NAME - 1 - len(os.fsencode(ending))
    if len(os.fsencode(name)) <= room:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return os.fsencode(name)[: room - len(digest)].decode("utf-8", "ignore") + digest
