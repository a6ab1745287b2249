"""Counts per class from predictions: what confusion matrices and recall tables are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64

Counts = Int64[np.ndarray, "k k"]


def confusion_counts(
    names: Sequence[str], target: Int64[np.ndarray, " n"], probability: Float[np.ndarray, "n k"]
) -> Counts:
    """How often each class (row) was taken for each class (column), over the samples that have a label.

    Args:
        names: The k class names.
        target: Class numbers 0..k-1; -1 where the label is missing, which leaves the sample out.
        probability: One row of k finite scores a sample; the highest is the prediction (the first among equals).

    Raises:
        ValueError: Shapes, label range or scores are not as above.
    """
    target, probability = np.asarray(target), np.asarray(probability)
    k = len(names)
    if probability.ndim != 2 or probability.shape[1] != k or target.shape != probability.shape[:1]:
        raise ValueError(
            f"confusion_counts: target (={target.shape}) and probability (={probability.shape}) must be [n] and "
            f"[n, {k}], one score for each of the {k} class names; pass the arrays of one task and its own names"
        )
    if target.size and (target.min() < -1 or target.max() >= k):
        raise ValueError(
            f"confusion_counts: target (={target.min()}..{target.max()}) must lie in -1..{k - 1}; "
            "-1 marks a missing label"
        )
    labelled = target >= 0
    if not np.isfinite(probability[labelled]).all():
        raise ValueError(
            "confusion_counts: probability must be finite where there is a label; "
            "the model that predicted it has diverged, take an earlier checkpoint"
        )
    pairs = target[labelled].astype(np.int64) * k + probability[labelled].argmax(axis=1)
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def recall(counts: Counts) -> Float64[np.ndarray, " k"]:
    """Share of each class that was recognised, 0..1; NaN for a class without samples."""
    support = counts.sum(axis=1)
    shares: Float64[np.ndarray, " k"] = np.full(len(support), np.nan)
    np.divide(counts.diagonal(), support, out=shares, where=support > 0)
    return shares


def wilson_interval(
    hits: Int64[np.ndarray, " k"], trials: Int64[np.ndarray, " k"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """95 % score interval of a proportion (Wilson, JASA 1927), which stays inside 0..1; NaN where trials = 0."""
    z = 1.959964
    n = np.where(trials > 0, trials, np.nan).astype(np.float64)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)
