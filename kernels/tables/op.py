"""Registers the custom operators behind the draws: one a table, dispatched by the device of `sample`.

The arguments are checked by the public functions. An operator takes no `Key`, so each begins with what one holds, see
`address`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels.tables import reference
from kernels.tables.augment import Augment
from kernels.tables.streams import Key

Address = tuple[Tensor, Tensor | None, int, int, str]
Fields = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def address(key: Key) -> Address:
    """Spells a key as the first arguments of an operator: the seed becomes the int64 of the same 64 bits."""
    seed = key.seed - 2**64 if key.seed >= 2**63 else key.seed
    return key.sample, key.occurrence, seed, key.epoch, key.name


def _key(sample: Tensor, occurrence: Tensor | None, seed: int, epoch: int, stream: str) -> Key:
    return Key(seed % 2**64, epoch, sample, occurrence, stream)


def _tables(arguments: Sequence[Any]) -> tuple[Key, Tensor, Augment, tuple[int, int], int]:
    *key, mean, augment, height, width, size = arguments
    return _key(*key), mean, Augment.of_numbers(augment), (height, width), size


@torch.library.custom_op("hmtl::draw_tables", mutates_args=())
def draw_tables(
    sample: Tensor,
    occurrence: Tensor | None,
    seed: int,
    epoch: int,
    stream: str,
    mean: Tensor,
    augment: Sequence[float],
    height: int,
    width: int,
    size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return reference.draw_tables(
        *_tables((sample, occurrence, seed, epoch, stream, mean, augment, height, width, size))
    )


@draw_tables.register_kernel("cpu")
def _(*arguments: Any) -> Fields:
    from kernels.tables import numba_kernel  # only where it runs: numba takes a while to import

    return numba_kernel.draw_tables(*_tables(arguments))


@draw_tables.register_kernel("cuda")
def _(*arguments: Any) -> Fields:
    from kernels.tables import triton_kernel  # only where it runs: Triton takes a while to import

    return triton_kernel.draw_tables(*_tables(arguments))


@draw_tables.register_fake
def _(
    sample: Tensor,
    occurrence: Tensor | None,
    seed: int,
    epoch: int,
    stream: str,
    mean: Tensor,
    augment: Sequence[float],
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
def draw_permutation(
    sample: Tensor, occurrence: Tensor | None, seed: int, epoch: int, stream: str, grid: int
) -> Tensor:
    return reference.draw_permutation(_key(sample, occurrence, seed, epoch, stream), grid)


@draw_permutation.register_kernel("cuda")
def _(*arguments: Any) -> Tensor:
    from kernels.tables import triton_kernel

    return triton_kernel.draw_permutation(_key(*arguments[:5]), *arguments[5:])


@draw_permutation.register_fake
def _(sample: Tensor, occurrence: Tensor | None, seed: int, epoch: int, stream: str, grid: int) -> Tensor:
    return sample.new_empty(sample.shape[0], grid * grid, dtype=torch.int16)


@torch.library.custom_op("hmtl::draw_turns", mutates_args=())
def draw_turns(sample: Tensor, occurrence: Tensor | None, seed: int, epoch: int, stream: str, grid: int) -> Tensor:
    return reference.draw_turns(_key(sample, occurrence, seed, epoch, stream), grid)


@draw_turns.register_kernel("cuda")
def _(*arguments: Any) -> Tensor:
    from kernels.tables import triton_kernel

    return triton_kernel.draw_turns(_key(*arguments[:5]), *arguments[5:])


@draw_turns.register_fake
def _(sample: Tensor, occurrence: Tensor | None, seed: int, epoch: int, stream: str, grid: int) -> Tensor:
    return sample.new_empty(sample.shape[0], grid * grid, dtype=torch.uint8)


@torch.library.custom_op("hmtl::draw_holes", mutates_args=())
def draw_holes(
    sample: Tensor,
    occurrence: Tensor | None,
    seed: int,
    epoch: int,
    stream: str,
    grid: int,
    share: Sequence[int],
    blocks: Sequence[int],
    aspect: Sequence[int],
) -> Tensor:
    return reference.draw_holes(_key(sample, occurrence, seed, epoch, stream), grid, share, blocks, aspect)


@draw_holes.register_kernel("cpu")
def _(*arguments: Any) -> Tensor:
    from kernels.tables import numba_kernel

    return numba_kernel.draw_holes(_key(*arguments[:5]), *arguments[5:])


@draw_holes.register_kernel("cuda")
def _(*arguments: Any) -> Tensor:
    from kernels.tables import triton_kernel

    return triton_kernel.draw_holes(_key(*arguments[:5]), *arguments[5:])


@draw_holes.register_fake
def _(
    sample: Tensor,
    occurrence: Tensor | None,
    seed: int,
    epoch: int,
    stream: str,
    grid: int,
    share: Sequence[int],
    blocks: Sequence[int],
    aspect: Sequence[int],
) -> Tensor:
    return sample.new_empty(sample.shape[0], grid * grid, dtype=torch.int16)
