"""Joins losses: over the views a head sees, and over the tasks of a recipe, each by its weight at that step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float32
from torch import Tensor, nn

Join = Literal["sum", "mean", "geometric", "focused"]

TaskWeights = Mapping[str, float]
"""Task name to its weight in the total, at one step."""


@runtime_checkable
class Weight(Protocol):
    """Says what a task weighs over a run; one of your own is a frozen dataclass with this method."""

    def at(self, share: float) -> float:
        """Gives the weight, 0 or more, where this share of the training is done, 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class ConstantWeight:
    """Weighs the same at every step, as a plain number does.

    Raises:
        ValueError: `value` is below 0 or not finite.
    """

    value: float

    def __post_init__(self) -> None:
        _check_weight(self, "value")

    def at(self, share: float) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class RampWeight:
    """Weighs 0 until the share `start` of the training, then rises linearly to `value` at the share `end`, and stays.

    With `start` equal to `end` it jumps.

    Args:
        value: The weight from `end` on.
        start: Share of the training, 0 to `end`, up to which the task is off.
        end: Share of the training, up to 1, from which the weight is `value`.

    Raises:
        ValueError: A field is out of its range.
    """

    value: float
    start: float = field(default=0.0, kw_only=True)
    end: float = field(kw_only=True)

    def __post_init__(self) -> None:
        _check_weight(self, "value")
        _check_shares(self, "start", "end")

    def at(self, share: float) -> float:
        if share >= self.end:
            return self.value
        if share <= self.start:
            return 0.0
        return self.value * (share - self.start) / (self.end - self.start)


@dataclass(frozen=True, slots=True)
class AnnealWeight:
    """Weighs `start` until the share `hold` of the training, then falls linearly to 0 at the share `end`, and stays 0.

    With `hold` equal to `end` it jumps.

    Args:
        start: The weight up to `hold`.
        hold: Share of the training, 0 to `end`, up to which the weight is `start`.
        end: Share of the training, up to 1, from which the task is off.

    Raises:
        ValueError: A field is out of its range.
    """

    start: float
    hold: float
    end: float

    def __post_init__(self) -> None:
        _check_weight(self, "start")
        _check_shares(self, "hold", "end")

    def at(self, share: float) -> float:
        if share >= self.end:
            return 0.0
        if share <= self.hold:
            return self.start
        return self.start * (self.end - share) / (self.end - self.hold)


def weight_at(weight: float | Weight, share: float) -> float:
    """Gives what a task weighs where this share of the training is done, 0 to 1."""
    return weight if isinstance(weight, int | float) else weight.at(share)


def _check_weight(weight: Weight, name: str) -> None:
    value = getattr(weight, name)
    if not 0 <= value < math.inf:
        raise ValueError(f"{type(weight).__name__}: {name} (={value}) must be 0 or more; e.g. 0.3")


def _check_shares(weight: Weight, first: str, last: str) -> None:
    a, b = getattr(weight, first), getattr(weight, last)
    if not 0 <= a <= b <= 1:
        raise ValueError(
            f"{type(weight).__name__}: {first} (={a}) and {last} (={b}) must be shares of the training with "
            f"0 <= {first} <= {last} <= 1; e.g. {first}=0.5, {last}=0.8"
        )


def geometric_mean(
    losses: Sequence[Float32[Tensor, ""]], weights: Sequence[float] | None = None
) -> Float32[Tensor, ""]:
    """exp(mean(log(max(loss, 1e-6)))) in fp32, of batch means (authors' code); with weights, by the weighted mean."""
    logs = torch.stack([loss.float() for loss in losses]).clamp(min=1e-6).log()
    if weights is None:
        return logs.mean().exp()
    weighted = [weight * log for weight, log in zip(weights, logs, strict=True)]
    return (torch.stack(weighted).sum() / sum(weights)).exp()


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
    """Joins the losses of the tasks that are trained at a step to the one that is minimised."""

    def __init__(self, tasks: Iterable[str], supervised: frozenset[str]) -> None:
        super().__init__()
        self.supervised = supervised

    def forward(self, losses: Mapping[str, Float32[Tensor, ""]], weights: TaskWeights) -> Float32[Tensor, ""]:
        """Gives the total; a task without a loss has no part in it, whatever its weight."""
        raise NotImplementedError


