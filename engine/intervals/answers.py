"""Keeps a run's predictions picture by picture, and computes figures from them again.

A figure of a resample of the pictures is the figure of weighted pictures: a picture that was drawn twice weighs 2. The
functions here compute a figure for many such weightings at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from engine.intervals.numbers import AttributeAnswers, NumberAnswers, attributes_of, numbers_of
from engine.intervals.weighted import Weights, as_text, from_text, ratio, weighted_mean

Measure = Callable[[Mapping[str, np.ndarray]], Mapping[str, float]]
"""Computes figures of rows, as a task's `measure` does."""
_NAMING = ("angles", "column", "dimensions", "group_names", "labels")
MOST_NUMBERS = 64
"""How many numbers a picture `MeasuredRows` keeps at the most: small files stay small."""


class Pictures(Protocol):
    """Is what every kind of answers has: those of one task on one split."""

    @property
    def count(self) -> int:
        """Counts the pictures, with or without a label."""
        ...

    def support(self, metric: str) -> int:
        """Counts the pictures that a metric is computed of: those whose label is known."""
        ...

    def figure(self, metric: str, weights: Weights) -> Float64[np.ndarray, " r"] | None:
        """Computes a metric under each weighting, NaN where no labelled picture is drawn; None if it cannot."""
        ...

    def pack(self) -> dict[str, Any]:
        """Writes itself as JSON; see `unpack`."""
        ...


def figures_of(answers: Pictures, names: Iterable[str]) -> dict[str, Callable[[Weights], Float64[np.ndarray, " r"]]]:
    """Lists those of some figures that answers can give, each as a function of weightings of the pictures."""

    one = np.ones((1, answers.count), np.float32)
    known = ((name, answers.figure(name, one)) for name in names)
    return {name: figure_of(answers, name) for name, own in known if own is not None and np.isfinite(own[0])}


def figure_of(answers: Pictures, name: str) -> Callable[[Weights], Float64[np.ndarray, " r"]]:
    """Makes a function of weightings of a figure that answers can give."""

    def figure(weights: Weights) -> Float64[np.ndarray, " r"]:
        found = answers.figure(name, weights)
        assert found is not None, f"{name} cannot be computed of single pictures"
        return found

    return figure


@dataclass(frozen=True, slots=True, eq=False)
class ClassAnswers:
    """Holds which class each picture is and which it was taken for."""

    target: Int64[np.ndarray, " n"]
    """-1 where the label is missing."""
    prediction: Int64[np.ndarray, " n"]
    classes: int
    kind: Int64[np.ndarray, " n"] | None = None
    """Which of `kinds` each picture is of, such as a race, where the error rate of each is a figure; -1 for none."""
    kinds: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.target)

    def support(self, metric: str) -> int:
        return int(self._judged(metric).sum())

    def _judged(self, metric: str) -> Bool[np.ndarray, " n"]:
        """Tells which pictures a metric is of: the labelled ones, of one kind if it names one."""
        labelled: Bool[np.ndarray, " n"] = self.target >= 0
        name = metric.removesuffix(" error_rate")
        if name == metric or name not in self.kinds or self.kind is None:
            return labelled
        members: Bool[np.ndarray, " n"] = self.kind == self.kinds.index(name)
        judged: Bool[np.ndarray, " n"] = labelled & members
        return judged

    def figure(self, metric: str, weights: Weights) -> Float64[np.ndarray, " r"] | None:
        """Computes accuracy, error rate, that of a kind, macro-F1 or mean recall, as `engine.metrics` defines them."""
        if metric in ("accuracy", "error_rate", *(f"{name} error_rate" for name in self.kinds)):
            judged = self._judged(metric)
            right = (self.prediction == self.target) & judged
            share = ratio(weights @ right.astype(weights.dtype), weights @ judged.astype(weights.dtype))
            return share if metric == "accuracy" else 1 - share
        if metric in ("macro_f1", "mean_recall"):
            return self._over_classes(metric, weights)
        return None

    def _over_classes(self, metric: str, weights: Weights) -> Float64[np.ndarray, " r"]:
        kinds = np.arange(self.classes)
        is_one = (self.target[:, None] == kinds).astype(weights.dtype)  # n, k
        taken = ((self.prediction[:, None] == kinds) & (self.target >= 0)[:, None]).astype(weights.dtype)
        hits, support, taken_for = (weights @ table for table in (is_one * taken, is_one, taken))  # r, k each
        occurs = support + taken_for > 0
        each = ratio(2 * hits, support + taken_for) if metric == "macro_f1" else ratio(hits, np.maximum(support, 1))
        return ratio(np.where(occurs, each, 0).sum(axis=1), occurs.sum(axis=1))

    def pack(self) -> dict[str, Any]:
        kept = _class_type(self.classes)
        return {
            "kind": "classes",
            "classes": self.classes,
            "target": as_text(self.target.astype(kept)),
            "prediction": as_text(self.prediction.astype(kept)),
            **({} if self.kind is None else {"kinds": self.kinds, "of_kind": as_text(self.kind.astype(np.int16))}),
        }


