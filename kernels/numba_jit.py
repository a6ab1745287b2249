"""Compiles functions of this room for the CPU and runs them on as many threads as torch uses."""

from __future__ import annotations

import errno
import fcntl
import functools
import glob
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import torch
from numba.core import caching

Function = TypeVar("Function", bound=Callable[..., Any])

_config: Any = numba.config
_njit: Any = numba.njit  # its own types cover neither all of its options nor a decorator with options

# error_model: a division by 0 gives inf or NaN. The default raises, and a loop that may raise becomes no vectors.
# No fast-math: rounding stays IEEE's in every lane of a vector, so that a pixel does not depend on its neighbours.
_OPTIONS = {"nogil": True, "error_model": "numpy"}


def inlined(function: Function) -> Function:
    """Compiles into every place that calls it: for what a loop does to one number, which it then does to a vector."""
    return cast(Function, _njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function))


def part(function: Function) -> Function:
    """Compiles as a part of the functions that call it; Python itself cannot call it."""
    # Without the two doors for other callers a function compiles in half the time.
    return cast(Function, _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function))


def reassociated(function: Function) -> Function:
    """Compiles like `part`, for a sum whose order does not matter: it is added up lane by lane of a vector."""
    return cast(
        Function, _njit(fastmath={"reassoc"}, no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)
    )


def whole(function: Function) -> Function:
    """Compiles at the first call and keeps the machine code beside the source for the next process.

    A change of any file of this room, or in the folder of `function`, compiles it anew: its parts lie there.
    """
    return _cached(function)


def parallel(function: Function) -> Function:
    """Compiles like `whole`, with `numba.prange` spread over threads; call it inside `threads`."""
    return _cached(function, parallel=True)


_FunctionCache: Any = caching.FunctionCache
_IndexDataCacheFile: Any = caching.IndexDataCacheFile


_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without locks answers, as some that a cluster shares do."""


class _CacheFile(_IndexDataCacheFile):  # type: ignore[misc]
    """Numba's, for several processes at once.

    It writes an index and then the machine code: who came between the two would mix up signatures, or run old code, and
    so would everybody after a process that ended between them.
    """

    def save(self, key: Any, data: Any) -> None:
        with self._alone():
            if not self._load_index():
                self._forget()
            super().save(key, data)

    def load(self, key: Any) -> Any:
        with self._alone():
            return super().load(key)

    def check_locks(self) -> None:
        """Raises OSError with one of _NO_LOCKS where the cache lies on a file system without locks."""
        with suppress(BlockingIOError), self._alone(fcntl.LOCK_SH | fcntl.LOCK_NB):
            pass

    def _forget(self) -> None:
        """Delete the machine code of other sources: a new index names its files alike, and maybe never fills them."""
        for file in Path(self._cache_path).glob(f"{glob.escape(Path(self._index_name).stem)}.*.nbc"):
            file.unlink(missing_ok=True)

    @contextmanager
    def _alone(self, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        lock = Path(f"{self._index_path}.lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, how)
            try:
                yield
            finally:
                # Closing alone leaves the lock to a process that was forked meanwhile, for as long as it lives.
                fcntl.flock(file, fcntl.LOCK_UN)


class _FolderCache(_FunctionCache):  # type: ignore[misc]
    """Numba's cache, which alone would notice a change of the function's own file only."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = (self._impl.locator.get_source_stamp(), _sources(Path(function.__code__.co_filename).parent))
        self._cache_file = _CacheFile(self._cache_path, self._impl.filename_base, stamp)
        self._cache_file.check_locks()


@functools.cache
def _sources(folder: Path) -> str:
    """What the files of this room and of a folder say."""
    digest = hashlib.sha256()
    for file in sorted({*Path(__file__).parent.rglob("*.py"), *folder.glob("*.py")}):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _cached(function: Function, **options: bool) -> Function:
    compiled = _njit(**_OPTIONS, **options)(function)
    try:
        compiled._cache = _FolderCache(function)
    except (RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _NO_LOCKS:
            # Without them, processes that compile at once would run each other's code.
            why = "numba's cache lies on a file system without locks; set NUMBA_CACHE_DIR to a local folder"
        elif "cannot cache function" in str(error):
            why = "no folder for numba's cache is writable; set NUMBA_CACHE_DIR to one that is"
        else:
            raise
        warnings.warn(
            f"kernels: {function.__name__} is compiled anew in every process, since {why}", RuntimeWarning, stacklevel=3
        )
    return cast(Function, compiled)


@contextmanager
def threads() -> Iterator[int]:
    """Lets numba use as many threads as torch does in this thread, or as many as numba has if that is less.

    Numba's and torch's thread counts are afterwards what they were: numba's OpenMP layer sets that of torch, too, when
    it starts, where both share one OpenMP library.
    """
    wanted = torch.get_num_threads()
    # Its fallback, `workqueue`, aborts the process when two threads use it at once, as beside FFCV.
    if _config.THREADING_LAYER == "default" and "NUMBA_THREADING_LAYER" not in os.environ:
        _config.THREADING_LAYER = "omp"
    before = numba.get_num_threads()
    count = min(wanted, _config.NUMBA_NUM_THREADS)
    numba.set_num_threads(count)
    try:
        yield count
    finally:
        numba.set_num_threads(before)
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)
