"""Figures of classes against torchmetrics and their definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import engine.torchvision_ops  # noqa: F401 - before torchmetrics, which imports torchvision
from engine.metrics import class_figures, measure_classes

from torchmetrics.functional.classification import (  # isort: skip
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
)


def drawn(n: int, classes: int, *, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random probabilities and labels, one in five of them missing."""
    generator = np.random.default_rng(seed)
    logits = sharpness * generator.normal(size=(n, classes))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = np.where(generator.random(n) < 0.2, -1, generator.integers(0, classes, n))
    return probability.astype(np.float32), target


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (5, 7), (37, 3), (500, 8)])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 6.0])
def test_figures_equal_those_of_torchmetrics_and_torch(n: int, classes: int, sharpness: float) -> None:
    probability, target = drawn(n, classes, sharpness=sharpness)
    target[0] = 0
    found = measure_classes(probability, target)
    guess, truth = torch.from_numpy(probability[target >= 0]), torch.from_numpy(target[target >= 0])
    wanted = {
        "accuracy": multiclass_accuracy(guess, truth, classes, average="micro"),
        "macro_f1": multiclass_f1_score(guess, truth, classes, average="macro"),
        "mean_recall": multiclass_accuracy(guess, truth, classes, average="macro"),
        "cross_entropy": torch.nn.functional.nll_loss(guess.clamp(min=1e-12).log(), truth),
        "calibration_error": multiclass_calibration_error(guess, truth, classes, n_bins=15, norm="l1"),
    }
    assert found == pytest.approx({name: float(value) for name, value in wanted.items()}, abs=1e-6)
    assert list(found) == [figure.name for figure in class_figures(classes)]


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
