"""Keeps the numbers, or the yes and no of many attributes, that a run said of each picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8

from engine.intervals.weighted import Weights, as_text, from_text, ratio

_ROUNDING = 1e-12
"""A variance below this share of the mean square is that of numbers which do not vary."""


@dataclass(frozen=True, slots=True, eq=False)
class NumberAnswers:
    """Holds what was said of some columns of numbers, and what is true."""

    columns: tuple[str, ...]
    said: Float64[np.ndarray, "n k"]
    target: Float64[np.ndarray, "n k"]
    """NaN where a number is not known."""

    @property
    def count(self) -> int:
        return len(self.said)

    def support(self, metric: str) -> int:
        """Counts the pictures of which a number that the metric is about is known."""
        return int(np.isfinite(self.target[:, self._about(metric)[1]]).any(axis=1).sum())

    def figure(self, metric: str, weights: Weights) -> Float64[np.ndarray, " r"] | None:
        """Computes MAE, RMSE, correlation, CCC or share of equal signs, as `engine.metrics` defines them.

        `rmse_valence` is that of one column, `rmse` the mean of those of all columns: of the only one where there is
        one.
        """
        kind, places = self._about(metric)
        if kind not in _FIGURES:
            return None
        each = np.stack([self._of_column(kind, place, weights) for place in places])
        mean: Float64[np.ndarray, " r"] = each.mean(axis=0)
        return mean

    def _about(self, metric: str) -> tuple[str, list[int]]:
        """Parts a metric into what it measures and the columns it is about."""
        for place, name in enumerate(self.columns):
            if metric.endswith(f"_{name}"):
                return metric.removesuffix(f"_{name}"), [place]
        return metric, list(range(len(self.columns)))

    def _of_column(self, kind: str, place: int, weights: Weights) -> Float64[np.ndarray, " r"]:
        known = np.isfinite(self.target[:, place])
        if not known.any():
            return np.full(len(weights), np.nan)
        return _FIGURES[kind](self.said[known, place], self.target[known, place], weights[:, known].astype(np.float64))

    def pack(self) -> dict[str, Any]:
        """Writes numbers as float32: seven digits."""
        both = {"said": self.said, "target": self.target}
        return {"kind": "numbers", "columns": self.columns} | {
            name: as_text(values.astype(np.float32)) for name, values in both.items()
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> NumberAnswers:
        """Reads what `pack` wrote."""
        columns = tuple(packed["columns"])
        both = (from_text(packed[name], np.float32).astype(np.float64) for name in ("said", "target"))
        return cls(columns, *(values.reshape(-1, len(columns)) for values in both))


@dataclass(frozen=True, slots=True, eq=False)
class AttributeAnswers:
    """Holds which of k attributes each picture has, and which it was said to have."""

    names: tuple[str, ...]
    says: Bool[np.ndarray, "n k"]
    has: Int8[np.ndarray, "n k"]
    """1 where it has it, 0 where not, -1 where that is not known."""

    @property
    def count(self) -> int:
        return len(self.has)

    def support(self, metric: str) -> int:
        """Counts the pictures of which the attribute is known, or, for a mean over attributes, any of them."""
        return int((self.has[:, self._about(metric)] >= 0).any(axis=1).sum())

    def figure(self, metric: str, weights: Weights) -> Float64[np.ndarray, " r"] | None:
        """Computes the accuracy of an attribute, or the mean accuracy or balanced accuracy of all (`engine.metrics`).

        As there a mean is over the attributes that have a value; which these are, each weighting says for itself.
        """
        places = self._about(metric)
        says, has = self.says[:, places], self.has[:, places]
        known = has >= 0
        right = known & (says == (has == 1))

        def share(under: Bool[np.ndarray, "n k"]) -> Float64[np.ndarray, "r k"]:
            return ratio(weights @ (right & under).astype(weights.dtype), weights @ under.astype(weights.dtype))

        if metric == "mean_balanced_accuracy":
            return _mean_of_known((share(has == 1) + share(has == 0)) / 2)
        if metric == "mean_accuracy" or metric in map(_accuracy_of, self.names):
            return _mean_of_known(share(known))
        return None

    def _about(self, metric: str) -> list[int]:
        """Lists the places of the attributes that a metric is about."""
        return [i for i, name in enumerate(self.names) if metric == _accuracy_of(name)] or list(range(len(self.names)))

    def pack(self) -> dict[str, Any]:
        code = self.says + 2 * (self.has + 1)
        return {"kind": "attributes", "names": self.names, "code": as_text(code.astype(np.int8))}

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> AttributeAnswers:
        """Reads what `pack` wrote."""
        names = tuple(packed["names"])
        code = from_text(packed["code"], np.int8).reshape(-1, len(names))
        return cls(names, code % 2 == 1, (code // 2 - 1).astype(np.int8))


def numbers_of(
    said: Float[np.ndarray, "n k"], target: Float[np.ndarray, "n k"], columns: Sequence[str]
) -> NumberAnswers | None:
    """Makes answers of numbers; None where they are damaged, or of a model that has diverged."""
    if said.shape != target.shape or said.shape != (len(said), len(columns)):
        return None
    if not np.isfinite(said[np.isfinite(target)]).all():
        return None
    return NumberAnswers(tuple(columns), said.astype(np.float64), target.astype(np.float64))


def attributes_of(
    probability: Float[np.ndarray, "n k"], target: Float[np.ndarray, "n k"], names: Sequence[str]
) -> AttributeAnswers | None:
    """Makes answers of the chances of attributes; None where they are damaged, or of a model that has diverged."""
    if probability.shape != target.shape or probability.shape != (len(probability), len(names)):
        return None
    known = np.isfinite(target)
    if not np.isfinite(probability[known]).all():
        return None
    return AttributeAnswers(tuple(names), probability >= 0.5, np.where(known, target == 1, -1).astype(np.int8))


def _accuracy_of(name: str) -> str:
    return f"{name} accuracy"


def _mean_of_known(each: Float64[np.ndarray, "r k"]) -> Float64[np.ndarray, " r"]:
    known = np.isfinite(each)
    return ratio(np.where(known, each, 0).sum(axis=1), known.sum(axis=1))


Column = Float64[np.ndarray, " n"]


def _mean(values: Column, weights: Float64[np.ndarray, "r n"]) -> Float64[np.ndarray, " r"]:
    return ratio(weights @ values, weights.sum(axis=1))


def _mae(said: Column, target: Column, weights: Weights) -> Float64[np.ndarray, " r"]:
    return _mean(np.abs(said - target), weights)


def _rmse(said: Column, target: Column, weights: Weights) -> Float64[np.ndarray, " r"]:
    found: Float64[np.ndarray, " r"] = np.sqrt(_mean(np.square(said - target), weights))
    return found


def _equal_signs(said: Column, target: Column, weights: Weights) -> Float64[np.ndarray, " r"]:
    return _mean(((said >= 0) == (target >= 0)).astype(np.float64), weights)


def _correlation(said: Column, target: Column, weights: Weights) -> Float64[np.ndarray, " r"]:
    _, said_varies, target_varies, together = _moments(said, target, weights)
    return ratio(together, np.sqrt(said_varies * target_varies))


def _concordance(said: Column, target: Column, weights: Weights) -> Float64[np.ndarray, " r"]:
    apart, said_varies, target_varies, together = _moments(said, target, weights)
    return ratio(2 * together, said_varies + target_varies + np.square(apart))


def _moments(said: Column, target: Column, weights: Weights) -> tuple[Float64[np.ndarray, " r"], ...]:
    """Computes the difference of the weighted means, both variances, and the covariance."""
    middle = target.mean()  # of both: their difference counts, and squares of large numbers would lose digits
    one, other = said - middle, target - middle
    columns = np.stack([one, other, one * one, other * other, one * other], axis=1)
    mean_one, mean_other, square_one, square_other, product = ratio(
        weights @ columns, weights.sum(axis=1, keepdims=True)
    ).T
    varies = [
        np.where(square - mean * mean <= _ROUNDING * square, 0.0, square - mean * mean)
        for mean, square in ((mean_one, square_one), (mean_other, square_other))
    ]
    return mean_one - mean_other, *varies, product - mean_one * mean_other


_FIGURES: Mapping[str, Callable[[Column, Column, Weights], Float64[np.ndarray, " r"]]] = {
    "mae": _mae,
    "rmse": _rmse,
    "correlation": _correlation,
    "ccc": _concordance,
    "sign_agreement": _equal_signs,
}
