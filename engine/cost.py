"""Says what a training cost: pictures through encoders and floating-point operations, and when two costs are equal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.figures import format_count

EQUAL = 0.03
"""Costs whose FLOPs differ by no more than this share count as equal."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Holds what a training cost; None is what is not known, as of runs of before FLOPs were counted."""

    pictures: float | None = None
    """Pictures that passed through an encoder, whether it was trained by them or not."""
    forward_only: float | None = None
    """Those of them by which no encoder was trained: through a teacher, or through an encoder that is frozen."""
    flops: float | None = None
    """Floating-point operations of all forward and backward passes; see `engine.training.cost`."""

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Cost:
        """Reads the cost in a result.json, or in the small file of a finished run."""
        names = ("pictures_through_encoder", "pictures_forward_only", "training_flops")
        return cls(*(_number(content.get(name)) for name in names))

    def written(self) -> dict[str, int | None]:
        """Gives what `read` reads, and how many pictures an encoder was trained by."""
        return {
            "pictures_through_encoder": _whole(self.pictures),
            "pictures_trained": _whole(self.trained),
            "pictures_forward_only": _whole(self.forward_only),
            "training_flops": _whole(self.flops),
        }

    @property
    def trained(self) -> float | None:
        """Pictures that passed forward and backward."""
        return None if self.pictures is None or self.forward_only is None else self.pictures - self.forward_only

    def __add__(self, other: Cost) -> Cost:
        """Adds what two trainings cost; what is not known of one is not known of both."""
        return Cost(
            _sum(self.pictures, other.pictures),
            _sum(self.forward_only, other.forward_only),
            _sum(self.flops, other.flops),
        )

    def times(self, count: float) -> Cost:
        """Gives what so many of it cost."""
        values = (self.pictures, self.forward_only, self.flops)
        return Cost(*(None if value is None else value * count for value in values))

    def pictures_in_words(self) -> str:
        """Writes "115 k / 57.4 k", pictures trained and forward only; "172 k in all" where they are not told apart."""
        if self.pictures is None:
            return "–"
        if self.forward_only is None:
            return f"{format_count(self.pictures)} in all"
        return f"{format_count(self.trained)} / {format_count(self.forward_only)}"

    def beside(self, other: Cost) -> str:
        """Says whether this cost is equal to another: in FLOPs or, where these are not known of both, in pictures."""
        for what, own, its in (("FLOPs", self.flops, other.flops), ("pictures", self.pictures, other.pictures)):
            if own and its:
                more = own / its - 1
                if abs(more) <= EQUAL:
                    return f"equal {what} within {max(math.ceil(1000 * abs(more) - 1e-6), 1) / 10:g} %"
                return f"not equal: {100 * more:+.0f} % {what}"
        return "–"


def _number(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None  # type: ignore[arg-type]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