@dataclass(frozen=True, slots=True, eq=False)
class AngleErrors:
    """Holds how far each angle of each picture is off."""

    values: Mapping[str, Float64[np.ndarray, " n"]]
    """Angle to its absolute error in degrees, NaN where the angle is not known."""

    @property
    def count(self) -> int:
        return len(next(iter(self.values.values())))

    def support(self, metric: str) -> int:
        known = [np.isfinite(self.values[angle]) for angle in metric.split("_")[1:] if angle in self.values]
        return int(np.logical_or.reduce(known).sum())

    def figure(self, metric: str, weights: Weights) -> Float64[np.ndarray, " r"] | None:
        """Computes `mae_yaw`, or `mae_yaw_pitch`: the mean over angles of mean absolute errors (`engine.metrics`)."""
        kind, _, angles = metric.partition("_")
        if kind != "mae" or not set(angles.split("_")) <= self.values.keys():
            return None
        each = np.stack([weighted_mean(self.values[angle], weights) for angle in angles.split("_")])
        mean: Float64[np.ndarray, " r"] = each.mean(axis=0)
        return mean

    def pack(self) -> dict[str, Any]:
        """Writes errors as float16: three digits, of which a mean over pictures loses nothing that matters."""
        return {"kind": "angles", "values": {key: as_text(v.astype(np.float16)) for key, v in self.values.items()}}


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRows:
    """Holds what evaluation keeps of each picture, for a task whose figures are of no kind known here."""

    rows: Mapping[str, np.ndarray]
    """Name to an array whose first axis is the picture."""
    measure: Measure

    @property
    def count(self) -> int:
        return len(next(iter(self.rows.values())))

    def support(self, metric: str) -> int:
        return self.count

    def figure(self, metric: str, weights: Weights) -> Float64[np.ndarray, " r"] | None:
        """Computes a figure that `measure` gives, once for each weighting, of the pictures repeated as it says."""
        found = []
        for times in weights.astype(np.int64):
            drawn = np.repeat(np.arange(self.count), times)
            found.append(self.measure({name: array[drawn] for name, array in self.rows.items()}).get(metric))
        return None if None in found else np.array(found, np.float64)

    def pack(self) -> dict[str, Any]:
        rows = {
            name: {"type": array.dtype.name, "shape": array.shape[1:], "values": as_text(array)}
            for name, array in self.rows.items()
        }
        return {"kind": "rows", "rows": rows}


def measured_rows(arrays: Mapping[str, np.ndarray], task: str, measure: Measure) -> MeasuredRows | None:
    """Reads a task's rows from the arrays of a run's predictions.

    Returns:
        None where they are not one a picture, or too many to be kept: above `MOST_NUMBERS` a picture.
    """
    rows = {name.rpartition(".")[2]: array for name, array in arrays.items() if name.rpartition(".")[0] == task}
    one_a_picture = all(len(array) == len(arrays["sample"]) > 0 for array in rows.values())
    if not rows or not one_a_picture or sum(array[0].size for array in rows.values()) > MOST_NUMBERS:
        return None
    return MeasuredRows(rows, measure)


def naming(task: object) -> dict[str, Any]:
    """Reads from a task what names its answers, as the task's description in a recipe has it."""
    return {name: getattr(task, name) for name in _NAMING if hasattr(task, name)}


