"""Checks the arguments of `hidden_l1` and registers the custom operators behind it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int16
from torch import Tensor

from kernels.grid import grid_of
from kernels.hidden import reference


def hidden_l1(
    guess: Float[Tensor, "b 3 size size"], truth: Float[Tensor, "b 3 size size"], shows: Int16[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Computes the mean absolute error over all hidden pixels and channels of the batch: the pixel loss of in-painting.

    It is one mean over the batch, not a mean of means, and 0 with gradient 0 where nothing is hidden. Known pixels do
    not matter, whatever stands in them. Nothing synchronises with the device. Differentiable once, in both pictures.

    Args:
        guess: The completed or predicted view, any float dtype, contiguous or channels-last.
        truth: The view without the hole, likewise; its dtype may differ.
        shows: Cells of the view with the hole, row by row on a grid of sqrt(n); below 0 is hidden. A pixel belongs to
            the cell that holds its centre, as in `render_views`.

    Returns:
        A float32 scalar; float64 where either picture is. Gradients come in each picture's own dtype.

    Raises:
        ValueError: A shape, dtype or device is not as stated.
    """
    if guess.ndim != 4 or guess.shape[1] != 3 or guess.shape[2] != guess.shape[3] or 0 in guess.shape:
        raise ValueError(
            f"hidden_l1: guess (of shape {tuple(guess.shape)}) must have axes b, 3, size, size; reshape it"
        )
    if truth.shape != guess.shape:
        raise ValueError(
            f"hidden_l1: truth (of shape {tuple(truth.shape)}) must have the shape of guess {tuple(guess.shape)}; "
            "compare views of one size"
        )
    for name, picture in (("guess", guess), ("truth", truth)):
        if not picture.is_floating_point():
            raise ValueError(f"hidden_l1: {name} (={picture.dtype}) must be floating-point; give normalised views")
    if shows.dtype != torch.int16 or shows.ndim != 2 or shows.shape[0] != guess.shape[0]:
        raise ValueError(
            f"hidden_l1: shows (={shows.dtype} of shape {tuple(shows.shape)}) must be int16 of shape "
            f"({guess.shape[0]}, n); give the cells of the hidden view"
        )
    grid_of("hidden_l1", shows.shape[1], guess.shape[-1])
    for name, table in (("truth", truth), ("shows", shows)):
        if table.device != guess.device:
            raise ValueError(f"hidden_l1: {name} (on {table.device}) must be where guess is ({guess.device}); move it")
    loss: Tensor = _hidden_l1(guess, truth, shows)
    return loss


@torch.library.custom_op("hmtl::hidden_l1", mutates_args=())
def _hidden_l1(guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    return reference.hidden_l1(guess, truth, shows)


@_hidden_l1.register_kernel("cpu")
def _(guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    from kernels.hidden import numba_kernel  # only where it runs: numba takes a while to import

    return numba_kernel.hidden_l1(guess, truth, shows)


@_hidden_l1.register_kernel("cuda")
def _(guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    from kernels.hidden import triton_kernel  # only where it runs: Triton takes a while to import

    return triton_kernel.hidden_l1(guess, truth, shows)


@_hidden_l1.register_fake
def _(guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    precision = torch.promote_types(torch.promote_types(guess.dtype, truth.dtype), torch.float32)
    return guess.new_empty((), dtype=precision)


@torch.library.custom_op("hmtl::hidden_l1_backward", mutates_args=())
def _hidden_l1_backward(grad: Tensor, guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    return reference.hidden_l1_backward(grad, guess, truth, shows)


@_hidden_l1_backward.register_kernel("cpu")
def _(grad: Tensor, guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    from kernels.hidden import numba_kernel

    return numba_kernel.hidden_l1_backward(grad, guess, truth, shows)


@_hidden_l1_backward.register_kernel("cuda")
def _(grad: Tensor, guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    from kernels.hidden import triton_kernel

    return triton_kernel.hidden_l1_backward(grad, guess, truth, shows)


@_hidden_l1_backward.register_fake
def _(grad: Tensor, guess: Tensor, truth: Tensor, shows: Tensor) -> Tensor:
    return torch.empty_like(guess)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    guess, truth, shows = ctx.saved_tensors
    # |guess - truth| is symmetric, so one operator serves both gradients.
    to_guess = _hidden_l1_backward(grad, guess, truth, shows) if ctx.needs_input_grad[0] else None
    to_truth = _hidden_l1_backward(grad, truth, guess, shows) if ctx.needs_input_grad[1] else None
    return to_guess, to_truth, None


_hidden_l1.register_autograd(_backward, setup_context=_setup_context)
