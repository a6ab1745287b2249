"""Evaluates supervised heads on the un-puzzled face, pretext heads on their own views of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from engine.tasks.base import Criterion, Look, Rows, Task
from engine.training.model import InferenceModel, Model, evaluating
from engine.training.ranks import Ranks
from engine.training.render import Rendered, Renderer
from engine.views import EVALUATION, View
from loaders import Batch, Loader

BatchRows = Mapping[str, Tensor]
"""One task's rows of one batch, on the CPU."""


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
) -> tuple[Int64[np.ndarray, " n"], dict[str, Rows]]:
    """Evaluates every sample of a split exactly once, on one of the ranks.

    Returns:
        On every rank: sample ids, and for each task its rows; a task on several views of its own has the rows of a
        batch one view after another.
    """
    where = {task.name: (EVALUATION,) if task.label is not None else task.on for task in tasks}
    pretext_views = tuple(dict.fromkeys(view for task in tasks if task.label is None for view in task.on))
    kept: list[tuple[Tensor, dict[str, BatchRows]]] = []
    with evaluating(model):
        for batch in loader.epoch(0):
            real = batch.sample >= 0
            rendered = renderer.evaluation(batch, pretext_views)
            with autocast:
                features = model.encode(rendered.pictures)
                outputs = {(name, view): model.heads[name](features[view]) for name in where for view in where[name]}
            rows = {
                name: criteria[name].rows_over_views(
                    [outputs[name, view] for view in views], [look(rendered, view) for view in views]
                )
                for name, views in where.items()
            }
            kept.append((batch.sample[real].cpu(), {name: keep_rows(each, real) for name, each in rows.items()}))
    samples, by_batch = zip(*ranks.in_order(kept), strict=True)
    return torch.cat(samples).numpy(), joined_rows(by_batch)


def keep_rows(rows: Sequence[Mapping[str, Tensor]], real: Bool[Tensor, " b"]) -> BatchRows:
    """Joins the rows of a batch on one view after another, on the CPU and without those of padding."""
    return {key: torch.cat([each[key][real].cpu() for each in rows]) for key in rows[0]}


def joined_rows(batches: Sequence[Mapping[str, BatchRows]]) -> dict[str, Rows]:
    """Joins the rows of all batches, by task."""
    return {
        name: {key: torch.cat([batch[name][key] for batch in batches]).numpy() for key in rows}
        for name, rows in batches[0].items()
    }


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
    return look(rendered, view), output
