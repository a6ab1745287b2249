# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""Computes `hidden_l1` on a CUDA device: two launches forward, two backward, and no temporary of picture size.

Only hidden pixels are read, in whatever memory order the pictures have. The sum is taken in two stages of a fixed order
instead of by atomic additions, so that the same pictures always give the same bits. The number of hidden pixels stays
on the device; the gradient counts it anew from the cells, which is less to read than it is to keep.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.triton_arithmetic import divide, divisor

BLOCK = 1024
"""Pixels a program; it changes the speed and the order of the sum."""

_SHAPE = ("blocks", "size", "grid", "by_size", "by_size_shift", "by_side", "by_side_shift")
_GUESS = ("guess_sample", "guess_channel", "guess_line", "guess_column")
_TRUTH = ("truth_sample", "truth_channel", "truth_line", "truth_column")
_GRADIENT = ("gradient_sample", "gradient_channel", "gradient_line", "gradient_column")


@triton.jit
def _quotient(one, other):
    """one / other, correctly rounded as the reference's: in fp32 Triton's own division is not."""
    return tl.div_rn(one, other) if one.dtype == tl.float32 else one / other


@triton.jit
def _hidden(shows, pixel, size, grid, by_size, by_size_shift, by_side, by_side_shift, INDEX: tl.constexpr):
    """Which pixels of a sample are hidden, and their lines and columns."""
    line = divide(pixel, by_size, by_size_shift)
    column = pixel - line * size
    across = divide((2 * column + 1) * grid, by_side, by_side_shift)
    down = divide((2 * line + 1) * grid, by_side, by_side_shift)
    cell = tl.load(shows + down * grid + across, mask=pixel < size * size, other=0)
    return cell < 0, line.to(INDEX), column.to(INDEX)


@triton.jit(do_not_specialize=[*_SHAPE, *_GUESS, *_TRUTH], do_not_specialize_on_alignment=["guess", "truth", "shows"])
def _sums(
    sums, counts, guess, truth, shows, blocks, size, grid, by_size, by_size_shift, by_side, by_side_shift,
    guess_sample, guess_channel, guess_line, guess_column, truth_sample, truth_channel, truth_line, truth_column,
    INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0) % blocks
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = block * BLOCK + tl.arange(0, BLOCK)
    shows += sample * (grid * grid)
    hidden, line, column = _hidden(shows, pixel, size, grid, by_size, by_size_shift, by_side, by_side_shift, INDEX)
    guess += sample * guess_sample + line * guess_line + column * guess_column
    truth += sample * truth_sample + line * truth_line + column * truth_column
    distance = tl.zeros((BLOCK,), dtype=sums.dtype.element_ty)
    for channel in tl.static_range(3):
        one = tl.load(guess + channel * guess_channel, mask=hidden, other=0.0).to(sums.dtype.element_ty)
        other = tl.load(truth + channel * truth_channel, mask=hidden, other=0.0).to(sums.dtype.element_ty)
        distance += tl.abs(one - other)
    tl.store(sums + tl.program_id(0), tl.sum(distance))
    tl.store(counts + tl.program_id(0), tl.sum(hidden.to(tl.int32)))


@triton.jit(do_not_specialize=["number"])
def _mean(loss, sums, counts, number, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), dtype=loss.dtype.element_ty)
    count = tl.zeros((BLOCK,), dtype=tl.int64)
    for start in range(0, number, BLOCK):
        place = start + tl.arange(0, BLOCK)
        total += tl.load(sums + place, mask=place < number, other=0.0)
        count += tl.load(counts + place, mask=place < number, other=0)
    values = tl.maximum(tl.sum(count) * 3, 1).to(loss.dtype.element_ty)
    tl.store(loss, _quotient(tl.sum(total), values))