def from_arrays(arrays: Mapping[str, np.ndarray], task: str, said: Mapping[str, Any]) -> Pictures | None:
    """Reads a task's answers from the arrays of a run's predictions; None where they are of no kind known here.

    Args:
        arrays: Scores of classes, `<task>.probability` "n k" beside `<task>.target` "n"; degrees, `<task>.angles` "n k"
            beside `<task>.target` "n k"; or numbers, `<task>.numbers` "n k" beside such a target.
        said: Fields of the task that name its answers, by the names they have there: `angles`, the `column` or
            `dimensions` of numbers, the `labels` of attributes, or the `group_names` of those whose error rates are
            told apart, with `<task>.group` "n".
    """
    target, probability = arrays.get(f"{task}.target"), arrays.get(f"{task}.probability")
    if target is None:
        return None
    if probability is not None and probability.ndim == 2 and np.issubdtype(target.dtype, np.integer):
        if target.shape != probability.shape[:1] or not np.issubdtype(probability.dtype, np.floating):
            return None  # damaged
        if not np.isfinite(probability[target >= 0]).all():
            return None  # of a model that has diverged
        kinds = said.get("group_names") or ()
        kind = arrays.get(f"{task}.group") if kinds else None
        return ClassAnswers(
            target.astype(np.int64),
            probability.argmax(axis=1),
            probability.shape[1],
            None if kind is None else kind.astype(np.int64),
            () if kind is None else tuple(kinds),
        )
    angles, guess = said.get("angles") or (), arrays.get(f"{task}.angles")
    if guess is not None and angles and guess.shape == target.shape == (len(guess), len(angles)):
        return AngleErrors(dict(zip(angles, angle_errors(guess, target).T, strict=True)))
    numbers = arrays.get(f"{task}.numbers")
    if numbers is None or not all(np.issubdtype(each.dtype, np.floating) for each in (numbers, target)):
        return None
    if labels := said.get("labels"):
        return attributes_of(numbers, target, labels)
    columns = (said["column"],) if said.get("column") else said.get("dimensions") or ()
    return numbers_of(numbers, target, columns) if columns else None


def angle_errors(guess: Float[np.ndarray, "n k"], truth: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Computes how many degrees, 0..180, two angles are apart the short way round: 179 and -179 are 2; NaN stays."""
    error: Float64[np.ndarray, "n k"] = np.abs(np.remainder(guess.astype(np.float64) - truth + 180, 360) - 180)
    return error


def joined(each: Sequence[Pictures]) -> Pictures:
    """Puts the answers of several splits one after another; all are of one task, and so of one kind."""
    first = each[0]
    if isinstance(first, ClassAnswers):
        classes = [one for one in each if isinstance(one, ClassAnswers)]
        targets, predictions = ([getattr(one, name) for one in classes] for name in ("target", "prediction"))
        known = [one.kind for one in classes if one.kind is not None and one.kinds == first.kinds]
        kind = np.concatenate(known) if len(known) == len(each) else None
        kinds = () if kind is None else first.kinds
        return ClassAnswers(np.concatenate(targets), np.concatenate(predictions), first.classes, kind, kinds)
    if isinstance(first, AngleErrors):
        values = [one.values for one in each if isinstance(one, AngleErrors)]
        return AngleErrors({angle: np.concatenate([one[angle] for one in values]) for angle in first.values})
    if isinstance(first, NumberAnswers):
        numbers = [one for one in each if isinstance(one, NumberAnswers)]
        said, true = (np.concatenate([getattr(one, name) for one in numbers]) for name in ("said", "target"))
        return NumberAnswers(first.columns, said, true)
    if isinstance(first, AttributeAnswers):
        attributes = [one for one in each if isinstance(one, AttributeAnswers)]
        says, has = (np.concatenate([getattr(one, name) for one in attributes]) for name in ("says", "has"))
        return AttributeAnswers(first.names, says, has)
    assert isinstance(first, MeasuredRows)
    rows = [one.rows for one in each if isinstance(one, MeasuredRows)]
    return MeasuredRows({name: np.concatenate([one[name] for one in rows]) for name in first.rows}, first.measure)


def unpack(packed: Mapping[str, Any], measure: Callable[[], Measure]) -> Pictures:
    """Reads what `Pictures.pack` wrote; `measure` finds what measures the rows of a task, where they are kept."""
    if packed["kind"] == "rows":
        rows = {
            name: from_text(kept["values"], np.dtype(kept["type"]).type).reshape(-1, *kept["shape"])
            for name, kept in packed["rows"].items()
        }
        return MeasuredRows(rows, measure())
    if packed["kind"] == "numbers":
        return NumberAnswers.unpack(packed)
    if packed["kind"] == "attributes":
        return AttributeAnswers.unpack(packed)
    if packed["kind"] == "classes":
        kept = _class_type(packed["classes"])
        target, prediction = (from_text(packed[key], kept).astype(np.int64) for key in ("target", "prediction"))
        kind = from_text(packed["of_kind"], np.int16).astype(np.int64) if "of_kind" in packed else None
        return ClassAnswers(target, prediction, packed["classes"], kind, tuple(packed.get("kinds", ())))
    return AngleErrors({key: from_text(text, np.float16).astype(np.float64) for key, text in packed["values"].items()})


def _class_type(classes: int) -> type[np.signedinteger[Any]]:
    return np.int8 if classes <= 127 else np.int16
