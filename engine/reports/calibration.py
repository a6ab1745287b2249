"""Shows how far probabilities can be trusted: a temperature fitted on val, and a reliability diagram of test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from engine.calibration import at_temperature, calibration_error, cross_entropy, fit_temperature, reliability
from engine.reports.plotting import BLUE, INK, MUTED, VERMILION, new_figure, quiet_axes, save_figure
from engine.runs.result import ClassPredictions


@dataclass(frozen=True, slots=True)
class Calibration:
    """Holds what a temperature changes on test; accuracy is not among it."""

    checkpoint: str
    temperature: float
    error: tuple[float, float]
    """Expected calibration error, 0..1, as trained and at the temperature."""
    cross_entropy: tuple[float, float]
    target: Int64[np.ndarray, " n"]
    probability: tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]


def calibrate(items: Sequence[ClassPredictions]) -> list[Calibration]:
    """Fits the temperature of each checkpoint on val and applies it to test; none where either lacks labels."""
    by = {(item.split, item.checkpoint): item for item in items}
    found = []
    for (split, checkpoint), val in by.items():
        test = by.get(("test", checkpoint))
        if split != "val" or test is None or not (test.target >= 0).any():
            continue
        temperature = fit_temperature(val.probability, val.target)
        if temperature is None:
            continue
        pair = (test.probability, at_temperature(test.probability, temperature))
        found.append(
            Calibration(
                checkpoint=checkpoint,
                temperature=temperature,
                error=(calibration_error(pair[0], test.target), calibration_error(pair[1], test.target)),
                cross_entropy=(cross_entropy(pair[0], test.target), cross_entropy(pair[1], test.target)),
                target=test.target,
                probability=pair,
            )
        )
    return found


def reliability_diagram(found: Calibration, path: Path, *, title: str) -> Path:
    """Draws, of test, how often the network is right where it says so with some probability; larger marks are more."""
    figure = new_figure(4.6, 4.2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle="--")
    labels = ("as trained", f"at temperature {found.temperature:.2f}")
    for probability, label, colour, mark in zip(found.probability, labels, (VERMILION, BLUE), ("o", "s"), strict=True):
        sure, right, count = reliability(probability, found.target)
        axes.plot(sure, right, color=colour, linewidth=1.2, label=label)
        axes.scatter(sure, right, s=12 + 120 * count / count.max(), color=colour, marker=mark, alpha=0.75, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("probability of the class that is said", fontsize=8.5, color=INK)
    axes.set_ylabel("share that is right", fontsize=8.5, color=INK)
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    quiet_axes(axes)
    return save_figure(figure, path)
