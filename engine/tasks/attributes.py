"""Holds the supervised task of many attributes at once, such as the forty of CelebA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.metrics import attribute_figures, measure_attributes
from engine.tasks.base import Criterion, Look, Rows, Shape, Supervised, check_classes
from engine.tasks.classes import NO_YES
from engine.tasks.linear import LinearHead
from engine.views import View
from loaders.base import Classes, Label, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes(Supervised):
    """Learns attributes that a face has or has not by one linear output each, trained by binary cross-entropy.

    The figures are the mean of the attributes' accuracies, as CelebA is judged (Liu et al., ICCV 2015, section 4.2),
    the mean of their balanced accuracies (that of the recalls of both answers, which always saying the commoner one
    does not raise), and the accuracy of each. Evaluation keeps the probability of the second class of each attribute.

    Args:
        labels: The labels it learns, each with the classes `names`. Where a face lacks some, it learns the others.
        names: The two classes in the order of the data set: not having the attribute, and having it.
        label: Is set to the first of `labels`: what counts or hides labels looks at that one.
    """

    name: str = "attributes"
    labels: tuple[str, ...] = field()
    names: tuple[str, str] = NO_YES
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.labels[0] if self.labels else "")
        Supervised.__post_init__(self)

    def check(self, views: Mapping[str, View]) -> None:
        Supervised.check(self, views)
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"{self}: labels (={self.labels}) must be two or more different labels; of one, Attribute")
        if wrong := [label for label in self.labels if "/" in label]:
            raise ValueError(f"{self}: labels (={wrong[0]!r}) must hold no '/', which parts the names of figures")
        if len(self.names) != 2 or self.names[0] == self.names[1]:
            raise ValueError(f"{self}: names (={self.names}) must be two different classes: without it, with it")

    def wants(self) -> Mapping[str, Label]:
        return dict.fromkeys(self.labels, Classes(self.names))

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        for name in self.labels:
            if name not in labels:
                raise ValueError(
                    f"{self}: label {name!r} is not in the data, it has {', '.join(labels)}; name those it has"
                )
            check_classes(self, labels[name], name, self.names)

    @property
    def answers(self) -> tuple[str, ...]:
        return self.labels

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return LinearHead(shape.width, (len(self.labels),), self.dropout)

    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return output.float().sigmoid()

    def criterion(self, split: Split) -> Criterion:
        return AttributesCriterion(self)

    def targets(self, target: Mapping[str, Tensor]) -> Float32[Tensor, "b k"]:
        """Stacks the labels: 0 and 1 for the two classes, NaN where one is missing."""
        found = torch.stack([target[name] for name in self.labels], dim=1)
        return torch.where(found < 0, float("nan"), found.float())

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        """Computes the figures of answering each attribute with its commoner class of `train`."""
        known = self.targets(train.target).numpy()
        share: Float[np.ndarray, " k"] = np.nansum(known, axis=0) / np.maximum((~np.isnan(known)).sum(axis=0), 1)
        truth = self.targets(split.target).numpy()
        return measure_attributes(self.labels, np.broadcast_to(share, truth.shape), truth)

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return attribute_figures(self.labels)

    def measure(self, rows: Rows) -> dict[str, float]:
        return measure_attributes(self.labels, rows["numbers"], rows["target"])


class AttributesCriterion(Criterion):
    """Mean over the known attributes of all samples of their binary cross-entropy; 0 if none is known."""

    def __init__(self, task: Attributes) -> None:
        super().__init__()
        self.task = task

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        truth = self.task.targets(look.target)
        known = ~truth.isnan()
        each = F.binary_cross_entropy_with_logits(output.float(), truth.nan_to_num(0.0), reduction="none")
        return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"numbers": self.task.answer(output), "target": self.task.targets(look.target)}
