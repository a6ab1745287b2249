"""The pretext task of puzzling: say which tile stands where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.tasks.base import (
    Criterion,
    Features,
    Headline,
    Look,
    Pretext,
    Rows,
    Shape,
    Task,
    check_dropout,
    check_on,
)
from engine.views import Puzzle, View
from loaders.base import Split


@dataclass(frozen=True, slots=True)
class SolvePuzzle(Pretext):
    """One softmax a position over the source tiles, all on the pooled representation (authors' code).

    The loss of a view is the *sum* over its grid * grid positions of the cross-entropies, so `weight` is the authors'
    weight per tile: 1.0 with a single view, 0.3 with several. Flat logits cost ln(grid * grid) a tile.
    """

    on: tuple[str, ...] = ("puzzle",)
    weight: float = 1.0
    dropout: float = 0.2
    join: Literal["sum", "mean"] = "sum"
    name: str = "puzzle"

    @property
    def headline(self) -> Headline:
        return Headline("tile_accuracy", greater_is_better=True)

    def check(self, views: Mapping[str, View]) -> None:
        check_on(self, views)
        check_dropout(self, self.dropout)
        for name in self.on:
            if not isinstance(views[name], Puzzle):
                raise ValueError(
                    f"SolvePuzzle {self.name!r}: on names {name!r} (={views[name]}), which is no puzzle; "
                    f"give the recipe a view Puzzle(grid=3) and name that"
                )
        check_one_grid(self, views)

    def head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        cells = views[self.on[0]].grid ** 2
        return TileHead(shape.width, cells, cells, self.dropout)

    def criterion(self, split: Split) -> Criterion:
        return TileCrossEntropy("shows")

    def measure(self, rows: Rows) -> dict[str, float]:
        right = rows["guess"] == rows["shows"]
        return {
            "tile_accuracy": float(right.mean()),
            "puzzle_accuracy": float(right.all(axis=1).mean()),
        }


def check_one_grid(task: Task, views: Mapping[str, View]) -> None:
    """Refuses views of different grids: a task has one head, which has one answer a tile."""
    if len({views[name].grid for name in task.on}) > 1:
        kind = type(task).__name__
        raise ValueError(
            f"{kind} {task.name!r}: on (={task.on}) names views of different grids; "
            f"use one {kind}, with a name of its own, for each grid"
        )


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
    """Sum over the positions of the batch mean of the cross-entropy; `asked` is what is asked of the cells."""

    def __init__(self, asked: Literal["shows", "turn"]) -> None:
        super().__init__()
        self.asked = asked

    def answer(self, look: Look) -> Tensor:
        """The right class of each position, "b n"."""
        answer = look.cells.shows if self.asked == "shows" else look.cells.turn
        assert answer is not None
        return answer

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        each = F.cross_entropy(output.float().flatten(0, 1), self.answer(look).long().flatten())
        return each * output.shape[1]

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"guess": output.argmax(dim=2), self.asked: self.answer(look)}
