"""Holds the pretext task of puzzling: say which tile stands where."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.tasks.base import Criterion, Features, Look, Pretext, Rows, Shape, Task, check_dropout, mean_of_cut
from engine.views import Puzzle, View
from loaders.base import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class TileTask(Pretext):
    """A task that asks one question of each tile; a subclass says which, and on which views.

    Args:
        dropout: Share that is dropped of what the tiles' softmax heads read.
        head: "pooled": a linear layer on the pooled representation; "map": a branch of the last feature map, `MapHead`.
        join_tiles: How the cross-entropies of a view's tiles are joined: "sum", with which `weight` is a weight a tile,
            or "mean" (authors' second repository).
    """

    dropout: float = 0.2
    head: Literal["pooled", "map"] = "pooled"
    join_tiles: Literal["sum", "mean"] = "sum"

    def check(self, views: Mapping[str, View]) -> None:
        Task.check(self, views)
        check_dropout(self, self.dropout)
        for name in self.on:
            self.check_view(name, views[name])
        if len({views[name].grid for name in self.on}) > 1:  # it has one head, which has one answer a tile
            kind = type(self).__name__
            raise ValueError(
                f"{self}: on (={self.on}) names views of different grids; "
                f"use one {kind}, with a name of its own, for each grid"
            )

    @abstractmethod
    def check_view(self, name: str, view: View) -> None:
        """Refuses, with a ValueError, a view whose tiles it cannot be asked of."""
        ...

    @abstractmethod
    def classes(self, views: Mapping[str, View]) -> int:
        """Counts the answers there are to the question asked of a tile."""
        ...

    def tiles(self, views: Mapping[str, View]) -> int:
        """Tiles of its views."""
        return views[self.on[0]].grid ** 2

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        tiles, classes = self.tiles(views), self.classes(views)
        if self.head == "map":
            return MapHead(shape.channels, tiles, classes, self.dropout)
        return TileHead(shape.width, tiles, classes, self.dropout)


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvePuzzle(TileTask):
    """One softmax a position over the source tiles, all on the pooled representation (authors' code) or on the map.

    By default the loss of a view is the *sum* over its grid * grid positions of the cross-entropies, so `weight` is
    the authors' weight per tile: 1.0 with a single view, 0.3 with several. Flat logits cost ln(grid * grid) a tile.
    Guessing any one order of n tiles is right for 1 in n of them on average, and for all of them in 1 of n! puzzles.
    """

    on: tuple[str, ...] = ("puzzle",)
    name: str = "puzzle"

    def check_view(self, name: str, view: View) -> None:
        if not isinstance(view, Puzzle):
            raise ValueError(
                f"{self}: on names {name!r} (={view}), which is no puzzle; "
                f"give the recipe a view Puzzle(grid=3) and name that"
            )

    def classes(self, views: Mapping[str, View]) -> int:
        return self.tiles(views)

    def criterion(self, split: Split) -> Criterion:
        return TileCrossEntropy("shows", self.join_tiles)

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        tiles = self.tiles(views)
        return (
            Figure("tile_accuracy", greater_is_better=True, unit="%", chance=1 / tiles),
            Figure("puzzle_accuracy", greater_is_better=True, unit="%", chance=1 / math.factorial(tiles)),
        )

    def measure(self, rows: Rows) -> dict[str, float]:
        right = rows["guess"] == rows["shows"]
        return {
            "tile_accuracy": float(right.mean()),
            "puzzle_accuracy": float(right.all(axis=1).mean()),
        }


class TileHead(nn.Module):
    """Dropout and one softmax head a tile, all in one linear layer."""

    def __init__(self, width: int, tiles: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.tiles, self.classes = tiles, classes
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, tiles * classes)

    def forward(self, features: Features) -> Float[Tensor, "b n k"]:
        logits: Tensor = self.linear(self.dropout(features.pooled))
        return logits.view(-1, self.tiles, self.classes)  # (b, position, class)


class MapHead(nn.Module):
    """A branch of the last feature map, and a small softmax head a tile on its mean (authors' second repository).

    The branch is a 1 x 1 convolution to 128 channels and two of 3 x 3 to 256, each with batch normalisation and ReLU. A
    head is a layer of 16 units with ReLU and a linear one. The 3 x 3 convolutions are padded, so that a map of any side
    will do (ours: the authors' shrink a map of 7 x 7 to 3 x 3). Each view is normalised by its own batch statistics.
    """

    def __init__(self, channels: int, tiles: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.tiles, self.classes = tiles, classes
        self.branch = nn.Sequential(
            *_convolution(channels, 128, 1), *_convolution(128, 256, 3), *_convolution(256, 256, 3)
        )
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(256, tiles * 16)
        self.linear = nn.Conv1d(tiles * 16, tiles * classes, 1, groups=tiles)  # one linear layer a tile

    def forward(self, features: Features) -> Float[Tensor, "b n k"]:
        pooled = self.dropout(self.branch(features.map).mean(dim=(2, 3)))
        logits: Tensor = self.linear(F.relu(self.hidden(pooled)).unsqueeze(2))  # (b, position * class, 1)
        return logits.view(-1, self.tiles, self.classes)


def _convolution(channels: int, width: int, side: int) -> tuple[nn.Module, ...]:
    """A convolution that keeps the size of the map, batch normalisation, ReLU."""
    return nn.Conv2d(channels, width, side, padding=side // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()


class TileCrossEntropy(Criterion):
    """Sum, or mean, over the positions of the mean cross-entropy of the cut samples.

    Args:
        asked: What is asked of the cells.
        join: How the positions are joined.
    """

    def __init__(self, asked: Literal["shows", "turn"], join: Literal["sum", "mean"]) -> None:
        super().__init__()
        self.asked = asked
        self.join = join

    def answer(self, look: Look) -> Tensor:
        """The right class of each position, "b n"."""
        answer = look.cells.shows if self.asked == "shows" else look.cells.turn
        assert answer is not None
        return answer

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        logits, answer = output.float().flatten(0, 1), self.answer(look).long().flatten()
        if look.cut is None:
            mean = F.cross_entropy(logits, answer)
        else:
            each = F.cross_entropy(logits, answer, reduction="none").view(output.shape[:2])  # (b, position)
            mean = mean_of_cut(each.mean(dim=1), look)
        return mean * output.shape[1] if self.join == "sum" else mean

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"guess": output.argmax(dim=2), self.asked: self.answer(look)}
