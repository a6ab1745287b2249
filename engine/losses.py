"""How losses are joined: over the views a head sees, and over the tasks of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float32
from torch import Tensor, nn

Join = Literal["sum", "mean", "geometric", "focused"]

TaskWeights = Mapping[str, float]
"""Task name to its weight in the total."""


def geometric_mean(losses: Sequence[Float32[Tensor, ""]]) -> Float32[Tensor, ""]:
    """exp(mean(log(max(loss, 1e-6)))) in fp32, of batch means (authors' code)."""
    return torch.stack([loss.float() for loss in losses]).clamp(min=1e-6).log().mean().exp()


def join_views(losses: Sequence[Float32[Tensor, ""]], join: Join) -> Float32[Tensor, ""]:
    """One loss of a head from its losses on the views it looks at.

    `focused` is the geometric mean times its own square root (authors' code).
    """
    if join == "sum":
        return torch.stack([loss.float() for loss in losses]).sum()
    if join == "mean":
        return torch.stack([loss.float() for loss in losses]).mean()
    assert join in ("geometric", "focused")
    mean = geometric_mean(losses)
    return mean * mean.sqrt() if join == "focused" else mean


class TotalLoss(nn.Module):
    """From the losses of all tasks to the one that is minimised."""

    def __init__(self, weights: TaskWeights, supervised: frozenset[str]) -> None:
        super().__init__()
        self.weights = dict(weights)
        self.supervised = supervised

    def forward(self, losses: Mapping[str, Float32[Tensor, ""]]) -> Float32[Tensor, ""]:
        raise NotImplementedError


@runtime_checkable
class Total(Protocol):
    """How a recipe joins the losses of its tasks."""

    def build(self, weights: TaskWeights, supervised: frozenset[str]) -> TotalLoss: ...


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """L = sum over tasks of weight * L_task (the default)."""

    def build(self, weights: TaskWeights, supervised: frozenset[str]) -> TotalLoss:
        return _WeightedSum(weights, supervised)


@dataclass(frozen=True, slots=True)
class Geometric:
    """L = geometric mean of the supervised tasks' losses + sum over pretext tasks of weight * L.

    With one supervised task that joins its views by `geometric`, this is the authors' multi-view total; the mean over
    several supervised tasks is ours.
    """

    def build(self, weights: TaskWeights, supervised: frozenset[str]) -> TotalLoss:
        return _Geometric(weights, supervised)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """L = sum over tasks of exp(-s) * weight * L_task + s / 2 with one learned s a task, 0 at the start.

    Kendall, Gal, Cipolla: Multi-task learning using uncertainty to weigh losses, CVPR 2018, with s = log(sigma^2).
    """

    def build(self, weights: TaskWeights, supervised: frozenset[str]) -> TotalLoss:
        return _Uncertainty(weights, supervised)


class _WeightedSum(TotalLoss):
    def forward(self, losses: Mapping[str, Float32[Tensor, ""]]) -> Float32[Tensor, ""]:
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()


class _Geometric(TotalLoss):
    def forward(self, losses: Mapping[str, Float32[Tensor, ""]]) -> Float32[Tensor, ""]:
        supervised = [self.weights[name] * loss for name, loss in losses.items() if name in self.supervised]
        pretext = [self.weights[name] * loss for name, loss in losses.items() if name not in self.supervised]
        parts = ([geometric_mean(supervised)] if supervised else []) + pretext
        return torch.stack(parts).sum()


class _Uncertainty(TotalLoss):
    def __init__(self, weights: TaskWeights, supervised: frozenset[str]) -> None:
        super().__init__(weights, supervised)
        self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in weights})

    def forward(self, losses: Mapping[str, Float32[Tensor, ""]]) -> Float32[Tensor, ""]:
        return torch.stack(
            [
                torch.exp(-self.log_variance[name]) * self.weights[name] * loss + self.log_variance[name] / 2
                for name, loss in losses.items()
            ]
        ).sum()
