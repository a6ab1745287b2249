"""Holds the supervised task of facial expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.figures import Figure
from engine.metrics import class_figures, measure_classes
from engine.tasks.base import Rows
from engine.tasks.softmax import SoftmaxTask
from engine.views import View
from loaders.base import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression(SoftmaxTask):
    """Softmax over expressions on the pooled representation, cross-entropy; fields as in `SoftmaxTask`."""

    name: str = "expression"
    label: str = "expression"

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        return {"accuracy": self.share_of_largest(train, split)}

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return class_figures(len(self.names))

    def measure(self, rows: Rows) -> dict[str, float]:
        return measure_classes(rows["probability"], rows["target"])