def hidden_l1(guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    """See `kernels.hidden_l1`, which checks the arguments."""
    precision = torch.promote_types(torch.promote_types(guess.dtype, truth.dtype), torch.float32)
    batch, _, size, _ = guess.shape
    blocks = triton.cdiv(size * size, BLOCK)
    loss = guess.new_empty((), dtype=precision)
    sums = guess.new_empty(batch * blocks, dtype=precision)
    counts = guess.new_empty(batch * blocks, dtype=torch.int32)
    launch: Any = _sums[(batch * blocks,)]
    finish: Any = _mean[(1,)]
    with torch.cuda.device_of(guess):
        launch(
            sums, counts, guess, truth, shows.contiguous(), *_shape(size, shows.shape[1]),
            *guess.stride(), *truth.stride(), INDEX=_index(guess, truth), BLOCK=BLOCK, num_warps=4,
        )  # fmt: skip
        finish(loss, sums, counts, batch * blocks, BLOCK=1024, num_warps=4)
    return loss


@triton.jit(do_not_specialize=["size", "grid"], do_not_specialize_on_alignment=["shows"])
def _count(counts, shows, size, grid, CELLS: tl.constexpr):
    """Hidden pixels of each sample, from the areas of its cells."""
    sample = tl.program_id(0).to(tl.int64)
    cells = grid * grid
    count = tl.zeros((CELLS,), dtype=tl.int32)
    for start in range(0, cells, CELLS):
        cell = start + tl.arange(0, CELLS)
        hidden = tl.load(shows + sample * cells + cell, mask=cell < cells, other=0) < 0
        count += tl.where(hidden, _side(cell % grid, size, grid) * _side(cell // grid, size, grid), 0)
    tl.store(counts + sample, tl.sum(count))


@triton.jit
def _side(line, size, grid):
    """Pixels of a line of cells: those whose centres lie in it. Pixel i does from (2 i + 1) grid >= 2 size line on."""
    first = (2 * size * line + grid - 1) // (2 * grid)
    return (2 * size * (line + 1) + grid - 1) // (2 * grid) - first


@triton.jit(
    do_not_specialize=["batch", *_SHAPE, *_GUESS, *_TRUTH, *_GRADIENT],
    do_not_specialize_on_alignment=["gradient", "loss_gradient", "guess", "truth", "shows"],
)
def _gradient(
    gradient, loss_gradient, counts, guess, truth, shows, batch,
    blocks, size, grid, by_size, by_size_shift, by_side, by_side_shift,
    guess_sample, guess_channel, guess_line, guess_column, truth_sample, truth_channel, truth_line, truth_column,
    gradient_sample, gradient_channel, gradient_line, gradient_column,
    PRECISION: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0) % blocks
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = block * BLOCK + tl.arange(0, BLOCK)
    shows += sample * (grid * grid)
    hidden, line, column = _hidden(shows, pixel, size, grid, by_size, by_size_shift, by_side, by_side_shift, INDEX)

    # Every program adds the samples' counts: a few kilobytes from the L2 cache, cheaper than one more launch.
    count = tl.zeros((BLOCK,), dtype=tl.int64)
    for start in range(0, batch, BLOCK):
        place = start + tl.arange(0, BLOCK)
        count += tl.load(counts + place, mask=place < batch, other=0)
    scale = _quotient(tl.load(loss_gradient).to(PRECISION), tl.maximum(tl.sum(count) * 3, 1).to(PRECISION))

    guess += sample * guess_sample + line * guess_line + column * guess_column
    truth += sample * truth_sample + line * truth_line + column * truth_column
    kind: tl.constexpr = gradient.dtype.element_ty
    gradient += sample * gradient_sample + line * gradient_line + column * gradient_column
    for channel in tl.static_range(3):
        one = tl.load(guess + channel * guess_channel, mask=hidden, other=0.0).to(PRECISION)
        other = tl.load(truth + channel * truth_channel, mask=hidden, other=0.0).to(PRECISION)
        value = tl.where(one > other, scale, tl.where(one < other, -scale, 0.0))
        if kind != tl.float64:
            value = value.to(tl.float32)  # there is no way from fp64 to bf16 in one step
        tl.store(gradient + channel * gradient_channel, value.to(kind), mask=pixel < size * size)


def hidden_l1_backward(grad: Tensor, guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    """See `kernels.hidden.reference.hidden_l1_backward`."""
    precision = torch.promote_types(torch.promote_types(guess.dtype, truth.dtype), torch.float32)
    batch, _, size, _ = guess.shape
    shows = shows.contiguous()
    gradient = torch.empty_like(guess)
    counts = guess.new_empty(batch, dtype=torch.int32)
    count: Any = _count[(batch,)]
    launch: Any = _gradient[(batch * triton.cdiv(size * size, BLOCK),)]
    with torch.cuda.device_of(guess):
        count(counts, shows, size, math.isqrt(shows.shape[1]), CELLS=256, num_warps=4)
        launch(
            gradient, grad, counts, guess, truth, shows, batch, *_shape(size, shows.shape[1]),
            *guess.stride(), *truth.stride(), *gradient.stride(),
            PRECISION=tl.float64 if precision == torch.float64 else tl.float32,
            INDEX=_index(guess, truth, gradient), BLOCK=BLOCK, num_warps=4,
        )  # fmt: skip
    return gradient


def _shape(size: int, cells: int) -> tuple[int, ...]:
    grid = math.isqrt(cells)
    return (
        triton.cdiv(size * size, BLOCK),
        size,
        grid,
        *divisor(size, size * size - 1),
        *divisor(2 * size, 2 * size * grid),
    )


def _index(*pictures: Tensor) -> Any:
    """The type that holds offsets within a sample."""
    offsets = (sum((n - 1) * step for n, step in zip(p.shape[1:], p.stride()[1:], strict=True)) for p in pictures)
    return tl.int64 if max(offsets) >= 2**31 else tl.int32
