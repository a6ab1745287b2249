"""Views: which pictures of a face the network sees.

A view says which cells of the augmented face stand where; `kernels` draws the tables and renders them. All views of a
sample share one draw of geometry, colour, blur and noise, so they differ by their cells alone; a `fresh` view draws its
own. A view's name in the recipe is the word by which tasks look at it. A view may be of a part of a batch alone, and
may cut a share of its samples and show the others whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

import torch
from jaxtyping import Bool, Float32, Int16, UInt8
from torch import Tensor

import kernels
from kernels import Augment, Key
from loaders.base import Part

LARGER_SIZES = (120, 128)
"""Sides of a puzzle above 112 px, drawn each step: multiples of 8 in 113..128 (authors: any integer there)."""
SMALLER_SIZES = (64, 72, 80, 88, 96, 104)
"""Sides of a puzzle below 112 px, drawn each step: multiples of 8 in 64..111 (authors: any integer there)."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of a stored face's width and height."""

FER2013_PARTS: tuple[Box, ...] = ((0.13, 0.25, 0.87, 0.47), (0.32, 0.40, 0.68, 0.68), (0.24, 0.66, 0.76, 0.94))
"""Eyes, nose and mouth as they lie in FER2013, read off the mean face."""
FAIRFACE_PARTS: tuple[Box, ...] = ((0.15, 0.18, 0.83, 0.40), (0.32, 0.33, 0.68, 0.60), (0.25, 0.58, 0.75, 0.86))
"""Eyes, nose and mouth as they lie in FairFace (margin 0.25, as prepared here), read off the mean face."""

EVALUATION = "evaluation"
"""The name under which the un-puzzled, un-masked view that supervised heads are evaluated on is rendered."""


Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")


