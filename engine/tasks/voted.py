"""Holds the supervised task of expression that learns how people voted, not only which class has the most votes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from engine.tasks.base import Criterion, Look
from engine.tasks.expression import Expression
from engine.tasks.softmax import CrossEntropy
from loaders.base import Label, Numbers, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class VotedExpression(Expression):
    """Learns the shares of votes of each class by cross-entropy (Barsoum et al., ICMI 2016: "cross-entropy loss").

    It is judged by `label` like `Expression`, whose other fields it has. A sample learns where it has votes and a
    class: a face whose label is hidden teaches nothing.

    Args:
        votes: The label that holds a number of votes, or their share, for each of `names`.
    """

    label: str = "ferplus"
    votes: str = "ferplus_votes"

    @property
    def learns_of_mixed(self) -> bool:
        return False

    def wants(self) -> Mapping[str, Label]:
        return {**Expression.wants(self), self.votes: Numbers(self.names)}

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        Expression.check_labels(self, labels)
        if self.votes not in labels:
            raise ValueError(
                f"{self}: votes {self.votes!r} is not in the data, it has {', '.join(labels)}; name one of these, "
                "or take Expression"
            )
        found = labels[self.votes]
        if not isinstance(found, Numbers) or found.columns != self.names:
            has = ", ".join(found.columns) if isinstance(found, Numbers) else "classes"
            raise ValueError(
                f"{self}: votes {self.votes!r} must have one number for each of {', '.join(self.names)} in this order, "
                f"it has {has}"
            )

    def criterion(self, split: Split) -> Criterion:
        plain = Expression.criterion(self, split)
        assert isinstance(plain, CrossEntropy)
        return VoteCrossEntropy(self, plain.class_weight)


class VoteCrossEntropy(CrossEntropy):
    """Mean over the samples with votes of class weight * cross-entropy with their shares; 0 if none has any."""

    task: VotedExpression

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        votes = look.target[self.task.votes].float().nan_to_num(0.0).clamp(min=0)
        total = votes.sum(dim=1, keepdim=True)
        known = (total[:, 0] > 0) & (look.target[self.task.label] >= 0)
        log, smoothing = output.float().log_softmax(dim=1), self.task.label_smoothing
        costs = -(1 - smoothing) * log - smoothing * log.mean(dim=1, keepdim=True)  # of each class
        each = (votes / total.clamp(min=1e-12) * self.class_weight * costs).sum(dim=1)
        return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)
