"""How metrics are named and written for people: `macro_f1` 0.5132 is "macro-F1" 51.3 %."""

from __future__ import annotations

import math

_LABEL = {
    "macro_f1": "macro-F1",
    "l1": "L1",
    "lr": "learning rate",
    "mae": "mean absolute error",
    "cross_entropy": "cross-entropy",
    "calibration_error": "ECE (15 bins)",
}


def label_of(metric: str) -> str:
    """A metric's name in running text, of "macro_f1" or "expression/macro_f1"; "mae_yaw" is "MAE of yaw"."""
    name = metric.rpartition("/")[2]
    if is_degrees(name):
        return f"MAE of {', '.join(name.split('_')[1:])}"
    return _LABEL.get(name, name.replace("_", " "))


def is_percent(metric: str) -> bool:
    """Whether a metric is a share, 0..1, that people read in percent: accuracies, recalls, F1, error rates, ECE."""
    return metric.rpartition("/")[2].endswith(("accuracy", "recall", "f1", "error_rate", "calibration_error"))


def is_degrees(metric: str) -> bool:
    """Whether a metric is an angle: the mean absolute errors of head pose."""
    return metric.rpartition("/")[2].startswith("mae_")


def greater_is_better(metric: str) -> bool:
    """Whether more of a metric is better: so with accuracies, recalls and F1; less of errors and losses."""
    return metric.endswith(("accuracy", "recall", "f1"))


def unit_of(metric: str) -> str:
    """The unit a value is read in, "%" of a share, "°" of an angle, and "" where there is none."""
    return "%" if is_percent(metric) else "°" if is_degrees(metric) else ""


def scale_of(metric: str) -> float:
    """What a value is multiplied by to be read in its unit."""
    return 100.0 if is_percent(metric) else 1.0


def in_brackets(metric: str) -> str:
    """ " (%)" or " (°)" to follow the name of a metric; "" where there is no unit."""
    return f" ({unit})" if (unit := unit_of(metric)) else ""


def format_value(metric: str, value: float | None, *, decimals: int = 2, unit: bool = True) -> str:
    """A value as people read it: a share in percent and an angle with `decimals`, else four digits; "–" for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if is_percent(metric):
        return f"{100 * value:.{decimals}f}" + (" %" if unit else "")
    if is_degrees(metric):
        return f"{value:.{decimals}f}" + ("°" if unit else "")
    return f"{value:.4g}"


def format_count(value: float | None) -> str:
    """A large number in three digits: 812, 5.29 M, 1.15 G; "–" where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:g}"
