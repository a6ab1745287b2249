"""Evaluates supervised heads on the un-puzzled face, pretext heads on their own views of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from engine.tasks.base import Criterion, Look, Rows, Task
from engine.training.model import Model, evaluating
from engine.training.render import Rendered, Renderer
from engine.views import EVALUATION, View
from loaders import Batch, Loader

RowParts = dict[str, list[Tensor]]
"""One task's rows batch by batch, on the CPU."""


def look(rendered: Rendered, view: str, target: Mapping[str, Tensor]) -> Look:
    """Picks one view of a batch, as a loss sees it."""
    return Look(
        picture=rendered.pictures[view],
        cells=rendered.cells[view],
        where=rendered.where[view],
        whole=rendered.whole.get(view),
        target=target,
    )


def predict(
    model: Model,
    renderer: Renderer,
    loader: Loader,
    tasks: Sequence[Task],
    criteria: Mapping[str, Criterion],
    autocast: AbstractContextManager[object],
) -> tuple[Int64[np.ndarray, " n"], dict[str, Rows]]:
    """Evaluates every sample of a split exactly once.

    Returns:
        Sample ids, and for each task its rows; a task on several views of its own has their rows one after another.
    """
    where = {task.name: (EVALUATION,) if task.label is not None else task.on for task in tasks}
    pretext_views = tuple(dict.fromkeys(view for task in tasks if task.label is None for view in task.on))
    samples: list[Tensor] = []
    kept: dict[str, RowParts] = {task.name: {} for task in tasks}
    with evaluating(model):
        for batch in loader.epoch(0):
            real = batch.sample >= 0
            samples.append(batch.sample[real].cpu())
            rendered = renderer.evaluation(batch, pretext_views)
            with autocast:
                features = model.encode(rendered.pictures)
                outputs = {(name, view): model.heads[name](features[view]) for name in where for view in where[name]}
            for (name, view), output in outputs.items():
                keep_rows(kept[name], criteria[name].rows(output, look(rendered, view, batch.target)), real)
    return torch.cat(samples).numpy(), joined_rows(kept)


def keep_rows(kept: RowParts, rows: Mapping[str, Tensor], real: Bool[Tensor, " b"]) -> None:
    """Adds the rows of a batch's samples that are not padding."""
    for key, value in rows.items():
        kept.setdefault(key, []).append(value[real].cpu())


def joined_rows(kept: Mapping[str, RowParts]) -> dict[str, Rows]:
    """Joins the rows of each task in one piece."""
    return {name: {key: torch.cat(parts).numpy() for key, parts in rows.items()} for name, rows in kept.items()}


def prediction_arrays(samples: Int64[np.ndarray, " n"], rows: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    """Flattens the rows of all tasks to arrays `<task>.<what>` beside the sample ids: a file of predictions."""
    return {"sample": samples} | {f"{task}.{key}": value for task, r in rows.items() for key, value in r.items()}


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
        output = model.heads[task](model.encode({view: rendered.pictures[view]})[view])
    return look(rendered, view, batch.target), output
