"""Writes files and folders whole or not at all: under a hidden name beside them, then renamed.

Until it is whole, NAME is called `.NAME.partial-HOST-PID`. A process that is killed leaves it behind, and the next one
that writes the folder NAME on the same machine removes it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loaders.targets import file_target, folder_target, shortened

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a write answers where there is no room on the disk, in the user's quota, or under the process's limit."""
FEW_FILES = 100
_IN_USE: set[Path] = set()
"""Hidden folders of this process; others with its number are of a dead process that had the same."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write a file to, renames it to `path` when the block ends well, else deletes it.

    Raises:
        OSError: The disk is full or does not take the file; the message says what is kept.
    """
    target = file_target(path)
    if target.exists() and not target.is_file():  # a device or a pipe: it is written through
        with tempfile.TemporaryDirectory() as folder, full_disk_explained(path):
            temporary = Path(folder, "whole")
            yield temporary
            with temporary.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        return
    temporary = hidden(target, "partial")
    try:
        with full_disk_explained(path):
            yield temporary
            flush(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Gives an empty folder to fill, renames it to `path` when the block ends well, else deletes it.

    Args:
        path: The folder, which must be new or empty unless `replace` says otherwise.
        replace: Take the place of what is there, which is put back where that fails.

    Raises:
        ValueError: A folder that is not empty has appeared at `path` and may not be replaced.
        OSError: The disk is full or the folder cannot be written; the message says what is kept.
    """
    target = folder_target(path)
    with scratch_folder(target, "partial") as temporary, full_disk_explained(path):
        yield temporary
        _flush_below(temporary)
        _move(temporary, target, replace)


@contextmanager
def scratch_folder(path: Path, word: str = "scratch") -> Iterator[Path]:
    """Gives an empty hidden folder beside `path`, and deletes it in the end unless it was moved away.

    Makes the parent of `path` where it is missing, and removes what killed processes left there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    folder = hidden(path, word)
    folder.mkdir()
    _IN_USE.add(folder)
    try:
        yield folder
    finally:
        _IN_USE.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Removes what killed processes of this machine left beside `path`; what they had moved away is put back."""
    host = re.escape(socket.gethostname())
    pattern = re.compile(rf"\.(.+)\.(partial|scratch|replaced)-{host}-(\d+)", re.DOTALL)
    for found in path.parent.iterdir() if path.parent.is_dir() else ():
        match = pattern.fullmatch(found.name)
        if match is None or match[1] != shortened(path.name, found.name[1 + len(match[1]) :]):
            continue
        if found in _IN_USE or _running(int(match[3])):
            continue
        if match[2] == "replaced" and not path.exists():
            found.rename(path)
        else:
            shutil.rmtree(found)


def hidden(path: Path, word: str) -> Path:
    """Names what this process does not show as `path` yet, or no longer."""
    # The host's name tells processes of machines that share a file system apart.
    ending = f".{word}-{socket.gethostname()}-{os.getpid()}"
    return path.with_name(f".{shortened(path.name, ending)}{ending}")


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole; names of files that are no valid text keep their bytes."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole."""
    write_text(path, json_text(value, indent=2) + "\n")


def json_text(value: Any, **options: Any) -> str:
    """Writes strict JSON, which knows no NaN and no infinity: they become null; `options` are those of `json.dumps`."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def flush(path: Path) -> None:
    """Puts a file, or the names in a folder, on the disk: a rename may outlive a power cut that the bytes do not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_below(folder: Path) -> None:
    paths = list(folder.rglob("*"))
    if len(paths) > FEW_FILES:
        os.sync()  # once: a call for each of many small files takes longer than writing them
        return
    for path in (*paths, folder):
        flush(path)


@contextmanager
def full_disk_explained(path: Path) -> Iterator[None]:
    """Says of a write inside the block that finds the disk full which file it was, and what to do.

    Raises:
        OSError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise OSError(
            error.errno,
            f"no space left to write {path}; free some and start again (a run with --resume), what was there is kept",
        ) from error


def _move(temporary: Path, path: Path, replace: bool) -> None:
    old = hidden(path, "replaced")
    if replace and path.exists():
        path.rename(old)
    try:
        temporary.rename(path)  # also over an empty folder
    except OSError as error:
        if old.exists() and not path.exists():
            old.rename(path)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise ValueError(
                f"folder {path}: must not be there yet; another run finished it meanwhile, use that one"
            ) from error
        raise
    if old.exists():
        shutil.rmtree(old)


def _running(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
