"""Holds Barlow Twins: two views of a face give numbers that agree, and that tell different things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.losses import Join
from engine.tasks.base import Criterion, Features, Look, Shape
from engine.tasks.pairs import PairCriterion, PairTask, without_autocast
from engine.views import View
from loaders.base import Split

_EPSILON = 1e-5  # of a variance, as batch normalisation has it


@dataclass(frozen=True, slots=True, kw_only=True)
class BarlowTwins(PairTask):
    """Makes the cross-correlation of two views' projections the identity (Zbontar et al., ICML 2021, equation 1).

    Each of the `width` numbers of a projection is brought to mean 0 and variance 1 over the batch, of each view by its
    own; C is the mean over faces of the products of those of the first view with those of the second. The loss is

        (sum over i of (1 - C_ii)^2 + redundancy * sum over i != j of C_ij^2) / width

    The division is ours, so that a weight means the same at any width. Where all faces are alike, C is 0 and the loss
    is 1. It compares no face with another, so that small batches serve (section 4). With `accumulate` each batch of a
    step is normalised and correlated by itself. The projector has the paper's three layers, but narrower and without
    batch normalisation between them (ours), so that it has no running statistics.

    Args:
        width: Units of each layer of the projector (paper: 8192 on ImageNet; ours: 512).
        redundancy: Weight of the terms that make the numbers independent (paper: 0.005).
    """

    width: int = 512
    redundancy: float = 0.005
    name: str = "barlow_twins"

    def check(self, views: Mapping[str, View]) -> None:
        PairTask.check(self, views)
        if self.redundancy < 0:
            raise ValueError(f"{self}: redundancy (={self.redundancy}) must be 0 or more; e.g. 0.005")

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return Projector(shape.width, self.width)

    def criterion(self, split: Split) -> Criterion:
        return CrossCorrelation(self.redundancy)


class Projector(nn.Module):
    """Three linear layers of one width, with ReLU between them."""

    def __init__(self, representation: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(representation, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def forward(self, features: Features) -> Float[Tensor, "b d"]:
        projection: Tensor = self.layers(features.pooled)
        return projection


class CrossCorrelation(PairCriterion):
    """Distance of the cross-correlation of two views from the identity; see `BarlowTwins`."""

    def __init__(self, redundancy: float) -> None:
        super().__init__()
        self.redundancy = redundancy

    def over_views(self, outputs: Sequence[Tensor], looks: Sequence[Look], join: Join) -> Float32[Tensor, ""]:
        first, second = (_standardised(output.float()) for output in outputs)
        with without_autocast(first.device.type):  # which would round the correlations
            correlation = first.T @ second / len(first)  # (width, width)
        on = correlation.diagonal()
        off = correlation.square().sum() - on.square().sum()
        return ((1 - on).square().sum() + self.redundancy * off) / len(on)


def _standardised(projection: Float32[Tensor, "b d"]) -> Float32[Tensor, "b d"]:
    """Brings each number to mean 0 and variance 1 over the batch; one that does not vary to 0."""
    centred = projection - projection.mean(dim=0)
    return centred * torch.rsqrt(centred.square().mean(dim=0) + _EPSILON)
