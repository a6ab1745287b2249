"""Keeps what takes long to find out about files from one opening to the next.

In the memory of the process, and on disk under HMTL_CACHE, else `hmtl` in XDG_CACHE_HOME or ~/.cache. An entry is named
by what it depends on, so that it is never wrong, only no longer asked for; the folder may be removed at any time.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loaders.files import replacing

IN_MEMORY = 8  # entries: a data set's, for a few forms
_HELD: dict[str, Mapping[str, NDArray[Any]]] = {}


def folder() -> Path:
    """Names the folder of the entries on disk.

    Raises:
        OSError: No variable names it, and the user has no home folder, as in a container under a number of its own.
    """
    own, shared = os.environ.get("HMTL_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own or shared:
        return Path(own) if own else Path(shared or "", "hmtl")
    try:
        return Path.home() / ".cache" / "hmtl"
    except RuntimeError as error:
        raise FileNotFoundError("the user has no home folder") from error


def remember(name: str, find: Callable[[], dict[str, NDArray[Any]]]) -> Mapping[str, NDArray[Any]]:
    """Gives what `find` gives, now or at an earlier call with this name; what it raises is not kept.

    Args:
        name: A file name, the same only where the result would be.
        find: Finds it out.
    """
    found = _HELD.pop(name, None)
    if found is None:
        found = _read(f"{name}.npz")
    if found is None:
        fresh = find()
        _write(f"{name}.npz", fresh)
        found = fresh
    _HELD[name] = found
    while len(_HELD) > IN_MEMORY:
        del _HELD[next(iter(_HELD))]
    return found


def _read(name: str) -> dict[str, NDArray[Any]] | None:
    try:
        with np.load(folder() / name, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # not there, or cut: it is found out again and replaced


def _write(name: str, arrays: dict[str, NDArray[Any]]) -> None:
    try:
        file = folder() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(
            f"loaders: every process reads all pictures again, since what was found in them cannot be kept ({error}); "
            "set HMTL_CACHE to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
