"""The supervised task of gender, or of any other attribute with two or more classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from engine.metrics import class_figures, group_error_rates
from engine.tasks.base import Criterion, Headline, Look, Rows
from engine.tasks.softmax import (
    CrossEntropy,
    SoftmaxTask,
    check_classes,
    class_counts,
    class_weight,
    share_of_largest,
)
from engine.views import View
from loaders.base import Classes, Label, Split


@dataclass(frozen=True, slots=True)
class Attribute(SoftmaxTask):
    """Softmax over the classes of one attribute, cross-entropy; judged by its error rate, as the paper judges gender.

    Several attributes of one data set are several tasks. Fields as in `SoftmaxTask`, and:

    Args:
        label: The label it learns, e.g. "gender".
        name: The word for it in logs and checkpoints; empty takes the label's.
        group: A label with classes by which evaluation reports the error rate of each group, and their spread: the
            greatest less the least. Training does not look at it. None for none.
        group_names: The classes of `group` in the order of the data set.
    """

    name: str = ""
    label: str = field(kw_only=True)
    group: str | None = None
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        SoftmaxTask.__post_init__(self)
        object.__setattr__(self, "name", self.name or self.label)

    @property
    def headline(self) -> Headline:
        return Headline("error_rate", greater_is_better=False)

    def wants(self) -> Mapping[str, Label]:
        groups: dict[str, Label] = {} if self.group is None else {self.group: Classes(self.group_names)}
        return {self.label: Classes(self.names), **groups}

    def check(self, views: Mapping[str, View]) -> None:
        SoftmaxTask.check(self, views)
        where = f"Attribute {self.name!r}"
        if (self.group is None) != (not self.group_names):
            raise ValueError(
                f"{where}: group (={self.group!r}) and group_names (={self.group_names}) must be given together; "
                "e.g. group='race', group_names=FAIRFACE_RACES"
            )
        if self.group == self.label:
            raise ValueError(f"{where}: group (={self.group!r}) must be another label than the one it learns; or None")
        if len(set(self.group_names)) < len(self.group_names) or any("/" in name for name in self.group_names):
            raise ValueError(
                f"{where}: group_names (={self.group_names}) must differ and hold no '/', which parts the names of "
                "figures; rename the classes when the data is prepared"
            )

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        SoftmaxTask.check_labels(self, labels)
        if self.group is None:
            return
        where = f"Attribute {self.name!r}"
        if self.group not in labels:
            raise ValueError(
                f"{where}: group {self.group!r} is not in the data, it has {', '.join(labels)}; "
                "name one of these, or None"
            )
        check_classes(where, labels[self.group], self.group, self.group_names, "group_names")

    def criterion(self, split: Split) -> Criterion:
        weight = class_weight(class_counts(split, self.label, len(self.names)), self.class_weights, self.cap)
        return _GroupedCrossEntropy(self.label, weight, self.label_smoothing, self.group)

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        return {"error_rate": 1 - share_of_largest(train, split, self.label, len(self.names))}

    def measure(self, rows: Rows) -> dict[str, float]:
        figures = class_figures(rows["probability"], rows["target"])
        found = {"error_rate": 1 - figures.pop("accuracy"), **figures}
        if self.group is not None:
            found |= group_error_rates(rows["probability"], rows["target"], rows["group"], self.group_names)
        return found


class _GroupedCrossEntropy(CrossEntropy):
    """Cross-entropy whose rows keep the group of each sample."""

    def __init__(self, label: str, class_weight: Tensor, label_smoothing: float, group: str | None) -> None:
        super().__init__(label, class_weight, label_smoothing)
        self.group = group

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        rows = CrossEntropy.rows(self, output, look)
        return rows if self.group is None else {**rows, "group": look.target[self.group]}
