"""Imports FFCV, and calls it, without its side effects on this process.

FFCV sets torch's and numba's thread counts at import and wherever its `Loader` is made or iterated; a parallel numba
kernel beside it aborts the process under numba's `workqueue` layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import torch

from loaders.decoding.reading import cores
from loaders.extras import require


@contextmanager
def threads_kept() -> Iterator[None]:
    """Restores torch's and numba's thread counts of this thread afterwards."""
    settings: Any = numba.config
    if settings.THREADING_LAYER == "default" and "NUMBA_THREADING_LAYER" not in os.environ:
        settings.THREADING_LAYER = "omp"
    of_torch, of_numba = torch.get_num_threads(), numba.get_num_threads()
    try:
        yield
    finally:
        numba.set_num_threads(of_numba)
        # FFCV's own threads set torch's count for threads to come; only setting it again takes that back.
        torch.set_num_threads(of_torch)


def ffcv(module: str, where: str = "FFCV") -> Any:
    """Imports a module of FFCV by its full name, with the process's thread counts kept.

    Raises:
        ValueError: FFCV cannot be imported; says what to run.
    """
    with threads_kept():
        return require(module, extra="ffcv", where=where)


def worker_count(workers: int | None, *, jpeg: bool) -> int:
    """Chooses how many threads decode: `workers`, or one a core for JPEG and one for exact pixels (only copied).

    At most numba's own, above which FFCV waits for ever.

    Raises:
        ValueError: `workers` is below 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"FFCV: workers (={workers}) must be at least 1; leave it out to have it chosen")
    settings: Any = numba.config
    chosen = (cores() if jpeg else 1) if workers is None else workers
    return min(chosen, int(settings.NUMBA_NUM_THREADS))
