"""Says what a figure is: a number that tells how well a task is solved, with its unit and its better side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as its task declares it; its values are numbers, one for each evaluation.

    Args:
        name: Its word in results, such as "macro_f1" in "val/expression/macro_f1".
        greater_is_better: Whether more of it is better.
        unit: What people read it in: "%" for a share, 0..1, that is written in percent; "°", "px" or another word that
            stands behind the value; "" for a plain number.
        chance: The value that guessing reaches, where guessing has one.
        label: Its name in running text; empty takes `name`, with spaces.
        leads: Whether summaries and comparisons show it too, beside the first figure of its task.
    """

    name: str
    greater_is_better: bool = False
    unit: str = ""
    chance: float | None = None
    label: str = ""
    leads: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.name.replace("_", " "))

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be read in its unit."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def in_brackets(self) -> str:
        """The unit as it follows a label, " (%)"; "" where there is none."""
        return f" ({self.unit})" if self.unit else ""

    def write(self, value: float | None, *, decimals: int = 2, unit: bool = True) -> str:
        """A value as people read it: with `decimals` in its unit, else in four digits; "–" where there is none."""
        if value is None or not math.isfinite(value):
            return "–"
        if not self.unit:
            return f"{value:.4g}"
        space = "" if self.unit == "°" else " "
        return f"{self.scale * value:.{decimals}f}" + (f"{space}{self.unit}" if unit else "")


def figure_of(column: str, figures: Mapping[str, Figure]) -> Figure:
    """Finds what a column of metrics.csv shows: a figure, or a loss or rate of training, which is a plain number.

    Args:
        column: Its name without the split, such as "expression/accuracy", "expression/loss" or "lr".
        figures: The figures of the run, by `<task>/<figure>`.
    """
    name = column.rpartition("/")[2]
    return figures.get(column) or Figure(name, label={"lr": "learning rate"}.get(name, ""))


def format_count(value: float | None) -> str:
    """Writes a large number in three digits: 812, 5.29 M, 1.15 G, 3.24 P; "–" where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    for size, suffix in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:g}"
