"""Makes a stream of a function that reads one batch, augmented by the kernel of the CPU where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

import kernels
from kernels import Key, Tables
from loaders.base import Draw, Plan, Split, Stream

Read = Callable[[Int64[Tensor, " b"]], UInt8[Tensor, "b h w c"]]
"""Reads the faces at positions of a split."""


def batch_by_batch(read: Read) -> Stream:
    """Makes the stream that calls `read` for each batch, and augments nothing."""

    def stream(plan: Plan, draw: Draw | None) -> Generator[Tensor, None, None]:
        assert draw is None
        for position in plan.position:
            yield read(position)

    return stream


def augmenting(read: Read, split: Split, mean: Float32[Tensor, "n 3"]) -> Stream:
    """Makes the stream that calls `read` for each batch, and augments what it gives where there is a draw.

    Args:
        read: Gives stored faces, on the CPU.
        split: Whose faces they are.
        mean: Mean colour of each face of the split on 0..255, on the CPU.
    """

    stored = batch_by_batch(read)

    def stream(plan: Plan, draw: Draw | None) -> Generator[Tensor, None, None]:
        if draw is None:
            yield from stored(plan, None)
        else:
            for position, tables in zip(plan.position, draw_tables(plan, draw, split, mean), strict=True):
                yield augment(read(position), tables, size=draw.size, blurs=draw.blurs)

    return stream


def draw_tables(plan: Plan, draw: Draw, split: Split, mean: Float32[Tensor, "n 3"]) -> Iterator[Tables]:
    """Draws the tables of each batch of a plan, on the CPU."""
    for position, occurrence in zip(plan.position, plan.occurrence, strict=True):
        key = Key(plan.seed, plan.epoch, split.sample[position], occurrence)
        yield draw(key, mean[position], split.shape[:2])


def augment(
    faces: UInt8[Tensor, "b h w c"], tables: Tables, *, size: int, blurs: bool
) -> UInt8[Tensor, "b size size 3"]:
    """Shows faces through `where`, blurs and colours them, and rounds to whole gray levels.

    Noise and cut-out are left to the pass that shuffles tiles.
    """
    batch = len(faces)
    seen = kernels.render_views(
        faces,
        torch.arange(batch),
        tables.where[None],
        tables.colour[None],
        kernels.identity_cells(1, batch, faces.device)[None],
        size=size,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),  # so that what is normalised is on 0..255 again
        dtype=torch.float32,
        blur=tables.blur[None] if blurs else None,
    )
    return seen[0].permute(0, 2, 3, 1).round_().to(torch.uint8)  # b size size 3, contiguous in memory already
