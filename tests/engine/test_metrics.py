"""Figures of classes against their definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest

from engine.metrics import class_figures, measure_classes


def drawn(n: int, classes: int, *, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random probabilities and labels, one in five of them missing."""
    generator = np.random.default_rng(seed)
    logits = sharpness * generator.normal(size=(n, classes))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = np.where(generator.random(n) < 0.2, -1, generator.integers(0, classes, n))
    return probability.astype(np.float32), target


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (37, 3), (500, 8)])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 6.0])
def test_the_calibration_error_is_the_gap_of_15_equal_bins(n: int, classes: int, sharpness: float) -> None:
    probability, target = drawn(n, classes, sharpness=sharpness)
    target[0] = 0
    guess, labelled = probability.argmax(axis=1), target >= 0
    confidence, right = probability.max(axis=1)[labelled], (guess == target)[labelled]
    bins = np.clip(np.ceil(confidence * 15) - 1, 0, 14).astype(int)
    gaps = [
        (bins == b).mean() * abs(right[bins == b].mean() - confidence[bins == b].mean())
        for b in range(15)
        if (bins == b).any()
    ]
    assert measure_classes(probability, target)["calibration_error"] == pytest.approx(sum(gaps), abs=1e-6)


def test_the_calibration_error_of_known_cases() -> None:
    sure = np.eye(4, dtype=np.float32)
    assert measure_classes(sure, np.arange(4))["calibration_error"] == pytest.approx(0)
    assert measure_classes(sure, np.array([1, 2, 3, 0]))["calibration_error"] == pytest.approx(1)
    flat = np.full((8, 4), 0.25, dtype=np.float32)
    flat[:, 0] += 1e-4  # the first class is said of all, a quarter of them rightly
    assert measure_classes(flat, np.arange(8) % 4)["calibration_error"] == pytest.approx(0, abs=2e-4)


def test_without_a_label_all_figures_are_no_number() -> None:
    probability, target = drawn(5, 3)
    none = measure_classes(probability, np.full(5, -1))
    assert [*none] == [*measure_classes(probability, np.abs(target))] == [figure.name for figure in class_figures(3)]
    assert all(np.isnan(value) for value in none.values())
