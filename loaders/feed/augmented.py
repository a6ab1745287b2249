"""Faces augmented ahead of the step by the kernel of the CPU, for sources that decode there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

import kernels
from kernels import Key, Tables
from loaders.base import Draw, Split
from loaders.feed.opened import Stream


def augmented(stream: Stream, draw: Draw, split: Split, mean: Float32[Tensor, "n 3"], seed: int) -> Stream:
    """A stream of augmented faces from one of stored faces.

    Args:
        stream: Stored faces on the CPU.
        draw: How they are augmented.
        split: Whose faces they are.
        mean: Mean colour of each face of the split on 0..255, on the CPU.
        seed: Of the loader.
    """

    def augmenting(epoch: int, plan: Int64[Tensor, "k b"]) -> Generator[Tensor, None, None]:
        with closing(stream(epoch, plan)) as batches:
            for position, faces in zip(plan, batches, strict=True):
                tables = draw(Key(seed, epoch, split.sample[position]), mean[position], split.shape[:2])
                yield apply(faces, tables, size=draw.size, blurs=draw.blurs)

    return augmenting


def apply(faces: UInt8[Tensor, "b h w c"], tables: Tables, *, size: int, blurs: bool) -> UInt8[Tensor, "b size size 3"]:
    """Faces seen through `where`, blurred and coloured, rounded to whole gray levels.

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
