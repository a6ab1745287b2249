"""Holds what tasks with classes share: a softmax over names on the pooled representation, and its cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from engine.tasks.base import Criterion, Features, Look, Shape, Supervised
from engine.views import View
from loaders.base import Classes, Label, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxTask(Supervised):
    """A task with classes, whose fields and training these are; a subclass says what its figures are.

    Args:
        names: Class names in the order of the data set.
        class_weights: "balanced": largest class count / class count (authors' code); "sqrt": its square root (ours).
        cap: Greatest class weight (ours; the authors' reach 36).
        label_smoothing: Share of the target that is spread over all classes.
        dropout: Share of the representation that is dropped (authors: 0.3).
        hidden: Units of a layer with ReLU before the last one (a non-linear head); 0 for none (a linear head).
    """

    names: tuple[str, ...] = field(kw_only=False)
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    cap: float | None = None
    label_smoothing: float = 0.0
    dropout: float = 0.3
    hidden: int = 0

    def wants(self) -> Mapping[str, Label]:
        return {self.label: Classes(self.names)}

    def check(self, views: Mapping[str, View]) -> None:
        Supervised.check(self, views)
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise ValueError(f"{self}: names (={self.names}) must be two or more different class names")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"{self}: label_smoothing (={self.label_smoothing}) must be 0 or more and below 1")
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"{self}: cap (={self.cap}) must be 1 or more, which the largest class has; or None")
        if self.hidden < 0:
            raise ValueError(f"{self}: hidden (={self.hidden}) must be 0 or more units; 0 for a linear head")

    @property
    def learns_of_mixed(self) -> bool:
        return True

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return ClassHead(shape.width, len(self.names), self.dropout, self.hidden)

    def criterion(self, split: Split) -> Criterion:
        counts = class_counts(split, self.label, len(self.names))
        return CrossEntropy(self, class_weight(counts, self.class_weights, self.cap))

    @property
    def kept(self) -> Mapping[str, str]:
        """The labels that evaluation keeps of each sample: name among the rows to label."""
        return {"target": self.label}

    @property
    def answers(self) -> tuple[str, ...]:
        return self.names

    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return output.float().softmax(dim=1)

    def share_of_largest(self, train: Split, split: Split) -> float:
        """Computes the share of a split's labelled samples that always saying the largest class of `train` meets."""
        counts = class_counts(split, self.label, len(self.names)).double()
        return float(counts[class_counts(train, self.label, len(self.names)).argmax()] / counts.sum())


def class_counts(split: Split, label: str, classes: int) -> Int64[Tensor, " k"]:
    """Counts the samples of each class of a split; missing labels are not counted."""
    return torch.bincount(split.target[label].clamp(min=-1) + 1, minlength=classes + 1)[1:]


def class_weight(counts: Tensor, kind: Literal["none", "balanced", "sqrt"], cap: float | None) -> Float32[Tensor, " k"]:
    """Weighs each class in the loss: 1 for the largest; a class without samples, which no loss meets, has 1 too."""
    ratio = torch.where(counts > 0, counts.max() / counts.clamp(min=1), 1.0)
    weight = {"none": torch.ones_like(ratio), "balanced": ratio, "sqrt": ratio.sqrt()}[kind]
    return (weight if cap is None else weight.clamp(max=cap)).float()


class ClassHead(nn.Module):
    """Dropout and one linear layer on the pooled representation, or two with ReLU and dropout between them."""

    def __init__(self, width: int, classes: int, dropout: float, hidden: int = 0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)) if hidden else None
        self.linear = nn.Linear(hidden or width, classes)

    def forward(self, features: Features) -> Float[Tensor, "b k"]:
        seen = self.dropout(features.pooled)
        logits: Tensor = self.linear(seen if self.hidden is None else self.hidden(seen))
        return logits


class CrossEntropy(Criterion):
    """Mean over the labelled samples of class weight * cross-entropy; 0 if none is labelled.

    A mixed picture has two labels, each of which counts by its share.
    """

    class_weight: Tensor

    def __init__(self, task: SoftmaxTask, class_weight: Tensor) -> None:
        super().__init__()
        self.task = task
        self.register_buffer("class_weight", class_weight)

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        target = look.target[self.task.label]
        if look.mixed is None:
            return self._weighted(output, target).sum() / (target >= 0).sum().clamp(min=1)
        partner, share = look.mixed.partner, look.mixed.share
        total, count = torch.zeros_like(share), torch.zeros_like(share)
        for labels, part in ((target, share), (target[partner], 1 - share)):
            total, count = total + part * self._weighted(output, labels), count + part * (labels >= 0)
        return total.sum() / count.sum().clamp(min=1)

    def _weighted(self, output: Tensor, target: Int64[Tensor, " b"]) -> Float32[Tensor, " b"]:
        each = F.cross_entropy(
            output.float(), target, ignore_index=-1, reduction="none", label_smoothing=self.task.label_smoothing
        )
        return each * self.class_weight[target.clamp(min=0)]

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"probability": self.task.answer(output)} | {
            name: look.target[label] for name, label in self.task.kept.items()
        }
