"""Tables with one number per face and column; each column states its neutral value and how it varies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64

Array = npt.NDArray[np.float64]
Uniform = Callable[[str], Float64[np.ndarray, " n"]]
"""Stream name to one draw on [0, 1) per face."""


def between(neutral: float, low: float, high: float) -> Any:
    """A column drawn uniformly from [low, high)."""
    return field(metadata={"neutral": neutral, "draw": lambda u: low + (high - low) * u})


def chance(p: float) -> Any:
    """A column that is 1 with probability p, else 0; neutral 0."""
    return field(metadata={"neutral": 0.0, "draw": lambda u: np.where(u < p, 1.0, 0.0)})


def choice(*weights: float) -> Any:
    """A column with the index of one of several kinds, drawn with these weights; neutral 0."""
    edges = np.cumsum(weights)[:-1] / sum(weights)
    return field(
        metadata={"neutral": 0.0, "draw": lambda u: np.searchsorted(edges, u, side="right").astype(np.float64)}
    )


class Table:
    """Base of the frozen dataclasses whose columns are declared by the functions above."""

    @classmethod
    def neutral(cls, n: int) -> Self:
        """n faces without any variation."""
        return cls(**{f.name: np.full(n, f.metadata["neutral"]) for f in fields(cls)})  # type: ignore[arg-type]

    @classmethod
    def drawn(cls, uniform: Uniform) -> Self:
        """Every column drawn from its own stream, named after table and column."""
        return cls(**{f.name: f.metadata["draw"](uniform(f"{cls.__name__}.{f.name}")) for f in fields(cls)})  # type: ignore[arg-type]

    def rows(self, rows: slice) -> Self:
        """The same table for some of its faces."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})  # type: ignore[arg-type]
