"""Measures whether probabilities say how often they are right, and fits the temperature that makes them do so."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64

BINS = 15
"""Of the calibration error; all of one width."""
COLDEST, HOTTEST = 0.05, 20.0
"""Between these a temperature is looked for: where all samples are right, colder is better without end."""


def at_temperature(probability: Float[np.ndarray, "n k"], temperature: float) -> Float[np.ndarray, "n k"]:
    """Divides the scores behind probabilities by a temperature: above 1 they become less sure, below 1 surer."""
    scores = np.log(np.clip(probability, 1e-12, None).astype(np.float64)) / temperature
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Float[np.ndarray, "n k"] = (shares / shares.sum(axis=1, keepdims=True)).astype(probability.dtype)
    return found


def fit_temperature(probability: Float[np.ndarray, "n k"], target: Int64[np.ndarray, " n"]) -> float | None:
    """Finds the temperature of least cross-entropy (Guo et al., ICML 2017), 0.05..20; None without a labelled sample.

    The cross-entropy is convex in 1 / temperature, so its slope is halved in upon.
    """
    labelled = target >= 0
    if not labelled.any():
        return None
    scores = np.log(np.clip(probability[labelled], 1e-12, None).astype(np.float64))
    true = scores[np.arange(len(scores)), target[labelled]]

    def slope(temperature: float) -> float:
        """Of the cross-entropy over 1 / temperature."""
        expected = (at_temperature(np.exp(scores), temperature) * scores).sum(axis=1)
        return float((expected - true).mean())

    low, high = COLDEST, HOTTEST
    if slope(low) <= 0:
        return low
    if slope(high) >= 0:
        return high
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return float(np.sqrt(low * high))


def reliability(
    probability: Float[np.ndarray, "n k"], target: Int64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"], Int64[np.ndarray, " b"]]:
    """Sorts labelled samples by the probability, 0..1, of the class they are given into bins of equal width.

    Returns:
        Mean probability, share that is right and number of samples of each bin that has any.
    """
    labelled = target >= 0
    guess = probability[labelled]
    sure = guess.max(axis=1).astype(np.float64)
    right = (guess.argmax(axis=1) == target[labelled]).astype(np.float64)
    place = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    some = count > 0
    means = [np.bincount(place, weights=values, minlength=BINS)[some] / count[some] for values in (sure, right)]
    return means[0], means[1], count[some]


def calibration_error(probability: Float[np.ndarray, "n k"], target: Int64[np.ndarray, " n"]) -> float:
    """Computes the expected calibration error (Guo et al., ICML 2017), 0..1: the mean gap of being sure and right.

    It is the mean over labelled samples of |share that is right - mean probability| of their bin; NaN without one.
    """
    sure, right, count = reliability(probability, target)
    return float("nan") if not count.sum() else float((np.abs(right - sure) * count).sum() / count.sum())


def cross_entropy(probability: Float[np.ndarray, "n k"], target: Int64[np.ndarray, " n"]) -> float:
    """Computes the mean of -ln(probability of the true class) over the labelled samples; NaN without one."""
    labelled = np.flatnonzero(target >= 0)
    true = np.clip(probability[labelled, target[labelled]], 1e-12, None).astype(np.float64)
    return float("nan") if not labelled.size else float(-np.log(true).mean())
