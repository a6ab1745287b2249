"""Finds labels that are probably wrong, by confident learning, and what faces that are there twice do to figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from engine.figures import Figure
from engine.intervals.answers import ClassAnswers, figures_of
from engine.intervals.bootstrap import intervals
from engine.intervals.groups import Groups
from engine.reports.intervals import write_ends
from engine.suspects.answers import Answers, HeldOut
from loaders.extras import require
from loaders.store.near_duplicates import NearDuplicates

ACCURACY = Figure("accuracy", greater_is_better=True, unit="%")


@dataclass(frozen=True, slots=True, eq=False)
class Suspects:
    """Lists the faces whose label is probably wrong, the most doubtful first."""

    place: Int64[np.ndarray, " m"]
    """Rows of the answers."""
    said: Int64[np.ndarray, " m"]
    """Class that the runs hold to be the likeliest."""
    notes: tuple[str, ...]
    """What cleanlab warns of."""


def find_suspects(answers: Answers, most: int | None = None) -> Suspects:
    """Finds suspect labels by cleanlab's `find_label_issues` with its defaults.

    Northcutt, Jiang, Chuang: Confident learning: estimating uncertainty in dataset labels, JAIR 2021. It estimates how
    often each class bears the label of each other one, and takes as many faces of which that is the most likely; they
    are ranked by the probability of the label that they have.

    Args:
        answers: What runs said of labelled faces.
        most: Keep so many at the most, the most doubtful; None keeps all.

    Raises:
        ValueError: cleanlab is not installed, or no labelled face was answered.
    """
    issues = require("cleanlab.filter", extra="labels", where="labels").find_label_issues
    if not len(answers.sample):
        raise ValueError(f"labels: no face of {answers.store} that was held out has the label {answers.label!r}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        place = issues(answers.given, answers.probability, return_indices_ranked_by="self_confidence", n_jobs=1)
    place = np.asarray(place, np.int64)[:most]
    notes = dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, UserWarning))
    return Suspects(place, answers.probability[place].argmax(axis=1), tuple(f"cleanlab: {note}" for note in notes))


def seen_twice(held: HeldOut, twins: NearDuplicates) -> Bool[np.ndarray, " n"]:
    """Tells which test faces of a run equal, or nearly equal, a face that it was trained on."""
    seen = np.zeros(len(held.trained), bool)
    one, other = twins.pairs.T
    seen[one[held.trained[other]]] = True
    seen[other[held.trained[one]]] = True
    found: Bool[np.ndarray, " n"] = seen[held.sample]
    return found


def accuracies(answers: Answers, twins: NearDuplicates) -> Iterator[tuple[str, ...]]:
    """Writes, for each run, its accuracy on test with and without the faces that it was nearly trained on.

    Yields:
        The run; labelled test faces, and accuracy with its 95 % interval; the same of those without a twin in training.
    """
    for held in answers.held:
        twice = seen_twice(held, twins)
        yield (held.run, *_accuracy(held, np.ones(len(twice), bool)), *_accuracy(held, ~twice))


def _accuracy(held: HeldOut, chosen: Bool[np.ndarray, " n"]) -> tuple[str, str]:
    target, guess = held.target[chosen], held.probability[chosen].argmax(axis=1)
    found = ClassAnswers(target, guess, held.probability.shape[1])
    count = found.support("accuracy")
    if not count:
        return "0", "–"
    figures = figures_of(found, ["accuracy"])
    value = ACCURACY.write(float(figures["accuracy"](np.ones((1, found.count), np.float32))[0]), decimals=1)
    groups = None if held.groups is None else Groups(held.groups.label, held.groups.number[chosen])
    ends = intervals(figures, found.count, groups).of.get("accuracy")
    return f"{count:,}", value if ends is None else f"{value} ({write_ends(ACCURACY, *ends, decimals=1)})"
