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
        dropout: Share of the representation that is dropped.
    """

    dropout: float = 0.2

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

    def tiles(self, views: Mapping[str, View]) -> int:
        """Tiles of its views."""
        return views[self.on[0]].grid ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvePuzzle(TileTask):
    """One softmax a position over the source tiles, all on the pooled representation (authors' code).

    The loss of a view is the *sum* over its grid * grid positions of the cross-entropies, so `weight` is the authors'
    weight per tile: 1.0 with a single view, 0.3 with several. Flat logits cost ln(grid * grid) a tile. Guessing any one
    order of n tiles is right for 1 in n of them on average, and for all of them in 1 of n! puzzles.
    """

    on: tuple[str, ...] = ("puzzle",)
    name: str = "puzzle"

    def check_view(self, name: str, view: View) -> None:
        if not isinstance(view, Puzzle):
            raise ValueError(
                f"{self}: on names {name!r} (={view}), which is no puzzle; "
                f"give the recipe a view Puzzle(grid=3) and name that"
            )

    def head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return TileHead(shape.width, self.tiles(views), self.tiles(views), self.dropout)

    def criterion(self, split: Split) -> Criterion:
        return TileCrossEntropy("shows")

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


class TileCrossEntropy(Criterion):
    """Sum over the positions of the mean cross-entropy of the cut samples; `asked` is what is asked of the cells."""

    def __init__(self, asked: Literal["shows", "turn"]) -> None:
        super().__init__()
        self.asked = asked

    def answer(self, look: Look) -> Tensor:
        """The right class of each position, "b n"."""
        answer = look.cells.shows if self.asked == "shows" else look.cells.turn
        assert answer is not None
        return answer

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        logits, answer = output.float().flatten(0, 1), self.answer(look).long().flatten()
        if look.cut is None:
            return F.cross_entropy(logits, answer) * output.shape[1]
        each = F.cross_entropy(logits, answer, reduction="none").view(output.shape[:2])  # (b, position)
        return mean_of_cut(each.sum(dim=1), look)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"guess": output.argmax(dim=2), self.asked: self.answer(look)}
