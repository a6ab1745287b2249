"""Holds the supervised task of gender, or of any other attribute with two or more classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.figures import Figure
from engine.metrics import class_figures, group_error_rates, group_figures, measure_classes
from engine.tasks.base import Rows, check_classes
from engine.tasks.softmax import SoftmaxTask
from engine.views import View
from loaders.base import Classes, Label, Split


@dataclass(frozen=True, slots=True, kw_only=True)
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
    group: str | None = None
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        SoftmaxTask.__post_init__(self)
        object.__setattr__(self, "name", self.name or self.label)

    def wants(self) -> Mapping[str, Label]:
        groups: dict[str, Label] = {} if self.group is None else {self.group: Classes(self.group_names)}
        return {self.label: Classes(self.names), **groups}

    def check(self, views: Mapping[str, View]) -> None:
        SoftmaxTask.check(self, views)
        if (self.group is None) != (not self.group_names):
            raise ValueError(
                f"{self}: group (={self.group!r}) and group_names (={self.group_names}) must be given together; "
                "e.g. group='race', group_names=FAIRFACE_RACES"
            )
        if self.group == self.label:
            raise ValueError(f"{self}: group (={self.group!r}) must be another label than the one it learns; or None")
        if len(set(self.group_names)) < len(self.group_names) or any("/" in name for name in self.group_names):
            raise ValueError(
                f"{self}: group_names (={self.group_names}) must differ and hold no '/', which parts the names of "
                "figures; rename the classes when the data is prepared"
            )

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        check_classes(self, labels[self.label], self.label, self.names)
        if self.group is None:
            return
        if self.group not in labels:
            raise ValueError(
                f"{self}: group {self.group!r} is not in the data, it has {', '.join(labels)}; "
                "name one of these, or None"
            )
        check_classes(self, labels[self.group], self.group, self.group_names, "group_names")

    @property
    def kept(self) -> Mapping[str, str]:
        return {"target": self.label} if self.group is None else {"target": self.label, "group": self.group}

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        return {"error_rate": 1 - self.share_of_largest(train, split)}

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        classes = len(self.names)
        others = [figure for figure in class_figures(classes) if figure.name != "accuracy"]
        groups = () if self.group is None else group_figures(self.group_names)
        return (Figure("error_rate", unit="%", chance=1 - 1 / classes), *others, *groups)

    def measure(self, rows: Rows) -> dict[str, float]:
        figures = measure_classes(rows["probability"], rows["target"])
        found = {"error_rate": 1 - figures.pop("accuracy"), **figures}
        if self.group is not None:
            found |= group_error_rates(rows["probability"], rows["target"], rows["group"], self.group_names)
        return found
