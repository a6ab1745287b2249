"""Reads the faces of several splits as those of one: each face from its own, and none twice."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from loaders.base import Draw, Plan, Stream
from loaders.feed.streams import batch_by_batch

Pixels = UInt8[Tensor, "m h w c"] | Stream
"""The faces of a split: see `loaders.base.Faces`."""


def join_pixels(pieces: Sequence[tuple[Pixels, Int64[Tensor, " n"]]]) -> Pixels:
    """Joins faces one after the other: into one tensor where all are resident, else as a stream.

    Args:
        pieces: The faces of each split, and the positions in it of those that are joined, ascending, on the CPU.
    """
    resident = [_chosen(pixels, position) for pixels, position in pieces if isinstance(pixels, Tensor)]
    if len(resident) == len(pieces):
        return resident[0] if len(resident) == 1 else torch.cat(resident)
    local = torch.cat([position for _, position in pieces])
    owner = torch.repeat_interleave(torch.tensor([len(position) for _, position in pieces]))

    def stream(plan: Plan, draw: Draw | None) -> Generator[Tensor, None, None]:
        assert draw is None
        of, position = owner[plan.position], local[plan.position]
        batch = plan.position.shape[1]
        return _mixed([start_reading(p, position[of == at], batch) for at, (p, _) in enumerate(pieces)], of)

    return stream


def start_reading(
    pixels: Pixels, position: Int64[Tensor, " n"], batch: int
) -> Generator[UInt8[Tensor, "b h w c"], None, None]:
    """Starts to read faces of a split, `batch` together; the last batch may end in faces that were not asked for.

    Args:
        pixels: Its faces.
        position: Positions in it, in any order, on the CPU.
        batch: 1 or more.
    """
    if len(position) == 0:
        return _nothing()
    batch = min(batch, len(position))
    padding = position.new_zeros(-len(position) % batch)
    rows = torch.cat([position, padding]).reshape(-1, batch)
    stream = batch_by_batch(lambda at: pixels[at.to(pixels.device)]) if isinstance(pixels, Tensor) else pixels
    return stream(Plan(0, 0, rows, torch.zeros_like(rows, dtype=torch.int32)), None)


def _nothing() -> Generator[Tensor, None, None]:
    yield from ()


def _chosen(pixels: Tensor, position: Int64[Tensor, " n"]) -> Tensor:
    """Takes the faces at ascending positions; all of them are not copied."""
    return pixels if len(position) == len(pixels) else pixels[position.to(pixels.device)]


def _mixed(pieces: Sequence[Generator[Tensor, None, None]], of: Int64[Tensor, "k b"]) -> Generator[Tensor, None, None]:
    """Puts batches together of the faces of each piece, which come in the order they are shown; `of` says whose."""
    rest: list[Tensor | None] = [None] * len(pieces)
    with ExitStack() as stack:
        for piece in pieces:
            stack.enter_context(closing(piece))
        for owners in of:
            batch: Tensor | None = None
            for at, piece in enumerate(pieces):
                places = torch.nonzero(owners == at).flatten()
                if len(places) == 0:
                    continue
                faces, rest[at] = _take(piece, rest[at], len(places))
                if batch is None:
                    batch = faces.new_empty((len(owners), *faces.shape[1:]))
                batch[places.to(batch.device)] = faces.to(batch.device)
            assert batch is not None
            yield batch


def _take(piece: Generator[Tensor, None, None], rest: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Takes the next faces of a piece, the rest of what was read before first; gives them and what is left."""
    read = [] if rest is None else [rest]
    while sum(map(len, read)) < count:
        read.append(next(piece))
    faces = read[0] if len(read) == 1 else torch.cat(read)
    return faces[:count], faces[count:]
