"""The supervised task of facial expression."""

from __future__ import annotations

from dataclasses import dataclass

from engine.metrics import class_figures
from engine.tasks.base import Headline, Rows
from engine.tasks.softmax import SoftmaxTask, share_of_largest
from loaders.base import Split


@dataclass(frozen=True, slots=True)
class Expression(SoftmaxTask):
    """Softmax over expressions on the pooled representation, cross-entropy; fields as in `SoftmaxTask`."""

    name: str = "expression"
    label: str = "expression"

    @property
    def headline(self) -> Headline:
        return Headline("accuracy", greater_is_better=True)

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        return {"accuracy": share_of_largest(train, split, self.label, len(self.names))}

    def measure(self, rows: Rows) -> dict[str, float]:
        return class_figures(rows["probability"], rows["target"])
