"""Whether runs were evaluated on the same pictures and labels: else their figures do not compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.runs.result import Run, read_arrays


@dataclass(frozen=True, slots=True, eq=False)
class _Evaluated:
    """What a run was evaluated on in one split, in the order of the ids."""

    samples: np.ndarray
    targets: Mapping[str, np.ndarray]


def evaluated_on_others(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """A sentence for each run and split whose pictures or labels are not those of the first run that has that split.

    Pictures are known by their ids, labels by the targets of the tasks that both runs have. A run without readable
    predictions of a split is not judged.
    """
    found = []
    for split in dict.fromkeys(split for run in runs for split in run.splits):
        kept = [(name, _evaluated(run, split)) for name, run in zip(names, runs, strict=True)]
        judged = [(name, on) for name, on in kept if on is not None]
        for name, on in judged[1:]:
            if difference := _difference(judged[0][1], on):
                beside = f"{name} was evaluated on other {difference} of {split} than {judged[0][0]}"
                found.append(f"{beside}: their figures do not compare.")
    return found


def _evaluated(run: Run, split: str) -> _Evaluated | None:
    try:
        arrays = read_arrays(run.path / "predictions" / f"{split}-last.npz")
    except ValueError:
        return None
    if "sample" not in arrays:
        return None
    order = np.argsort(arrays["sample"], kind="stable")
    tasks = (name.rpartition(".")[0] for name in arrays if name.endswith(".target"))
    targets = {task: arrays[f"{task}.target"] for task in tasks}
    return _Evaluated(
        arrays["sample"][order], {task: target[order] for task, target in targets.items() if len(target) == len(order)}
    )


def _difference(first: _Evaluated, other: _Evaluated) -> str:
    """What differs; empty if nothing tells them apart."""
    if len(first.samples) != len(other.samples):
        return f"pictures ({len(other.samples):,} in place of {len(first.samples):,})"
    if not np.array_equal(first.samples, other.samples):
        return "pictures"
    for task in first.targets.keys() & other.targets.keys():
        one, two = first.targets[task], other.targets[task]
        if one.shape != two.shape:  # other angles of a pose, say
            continue
        if not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
            return f"labels ({task})"
    return ""
