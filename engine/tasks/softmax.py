"""What tasks with classes share: a softmax over names on the pooled representation, and its cross-entropy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from engine.losses import Join
from engine.tasks.base import Criterion, Defaults, Features, Headline, Look, Rows, Shape, check_dropout, check_on
from engine.views import View
from loaders.base import Classes, Label, Split


@dataclass(frozen=True, slots=True)
class SoftmaxTask(Defaults, ABC):
    """The fields and the training of a task with classes; a subclass says what its figures are.

    Args:
        names: Class names in the order of the data set.
        on: Views it is trained on; it is always evaluated on the un-puzzled, un-masked face.
        class_weights: "balanced": largest class count / class count (authors' code); "sqrt": its square root (ours).
        cap: Greatest class weight (ours; the authors' reach 36).
        join: How the losses over several views are joined.
        dropout: Share of the representation that is dropped (authors: 0.3).
        hidden: Units of a layer with ReLU before the last one (a non-linear head); 0 for none (a linear head).
    """

    names: tuple[str, ...]
    on: tuple[str, ...] = ("plain",)
    weight: float = 1.0
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    cap: float | None = None
    label_smoothing: float = 0.0
    join: Join = "sum"
    dropout: float = 0.3
    hidden: int = 0
    name: str = "classes"
    label: str = "classes"

    @property
    @abstractmethod
    def headline(self) -> Headline: ...

    @abstractmethod
    def measure(self, rows: Rows) -> dict[str, float]: ...

    def wants(self) -> Mapping[str, Label]:
        return {self.label: Classes(self.names)}

    def check(self, views: Mapping[str, View]) -> None:
        where = f"{type(self).__name__} {self.name!r}"
        check_on(self, views)
        check_dropout(self, self.dropout)
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise ValueError(f"{where}: names (={self.names}) must be two or more different class names")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"{where}: label_smoothing (={self.label_smoothing}) must be 0 or more and below 1")
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"{where}: cap (={self.cap}) must be 1 or more, which the largest class has; or None")
        if self.hidden < 0:
            raise ValueError(f"{where}: hidden (={self.hidden}) must be 0 or more units; 0 for a linear head")

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        check_classes(f"{type(self).__name__} {self.name!r}", labels[self.label], self.label, self.names)

    def head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return ClassHead(shape.width, len(self.names), self.dropout, self.hidden)

    @property
    def answers(self) -> tuple[str, ...]:
        return self.names

    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return output.float().softmax(dim=1)

    def criterion(self, split: Split) -> Criterion:
        weight = class_weight(class_counts(split, self.label, len(self.names)), self.class_weights, self.cap)
        return CrossEntropy(self.label, weight, self.label_smoothing)


def check_classes(where: str, label: Label, name: str, names: tuple[str, ...], field: str = "names") -> None:
    """Refuses a label of the data that does not have these class names in this order."""
    if not isinstance(label, Classes):
        raise ValueError(f"{where}: label {name!r} holds numbers, not classes; name another")
    if label.names != names:
        raise ValueError(
            f"{where}: {field} (={', '.join(names)}) must be the classes of the data in its "
            f"order (={', '.join(label.names)}); take these names, or prepare the data with those"
        )


def class_counts(split: Split, label: str, classes: int) -> Int64[Tensor, " k"]:
    """How many samples of a split each class has; missing labels are not counted."""
    return torch.bincount(split.target[label].clamp(min=-1) + 1, minlength=classes + 1)[1:]


def class_weight(counts: Tensor, kind: Literal["none", "balanced", "sqrt"], cap: float | None) -> Float32[Tensor, " k"]:
    """Weight of each class in the loss: 1 for the largest; a class without samples, which no loss meets, has 1 too."""
    ratio = torch.where(counts > 0, counts.max() / counts.clamp(min=1), 1.0)
    weight = {"none": torch.ones_like(ratio), "balanced": ratio, "sqrt": ratio.sqrt()}[kind]
    return (weight if cap is None else weight.clamp(max=cap)).float()


def share_of_largest(train: Split, split: Split, label: str, classes: int) -> float:
    """The share of a split's labelled samples that always saying the largest class of `train` gets right."""
    counts = class_counts(split, label, classes).double()
    return float(counts[class_counts(train, label, classes).argmax()] / counts.sum())


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
    """Mean over the labelled samples of class weight * cross-entropy; 0 if none is labelled."""

    class_weight: Tensor

    def __init__(self, label: str, class_weight: Tensor, label_smoothing: float) -> None:
        super().__init__()
        self.label = label
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weight", class_weight)

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        target = look.target[self.label]
        each = F.cross_entropy(
            output.float(), target, ignore_index=-1, reduction="none", label_smoothing=self.label_smoothing
        )
        weighted = each * self.class_weight[target.clamp(min=0)]
        return weighted.sum() / (target >= 0).sum().clamp(min=1)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"probability": output.float().softmax(dim=1), "target": look.target[self.label]}
