"""Takes the arguments of `render_views` as arrays and shares the samples out among threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, Int64, UInt8
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from kernels import caching_allocator
from kernels.numba_jit import parallel, threads, whole
from kernels.views import reference
from kernels.views.numba_kernel.output import write_zeros
from kernels.views.numba_kernel.records import BF16, FP16, FP32, Array, Faces, Out, Sample, Settings, Tables
from kernels.views.numba_kernel.rows import blurred_rows, sharp_rows
from kernels.views.numba_kernel.scratch import F0, SCRATCH

_LARGEST_WHERE = np.float32(1e9)
_NUMPY = {torch.float32: np.float32, torch.int16: np.int16, torch.int64: np.int64, torch.uint8: np.uint8}
_KINDS = {torch.float32: FP32, torch.float16: FP16, torch.bfloat16: BF16}

# Places in a face are int32; there is room for a row below the last.
_LARGEST_FACE = 2**30

# A face up to this many bytes is asked for at once: rows of a turned view cross too many rows of the store for the
# processor to foresee.
_PREFETCHED = 1 << 19


@intrinsic
def _prefetch(typingctx: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        i32, pointer = ir.IntType(32), builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer.type,), kind)
        builder.call(function, [pointer, i32(0), i32(2), i32(1)])  # to read, into the second cache, data
        return context.get_dummy_value()

    return types.void(types.intp), generate


@whole
def _render(first, last, parts, faces, tables, settings, out):
    """Tasks first..last-1, each one of `parts` bands of rows of one view of a sample; views of a sample in turn."""
    store, size = faces.store, settings.size
    batch, samples = tables.row.size, tables.where.shape[0]
    views = samples // batch
    line = faces.width * faces.channels
    length = faces.height * line
    scratch = np.empty(SCRATCH, np.float32)
    where = np.empty((2, 3), np.float32)
    padded = np.empty(0, np.uint8)
    unturned = np.empty(0, np.uint8)
    for task in range(first, last):
        band, task = task % parts, task // parts
        k = task % views * batch + task // views
        begin = tables.row[task // views] * length
        face = store.ctypes.data + begin
        if begin + length + line + 8 > store.size:  # Neighbours of weight 0 are read up to a line behind the face.
            if padded.size == 0:
                padded = np.empty(length + line + 8, np.uint8)
            for i in range(length):
                padded[i] = store[begin + i]
            face = padded.ctypes.data
        elif length <= _PREFETCHED:
            for offset in range(0, length, 64):
                _prefetch(face + offset)
        for i in range(2):
            for j in range(3):
                where[i, j] = min(max(tables.where[k, i, j], -_LARGEST_WHERE), _LARGEST_WHERE)
        sample = Sample(
            face,
            k * size * size,
            where,
            tables.colour[k],
            tables.shows[k],
            tables.turn[k] if tables.turn.size else unturned,
            tables.blur[k] if tables.blur.size else F0,
            tables.noise[k] if tables.noise.size else F0,
            np.uint64(tables.key[k]) if tables.key.size else np.uint64(0),
        )
        top, bottom = band * size // parts, (band + 1) * size // parts
        if sample.blur != F0:
            blurred_rows(scratch, top, bottom, faces, sample, settings, out)
        else:
            sharp_rows(scratch, top, bottom, faces, sample, settings, out)
        if tables.cut.size:
            cut = tables.cut[k]
            left, right = max(cut[0], 0), min(cut[2], size)
            if left < right:
                for y in range(max(cut[1], top), min(cut[3], bottom)):
                    pixel = sample.first + y * size
                    write_zeros(out, settings.kind, pixel + left, pixel + right)


@parallel
def _render_parallel(workers, tasks, parts, faces, tables, settings, out):
    for i in numba.prange(workers):
        _render(tasks * i // workers, tasks * (i + 1) // workers, parts, faces, tables, settings, out)


def render_views(
    store: UInt8[Tensor, "s h w c"],
    row: Int64[Tensor, " b"],
    where: Float32[Tensor, "v b 2 3"],
    colour: Float32[Tensor, "v b 3 4"],
    shows: Int16[Tensor, "v b n"],
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
    blur: Float32[Tensor, "v b"] | None = None,
    noise: Float32[Tensor, "v b"] | None = None,
    key: Int64[Tensor, "v b"] | None = None,
    turn: UInt8[Tensor, "v b n"] | None = None,
    cut: Int16[Tensor, "v b 4"] | None = None,
    supersample: int = 1,
) -> Float[Tensor, "v b 3 size size"]:
    """See `kernels.render_views`, which checks the arguments, values too: here they are trusted."""
    if store[0].numel() > _LARGEST_FACE:
        return reference.render_views(
            store,
            row,
            where,
            colour,
            shows,
            size=size,
            mean=mean,
            std=std,
            dtype=dtype,
            blur=blur,
            noise=noise,
            key=key,
            turn=turn,
            cut=cut,
            supersample=supersample,
        )
    views, batch, cells = shows.shape
    samples = views * batch

    def array(table: Tensor | None, dtype: torch.dtype, *shape: int) -> Array:
        if table is None:
            return np.empty((0, *shape), _NUMPY[dtype])
        return table.detach().contiguous().view(samples, *shape).numpy()

    faces = Faces(store.view(-1).numpy(), *store.shape[1:])
    tables = Tables(
        row.contiguous().numpy(),
        array(where, torch.float32, 2, 3),
        array(colour, torch.float32, 3, 4),
        array(shows, torch.int16, cells),
        array(blur, torch.float32),
        array(noise, torch.float32),
        array(key, torch.int64),
        array(turn, torch.uint8, cells),
        array(cut, torch.int16, 4),
    )
    mean_std = np.array([mean, std], dtype=np.float32)
    settings = Settings(size, math.isqrt(cells), supersample, _KINDS[dtype], mean_std[0], mean_std[1])
    pictures = caching_allocator.empty((views, batch, size, size, 3), dtype)
    flat = pictures.view(-1)
    if dtype == torch.float32:
        out = Out(flat.numpy(), np.empty(0, np.uint16))
    else:
        out = Out(np.empty(0, np.float32), flat.view(torch.uint16).numpy())
    with threads() as workers:
        # Enough tasks to share out evenly, each of them some rows at least.
        parts = 1 if workers == 1 else max(1, min(-(-4 * workers // samples), size // 16))
        tasks = samples * parts
        if workers == 1:
            _render(0, tasks, parts, faces, tables, settings, out)
        else:
            _render_parallel(workers, tasks, parts, faces, tables, settings, out)
    return pictures.permute(0, 1, 4, 2, 3)
