"""Holds the supervised task of affect: how pleasant a face looks (valence), and how aroused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.metrics import affect_figures, measure_affect
from engine.tasks.base import Criterion, Look, Rows, Shape, Supervised
from engine.tasks.linear import LinearHead
from engine.views import View
from loaders.base import Label, Numbers, Split

DIMENSIONS = ("valence", "arousal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Affect(Supervised):
    """Learns valence and arousal, -1..1 each, by one linear output each.

    The figures are those of AffectNet (Mollahosseini et al., 2017): the concordance correlation coefficient (CCC, Lin
    1989), the root of the mean squared error and the share of equal signs, of each dimension; the mean CCC leads.

    Args:
        dimensions: What it learns and is judged by, in this order; the label may have the other, which is left alone.
        loss: "ccc": 1 - the mean CCC of the samples of a batch, as in EmoNet (Toisoul et al., 2021); it wants batches
            of many faces. "mse": the mean squared error.
    """

    name: str = "affect"
    label: str = "affect"
    dimensions: tuple[str, ...] = DIMENSIONS
    loss: Literal["ccc", "mse"] = "ccc"

    def check(self, views: Mapping[str, View]) -> None:
        Supervised.check(self, views)
        if not self.dimensions or self.dimensions != tuple(name for name in DIMENSIONS if name in self.dimensions):
            raise ValueError(
                f"{self}: dimensions (={self.dimensions}) must be one or both of {', '.join(DIMENSIONS)} in this order"
            )

    def wants(self) -> Mapping[str, Label]:
        return {self.label: Numbers(self.dimensions)}

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        label = labels[self.label]
        if not isinstance(label, Numbers) or not set(self.dimensions) <= set(label.columns):
            has = f"the numbers {', '.join(label.columns)}" if isinstance(label, Numbers) else "classes"
            raise ValueError(
                f"{self}: label {self.label!r} must have the numbers {' and '.join(self.dimensions)}, it has {has}; "
                "name another"
            )

    @property
    def answers(self) -> tuple[str, ...]:
        return self.dimensions

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return LinearHead(shape.width, (len(self.dimensions),), self.dropout)

    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return output.float()

    def criterion(self, split: Split) -> Criterion:
        judged = self.judge(split)
        assert isinstance(judged, AffectCriterion)
        for name, place in zip(self.dimensions, judged.places, strict=True):
            if split.target[self.label][:, place].isnan().all():
                raise ValueError(f"{self}: {name} is missing in every sample of the split {split.name!r}")
        return judged

    def judge(self, split: Split) -> Criterion:
        label = split.labels[self.label]
        assert isinstance(label, Numbers)  # check_labels
        return AffectCriterion(self, [label.columns.index(name) for name in self.dimensions])

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return affect_figures(self.dimensions)

    def measure(self, rows: Rows) -> dict[str, float]:
        return measure_affect(self.dimensions, rows["numbers"], rows["target"])


def concordance(guess: Tensor, truth: Tensor, known: Tensor) -> Float32[Tensor, " k"]:
    """Computes the CCC of each of k columns over the samples that are known; 0 where fewer than two are.

    2 * covariance / (variance of guess + variance of truth + squared difference of the means), all by n (Lin 1989).
    """
    count = known.sum(dim=0).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return torch.where(known, values, 0.0).sum(dim=0) / count

    off_guess, off_truth = guess - mean(guess), truth - mean(truth)
    spread = mean(off_guess.square()) + mean(off_truth.square()) + (mean(guess) - mean(truth)).square()
    return 2 * mean(off_guess * off_truth) / spread.clamp(min=1e-8)


class AffectCriterion(Criterion):
    """Computes the loss that the task chooses, over the known numbers; a column without any costs nothing."""

    def __init__(self, task: Affect, places: list[int]) -> None:
        super().__init__()
        self.task, self.places = task, places
        """The task, and where its dimensions stand in the label."""

    def truth(self, look: Look) -> Float32[Tensor, "b k"]:
        """The learned ones of the numbers."""
        target = look.target[self.task.label].float()
        return torch.stack([target[:, place] for place in self.places], dim=1)

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        target = self.truth(look)
        known = ~target.isnan()
        guess, truth = self.task.answer(output), torch.where(known, target, 0.0)
        if self.task.loss == "mse":
            return torch.where(known, (guess - truth).square(), 0.0).sum() / known.sum().clamp(min=1)
        enough = known.sum(dim=0) >= 2
        lost = torch.where(enough, 1 - concordance(guess, truth, known), 0.0)
        return lost.sum() / enough.sum().clamp(min=1)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"numbers": self.task.answer(output), "target": self.truth(look)}
