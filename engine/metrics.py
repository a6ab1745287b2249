"""Computes the figures that several tasks have, once over all samples of an evaluation, and declares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int

import engine.torchvision_ops  # noqa: F401 - before torchmetrics, which imports torchvision
from engine.figures import Figure

from torchmetrics.functional.classification import (  # isort: skip
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
)


def class_figures(classes: int) -> tuple[Figure, ...]:
    """Declares what `measure_classes` computes; of k classes guessing meets 1 in k."""
    return (
        Figure("accuracy", greater_is_better=True, unit="%", chance=1 / classes),
        Figure("macro_f1", greater_is_better=True, unit="%", label="macro-F1", leads=True),
        Figure("mean_recall", greater_is_better=True, unit="%", chance=1 / classes),
        Figure("cross_entropy", label="cross-entropy"),
        Figure("calibration_error", unit="%", label="ECE (15 bins)"),
    )


def measure_classes(probability: Float[np.ndarray, "n k"], target: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Computes accuracy, macro-F1, mean recall, cross-entropy and calibration error over the labelled samples.

    Macro-F1 and mean recall are means over the classes that occur in target or prediction (torchmetrics). The expected
    calibration error (Guo et al., ICML 2017) sorts samples by the probability of the class they are given into 15 bins
    of equal width and is the mean, over samples, of |accuracy - mean probability| of their bin. A target below 0 is
    none; all are NaN if no sample is labelled.
    """
    labelled = target >= 0
    if not labelled.any():
        return {figure.name: float("nan") for figure in class_figures(probability.shape[1])}
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


def group_figures(names: Sequence[str]) -> tuple[Figure, ...]:
    """Declares what `group_error_rates` computes."""
    each = tuple(Figure(f"{name} error_rate", unit="%") for name in names)
    return (Figure("spread_of_error_rate", unit="%", leads=True), *each)


def group_error_rates(
    probability: Float[np.ndarray, "n k"],
    target: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    names: Sequence[str],
) -> dict[str, float]:
    """Computes the error rate of each group over its labelled samples, as `<group> error_rate`, and their spread.

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
    """Computes how many degrees, 0..180, two angles are apart the short way round: 179 and -179 are 2; NaN stays."""
    error: Float64[np.ndarray, "n k"] = np.abs(np.remainder(guess.astype(np.float64) - truth + 180, 360) - 180)
    return error


def angle_figures(angles: Sequence[str]) -> tuple[Figure, ...]:
    """Declares what `measure_angles` computes."""
    return tuple(
        Figure(f"mae_{'_'.join(over)}", unit="°", label=f"MAE of {', '.join(over)}")
        for over in dict.fromkeys([tuple(angles), *((angle,) for angle in angles)])
    )


def measure_angles(
    angles: Sequence[str], guess: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"]
) -> dict[str, float]:
    """Computes the mean absolute error of each angle in degrees, and their mean, which is named after all of them.

    Errors are those of `angle_errors`. Samples that lack an angle (NaN) do not count for it; an angle that no sample
    has is NaN, and so is the mean.

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


def number_figures(unit: str) -> tuple[Figure, ...]:
    """Declares what `measure_numbers` computes, in a unit such as "years"."""
    return (
        Figure("mae", unit=unit, label="MAE"),
        Figure("rmse", unit=unit, label="RMSE"),
        Figure("correlation", greater_is_better=True, chance=0.0),
    )


def measure_numbers(guess: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Computes mean absolute error, root of the mean squared error and Pearson's correlation of the known numbers.

    A truth of NaN is none; what cannot be computed is NaN: all without a known number, the correlation where either
    does not vary.
    """
    known = ~np.isnan(truth)
    guess, truth = guess[known].astype(np.float64), truth[known].astype(np.float64)
    if not known.any():
        return {figure.name: float("nan") for figure in number_figures("")}
    off_guess, off_truth = guess - guess.mean(), truth - truth.mean()
    spread = float(np.sqrt(np.square(off_guess).mean() * np.square(off_truth).mean()))
    return {
        "mae": float(np.abs(guess - truth).mean()),
        "rmse": float(np.sqrt(np.square(guess - truth).mean())),
        "correlation": float((off_guess * off_truth).mean()) / spread if spread > 0 else float("nan"),
    }


def affect_figures(dimensions: Sequence[str]) -> tuple[Figure, ...]:
    """Declares what `measure_affect` computes."""
    each = tuple(
        figure
        for name in dimensions
        for figure in (
            Figure(f"ccc_{name}", greater_is_better=True, chance=0.0, label=f"CCC of {name}", leads=True),
            Figure(f"rmse_{name}", label=f"RMSE of {name}"),
            Figure(f"sign_agreement_{name}", greater_is_better=True, unit="%", label=f"equal signs of {name}"),
        )
    )
    return (Figure("ccc", greater_is_better=True, chance=0.0, label="mean CCC"), *each)


def measure_affect(
    dimensions: Sequence[str], guess: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"]
) -> dict[str, float]:
    """Computes CCC, root of the mean squared error and share of equal signs of each dimension, and the mean CCC.

    Means are over the samples whose truth is known; a dimension without any is NaN, and so is the mean then. The sign
    of 0 is that of the positive numbers.
    """
    found: dict[str, float] = {}
    for name, says, is_ in zip(dimensions, guess.T.astype(np.float64), truth.T.astype(np.float64), strict=True):
        known = ~np.isnan(is_)
        one, other = says[known], is_[known]
        if not known.any():
            found |= {f"{kind}_{name}": float("nan") for kind in ("ccc", "rmse", "sign_agreement")}
            continue
        spread = one.var() + other.var() + (one.mean() - other.mean()) ** 2
        together = 2 * ((one - one.mean()) * (other - other.mean())).mean()
        found[f"ccc_{name}"] = float(together / spread) if spread > 0 else float("nan")
        found[f"rmse_{name}"] = float(np.sqrt(np.square(one - other).mean()))
        found[f"sign_agreement_{name}"] = float(((one >= 0) == (other >= 0)).mean())
    return {"ccc": float(np.mean([found[f"ccc_{name}"] for name in dimensions]))} | found
