"""Holds the pretext task of tile rotation: say by how many quarters each tile is turned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.figures import Figure
from engine.tasks.base import Criterion, Rows
from engine.tasks.puzzle import TileCrossEntropy, TileTask
from engine.views import Puzzle, Turned, View
from loaders.base import Split

QUARTERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveTurns(TileTask):
    """One softmax a position over 0, 90, 180 and 270 degrees, all on the pooled representation or on the map.

    It looks at tiles turned in their places, `Turned(grid=2)`, or at a puzzle of turned tiles, `Puzzle(grid=2,
    turn=True)`, which `SolvePuzzle` may look at too (puzzling + rotation): position i is asked of the tile that stands
    there. By default the loss of a view is the sum over its positions, so `weight` is a weight per tile, as of a
    puzzle. Flat logits cost ln 4 a tile and guessing is right for a quarter of the tiles.
    """

    on: tuple[str, ...] = ("turned",)
    name: str = "turns"

    def check_view(self, name: str, view: View) -> None:
        if not (isinstance(view, Turned) or (isinstance(view, Puzzle) and view.turn)):
            raise ValueError(
                f"{self}: on names {name!r} (={view}), which turns nothing; "
                "give the recipe a view Turned(grid=2) or Puzzle(grid=2, turn=True) and name that"
            )

    def classes(self, views: Mapping[str, View]) -> int:
        return QUARTERS

    def criterion(self, split: Split) -> Criterion:
        return TileCrossEntropy("turn", self.join_tiles)

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return (
            Figure("tile_accuracy", greater_is_better=True, unit="%", chance=1 / QUARTERS),
            Figure("all_tiles_accuracy", greater_is_better=True, unit="%", chance=QUARTERS ** -self.tiles(views)),
        )

    def measure(self, rows: Rows) -> dict[str, float]:
        right = rows["guess"] == rows["turn"]
        return {"tile_accuracy": float(right.mean()), "all_tiles_accuracy": float(right.all(axis=1).mean())}
