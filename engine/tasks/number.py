"""Holds the supervised tasks of one number, such as an age: by regression, or by the ranks of an ordinal scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.metrics import measure_numbers, number_figures
from engine.tasks.base import Criterion, Features, Look, Rows, Shape, Supervised
from engine.tasks.linear import LinearHead
from engine.views import View
from loaders.base import Label, Numbers, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Supervised):
    """Learns one column of numbers by one linear output, trained by the smooth L1 error.

    The figures are the mean absolute error, the root of the mean squared error, and Pearson's correlation.

    Args:
        label: The label that holds the number, e.g. "age".
        column: Its column, e.g. "years".
        low: Where its scale begins (ours: an output of 0 says the middle, and outputs of usual size the whole scale).
        high: Where its scale ends. Numbers beyond either end are learned as they are.
        beta: Errors below it, in the number's unit, are squared; 0 for plain L1.
        unit: What it is measured in, as reports write it, e.g. "years".
        name: The word for it in logs and checkpoints; empty takes the label's.
    """

    name: str = ""
    column: str = field()
    low: float = 0.0
    high: float = 100.0
    beta: float = 0.0
    unit: str = ""

    def __post_init__(self) -> None:
        Supervised.__post_init__(self)
        object.__setattr__(self, "name", self.name or self.label)

    def check(self, views: Mapping[str, View]) -> None:
        Supervised.check(self, views)
        if not self.low < self.high:
            raise ValueError(f"{self}: low (={self.low}) must be below high (={self.high})")
        if self.beta < 0:
            raise ValueError(f"{self}: beta (={self.beta}) must be 0 or more")

    def wants(self) -> Mapping[str, Label]:
        return {self.label: Numbers((self.column,))}

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        self._place(labels)

    def _place(self, labels: Mapping[str, Label]) -> int:
        """Finds the place of its column among those of the label."""
        label = labels[self.label]
        if not isinstance(label, Numbers):
            raise ValueError(f"{self}: label {self.label!r} holds classes, not numbers; name another")
        if self.column not in label.columns:
            raise ValueError(
                f"{self}: column (={self.column!r}) must be one of those of the label {self.label!r} "
                f"(={', '.join(label.columns)})"
            )
        return label.columns.index(self.column)

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.column,)

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return LinearHead(shape.width, (1,), self.dropout)

    def answer(self, output: Tensor) -> Float32[Tensor, "b 1"]:
        return (self.low + self.high) / 2 + output.float() * (self.high - self.low) / 4

    def criterion(self, split: Split) -> Criterion:
        place = self._place(split.labels)
        if split.target[self.label][:, place].isnan().all():
            raise ValueError(f"{self}: no sample of the split {split.name!r} has its number; learn another label")
        return NumberCriterion(self, place)

    def losses(self, output: Tensor, truth: Float32[Tensor, " b"]) -> Float32[Tensor, " b"]:
        """Computes the loss of each sample, in the number's unit."""
        return F.smooth_l1_loss(self.answer(output)[:, 0], truth, beta=self.beta, reduction="none")

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        """Computes the figures of the median of `train`, which has the least mean absolute error."""
        truth = self._numbers(split)
        guess = np.full_like(truth, np.nanmedian(self._numbers(train)))
        return {key: value for key, value in measure_numbers(guess, truth).items() if key != "correlation"}

    def _numbers(self, split: Split) -> Float[np.ndarray, " n"]:
        return np.asarray(split.target[self.label][:, self._place(split.labels)].numpy())

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return number_figures(self.unit)

    def measure(self, rows: Rows) -> dict[str, float]:
        return measure_numbers(rows["numbers"][:, 0], rows["target"][:, 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdinalNumber(Number):
    """Learns one column of numbers by the question, at each step of its scale, whether the number is above it.

    Cao, Mirjalili, Raschka: Rank consistent ordinal regression for neural networks, Pattern Recognition Letters 2020
    (CORAL): all questions share their weights and differ in their bias, so that answers cannot contradict each other;
    the loss is the sum of the binary cross-entropies. Ours: the answer is the expected number, not a count of questions
    that pass one half; a number beyond the scale counts as its end.

    Args:
        step: Distance of two questions, in the number's unit; it parts `low` to `high` into whole steps.
    """

    step: float = 1.0

    @property
    def questions(self) -> int:
        """Counts the questions: one less than there are ranks."""
        return round((self.high - self.low) / self.step)

    def check(self, views: Mapping[str, View]) -> None:
        Number.check(self, views)
        if self.step <= 0 or abs(self.questions * self.step - (self.high - self.low)) > 1e-6:
            raise ValueError(
                f"{self}: step (={self.step}) must part low to high (={self.low} to {self.high}) into whole steps"
            )
        if self.beta != 0:
            raise ValueError(f"{self}: beta (={self.beta}) must be 0; it belongs to the loss of Number")

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return RankHead(shape.width, self.questions, self.dropout)

    def answer(self, output: Tensor) -> Float32[Tensor, "b 1"]:
        return self.low + self.step * output.float().sigmoid().sum(dim=1, keepdim=True)

    def losses(self, output: Tensor, truth: Float32[Tensor, " b"]) -> Float32[Tensor, " b"]:
        """Computes the sum, for each sample, of the binary cross-entropies of all questions."""
        middle = self.low + self.step * (torch.arange(self.questions, device=output.device) + 0.5)
        above = (truth[:, None] > middle).float()
        return F.binary_cross_entropy_with_logits(output.float(), above, reduction="none").sum(dim=1)


class RankHead(nn.Module):
    """Dropout, then one weighting of the pooled representation with a bias of its own for each question (CORAL)."""

    def __init__(self, width: int, questions: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, 1, bias=False)
        self.bias = nn.Parameter(torch.linspace(2.0, -2.0, questions))  # few faces are above the upper steps

    def forward(self, features: Features) -> Float[Tensor, "b k"]:
        logits: Tensor = self.linear(self.dropout(features.pooled)) + self.bias
        return logits


class NumberCriterion(Criterion):
    """Mean of a task's losses over the samples whose number is known; 0 if none is."""

    def __init__(self, task: Number, place: int) -> None:
        super().__init__()
        self.task, self.place = task, place

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        truth = look.target[self.task.label][:, self.place].float()
        known: Bool[Tensor, " b"] = ~truth.isnan()
        each = self.task.losses(output, torch.where(known, truth, self.task.low))
        return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        target = look.target[self.task.label][:, [self.place]].float()
        return {"numbers": self.task.answer(output), "target": target}
