"""Puzzles and holes as operations of FFCV's own pipelines, for users who keep their training loop.

    shuffle = ShuffleTiles(3, seed=1, sample=split.sample)
    pipelines = {"image": [SimpleRGBImageDecoder(), shuffle, RandomHorizontalFlip(), ToTensor()]}
    loader = ffcv.Loader(file, batch_size=256, order=InOrder(order, [shuffle]), pipelines=pipelines)

Both are a function of (seed, epoch, sample id) alone, through the draws of `kernels`: equal in every order, on every
number of threads and in every process. Put them before `ToTensor`: FFCV never returns from an operation on the CPU
behind it.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from loaders.ffcv import draws
from loaders.ffcv.package import ffcv

_PIPELINE = ffcv("ffcv.pipeline.operation", "loaders.ffcv.operations")
_COMPILER = ffcv("ffcv.pipeline.compiler").Compiler
_ALLOCATION = ffcv("ffcv.pipeline.allocation_query").AllocationQuery
_COPY = ffcv("ffcv.libffcv").ctypes_memcopy
_LARGEST_GRID = 181


class Drawn(_PIPELINE.Operation):  # type: ignore[misc]
    """An operation that draws by (seed, epoch, sample id).

    Compiled code reads the epoch and the ids from memory that this object owns: a constant would be compiled in.

    Attributes:
        epoch: 0..2**32-1; set it before each epoch, or give the operation to `InOrder`, which does.
    """

    def __init__(self, grid: int, *, seed: int, stream: str, sample: Int64[Tensor, " n"] | None) -> None:
        super().__init__()
        name = type(self).__name__
        if not 1 <= grid <= _LARGEST_GRID:
            raise ValueError(f"{name}: grid (={grid}) must be in 1..{_LARGEST_GRID}; cell numbers are int16")
        if not 0 <= seed < 2**64:
            raise ValueError(f"{name}: seed (={seed}) must be in 0..2**64-1; it is the generator's 64-bit key")
        if sample is not None and (sample.dtype != torch.int64 or sample.ndim != 1):
            raise ValueError(
                f"{name}: sample (={sample.dtype} of shape {tuple(sample.shape)}) must be int64 of one axis; "
                "give the ids of the file's samples in their order"
            )
        self._grid = grid
        self._seed = seed - (1 << 64) if seed >> 63 else seed
        self._stream = zlib.crc32(stream.encode())
        self._epoch = np.zeros(1, np.int64)
        self._ids = None if sample is None else np.array(sample.cpu().numpy())

    @property
    def epoch(self) -> int:
        return int(self._epoch[0])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if not 0 <= epoch < 2**32:
            raise ValueError(f"{type(self).__name__}: epoch (={epoch}) must be in 0..2**32-1; count epochs from 0")
        self._epoch[0] = epoch

    @abstractmethod
    def check_size(self, height: int, width: int) -> None:
        """Refuse pictures that the grid does not fit."""

    def declare_state_and_memory(self, previous_state: Any) -> tuple[Any, Any]:
        """FFCV's hook: what the pictures are like before, and what memory the result needs."""
        name = type(self).__name__
        shape = previous_state.shape
        if not previous_state.jit_mode:
            raise ValueError(f"{name}: must stand before ToTensor and other operations of torch; move it up")
        if shape is None or len(shape) != 3 or np.dtype(previous_state.dtype) != np.uint8:
            raise ValueError(
                f"{name}: pictures (={previous_state.dtype} of shape {shape}) must be uint8 of shape (h, w, c); "
                "put it behind the decoder and before operations that change that"
            )
        self.check_size(int(shape[0]), int(shape[1]))
        samples = None if self.metadata is None else len(self.metadata)
        if self._ids is not None and samples is not None and len(self._ids) != samples:
            raise ValueError(
                f"{name}: sample (={len(self._ids)} ids) must have one for each of the file's {samples} samples; "
                "give the ids of this file's split"
            )
        return replace(previous_state, jit_mode=True), _ALLOCATION(tuple(map(int, shape)), np.dtype("<u1"))

    def _reader(self) -> Callable[[int], tuple[int, int]]:
        """Compiled: index in the file to (epoch, sample id)."""
        copy = _COPY
        at_epoch = self._epoch.ctypes.data
        at_ids = 0 if self._ids is None else self._ids.ctypes.data

        def read(index: int) -> tuple[int, int]:
            found = np.empty(2, np.int64)
            copy(at_epoch, found.ctypes.data, 8)
            found[1] = index
            if at_ids != 0:
                copy(at_ids + 8 * int(index), found[1:].ctypes.data, 8)
            return found[0], found[1]

        return _COMPILER.compile(read)  # type: ignore[no-any-return]


