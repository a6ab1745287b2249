"""Figures of an evaluation, computed once over all its samples on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int

import engine.torchvision_ops  # noqa: F401 - before torchmetrics, which imports torchvision

from torchmetrics.functional.classification import (  # isort: skip
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
)


def class_figures(probability: Float[np.ndarray, "n k"], target: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Accuracy, macro-F1, mean recall, cross-entropy and calibration error over the labelled samples (target >= 0).

    Macro-F1 and mean recall are means over the classes that occur in target or prediction (torchmetrics). The expected
    calibration error (Guo et al., ICML 2017) sorts samples by the probability of the class they are given into 15 bins
    of equal width and is the mean, over samples, of |accuracy - mean probability| of their bin. All are NaN if no
    sample is labelled.
    """
    labelled = target >= 0
    if not labelled.any():
        names = ("accuracy", "macro_f1", "mean_recall", "cross_entropy", "calibration_error")
        return dict.fromkeys(names, float("nan"))
    guess = torch.from_numpy(probability[labelled])
    truth = torch.from_numpy(target[labelled])
    classes = probability.shape[1]
    chosen = guess.gather(1, truth[:, None]).clamp(min=1e-12)
    return {
        "accuracy": float(multiclass_accuracy(guess, truth, classes, average="micro")),
        "macro_f1": float(multiclass_f1_score(guess, truth, classes, average="macro")),
        "mean_recall": float(multiclass_accuracy(guess, truth, classes, average="macro")),
        "cross_entropy": float(-chosen.log().mean()),
        "calibration_error": float(multiclass_calibration_error(guess, truth, classes, n_bins=15, norm="l1")),
    }


def group_error_rates(
    probability: Float[np.ndarray, "n k"],
    target: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    names: Sequence[str],
) -> dict[str, float]:
    """The error rate of each group over its labelled samples, as `<group> error_rate`, and the groups' spread.

    The spread is the greatest of these error rates less the least. A group without labelled samples has NaN and no part
    in the spread, which is NaN with fewer than two groups; a sample whose group is missing (-1) is in none.
    """
    wrong = probability.argmax(axis=1) != target
    found = {}
    for number, name in enumerate(names):
        members = (group == number) & (target >= 0)
        found[f"{name} error_rate"] = float(wrong[members].mean()) if members.any() else float("nan")
    known = [rate for rate in found.values() if not np.isnan(rate)]
    return {"spread_of_error_rate": max(known) - min(known) if len(known) > 1 else float("nan")} | found


def angle_errors(guess: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """How many degrees, 0..180, two angles are apart, the short way round: 179 and -179 are 2 apart. NaN stays NaN."""
    error: Float64[np.ndarray, "n k"] = np.abs(np.remainder(guess.astype(np.float64) - truth + 180, 360) - 180)
    return error


def angle_figures(
    angles: Sequence[str], guess: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"]
) -> dict[str, float]:
    """Mean absolute error of each angle in degrees, and their mean, whose name says over which angles it is.

    Errors are those of `angle_errors`. Samples that lack an angle (NaN) do not
    count for it; an angle that no sample has is NaN, and so is the mean.

    Args:
        angles: The k names: ("yaw", "pitch") gives `mae_yaw_pitch`, `mae_yaw` and `mae_pitch`.
        guess: Degrees.
        truth: Degrees, NaN where missing.
    """
    error = angle_errors(guess, truth)
    known = ~np.isnan(truth)
    each = [float(error[known[:, i], i].mean()) if known[:, i].any() else float("nan") for i in range(len(angles))]
    mean = {f"mae_{'_'.join(angles)}": float(np.mean(each))}
    return mean | {f"mae_{angle}": value for angle, value in zip(angles, each, strict=True)}
