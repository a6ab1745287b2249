"""Evaluates supervised heads on the un-puzzled face, pretext heads on their own views of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from engine.intervals.groups import Groups
from engine.tasks.base import Criterion, Look, Rows, Task
from engine.training.model import InferenceModel, Model, evaluating
from engine.training.ranks import Ranks
from engine.training.render import Rendered, Renderer
from engine.views import EVALUATION, View
from loaders import Batch, Loader, Split

BatchRows = Mapping[str, Tensor]
"""One task's rows of one batch."""
Kept = tuple[Int64[Tensor, " b"], Mapping[str, BatchRows]]
"""Sample ids of a batch, and the rows of each task."""


def look(rendered: Rendered, view: str) -> Look:
    """Picks one view of a batch, as a loss sees it."""
    return Look(
        picture=rendered.pictures[view],
        cells=rendered.cells[view],
        where=rendered.where[view],
        whole=rendered.whole.get(view),
        target=rendered.target[view],
        mixed=rendered.mixed.get(view),
    )


def predict(
    model: Model | InferenceModel,
    renderer: Renderer,
    loader: Loader,
    tasks: Sequence[Task],
    criteria: Mapping[str, Criterion],
    autocast: AbstractContextManager[object],
    ranks: Ranks,
    advance: Callable[[int], None] | None = None,
) -> tuple[Int64[np.ndarray, " n"], dict[str, Rows]]:
    """Evaluates every sample of a split exactly once, on one of the ranks.

    Args:
        advance: Is called with 1 after each batch.

    Returns:
        On every rank: sample ids, and for each task its rows; a task on several views of its own has the rows of a
        batch one view after another.
    """
    where = {task.name: (EVALUATION,) if task.label is not None else task.on for task in tasks}
    pretext_views = tuple(dict.fromkeys(view for task in tasks if task.label is None for view in task.on))
    kept: list[Kept] = []
    with evaluating(model):
        for batch in loader.epoch(0):
            rendered = renderer.evaluation(batch, pretext_views)
            with autocast:
                features = model.encode(rendered.pictures, rendered.cells)
                outputs = {(name, view): model.heads[name](features[view]) for name in where for view in where[name]}
            rows = {
                name: criteria[name].rows_over_views(
                    [outputs[name, view] for view in views], [look(rendered, view) for view in views]
                )
                for name, views in where.items()
            }
            kept.append((batch.sample.clone(), {name: over_views(each) for name, each in rows.items()}))
            if advance is not None:
                advance(1)
    return joined(ranks.in_order(on_cpu(kept)))


def over_views(rows: Sequence[BatchRows]) -> BatchRows:
    """Joins the rows of a batch on one view after another, where they are: no device is waited for."""
    return {key: torch.cat([each[key] for each in rows]) for key in rows[0]}


def on_cpu(batches: Sequence[Kept]) -> list[Kept]:
    """Brings the rows of all batches to the CPU, one copy for each kind of row, without those of padding."""
    moved = _moved([sample for sample, _ in batches])
    real = [sample >= 0 for sample in moved]
    rows: list[dict[str, dict[str, Tensor]]] = [{name: {} for name in batches[0][1]} for _ in batches]
    for name, kinds in batches[0][1].items():
        for key in kinds:
            for place, row in enumerate(_moved([of[name][key] for _, of in batches])):
                views = len(row) // len(real[place])
                rows[place][name][key] = row[real[place].repeat(views)]
    return [(sample[is_real], of) for sample, is_real, of in zip(moved, real, rows, strict=True)]


def _moved(parts: Sequence[Tensor]) -> Sequence[Tensor]:
    moved: tuple[Tensor, ...] = torch.cat(list(parts)).cpu().split([len(part) for part in parts])
    return moved


def joined(batches: Sequence[Kept]) -> tuple[Int64[np.ndarray, " n"], dict[str, Rows]]:
    """Joins sample ids, and rows by task, of all batches."""
    rows: dict[str, Rows] = {
        name: {key: torch.cat([of[name][key] for _, of in batches]).numpy() for key in kinds}
        for name, kinds in batches[0][1].items()
    }
    return torch.cat([sample for sample, _ in batches]).numpy(), rows


def prediction_arrays(
    samples: Int64[np.ndarray, " n"], rows: Mapping[str, Rows], split: Split
) -> dict[str, np.ndarray]:
    """Flattens the rows of all tasks to arrays `<task>.<what>` beside the sample ids: a file of predictions.

    Where the split says which faces belong together, `group/<label>` holds the group of each (`engine.intervals`).
    """
    groups = groups_of(split, samples)
    known = {} if groups is None else groups.arrays()
    return {"sample": samples, **known} | {
        f"{task}.{key}": value for task, r in rows.items() for key, value in r.items()
    }


def groups_of(split: Split, samples: Int64[np.ndarray, " n"]) -> Groups | None:
    """Finds the groups of some samples of a split; None where it knows of none."""
    if split.group is None:
        return None
    order = np.argsort(split.sample.numpy(), kind="stable")
    places = order[np.searchsorted(split.sample.numpy()[order], samples)]
    return Groups(split.group, split.target[split.group].numpy()[places])


def figures(tasks: Sequence[Task], views: Mapping[str, View], rows: Mapping[str, Rows]) -> dict[str, float]:
    """Computes all figures of an evaluation, by `<task>/<figure>`.

    Raises:
        ValueError: A task measures other figures than it declares.
    """
    found: dict[str, float] = {}
    for task in tasks:
        declared = [figure.name for figure in task.figures(views)]
        measured = task.measure(rows[task.name])
        if measured.keys() != set(declared):
            raise ValueError(
                f"{task}: measure (={', '.join(measured)}) must give the figures that it declares "
                f"(={', '.join(declared)}); make measure and figures agree"
            )
        found |= {f"{task.name}/{name}": measured[name] for name in declared}
    return found


def preview(model: Model, renderer: Renderer, batch: Batch, view: str, task: str) -> tuple[Look, Tensor]:
    """Shows one pretext view of a batch as evaluation sees it, and what a head makes of it."""
    with evaluating(model):
        rendered = renderer.evaluation(batch, (view,))
        output = model.heads[task](model.encode({view: rendered.pictures[view]}, rendered.cells)[view])
    return look(rendered, view), output
