"""Views: which pictures of a face the network sees.

A view says which cells of the augmented face stand where; `kernels` draws the tables and renders them. All views of a
sample share one draw of geometry, colour, blur and noise, so they differ by their cells alone; a `fresh` view draws its
own. A view's name in the recipe is the word by which tasks look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float32, Int16, Int64, UInt8
from torch import Tensor

import kernels

EVALUATION = "evaluation"
"""The name under which the un-puzzled, un-masked view that supervised heads are evaluated on is rendered."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What each cell of a view shows; see `kernels.render_views`."""

    shows: Int16[Tensor, "b n"]
    turn: UInt8[Tensor, "b n"] | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """How a view lies on the stored faces, for cells that follow the face."""

    where: Float32[Tensor, "b 2 3"]
    """Pixels of the view to pixels of the stored face; see `kernels.render_views`."""
    size: int
    """Side of the view in pixels."""
    store: tuple[int, int]
    """Height and width of a stored face."""


@runtime_checkable
class View(Protocol):
    """A kind of picture; frozen, so that a recipe can hold it."""

    @property
    def grid(self) -> int:
        """Cells on a side; 1 for a view that is not cut."""
        ...

    @property
    def fresh(self) -> bool:
        """Draw own tables instead of sharing the sample's."""
        ...

    @property
    def size(self) -> tuple[int, ...] | None:
        """Side in pixels: None for the recipe's, else one of these, drawn each step."""
        ...

    def cells(self, sample: Int64[Tensor, " b"], *, seed: int, epoch: int, stream: str, frame: Frame) -> Cells:
        """The cells of each sample, drawn from `stream` of (seed, epoch, sample)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """The augmented face as it is; the supervised view, and a hole's twin."""

    fresh: bool = False
    size: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check_size("Plain", self.size, 1)

    @property
    def grid(self) -> int:
        return 1

    def cells(self, sample: Int64[Tensor, " b"], *, seed: int, epoch: int, stream: str, frame: Frame) -> Cells:
        return Cells(kernels.identity_cells(1, len(sample), sample.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Puzzle:
    """grid x grid tiles in an order drawn uniformly from all (grid * grid)! (paper, puzzling; METHOD: 2 or 3)."""

    grid: int = 3
    fresh: bool = False
    size: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.grid <= 15:
            raise ValueError(f"Puzzle: grid (={self.grid}) must be 2 to 15; the paper uses 2 and 3")
        _check_size("Puzzle", self.size, self.grid)

    def cells(self, sample: Int64[Tensor, " b"], *, seed: int, epoch: int, stream: str, frame: Frame) -> Cells:
        return Cells(kernels.draw_permutation(self.grid, seed=seed, epoch=epoch, sample=sample, stream=stream))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holes:
    """The face with 1 to 3 blocks of cells hidden, to be painted in (how they are drawn is ours).

    Args:
        grid: Cells on a side.
        share: Least and greatest share of the cells that is hidden.
        blocks: Least and greatest number of block centres.
        aspect: Least and greatest width over height of the blocks.
    """

    grid: int = 14
    share: tuple[float, float] = (0.15, 0.35)
    blocks: tuple[int, int] = (1, 3)
    aspect: tuple[float, float] = (0.5, 2.0)
    fresh: bool = False
    size: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.grid <= 64:
            raise ValueError(f"Holes: grid (={self.grid}) must be 2 to 64")
        if not 0 < self.share[0] <= self.share[1] <= 1:
            raise ValueError(f"Holes: share (={self.share}) must be (least, greatest) within 0 to 1; e.g. (0.15, 0.35)")
        if not 1 <= self.blocks[0] <= self.blocks[1] <= 16:
            raise ValueError(f"Holes: blocks (={self.blocks}) must be (least, greatest) within 1 to 16; e.g. (1, 3)")
        if not 1 / 16 <= self.aspect[0] <= self.aspect[1] <= 16:
            raise ValueError(f"Holes: aspect (={self.aspect}) must be (least, greatest) in 1/16 to 16; e.g. (0.5, 2.0)")
        _check_size("Holes", self.size, self.grid)

    def cells(self, sample: Int64[Tensor, " b"], *, seed: int, epoch: int, stream: str, frame: Frame) -> Cells:
        return Cells(
            kernels.draw_holes(
                self.grid,
                share=self.share,
                blocks=self.blocks,
                aspect=self.aspect,
                seed=seed,
                epoch=epoch,
                sample=sample,
                stream=stream,
            )
        )


def _check_size(view: str, size: tuple[int, ...] | None, grid: int) -> None:
    if size is not None and (not size or min(size) < max(grid, 1)):
        raise ValueError(f"{view}: size (={size}) must be None or a tuple of sides of {max(grid, 1)} px or more")


def table_stream(name: str, view: View) -> str:
    """The stream that geometry and colour of a view are drawn from: the sample's, or the view's own where fresh."""
    return name if view.fresh else "shared"


def cell_stream(name: str, view: View) -> str:
    """The stream of a view's cells.

    Views of one kind and grid share it, so that a puzzle shown at several sizes keeps its permutation; a fresh one has
    its own.
    """
    return name if view.fresh else f"{type(view).__name__} {view.grid}"


def size_at(view: View, image_size: int, *, name: str, seed: int, epoch: int, step: int) -> int:
    """Side in pixels of a view at a step: the recipe's, or drawn from its list by (seed, epoch, step)."""
    if view.size is None:
        return image_size
    if len(view.size) == 1:
        return view.size[0]
    bits = kernels.random_bits(seed, epoch=epoch, sample=torch.tensor([step]), stream=f"size of {name}", count=1)
    return view.size[int(bits) % len(view.size)]


def check_views(views: Mapping[str, View], image_size: int) -> None:
    """Refuses views that cannot be rendered at the recipe's size.

    Raises:
        ValueError: No view, a name that is no identifier, something that is no view, or a grid larger than the picture.
    """
    if not views:
        raise ValueError("Recipe: views (={}) must name at least one view; e.g. {'plain': Plain()}")
    for name, view in views.items():
        if not name.isidentifier():
            raise ValueError(f"Recipe: views has {name!r}, a name must be an identifier; e.g. 'plain' or 'puzzle_3'")
        if name == EVALUATION:
            raise ValueError(f"Recipe: views has the name {EVALUATION!r}, which is kept for evaluation; choose another")
        if not isinstance(view, View):
            raise ValueError(f"Recipe: views[{name!r}] (={view!r}) must be a view; Plain(), Puzzle(grid=3) or Holes()")
        if view.size is None and view.grid > image_size:
            raise ValueError(
                f"Recipe: views[{name!r}] has grid (={view.grid}) larger than image_size (={image_size}); "
                "use fewer cells or larger pictures"
            )
