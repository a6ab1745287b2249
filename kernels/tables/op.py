"""Registers the custom operators behind the draws: one a table, dispatched by the device of `sample`.

The arguments are checked by the public functions. An operator takes no `Key`, so each begins with what one holds, see
`address`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from kernels.tables.augment import Augment
from kernels.tables.streams import Key

Address = tuple[Tensor, Tensor | None, int, int, str]

_ADDRESS = "Tensor sample, Tensor? occurrence, SymInt seed, SymInt epoch, str stream"


def address(key: Key) -> Address:
    """Spells a key as the first arguments of an operator: the seed becomes the int64 of the same 64 bits."""
    seed = key.seed - 2**64 if key.seed >= 2**63 else key.seed
    return key.sample, key.occurrence, seed, key.epoch, key.name


def _key(sample: Tensor, occurrence: Tensor | None, seed: int, epoch: int, stream: str) -> Key:
    return Key(seed % 2**64, epoch, sample, occurrence, stream)


def _register(
    name: str,
    given: str,
    shape: Callable[..., Any],
    *,
    returns: str = "Tensor",
    numba: bool = False,
    arguments: Callable[..., tuple[Any, ...]] = lambda *given: given,
) -> Callable[..., Any]:
    """Registers the draw that the rule calls `name`, its kernel in Triton, and that in numba where there is one.

    Args:
        given: The schema of what follows the address.
        shape: Makes an empty result of all arguments.
        arguments: Makes of what follows the address what the draw takes after its key.
    """

    def drawn_by(module: str) -> Callable[..., Any]:
        def draw(*passed: Any) -> Any:
            room = import_module(f"kernels.tables.{module}")  # only where it runs: numba and Triton take a while
            return getattr(room, name)(_key(*passed[:5]), *arguments(*passed[5:]))

        return draw

    schema = f"({_ADDRESS}, {given}) -> {returns}"
    made = torch.library.custom_op(f"hmtl::{name}", drawn_by("reference"), mutates_args=(), schema=schema)
    made.register_kernel("cuda", drawn_by("triton_kernel"))
    if numba:
        made.register_kernel("cpu", drawn_by("numba_kernel"))
    made.register_fake(shape)
    return made


def _cells(dtype: torch.dtype, grid_at: int = 0) -> Callable[..., Tensor]:
    """Makes the shape of a table of cells, whose grid is at this place behind the address."""
    return lambda sample, *rest: sample.new_empty(len(sample), rest[4 + grid_at] ** 2, dtype=dtype)


def _tables(sample: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    mean, batch = rest[4], len(sample)
    return (
        mean.new_empty(batch, 2, 3),
        mean.new_empty(batch, 3, 4),
        mean.new_empty(batch),
        mean.new_empty(batch),
        sample.new_empty(batch),
        sample.new_empty(batch, 4, dtype=torch.int16),
    )


draw_tables = _register(
    "draw_tables",
    "Tensor mean, float[] augment, SymInt height, SymInt width, SymInt size",
    _tables,
    returns=f"({', '.join(['Tensor'] * 6)})",
    numba=True,
    arguments=lambda mean, augment, *sizes: (mean, Augment.of_numbers(augment), sizes[:2], sizes[2]),
)
draw_permutation = _register("draw_permutation", "SymInt grid", _cells(torch.int16))
draw_turns = _register("draw_turns", "SymInt grid", _cells(torch.uint8))
draw_holes = _register(
    "draw_holes", "SymInt grid, SymInt[] share, SymInt[] blocks, SymInt[] aspect", _cells(torch.int16), numba=True
)
draw_hidden_parts = _register(
    "draw_hidden_parts",
    "Tensor where, SymInt grid, SymInt size, SymInt[] store, float[] parts",
    _cells(torch.int16, grid_at=1),
)
random_bits = _register("random_bits", "SymInt count", lambda sample, *rest: sample.new_empty(len(sample), rest[4]))
