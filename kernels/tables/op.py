"""The custom operators behind the draws: one a table, dispatched by the device of `sample`.

The arguments are checked by the public functions. Seeds are passed as int64 of the same 64 bits, see `signed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels.tables import reference
from kernels.tables.augment import Augment

Fields = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def signed(seed: int) -> int:
    """The int64 of the same 64 bits, which is what an operator can take."""
    return seed - 2**64 if seed >= 2**63 else seed


@torch.library.custom_op("hmtl::draw_tables", mutates_args=())
def draw_tables(
    sample: Tensor,
    mean: Tensor,
    augment: Sequence[float],
    seed: int,
    epoch: int,
    stream: str,
    height: int,
    width: int,
    size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    address = {"seed": seed % 2**64, "epoch": epoch}
    ranges = Augment.of_numbers(augment)
    return reference.draw_tables(sample, mean, ranges, **address, stream=stream, store=(height, width), size=size)


@draw_tables.register_kernel("cpu")
def _(*arguments: Any) -> Fields:
    from kernels.tables import numba_kernel  # only where it runs: numba takes a while to import

    return numba_kernel.draw_tables(*arguments)


@draw_tables.register_kernel("cuda")
def _(*arguments: Any) -> Fields:
    from kernels.tables import triton_kernel  # only where it runs: Triton takes a while to import

    return triton_kernel.draw_tables(*arguments)


@draw_tables.register_fake
def _(
    sample: Tensor,
    mean: Tensor,
    augment: Sequence[float],
    seed: int,
    epoch: int,
    stream: str,
    height: int,
    width: int,
    size: int,
) -> Fields:
    batch = sample.shape[0]
    return (
        mean.new_empty(batch, 2, 3),
        mean.new_empty(batch, 3, 4),
        mean.new_empty(batch),
        mean.new_empty(batch),
        sample.new_empty(batch),
        sample.new_empty(batch, 4, dtype=torch.int16),
    )


@torch.library.custom_op("hmtl::draw_permutation", mutates_args=())
def draw_permutation(sample: Tensor, grid: int, seed: int, epoch: int, stream: str) -> Tensor:
    return reference.draw_permutation(sample, grid, seed=seed % 2**64, epoch=epoch, stream=stream)


@draw_permutation.register_kernel("cuda")
def _(*arguments: Any) -> Tensor:
    from kernels.tables import triton_kernel

    return triton_kernel.draw_permutation(*arguments)


@draw_permutation.register_fake
def _(sample: Tensor, grid: int, seed: int, epoch: int, stream: str) -> Tensor:
    return sample.new_empty(sample.shape[0], grid * grid, dtype=torch.int16)


@torch.library.custom_op("hmtl::draw_turns", mutates_args=())
def draw_turns(sample: Tensor, grid: int, seed: int, epoch: int, stream: str) -> Tensor:
    return reference.draw_turns(sample, grid, seed=seed % 2**64, epoch=epoch, stream=stream)


@draw_turns.register_kernel("cuda")
def _(*arguments: Any) -> Tensor:
    from kernels.tables import triton_kernel

    return triton_kernel.draw_turns(*arguments)


@draw_turns.register_fake
def _(sample: Tensor, grid: int, seed: int, epoch: int, stream: str) -> Tensor:
    return sample.new_empty(sample.shape[0], grid * grid, dtype=torch.uint8)


@torch.library.custom_op("hmtl::draw_holes", mutates_args=())
def draw_holes(
    sample: Tensor,
    grid: int,
    share: Sequence[int],
    blocks: Sequence[int],
    aspect: Sequence[int],
    seed: int,
    epoch: int,
    stream: str,
) -> Tensor:
    return reference.draw_holes(sample, grid, share, blocks, aspect, seed=seed % 2**64, epoch=epoch, stream=stream)


@draw_holes.register_kernel("cpu")
def _(*arguments: Any) -> Tensor:
    from kernels.tables import numba_kernel

    return numba_kernel.draw_holes(*arguments)


@draw_holes.register_kernel("cuda")
def _(*arguments: Any) -> Tensor:
    from kernels.tables import triton_kernel

    return triton_kernel.draw_holes(*arguments)


@draw_holes.register_fake
def _(
    sample: Tensor,
    grid: int,
    share: Sequence[int],
    blocks: Sequence[int],
    aspect: Sequence[int],
    seed: int,
    epoch: int,
    stream: str,
) -> Tensor:
    return sample.new_empty(sample.shape[0], grid * grid, dtype=torch.int16)
