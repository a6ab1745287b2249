"""The supervised task of facial expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.losses import Join
from engine.metrics import class_figures
from engine.tasks.base import Criterion, Features, Headline, Look, Rows, Shape, as_names, check_dropout, check_on
from engine.views import View
from loaders.base import Classes, Label, Split


@dataclass(frozen=True, slots=True)
class Expression:
    """Softmax over classes on the pooled representation, cross-entropy.

    Args:
        names: Class names in the order of the data set.
        on: Views it is trained on; it is always evaluated on the un-puzzled, un-masked face.
        class_weights: "balanced": largest class count / class count (authors' code); "sqrt": its square root (ours).
        cap: Greatest class weight (ours; the authors' reach 36).
        join: How the losses over several views are joined.
        dropout: Share of the representation that is dropped (authors: 0.3).
    """

    names: tuple[str, ...]
    on: tuple[str, ...] = ("plain",)
    weight: float = 1.0
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    cap: float | None = None
    label_smoothing: float = 0.0
    join: Join = "sum"
    dropout: float = 0.3
    name: str = "expression"
    label: str = "expression"

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", as_names(self.on))

    @property
    def needs_whole(self) -> bool:
        return False

    @property
    def teacher_passes(self) -> int:
        return 0

    @property
    def headline(self) -> Headline:
        return Headline("accuracy", greater_is_better=True)

    def check(self, views: Mapping[str, View]) -> None:
        check_on(self, views)
        check_dropout(self, self.dropout)
        where = f"Expression {self.name!r}"
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise ValueError(f"{where}: names (={self.names}) must be two or more different class names")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"{where}: label_smoothing (={self.label_smoothing}) must be 0 or more and below 1")
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"{where}: cap (={self.cap}) must be 1 or more: the largest class has weight 1")

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        label = labels[self.label]
        if not isinstance(label, Classes):
            raise ValueError(f"Expression {self.name!r}: label {self.label!r} holds numbers, not classes; name another")
        if label.names != self.names:
            raise ValueError(
                f"Expression {self.name!r}: names (={', '.join(self.names)}) must be the classes of the data in its "
                f"order (={', '.join(label.names)}); take these names, or prepare the data with those"
            )

    def head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return ClassHead(shape.width, len(self.names), self.dropout)

    def criterion(self, split: Split) -> Criterion:
        counts = torch.bincount(split.target[self.label].clamp(min=-1) + 1, minlength=len(self.names) + 1)[1:]
        return CrossEntropy(self.label, class_weight(counts, self.class_weights, self.cap), self.label_smoothing)

    def measure(self, rows: Rows) -> dict[str, float]:
        return class_figures(rows["probability"], rows["target"])


def class_weight(counts: Tensor, kind: Literal["none", "balanced", "sqrt"], cap: float | None) -> Float32[Tensor, " k"]:
    """Weight of each class in the loss: 1 for the largest; a class without samples, which no loss meets, has 1 too."""
    ratio = torch.where(counts > 0, counts.max() / counts.clamp(min=1), 1.0)
    weight = {"none": torch.ones_like(ratio), "balanced": ratio, "sqrt": ratio.sqrt()}[kind]
    return (weight if cap is None else weight.clamp(max=cap)).float()


class ClassHead(nn.Module):
    """Dropout and one linear layer on the pooled representation."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)

    def forward(self, features: Features) -> Float[Tensor, "b k"]:
        logits: Tensor = self.linear(self.dropout(features.pooled))
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
