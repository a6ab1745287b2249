"""Large CPU outputs on huge pages."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor

# Blocks from this size on come from the kernel each time and go back to it (glibc's largest DEFAULT_MMAP_THRESHOLD).
_ALWAYS_FRESH = 1 << 25


def on_huge_pages(out: Tensor) -> Tensor:
    """Ask Linux to back a fresh, large tensor with pages of 2 MiB; returns it.

    Its first writing then faults once in 2 MiB, not once in 4 KiB, which takes as long as all of the rendering (77 MB:
    25 ms, against 5 ms). It is a hint: where it is refused, nothing changes.
    """
    size = out.numel() * out.element_size()
    if sys.platform == "linux" and size >= _ALWAYS_FRESH:
        first = -(-out.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (out.data_ptr() + size - first) // mmap.PAGESIZE * mmap.PAGESIZE
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), ctypes.c_int(mmap.MADV_HUGEPAGE))
    return out
