"""Holds the pretext task of DrLoc: how far two places of the feature map are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.tasks.base import Criterion, Features, Look, Pretext, Rows, Shape, Task
from engine.views import PlacePairs, View
from loaders.base import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativePositions(Pretext):
    """Tells from the features of two places how far they are apart (DrLoc, Liu et al., NeurIPS 2021).

    A head of three layers is given the features of both places and guesses |column - column'| / side and |row - row'| /
    side of the feature map. The loss is the mean over pairs and samples of the sum of both absolute errors (section 3).
    It costs next to nothing, and it can be asked of the view that the supervised task looks at. A map of few places
    teaches little: it is made for vision transformers.

    Args:
        on: Views `PlacePairs`, which draw the places.
        width: Units of the two layers between.
    """

    on: tuple[str, ...] = ("plain",)
    width: int = 512
    name: str = "positions"

    def check(self, views: Mapping[str, View]) -> None:
        Task.check(self, views)
        for name in self.on:
            if not isinstance(views[name], PlacePairs):
                raise ValueError(
                    f"{self}: on names {name!r} (={views[name]}), which draws no places; make it PlacePairs(), which "
                    "is Plain() with places"
                )
        if self.width < 1:
            raise ValueError(f"{self}: width (={self.width}) must be 1 or more; e.g. 512")

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return PairHead(shape.channels, self.width)

    def criterion(self, split: Split) -> Criterion:
        return DistanceL1()

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return (Figure("l1", label="L1"),)

    def measure(self, rows: Rows) -> dict[str, float]:
        return {"l1": float(rows["error"].mean())}


class PairHead(nn.Module):
    """Guesses the distances of pairs of places; its output has, beside the guesses, the distances as they are."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * channels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )

    def forward(self, features: Features) -> Float[Tensor, "b m 2 2"]:
        """Gives for each pair (guess, truth) of the distances (along x, along y), as shares of the map's side."""
        assert features.drawn is not None
        assert features.drawn.pairs is not None
        side = features.map.shape[-1]
        place = (features.drawn.pairs * side).long()  # (b, m, 2, (column, row))
        index = place[..., 1] * side + place[..., 0]
        tokens = features.map.flatten(2).transpose(1, 2)  # (b, n, channels)
        picked = tokens.gather(1, index.flatten(1).unsqueeze(2).expand(-1, -1, tokens.shape[2]))
        guess = self.layers(picked.unflatten(1, index.shape[1:]).flatten(2))  # of (b, m, 2 channels)
        truth = (place[:, :, 0] - place[:, :, 1]).abs() / side
        return torch.stack([guess, truth.to(guess.dtype)], dim=2)


class DistanceL1(Criterion):
    """Mean over pairs of the sum of the absolute errors of both distances."""

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        return self.errors(output).mean()

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"error": self.errors(output)}

    def errors(self, output: Float[Tensor, "b m 2 2"]) -> Float32[Tensor, " b"]:
        """Gives the error of each sample."""
        guess, truth = output.float().unbind(dim=2)
        return (guess - truth).abs().sum(dim=2).mean(dim=1)
