"""Keeps the memory of large CPU outputs for the next output of their size, as torch's allocator does on a GPU.

On a CPU torch takes blocks of 32 MiB and more from the operating system at every call and gives them back when they are
freed. The pages of the next one are new to the process: each of them is zeroed, and found by a page fault, at its first
writing, which takes longer than rendering does; in a virtual machine that hands free memory to its host, ten times as
long (256 views of 224 px, 154 MB: 300 ms, against 30 ms in memory that was written before).

A block goes back to the shelf when the last tensor on it is gone, never earlier, so no two live tensors share memory.
What lies there is marked as free to take (MADV_FREE): a system short of memory drops it without writing it anywhere.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Smaller blocks glibc keeps itself (its largest DEFAULT_MMAP_THRESHOLD).
_SMALLEST = 1 << 25
# A page of 2 MiB takes one fault at its first writing where 512 small ones take as many.
_HUGE_PAGE = 1 << 21
_MOST_KEPT = 1 << 30
"""Bytes; of more than that, what was freed longest ago goes back to the operating system."""

# A list, whose `append`, `remove` and `copy` are atomic: tensors are freed in any thread, and whenever garbage is
# collected, so also while this thread is in here. A lock would wait for itself.
_free: list[mmap.mmap] = []


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Allocates like `torch.empty` on the CPU, contiguous; from 32 MiB on in memory that an earlier output left."""
    size = math.prod(shape) * dtype.itemsize
    if sys.platform != "linux" or size < _SMALLEST:
        return torch.empty(shape, dtype=dtype)
    block = _kept(size) or _fresh(size)
    # The tensor's storage holds the array, which holds the block: when the array dies nothing can reach the memory.
    memory = np.frombuffer(block, np.uint8, size)
    weakref.finalize(memory, _keep, block).atexit = False
    return torch.from_numpy(memory).view(dtype).view(shape)


def empty_like(tensor: Tensor) -> Tensor:
    """Allocates like `torch.empty_like` on the CPU, the order of axes in memory included; see `empty`."""
    strides = torch.empty_like(tensor, device="meta").stride()
    return empty((tensor.numel(),), tensor.dtype).as_strided(tensor.shape, strides)


def empty_cache() -> None:
    """Gives what no tensor uses back to the operating system now."""
    for block in _free.copy():
        _take(block)


def _fresh(size: int) -> mmap.mmap:
    block = mmap.mmap(-1, -(-size // _HUGE_PAGE) * _HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a hint: where it is refused, pages are small
        block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _kept(size: int) -> mmap.mmap | None:
    """The smallest free block that holds `size` bytes and is not more than half idle."""
    for block in sorted(_free.copy(), key=len):
        if size <= len(block) <= 2 * size and _take(block):
            return block
    return None


def _take(block: mmap.mmap) -> bool:
    try:
        _free.remove(block)
    except ValueError:  # another thread was faster
        return False
    return True


def _keep(block: mmap.mmap) -> None:
    with contextlib.suppress(OSError):
        block.madvise(mmap.MADV_FREE)
    _free.append(block)
    blocks = _free.copy()
    surplus = sum(map(len, blocks)) - _MOST_KEPT
    for oldest in blocks:
        if surplus <= 0:
            break
        surplus -= len(oldest)
        _take(oldest)
