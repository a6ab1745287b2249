"""Temperatures and reliability against independent computations, and their section of a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.calibration import (
    COLDEST,
    HOTTEST,
    at_temperature,
    calibration_error,
    fit_temperature,
    reliability,
)
from engine.reports.calibration import calibrate, reliability_diagram
from engine.runs.result import ClassPredictions

CHARTS_ARE_DRAWN = True


def answers(n: int, *, sure: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose scores are `sure` times those that the labels were drawn by."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(n, 4)) * 1.5
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    target = (random.random(n)[:, None] > shares.cumsum(1)).sum(1).clip(max=3)
    return torch.from_numpy(scores * sure).softmax(1).float().numpy(), target.astype(np.int64)


@pytest.mark.parametrize("sure", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_by_which_the_scores_were_made_surer(sure: float) -> None:
    assert fit_temperature(*answers(20_000, sure=sure)) == pytest.approx(sure, rel=0.04)


def test_the_temperature_has_the_least_cross_entropy_of_a_grid() -> None:
    probability, target = answers(500, sure=2.0)
    target[::3] = -1
    found = fit_temperature(probability, target)
    assert found is not None
    logits, labelled = torch.from_numpy(probability).double().log(), torch.from_numpy(target >= 0)
    truth = torch.from_numpy(target)

    def loss(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits[labelled] / temperature, truth[labelled]))

    assert loss(found) <= min(loss(float(t)) for t in np.geomspace(COLDEST, HOTTEST, 400)) + 1e-9


def test_a_temperature_changes_no_answer_and_1_changes_nothing() -> None:
    probability, _ = answers(300, sure=2.0)
    for temperature in (0.3, 1.0, 5.0):
        changed = at_temperature(probability, temperature)
        assert (changed.argmax(1) == probability.argmax(1)).all()
        np.testing.assert_allclose(changed.sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(at_temperature(probability, 1.0), probability, atol=1e-6)


def test_where_all_is_right_or_all_is_wrong_the_temperature_ends_at_its_bounds() -> None:
    probability = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert fit_temperature(probability, np.array([0, 1])) == COLDEST
    assert fit_temperature(probability, np.array([1, 0])) == HOTTEST
    assert fit_temperature(probability, np.array([-1, -1])) is None


def test_reliability_by_hand() -> None:
    probability = np.array([[0.62, 0.38], [0.66, 0.34], [0.05, 0.95], [0.5, 0.5]], np.float32)
    sure, right, count = reliability(probability, np.array([0, 1, 1, -1]))
    np.testing.assert_allclose(sure, [0.64, 0.95], atol=1e-6)
    np.testing.assert_allclose(right, [0.5, 1.0])
    assert count.tolist() == [2, 1]


def test_a_checkpoint_is_calibrated_on_val_and_measured_on_test(tmp_path: Path) -> None:
    val, test = answers(3000, sure=3.0, seed=1), answers(3000, sure=3.0, seed=2)
    items = [
        ClassPredictions("val", "last", val[1], val[0]),
        ClassPredictions("val", "best", val[1], val[0]),
        ClassPredictions("test", "last", test[1], test[0]),
    ]
    [found] = calibrate(items)
    assert found.checkpoint == "last"
    assert found.temperature == fit_temperature(*val)
    assert found.error[1] < found.error[0] / 3
    assert found.cross_entropy[1] < found.cross_entropy[0]
    assert found.error[0] == calibration_error(*test)
    with Image.open(reliability_diagram(found, tmp_path / "charts" / "one.png", title="expression")) as chart:
        assert chart.format == "PNG"
        assert chart.width > 400
    unlabelled = ClassPredictions("test", "last", np.full_like(test[1], -1), test[0])
    assert calibrate([items[0], unlabelled]) == []
    assert calibrate(items[:2]) == []
