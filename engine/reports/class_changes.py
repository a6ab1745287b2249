"""What changes class by class between runs: their recalls side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from engine.reports.classwise import confusion_counts, recall
from engine.runs.result import ClassPredictions, Run, read_predictions


@dataclass(frozen=True, slots=True, eq=False)
class ClassChanges:
    """One task's recalls in several runs, on one split at the last epoch."""

    task: str
    split: str
    names: tuple[str, ...]
    support: Int64[np.ndarray, " k"]
    """Samples of each class."""
    runs: tuple[int, ...]
    """Which of the runs have it, by position; the first is what the others are held against."""
    recalls: Float64[np.ndarray, "m k"]
    """A row for each of `runs`, 0..1, NaN for a class without samples."""


def class_changes(runs: Sequence[Run]) -> tuple[list[ClassChanges], list[str]]:
    """Recalls of every task with classes, on the split that most runs have predictions of, test before others.

    Returns:
        The recalls, and sentences on runs that are left out because their classes or samples are others.
    """
    tables: dict[tuple[str, str], list[tuple[int, ClassPredictions]]] = {}
    for position, run in enumerate(runs):
        for task, items in read_predictions(run)[0].items():
            for item in items:
                if item.checkpoint == "last":
                    tables.setdefault((task, item.split), []).append((position, item))
    found, notes = [], []
    for task in dict.fromkeys(task for task, _ in tables):
        splits = {split: items for (name, split), items in tables.items() if name == task}
        split = max(splits, key=lambda split: (len(splits[split]), split == "test"))
        first, kept = splits[split][0], []
        for position, item in splits[split]:
            same_names = runs[position].classes[task] == runs[first[0]].classes[task]
            if same_names and np.array_equal(item.target, first[1].target):
                kept.append((position, item))
            else:
                what = "samples" if same_names else "classes"
                notes.append(f"{runs[position].name} has other {what} of {task} on {split}, it is not set beside them.")
        if len(kept) > 1:
            names = tuple(runs[first[0]].classes[task])
            counts = [confusion_counts(names, item.target, item.probability) for _, item in kept]
            recalls = np.stack([recall(table) for table in counts])
            positions = tuple(position for position, _ in kept)
            found.append(ClassChanges(task, split, names, counts[0].sum(axis=1), positions, recalls))
    return found, notes
