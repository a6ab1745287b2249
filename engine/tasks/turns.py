"""The pretext task of tile rotation: say by how many quarters each tile is turned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from engine.tasks.base import Criterion, Headline, Pretext, Rows, Shape, check_dropout, check_on
from engine.tasks.puzzle import TileCrossEntropy, TileHead, check_one_grid
from engine.views import Puzzle, Turned, View
from loaders.base import Split

QUARTERS = 4


@dataclass(frozen=True, slots=True)
class SolveTurns(Pretext):
    """One softmax a position over 0, 90, 180 and 270 degrees, all on the pooled representation.

    It looks at tiles turned in their places, `Turned(grid=2)`, or at a puzzle of turned tiles, `Puzzle(grid=2,
    turn=True)`, which `SolvePuzzle` may look at too (puzzling + rotation): position i is asked of the tile that stands
    there. The loss of a view is the sum over its positions, so `weight` is a weight per tile, as of a puzzle. Flat
    logits cost ln 4 a tile and guessing is right for a quarter of the tiles.
    """

    on: tuple[str, ...] = ("turned",)
    weight: float = 1.0
    dropout: float = 0.2
    join: Literal["sum", "mean"] = "sum"
    name: str = "turns"

    @property
    def headline(self) -> Headline:
        return Headline("tile_accuracy", greater_is_better=True)

    def check(self, views: Mapping[str, View]) -> None:
        check_on(self, views)
        check_dropout(self, self.dropout)
        for name in self.on:
            view = views[name]
            if not (isinstance(view, Turned) or (isinstance(view, Puzzle) and view.turn)):
                raise ValueError(
                    f"SolveTurns {self.name!r}: on names {name!r} (={view}), which turns nothing; "
                    "give the recipe a view Turned(grid=2) or Puzzle(grid=2, turn=True) and name that"
                )
        check_one_grid(self, views)

    def head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return TileHead(shape.width, views[self.on[0]].grid ** 2, QUARTERS, self.dropout)

    def criterion(self, split: Split) -> Criterion:
        return TileCrossEntropy("turn")

    def measure(self, rows: Rows) -> dict[str, float]:
        right = rows["guess"] == rows["turn"]
        return {"tile_accuracy": float(right.mean()), "all_tiles_accuracy": float(right.all(axis=1).mean())}
