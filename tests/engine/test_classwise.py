from __future__ import annotations

import numpy as np
import pytest

from engine.reports.classwise import confusion_counts, recall, wilson_interval

NAMES = ["a", "b", "c"]


def scores(*classes: int) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[list(classes)]


def test_counts_have_labels_in_rows_and_predictions_in_columns() -> None:
    counts = confusion_counts(NAMES, np.array([0, 0, 0, 1, 2]), scores(0, 1, 1, 1, 0))
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]


def test_samples_without_a_label_are_left_out_whatever_their_scores() -> None:
    probability = scores(0, 1, 2)
    probability[1] = np.nan
    assert confusion_counts(NAMES, np.array([0, -1, 2]), probability).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_recall_is_nan_for_a_class_without_samples() -> None:
    counts = confusion_counts(NAMES, np.array([0, 0, 0, 0, 1]), scores(0, 0, 0, 1, 2))
    np.testing.assert_array_equal(recall(counts), [0.75, 0.0, np.nan])


def test_wilson_interval_equals_published_values() -> None:
    # Newcombe, Statistics in Medicine 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    low, high = wilson_interval(np.array([81, 15, 0, 1, 0]), np.array([263, 148, 20, 29, 0]))
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0.0, 0.0061, np.nan], atol=5e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718, np.nan], atol=5e-5)


@pytest.mark.parametrize(
    ("target", "probability", "message"),
    [
        (np.array([0, 1]), scores(0, 1)[:, :2], r"target \(=\(2,\)\) and probability \(=\(2, 2\)\) must be \[n\]"),
        (np.array([0, 1, 2]), scores(0, 1), r"must be \[n\] and \[n, 3\], one score for each of the 3 class names"),
        (np.array([0, 3]), scores(0, 1), r"target \(=0\.\.3\) must lie in -1\.\.2"),
        (np.array([0, -2]), scores(0, 1), r"target \(=-2\.\.0\) must lie in -1\.\.2"),
        (np.array([0, 1]), scores(0, 1) + np.inf, "probability must be finite where there is a label"),
    ],
)
def test_what_cannot_be_counted_is_refused(target: np.ndarray, probability: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_counts(NAMES, target, probability)
