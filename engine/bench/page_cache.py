"""Drops files from the operating system's page cache, and asks whether it did, to read from the disk once more."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

TRIES = 3
"""A page that the system is still handing from one list to another is kept; it is there no longer a moment later."""


def drop(files: Iterable[Path]) -> float:
    """Asks the operating system to forget what it holds of these files.

    Pages that a process has mapped and touched stay, and so do directory entries.

    Returns:
        Share of their pages that are still in memory, 0 to 1. Where the system does not tell (files of another user)
        it says 1.
    """
    files = list(files)
    os.sync()  # pages that were not written yet cannot be dropped
    share = 1.0
    for _ in range(TRIES):
        for file in files:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
        share = _resident_share(files)
        if share == 0:
            break
    return share


def _resident_share(files: Iterable[Path]) -> float:
    held = total = 0
    for file in files:
        some, pages = resident_pages(file)
        held, total = held + some, total + pages
    return held / max(total, 1)


def resident_pages(file: Path) -> tuple[int, int]:
    """Counts the pages of a file in memory, and all its pages."""
    length = file.stat().st_size
    if length == 0:
        return 0, 0
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Private and writable, since ctypes gives the address of nothing else; no page of it is touched.
        view = mmap.mmap(descriptor, length, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(descriptor)
    pages = -(-length // mmap.PAGESIZE)
    marks = (ctypes.c_ubyte * pages)()
    start = ctypes.c_char.from_buffer(view)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(length), marks)
    del start  # or the map could not be closed
    view.close()
    if failed:
        return pages, pages
    return sum(mark & 1 for mark in bytes(marks)), pages