class ShuffleTiles(Drawn):
    """The tiles of grid x grid in an order drawn uniformly: `render_views` with the cells of `draw_permutation`.

    Equal to it bit for bit. FFCV has no fractional tiles, so the grid must divide height and width.

    Args:
        grid: Tiles a side.
        seed: 0..2**64-1.
        stream: Name of the stream; by default that of the engine's `Puzzle` of this grid.
        sample: Id of each sample of the file, in its order; None takes the index in the file.

    Raises:
        ValueError: An argument is out of range; in a pipeline, the grid does not divide the pictures, they are not
            uint8, or the operation stands behind `ToTensor`.
    """

    def __init__(
        self, grid: int, *, seed: int, stream: str | None = None, sample: Int64[Tensor, " n"] | None = None
    ) -> None:
        super().__init__(grid, seed=seed, stream=f"Puzzle {grid}" if stream is None else stream, sample=sample)

    def check_size(self, height: int, width: int) -> None:
        if height % self._grid or width % self._grid:
            raise ValueError(
                f"ShuffleTiles: grid (={self._grid}) must divide the pictures' height and width (={height} x {width}); "
                "choose another size or grid, or leave puzzles to render_views"
            )

    def generate_code(self) -> Callable[..., Any]:
        """FFCV's hook: the function that is compiled."""
        each, read, permutation = _COMPILER.get_iterator(), self._reader(), draws.permutation
        grid, seed, stream = self._grid, self._seed, self._stream

        def shuffle(images, shuffled, indices):  # type: ignore[no-untyped-def]
            tile_height, tile_width = images.shape[1] // grid, images.shape[2] // grid
            for place in each(len(indices)):
                epoch, sample = read(indices[place])
                shows = permutation(grid, seed, epoch, sample, stream)
                for cell in range(grid * grid):
                    y, x = cell // grid * tile_height, cell % grid * tile_width
                    from_y, from_x = shows[cell] // grid * tile_height, shows[cell] % grid * tile_width
                    # Loops: numba would make each copy of a slice a parallel loop of its own, which takes long.
                    for row in range(tile_height):
                        for column in range(tile_width):
                            for channel in range(images.shape[3]):
                                shuffled[place, y + row, x + column, channel] = images[
                                    place, from_y + row, from_x + column, channel
                                ]
            return shuffled[: len(indices)]

        shuffle.is_parallel = True  # type: ignore[attr-defined]
        shuffle.with_indices = True  # type: ignore[attr-defined]
        return shuffle


class HideCells(Drawn):
    """1 to 3 blocks of cells in one colour: `render_views` with the cells of `draw_holes`, which get the same shape.

    There hidden pixels are 0 after normalising; here they are the mean colour of the normalisation, rounded, which
    becomes at most half a gray level.

    Args:
        grid: Cells a side; it need not divide the pictures' side.
        seed: 0..2**64-1.
        mean: Three means on the 0..1 scale, those that pictures are normalised with.
        share: Range of the hidden share, in 0..1.
        blocks: Range of the number of blocks, in 1..16.
        aspect: Range of a block's aspect, in 1/16..16.
        stream: Name of the stream; by default that of the engine's `Holes` of this grid.
        sample: Id of each sample of the file, in its order; None takes the index in the file.

    Raises:
        ValueError: An argument is out of range; in a pipeline, pictures have fewer pixels a side than the grid has
            cells, they are not square or not uint8, or the operation stands behind `ToTensor`.
    """

    def __init__(
        self,
        grid: int,
        *,
        seed: int,
        mean: Sequence[float],
        share: tuple[float, float] = (0.15, 0.35),
        blocks: tuple[int, int] = (1, 3),
        aspect: tuple[float, float] = (0.5, 2.0),
        stream: str | None = None,
        sample: Int64[Tensor, " n"] | None = None,
    ) -> None:
        super().__init__(grid, seed=seed, stream=f"Holes {grid}" if stream is None else stream, sample=sample)
        if len(mean) != 3 or not all(0 <= value <= 1 for value in mean):
            raise ValueError(f"HideCells: mean (={mean}) must be three in 0..1; give those of the normalisation")
        for name, span, lowest, highest in (
            ("share", share, 0.0, 1.0),
            ("blocks", blocks, 1, 16),
            ("aspect", aspect, 1 / 16, 16.0),
        ):
            if not lowest <= span[0] <= span[1] <= highest:
                raise ValueError(
                    f"HideCells: {name} (={span}) must be (lowest, highest) in {lowest:g}..{highest:g}; correct it"
                )
        self._share = round(share[0] * 2**20), round(share[1] * 2**20)
        self._blocks = int(blocks[0]), int(blocks[1])
        self._aspect = round(aspect[0] * 2**24), round(aspect[1] * 2**24)
        self._colour = np.array([round(255 * value) for value in mean], np.uint8)

    def check_size(self, height: int, width: int) -> None:
        if height != width or height < self._grid:
            raise ValueError(
                f"HideCells: pictures (={height} x {width}) must be square, of at least {self._grid} pixels a side, "
                "one for each cell; choose a smaller grid"
            )

    def generate_code(self) -> Callable[..., Any]:
        """FFCV's hook: the function that is compiled."""
        each, read, holes = _COMPILER.get_iterator(), self._reader(), draws.holes
        grid, seed, stream = self._grid, self._seed, self._stream
        share, blocks, aspect, colour = self._share, self._blocks, self._aspect, self._colour

        def hide(images, shown, indices):  # type: ignore[no-untyped-def]
            size = images.shape[1]
            for place in each(len(indices)):
                epoch, sample = read(indices[place])
                hidden = holes(grid, share, blocks, aspect, seed, epoch, sample, stream)
                for y in range(size):
                    row = (2 * y + 1) * grid // (2 * size) * grid
                    for x in range(size):
                        if hidden[row + (2 * x + 1) * grid // (2 * size)]:
                            for channel in range(3):
                                shown[place, y, x, channel] = colour[channel]
                        else:
                            for channel in range(3):
                                shown[place, y, x, channel] = images[place, y, x, channel]
            return shown[: len(indices)]

        hide.is_parallel = True  # type: ignore[attr-defined]
        hide.with_indices = True  # type: ignore[attr-defined]
        return hide
