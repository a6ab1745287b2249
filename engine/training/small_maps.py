"""Convolves small maps by one matrix product, where a CPU's convolution computes a small share of what it could.

The last stages of a network on pictures of 48 px have maps of 3 x 3 and 2 x 2. oneDNN's convolutions are made for large
ones: nearly half of a training step of ResNet-10-t in bf16 was lost there (benchmarks/small_maps.py measures both).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SMALL, SMALL_WITH_TILES = 4, 16
"""Pixels of the largest map that counts as small; the second in bf16 on a CPU with matrix tiles (AMX)."""


def use_matrix_products(model: nn.Module) -> None:
    """Has the convolutions of a model that trains on a CPU treat small maps so; names and weights stay as they are."""
    for module in model.modules():
        if type(module) is not nn.Conv2d or isinstance(module.padding, str):
            continue
        if module.padding_mode == "zeros" and module.groups == 1 and set(module.dilation) == {1}:
            module.__class__ = SmallMapConv2d


class SmallMapConv2d(nn.Conv2d):
    """Convolves as `nn.Conv2d`; where a CPU trains and the map that results is small, by a matrix product."""

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d y x"]:
        if not self._is_small(input):
            return super().forward(input)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        weight = self.weight.to(dtype)
        product: Any = _Product
        convolved: Tensor = product.apply(input.to(dtype), weight, self.stride, self.padding)
        return convolved if self.bias is None else convolved + self.bias.to(dtype)[:, None, None]

    def _is_small(self, x: Tensor) -> bool:
        if x.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling() or x.ndim != 4:
            return False
        height, width = _size(x, self.weight, self.stride, self.padding)
        tiles = torch.is_autocast_enabled("cpu") and _has_tiles()
        return 0 < height * width <= (SMALL_WITH_TILES if tiles else SMALL)


@cache
def _has_tiles() -> bool:
    """Says whether this CPU multiplies matrices of bf16 numbers itself."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _size(x: Tensor, weight: Tensor, stride: Any, padding: Any) -> tuple[int, int]:
    """Computes height and width of what a convolution gives."""
    height, width = ((x.shape[2 + i] + 2 * padding[i] - weight.shape[2 + i]) // stride[i] + 1 for i in range(2))
    return height, width


class _Product(torch.autograd.Function):
    """Multiplies the pixels below each place of the kernel, in rows, with the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Any, padding: Any) -> Tensor:
        height, width = _size(x, weight, stride, padding)
        d, c, kh, kw = weight.shape
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
        windows = padded.unfold(1, kh, stride[0]).unfold(2, kw, stride[1])  # n y x c kh kw
        rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kh * kw * c)
        ctx.save_for_backward(rows, weight)
        ctx.geometry = (x.shape, padded.shape, stride, padding, height, width)
        return (rows @ _matrix(weight).t()).view(-1, height, width, d).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        rows, weight = ctx.saved_tensors
        shape, padded_shape, stride, padding, height, width = ctx.geometry
        d, c, kh, kw = weight.shape
        of_rows = gradient.permute(0, 2, 3, 1).reshape(-1, d)
        of_weight = (of_rows.t() @ rows).view(d, kh, kw, c).permute(0, 3, 1, 2) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None, None
        windows = (of_rows @ _matrix(weight)).view(-1, height, width, kh, kw, c)
        padded = windows.new_zeros(padded_shape)
        for i in range(kh):
            for j in range(kw):
                below = padded[:, i : i + stride[0] * height : stride[0], j : j + stride[1] * width : stride[1]]
                below += windows[:, :, :, i, j]
        of_x = padded[:, padding[0] : padding[0] + shape[2], padding[1] : padding[1] + shape[3]]
        return of_x.permute(0, 3, 1, 2), of_weight, None, None


def _matrix(weight: Tensor) -> Tensor:
    """Gives the weights as a matrix, a row an output channel; a view of weights in channels-last order."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