def once(make: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Keeps the tensors that a function made, and gives them again for equal arguments; nobody writes to them."""
    # What is made in inference mode could not be saved for a backward pass later.
    return cast(Callable[Arguments, Made], lru_cache(maxsize=16)(torch.inference_mode(False)(make)))


identity_cells = once(kernels.identity_cells)


@dataclass(frozen=True, slots=True)
class Cells:
    """What each cell of a view shows; see `kernels.render_views`."""

    shows: Int16[Tensor, "b n"]
    turn: UInt8[Tensor, "b n"] | None = None
    cut: Bool[Tensor, " b"] | None = None
    """Which samples are cut, where a view shows some of them whole; None: all of a view that cuts."""
    visible: Int64[Tensor, "b k"] | None = None
    """The cells that the encoder is given, in order, where it is given some of them alone; None: the whole picture."""
    pairs: Float32[Tensor, "b m 2 2"] | None = None
    """Pairs of places, each (x, y) as shares of the view's width and height in [0, 1), whose distances are asked."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How a view lies on the stored faces, for cells that follow the face."""

    where: Float32[Tensor, "b 2 3"]
    """Pixels of the view to pixels of the stored face; see `kernels.render_views`."""
    size: int
    """Side of the view in pixels."""
    store: tuple[int, int]
    """Height and width of a stored face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View(ABC):
    """A kind of picture; a subclass is a frozen dataclass, so that a recipe can hold it.

    Args:
        fresh: Draw own tables instead of sharing the sample's.
        size: Side in pixels: None for the recipe's, else one of these, drawn each step.
        of: The part of a composed batch that is shown (see `loaders.Composed`); evaluation shows all samples.
        augment: Ranges of its own, e.g. a strong view beside a weak one; None takes the recipe's. Views of equal ranges
            share the sample's draw unless they are fresh. Evaluation is not augmented.
    """

    fresh: bool = False
    size: tuple[int, ...] | None = None
    of: Part = "all"
    augment: Augment | None = None

    def __post_init__(self) -> None:
        """Refuses sides that are smaller than the grid; a subclass that checks fields of its own calls this too."""
        if self.size is not None and (not self.size or min(self.size) < self.grid):
            raise ValueError(
                f"{type(self).__name__}: size (={self.size}) must be None or a tuple of sides of {self.grid} px or more"
            )

    @property
    def grid(self) -> int:
        """Cells on a side; 1 for a view that is not cut. A subclass may have a field of this name."""
        return 1

    @property
    def visible(self) -> int | None:
        """How many of its cells the encoder is given, which are then patches of a transformer; None: the picture."""
        return None

    @abstractmethod
    def cells(self, key: Key, frame: Frame) -> Cells:
        """Draws the cells of each sample; `frame` says how the view lies on the stored faces."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain(View):
    """The augmented face as it is; the supervised view, and a hole's twin."""

    def cells(self, key: Key, frame: Frame) -> Cells:
        return Cells(identity_cells(1, len(key.sample), key.sample.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacePairs(Plain):
    """The augmented face as it is, with pairs of places on it whose distances a task may ask (DrLoc).

    Args:
        pairs: Pairs a sample; both places of each are drawn uniformly.
    """

    pairs: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= 4096:
            raise ValueError(f"PlacePairs: pairs (={self.pairs}) must be 1 to 4096; e.g. 64")
        Plain.__post_init__(self)

    def cells(self, key: Key, frame: Frame) -> Cells:
        pairs = kernels.uniform(key, 4 * self.pairs).unflatten(1, (self.pairs, 2, 2))  # (b, pair, place, (x, y))
        return Cells(identity_cells(1, len(key.sample), key.sample.device), pairs=pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked(View):
    """The face of whose patches a share is left out before the encoder (masked autoencoders, He et al., CVPR 2022).

    For timm's vision transformers, whose patches are the cells; a forward pass then costs what is left. Which patches
    are left out is drawn uniformly, of all samples as many.

    Args:
        grid: Patches on a side: image_size divided by the patch size of the backbone.
        share: Share of the patches that is left out (MAE: 0.75).
    """

    grid: int = 8
    share: float = 0.75

    def __post_init__(self) -> None:
        if not 2 <= self.grid <= 64:
            raise ValueError(f"Masked: grid (={self.grid}) must be 2 to 64, the patches on a side")
        if not 0 < self.visible < self.grid**2:
            raise ValueError(
                f"Masked: share (={self.share}) must leave out one of the {self.grid**2} patches or more, and not all; "
                "e.g. 0.75"
            )
        View.__post_init__(self)

    @property
    def visible(self) -> int:
        return self.grid**2 - round(self.share * self.grid**2)

    def cells(self, key: Key, frame: Frame) -> Cells:
        order = kernels.random_bits(key, self.grid**2).argsort(dim=1, stable=True)
        visible, hidden = order[:, : self.visible].sort(dim=1).values, order[:, self.visible :]
        shows = identity_cells(self.grid, len(key.sample), key.sample.device)
        return Cells(shows.scatter(1, hidden, -1), visible=visible)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutView(View):
    """A view whose cells are shuffled, turned or hidden: of all samples, or of a share of them.

    Args:
        samples: Share of the samples that is cut, each drawn on its own; the others are shown whole, and pretext losses
            leave them out (JiGen, Carlucci et al., CVPR 2019: 0.1 to 0.3). In evaluation all are cut.
    """

    samples: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.samples <= 1:
            raise ValueError(
                f"{type(self).__name__}: samples (={self.samples}) must be above 0 and at most 1; 0.3 cuts three in ten"
            )
        View.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Puzzle(CutView):
    """grid x grid tiles in an order drawn uniformly from all (grid * grid)! (paper, puzzling: grid 2 and 3).

    Args:
        grid: Tiles on a side.
        turn: Whether each tile is also turned by 0 to 3 quarters, each equally likely and independent of its place
            (puzzling + rotation; how turns are drawn beside the order is ours).
    """

    grid: int = 3
    turn: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.grid <= 15:
            raise ValueError(f"Puzzle: grid (={self.grid}) must be 2 to 15; the paper uses 2 and 3")
        CutView.__post_init__(self)

    def cells(self, key: Key, frame: Frame) -> Cells:
        return Cells(
            kernels.draw_permutation(self.grid, key), kernels.draw_turns(self.grid, key) if self.turn else None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned(CutView):
    """grid x grid tiles in their places, each turned by 0 to 3 quarters, equally likely (tile rotation).

    With grid 1 the whole face is turned.
    """

    grid: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.grid <= 15:
            raise ValueError(f"Turned: grid (={self.grid}) must be 1 to 15; 1 turns the whole face")
        CutView.__post_init__(self)

    def cells(self, key: Key, frame: Frame) -> Cells:
        return Cells(identity_cells(self.grid, len(key.sample), key.sample.device), kernels.draw_turns(self.grid, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holes(CutView):
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

    def __post_init__(self) -> None:
        if not 2 <= self.grid <= 64:
            raise ValueError(f"Holes: grid (={self.grid}) must be 2 to 64")
        if not 0 < self.share[0] <= self.share[1] <= 1:
            raise ValueError(f"Holes: share (={self.share}) must be (least, greatest) within 0 to 1; e.g. (0.15, 0.35)")
        if not 1 <= self.blocks[0] <= self.blocks[1] <= 16:
            raise ValueError(f"Holes: blocks (={self.blocks}) must be (least, greatest) within 1 to 16; e.g. (1, 3)")
        if not 1 / 16 <= self.aspect[0] <= self.aspect[1] <= 16:
            raise ValueError(f"Holes: aspect (={self.aspect}) must be (least, greatest) in 1/16 to 16; e.g. (0.5, 2.0)")
        CutView.__post_init__(self)

    def cells(self, key: Key, frame: Frame) -> Cells:
        return Cells(kernels.draw_holes(self.grid, key, share=self.share, blocks=self.blocks, aspect=self.aspect))


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenParts(CutView):
    """The face with some of its parts hidden, to be painted in (how they are drawn is ours).

    Which of the parts are hidden is drawn uniformly from all choices but none. Hidden are the cells whose centre lies
    in a hidden part of the stored face, so that holes follow flip, crop and rotation; a part that the crop leaves out
    of the view hides nothing.

    Args:
        grid: Cells on a side.
        parts: Boxes on the stored face, of faces that all lie alike in theirs: see `FER2013_PARTS`, `FAIRFACE_PARTS`.
    """

    grid: int = 14
    parts: tuple[Box, ...] = FER2013_PARTS

    def __post_init__(self) -> None:
        if not 2 <= self.grid <= 64:
            raise ValueError(f"HiddenParts: grid (={self.grid}) must be 2 to 64")
        if not 1 <= len(self.parts) <= 16:
            raise ValueError(f"HiddenParts: parts (={self.parts}) must be 1 to 16 boxes; e.g. FER2013_PARTS")
        for box in self.parts:
            if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise ValueError(
                    f"HiddenParts: parts has {box}, a box must be (left, top, right, bottom) as shares of the face, "
                    "left < right and top < bottom within 0 to 1; e.g. (0.3, 0.4, 0.7, 0.7)"
                )
        CutView.__post_init__(self)

    def cells(self, key: Key, frame: Frame) -> Cells:
        return Cells(
            kernels.draw_hidden_parts(
                self.grid, key, where=frame.where, store=frame.store, size=frame.size, parts=self.parts
            )
        )


def table_stream(name: str, view: View) -> str:
    """The stream that geometry and colour of a view are drawn from: the sample's, or the view's own where fresh."""
    return name if view.fresh else "shared"


def cell_stream(name: str, view: View) -> str:
    """The stream of a view's cells.

    Views of one kind and grid share it, so that a puzzle shown at several sizes keeps its permutation; a fresh one has
    its own.
    """
    return name if view.fresh else f"{type(view).__name__} {view.grid}"


def draw_cells(name: str, view: View, key: Key, frame: Frame) -> Cells:
    """Draws what the cells of a view show: of its share of the samples as the view cuts them, of the others the whole.

    Which samples are cut is drawn from a stream of its own, so that a share changes nothing else.
    """
    stream = cell_stream(name, view)
    cells = view.cells(key.stream(stream), frame)
    if not isinstance(view, CutView) or view.samples == 1:
        return cells
    cut = kernels.random_bits(key.stream(f"samples of {stream}"), 1) < round(view.samples * 2**32)  # (b, 1)
    whole = identity_cells(view.grid, len(cut), cut.device)
    turn = None if cells.turn is None else cells.turn * cut
    return Cells(torch.where(cut, cells.shows, whole), turn, cut[:, 0])


def size_at(view: View, image_size: int, *, name: str, seed: int, epoch: int, step: int) -> int:
    """Gives the side in pixels of a view at a step: the recipe's, or drawn from its list by (seed, epoch, step)."""
    if view.size is None:
        return image_size
    if len(view.size) == 1:
        return view.size[0]
    place, inside = divmod(step, _DRAWN_AHEAD)
    return view.size[_sizes_drawn(name, seed, epoch, place * _DRAWN_AHEAD)[inside] % len(view.size)]


_DRAWN_AHEAD = 512  # one step's size alone takes some 150 operations on the host


@lru_cache(maxsize=16)
def _sizes_drawn(name: str, seed: int, epoch: int, first: int) -> list[int]:
    steps = torch.arange(first, first + _DRAWN_AHEAD)
    drawn: list[int] = kernels.random_bits(Key(seed, epoch, steps).stream(f"size of {name}"), 1).flatten().tolist()
    return drawn
