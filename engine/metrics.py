"""Figures of an evaluation, computed once over all its samples on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

import engine.torchvision_ops  # noqa: F401 - before torchmetrics, which imports torchvision

from torchmetrics.functional.classification import (  # isort: skip
    multiclass_accuracy,
    multiclass_f1_score,
)


def class_figures(probability: Float[np.ndarray, "n k"], target: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Accuracy, macro-F1, mean recall and cross-entropy over the labelled samples (target >= 0); NaN if there are none.

    Macro-F1 and mean recall are means over the classes that occur in target or prediction (torchmetrics).
    """
    labelled = target >= 0
    if not labelled.any():
        return dict.fromkeys(("accuracy", "macro_f1", "mean_recall", "cross_entropy"), float("nan"))
    guess = torch.from_numpy(probability[labelled])
    truth = torch.from_numpy(target[labelled])
    classes = probability.shape[1]
    chosen = guess.gather(1, truth[:, None]).clamp(min=1e-12)
    return {
        "accuracy": float(multiclass_accuracy(guess, truth, classes, average="micro")),
        "macro_f1": float(multiclass_f1_score(guess, truth, classes, average="macro")),
        "mean_recall": float(multiclass_accuracy(guess, truth, classes, average="macro")),
        "cross_entropy": float(-chosen.log().mean()),
    }
