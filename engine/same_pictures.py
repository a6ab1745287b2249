"""Whether runs were evaluated on the same pictures: else their figures do not compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.results import Run, read_arrays


def evaluated_on_others(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """A sentence for each run and split whose pictures or labels are not those of the first run that has that split.

    Pictures are known by their ids and by the labels of the tasks that both runs have. A run without readable
    predictions of a split is not judged.
    """
    found = []
    for split in dict.fromkeys(split for run in runs for split in run.splits):
        kept = [(name, _targets(run, split)) for name, run in zip(names, runs, strict=True)]
        judged = [(name, targets) for name, targets in kept if targets is not None]
        for name, targets in judged[1:]:
            first_name, first = judged[0]
            if difference := _difference(first, targets):
                found.append(
                    f"{name} was evaluated on other pictures of {split} than {first_name} ({difference}): "
                    "their figures do not compare."
                )
    return found


def _targets(run: Run, split: str) -> dict[str, np.ndarray] | None:
    """Task to targets in the order of the sample ids, and the ids under an empty name; None without predictions."""
    try:
        arrays = read_arrays(run.path / "predictions" / f"{split}-last.npz")
    except ValueError:
        return None
    order = np.argsort(arrays["sample"], kind="stable")
    tasks = (name.rpartition(".")[0] for name in arrays if name.endswith(".target"))
    return {"": arrays["sample"][order]} | {task: arrays[f"{task}.target"][order] for task in tasks}


def _difference(first: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> str:
    """How the pictures differ, empty if nothing tells them apart."""
    if len(first[""]) != len(other[""]):
        return f"{len(other['']):,}, not {len(first['']):,}"
    if not np.array_equal(first[""], other[""]):
        return "others of the same number"
    for task in first.keys() & other.keys():
        one, two = first[task], other[task]
        if one.shape != two.shape or not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
            return f"other labels of {task}"
    return ""
