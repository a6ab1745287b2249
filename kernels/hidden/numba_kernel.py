"""Computes `hidden_l1` on the CPU: hidden pixels are read once and nothing of picture size is made but the gradient.

The rule is that of `kernels.hidden.reference`. Differences are taken in fp32 and summed in fp32 along a row and in fp64
over rows, in an order that does not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Float, Int16
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from kernels import caching_allocator
from kernels.hidden import reference
from kernels.numba_jit import inlined, parallel, part, reassociated, threads, whole

_RUN = 256  # numbers that are compared at a time
_SCRATCH = 2 * _RUN
_FP32, _FP16, _BF16 = 0, 1, 2
_KINDS = {torch.float32: _FP32, torch.float16: _FP16, torch.bfloat16: _BF16}
_F0 = np.float32(0)
_SIGN = np.uint16(0x8000)

Array = np.ndarray[Any, Any]


class _Picture(NamedTuple):
    """A batch of pictures as one axis: `singles` where it is fp32, else the bits in `halves`; the other is empty."""

    singles: Array
    halves: Array
    kind: int
    step: int  # from pixel to pixel: 1, or 3 where channels are last
    channel: int  # from channel to channel


@intrinsic
def _float_of(typingctx: Any, bits: Any) -> Any:
    """The float32 of some bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@inlined
def _of_half(bits):
    """fp16 to float32. The exponent moves by 112; the multiplication also makes subnormal numbers normal."""
    word = np.uint32(bits)
    size = (word & np.uint32(0x7FFF)) << np.uint32(13)
    number = _float_of(size) * np.float32(2.0**112)
    number = _float_of(size | np.uint32(0x7F800000)) if size >= np.uint32(0x0F800000) else number
    return -number if word & np.uint32(0x8000) else number


@part
def _load(scratch, plane, picture, first, step, count):
    start, stride, plane = np.uint64(first), np.uint64(step), np.uint64(plane)
    if picture.kind == _FP32:
        for i in range(count):
            scratch[plane + np.uint64(i)] = picture.singles[start + stride * np.uint64(i)]
    elif picture.kind == _FP16:
        for i in range(count):
            scratch[plane + np.uint64(i)] = _of_half(picture.halves[start + stride * np.uint64(i)])
    else:
        for i in range(count):
            bits = np.uint32(picture.halves[start + stride * np.uint64(i)])
            scratch[plane + np.uint64(i)] = _float_of(bits << np.uint32(16))


@reassociated
def _distance(scratch, count):
    total = _F0
    for i in range(count):
        total += abs(scratch[i] - scratch[_RUN + i])
    return total


@part
def _write_signs(scratch, out, first, step, count, scale, half):
    """The gradient of a run: + or - `scale` (in 16 bits `half`) by the sign of the difference, 0 where there is none.

    As in torch, not a number has the sign 0.
    """
    start, stride = np.uint64(first), np.uint64(step)
    if out.kind == _FP32:
        for i in range(count):
            difference = scratch[i] - scratch[_RUN + i]
            value = scale if difference > _F0 else _F0
            out.singles[start + stride * np.uint64(i)] = -scale if difference < _F0 else value
    else:
        negative = half ^ _SIGN
        for i in range(count):
            difference = scratch[i] - scratch[_RUN + i]
            value = half if difference > _F0 else np.uint16(0)
            out.halves[start + stride * np.uint64(i)] = negative if difference < _F0 else value


@inlined
def _edge(cell, size, grid):
    """First pixel whose centre lies in a cell or behind it."""
    return (2 * size * cell + grid - 1) // (2 * grid)


@part
def _row(scratch, guess, truth, shows, y, base, size, grid, out, scale, half):
    """One row of a sample, `base` its first number: the sum of distances, or the gradient where `out` is not empty."""
    total = 0.0
    row = (2 * y + 1) * grid // (2 * size) * grid
    joined = guess.step == 3 and truth.step == 3
    rounds, each = (1, 3) if joined else (3, 1)
    cell = np.int64(0)
    while cell < grid:
        if shows[row + cell] >= 0:
            cell += 1
            continue
        begin = _edge(cell, size, grid)
        while cell < grid and shows[row + cell] < 0:
            cell += 1
        end = _edge(cell, size, grid)
        for channel in range(rounds):
            of_guess = base + channel * guess.channel + (y * size + begin) * guess.step
            of_truth = base + channel * truth.channel + (y * size + begin) * truth.step
            step_guess, step_truth = (1, 1) if joined else (guess.step, truth.step)
            for first in range(0, (end - begin) * each, _RUN):
                count = min((end - begin) * each - first, _RUN)
                _load(scratch, 0, guess, of_guess + first * step_guess, step_guess, count)
                _load(scratch, _RUN, truth, of_truth + first * step_truth, step_truth, count)
                if out.singles.size or out.halves.size:
                    _write_signs(scratch, out, of_guess + first * step_guess, step_guess, count, scale, half)
                else:
                    total += _distance(scratch, count)
    return total


