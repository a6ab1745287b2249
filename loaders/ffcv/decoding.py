"""Decodes the pictures of one .beton file with FFCV's reader and decoder, batch by batch, from our own thread.

FFCV's `EpochIterator` is left out: an error in its thread leaves the consumer waiting for ever, its thread waits at the
end of an abandoned epoch, and its buffers are reused under a batch that is kept. What decodes is FFCV's code.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from kernels.numba_jit import whole
from loaders.ffcv.layout import BetonFile
from loaders.ffcv.package import ffcv, threads_kept


class Decoder:
    """Reads pictures of a file whose layout was checked; safe to call from several threads.

    Args:
        file: The file.
        shape: (height, width, channels) of a face; of the three equal channels of a gray one the first is given.
        workers: Threads that decode, at most numba's.

    Raises:
        ValueError: FFCV is not installed.
    """

    def __init__(self, file: BetonFile, shape: tuple[int, int, int], workers: int) -> None:
        with threads_kept():
            reader = ffcv("ffcv.reader").Reader(str(file.path))
            self._decode = _compiled(reader, workers > 1)
        with file.path.open("rb") as opened:
            self._bytes = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        table = np.sort(reader.alloc_table, order="ptr")
        places = (np.ascontiguousarray(table["ptr"]), np.ascontiguousarray(table["size"]))
        self._state = (np.frombuffer(self._bytes, np.uint8), *places)
        self._pictures = reader.metadata["f0"]
        self._path, self._length = file.path, file.bytes
        self._shape, self._workers = shape, workers

    def __call__(self, position: Int64[Tensor, " b"]) -> UInt8[Tensor, "b h w c"]:
        """Decodes the faces at positions of the split, on the CPU.

        Raises:
            ValueError: The file was cut since it was opened.
        """
        # Reading a map behind the end of its file would end the process.
        if self._bytes.size() != self._length:
            raise ValueError(f"file {self._path}: must stay as it was when it was opened; it changed, open it again")
        height, width, channels = self._shape
        faces = torch.empty((len(position), height, width, 3), dtype=torch.uint8)
        before = numba.get_num_threads()
        numba.set_num_threads(self._workers)
        try:
            self._decode(position.numpy(), faces.numpy(), self._pictures, self._state)
        finally:
            numba.set_num_threads(before)
        if channels == 3:
            return faces
        gray = torch.empty((len(position), height, width, 1), dtype=torch.uint8)
        _first_channel(faces.view(-1).numpy(), gray.view(-1).numpy())
        return gray


@whole
def _first_channel(colours: NDArray[np.uint8], gray: NDArray[np.uint8]) -> None:
    # As vectors, and on this thread: six times as fast as torch's copy of a stride, which would also wake its threads.
    for pixel in range(gray.size):
        gray[pixel] = colours[3 * pixel]


def _compiled(reader: Any, parallel: bool) -> Callable[..., Any]:
    """Compiles FFCV's decoding loop; it knows nothing of a file, so one serves the whole process (it takes seconds)."""
    compiler = ffcv("ffcv.pipeline.compiler").Compiler
    key = (bool(compiler.is_enabled), parallel)
    if key not in _CODE:
        before = compiler.num_threads
        # Whether it loops over threads is read from here while the code is made.
        compiler.num_threads = 2 if parallel else 1
        try:
            decoder = ffcv("ffcv.fields.rgb_image").SimpleRGBImageDecoder()
            decoder.accept_globals(None, ffcv("ffcv.memory_managers").OSCacheManager(reader).compile_reader())
            _CODE[key] = compiler.compile(decoder.generate_code())
        finally:
            compiler.num_threads = before
    return _CODE[key]


_CODE: dict[tuple[bool, bool], Callable[..., Any]] = {}
