"""Computes the figures that several tasks have, once over all samples of an evaluation, and declares them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from engine.calibration import calibration_error, cross_entropy
from engine.figures import Figure
from engine.intervals.answers import ClassAnswers, angle_errors


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

    Macro-F1 and mean recall are means over the classes that occur in target or prediction, as in torchmetrics. A target
    below 0 is none; all are NaN if no sample is labelled.
    """
    answers = ClassAnswers(target.astype(np.int64), probability.argmax(axis=1), probability.shape[1])
    once = np.ones((1, answers.count))
    shares = {name: answers.figure(name, once) for name in ("accuracy", "macro_f1", "mean_recall")}
    return {
        **{name: float(found[0]) for name, found in shares.items() if found is not None},
        "cross_entropy": cross_entropy(probability, target),
        "calibration_error": calibration_error(probability, target),
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


def attribute_figures(names: Sequence[str]) -> tuple[Figure, ...]:
    """Declares what `measure_attributes` computes."""
    return (
        Figure("mean_accuracy", greater_is_better=True, unit="%"),
        Figure("mean_balanced_accuracy", greater_is_better=True, unit="%", chance=0.5, leads=True),
        *(Figure(f"{name} accuracy", greater_is_better=True, unit="%") for name in names),
    )


def measure_attributes(
    names: Sequence[str], probability: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"]
) -> dict[str, float]:
    """Computes the accuracy of each of k attributes, their mean, and the mean of their balanced accuracies.

    A face is said to have an attribute from a probability of 0.5 on. The balanced accuracy of an attribute is the mean
    of two recalls, of the faces that have it and of those that have it not. Means are over the attributes that have a
    value: an attribute that is known of no face has no accuracy (NaN), and one that all or none have no balanced one.

    Args:
        names: Of the attributes.
        probability: That a face has it.
        truth: 1 where it has it, 0 where not, NaN where that is not known.
    """
    says, known = probability >= 0.5, ~np.isnan(truth)
    has = known & (truth == 1)
    right = known & (says == has)

    def share(over: Bool[np.ndarray, "n k"], under: Bool[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
        count = under.sum(axis=0)
        return np.where(count > 0, (over & under).sum(axis=0) / np.maximum(count, 1), np.nan)

    def mean(each: Float[np.ndarray, " k"]) -> float:
        have = each[~np.isnan(each)]
        return float(have.mean()) if len(have) else float("nan")

    accuracy, balanced = share(right, known), (share(right, has) + share(right, known & ~has)) / 2
    return {
        "mean_accuracy": mean(accuracy),
        "mean_balanced_accuracy": mean(balanced),
        **{f"{name} accuracy": float(value) for name, value in zip(names, accuracy, strict=True)},
    }


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