@whole
def _samples(first, last, guess, truth, shows, size, grid, sums, out, scale, half):
    """Samples first..last-1: their sums of distances into `sums`, or the gradient into `out`."""
    scratch = np.empty(_SCRATCH, np.float32)
    length = 3 * size * size
    for sample in range(first, last):
        base = sample * length
        if out.singles.size:
            for i in range(np.uint64(base), np.uint64(base + length)):
                out.singles[i] = _F0
        elif out.halves.size:
            for i in range(np.uint64(base), np.uint64(base + length)):
                out.halves[i] = np.uint16(0)
        total = 0.0
        for y in range(size):
            total += _row(scratch, guess, truth, shows[sample], y, base, size, grid, out, scale, half)
        sums[sample] = total


@parallel
def _samples_parallel(workers, guess, truth, shows, size, grid, sums, out, scale, half):
    batch = sums.size
    for i in numba.prange(workers):
        first, last = batch * i // workers, batch * (i + 1) // workers
        _samples(first, last, guess, truth, shows, size, grid, sums, out, scale, half)


def _picture(picture: Tensor) -> _Picture:
    """The picture's memory, as it is where it is contiguous or channels-last, else copied."""
    size = picture.shape[-1]
    lying = picture.permute(0, 2, 3, 1)
    if lying.is_contiguous():
        flat, step, channel = lying.view(-1), 3, 1
    else:
        flat, step, channel = picture.contiguous().view(-1), 1, size * size
    flat = flat.detach()
    if picture.dtype == torch.float32:
        return _Picture(flat.numpy(), np.empty(0, np.uint16), _FP32, step, channel)
    return _Picture(np.empty(0, np.float32), flat.view(torch.uint16).numpy(), _KINDS[picture.dtype], step, channel)


_NOTHING = _Picture(np.empty(0, np.float32), np.empty(0, np.uint16), _FP32, 1, 1)


def _run(guess: Tensor, truth: Tensor, shows: Tensor, out: _Picture, scale: np.float32, half: np.uint16) -> Array:
    batch, size = guess.shape[0], guess.shape[-1]
    sums = np.empty(batch, np.float64)
    cells, grid = shows.contiguous().numpy(), math.isqrt(shows.shape[1])
    pictures = _picture(guess), _picture(truth)
    with threads() as workers:
        if workers == 1:
            _samples(0, batch, *pictures, cells, size, grid, sums, out, scale, half)
        else:
            _samples_parallel(workers, *pictures, cells, size, grid, sums, out, scale, half)
    return sums


def _hidden_values(shows: Int16[Tensor, "b n"], size: int) -> int:
    """Hidden pixels of the batch times their channels."""
    grid = math.isqrt(shows.shape[1])
    side = ((2 * size * torch.arange(grid + 1) + grid - 1) // (2 * grid)).diff()  # as of `_edge`
    area = (side[:, None] * side).flatten()
    return 3 * int((shows < 0).sum(0) @ area)


def hidden_l1(
    guess: Float[Tensor, "b 3 size size"], truth: Float[Tensor, "b 3 size size"], shows: Int16[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """See `kernels.hidden_l1`; fp64 is left to the reference."""
    if guess.dtype not in _KINDS or truth.dtype not in _KINDS:
        return reference.hidden_l1(guess, truth, shows)
    sums = _run(guess, truth, shows, _NOTHING, _F0, np.uint16(0))
    return torch.tensor(sums.sum() / max(_hidden_values(shows, guess.shape[-1]), 1), dtype=torch.float32)


def hidden_l1_backward(
    grad: Float[Tensor, ""],
    guess: Float[Tensor, "b 3 size size"],
    truth: Float[Tensor, "b 3 size size"],
    shows: Int16[Tensor, "b n"],
) -> Float[Tensor, "b 3 size size"]:
    """Gradient to `guess`, see `kernels.hidden.reference`."""
    out = caching_allocator.empty_like(guess)
    if guess.dtype not in _KINDS or truth.dtype not in _KINDS or out.stride() != guess.stride():
        return reference.hidden_l1_backward(grad, guess, truth, shows)
    written = _picture(out)
    if written.step == 1 and not out.is_contiguous():
        return reference.hidden_l1_backward(grad, guess, truth, shows)
    scale = grad.detach().float() / max(_hidden_values(shows, guess.shape[-1]), 1)
    half = 0 if guess.dtype == torch.float32 else int(scale.to(guess.dtype).view(torch.int16)) % 2**16
    _run(guess, truth, shows, written, np.float32(scale.item()), np.uint16(half))
    return out