@runtime_checkable
class Total(Protocol):
    """How a recipe joins the losses of its tasks."""

    def build(self, tasks: Iterable[str], supervised: frozenset[str]) -> TotalLoss: ...


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """L = sum over tasks of weight * L_task (the default)."""

    def build(self, tasks: Iterable[str], supervised: frozenset[str]) -> TotalLoss:
        return _WeightedSum(tasks, supervised)


@dataclass(frozen=True, slots=True)
class Geometric:
    """L = geometric mean of the supervised tasks' losses + sum over pretext tasks of weight * L.

    With one supervised task that joins its views by `geometric`, this is the authors' multi-view total; the mean over
    several supervised tasks is ours.
    """

    def build(self, tasks: Iterable[str], supervised: frozenset[str]) -> TotalLoss:
        return _Geometric(tasks, supervised)


@dataclass(frozen=True, slots=True)
class WeightedGeometric:
    """L = product over tasks of L_task ** (weight / sum of weights): the weighted geometric mean of all losses.

    With one supervised and one pretext task of equal weight this is sqrt(L_supervised * L_pretext), the total of the
    authors' second repository. Weights are factors there, which only scale the gradient as a whole; here they are
    exponents (ours), so that they say how much a task counts, and a task that is off leaves the mean of the others.

    Args:
        focused: To the power 1.5, so that a step is larger the greater the losses are (authors' second repository).
    """

    focused: bool = False

    def build(self, tasks: Iterable[str], supervised: frozenset[str]) -> TotalLoss:
        return _WeightedGeometric(tasks, supervised, self.focused)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """L = sum over tasks of exp(-s) * weight * L_task + s / 2 with one learned s a task, 0 at the start.

    Kendall, Gal, Cipolla: Multi-task learning using uncertainty to weigh losses, CVPR 2018, with s = log(sigma^2).
    """

    def build(self, tasks: Iterable[str], supervised: frozenset[str]) -> TotalLoss:
        return _Uncertainty(tasks, supervised)


class _WeightedSum(TotalLoss):
    def forward(self, losses: Mapping[str, Float32[Tensor, ""]], weights: TaskWeights) -> Float32[Tensor, ""]:
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


class _Geometric(TotalLoss):
    def forward(self, losses: Mapping[str, Float32[Tensor, ""]], weights: TaskWeights) -> Float32[Tensor, ""]:
        supervised = [weights[name] * loss for name, loss in losses.items() if name in self.supervised]
        pretext = [weights[name] * loss for name, loss in losses.items() if name not in self.supervised]
        parts = ([geometric_mean(supervised)] if supervised else []) + pretext
        return torch.stack(parts).sum()


class _WeightedGeometric(TotalLoss):
    def __init__(self, tasks: Iterable[str], supervised: frozenset[str], focused: bool) -> None:
        super().__init__(tasks, supervised)
        self.focused = focused

    def forward(self, losses: Mapping[str, Float32[Tensor, ""]], weights: TaskWeights) -> Float32[Tensor, ""]:
        mean = geometric_mean(list(losses.values()), [weights[name] for name in losses])
        return mean * mean.sqrt() if self.focused else mean


class _Uncertainty(TotalLoss):
    def __init__(self, tasks: Iterable[str], supervised: frozenset[str]) -> None:
        super().__init__(tasks, supervised)
        self.log_variance = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in tasks})

    def forward(self, losses: Mapping[str, Float32[Tensor, ""]], weights: TaskWeights) -> Float32[Tensor, ""]:
        return torch.stack(
            [
                torch.exp(-self.log_variance[name]) * weights[name] * loss + self.log_variance[name] / 2
                for name, loss in losses.items()
            ]
        ).sum()
