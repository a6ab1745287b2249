"""Evaluation: supervised heads on the un-puzzled face, pretext heads on their own views of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from engine.model import Model
from engine.render import Rendered, Renderer
from engine.tasks.base import Criterion, Look, Rows, Task
from engine.views import EVALUATION
from loaders.base import Batch, Loader


def look(rendered: Rendered, view: str, target: Mapping[str, Tensor]) -> Look:
    """One view of a batch, as a loss sees it."""
    return Look(
        picture=rendered.pictures[view],
        cells=rendered.cells[view],
        where=rendered.where[view],
        whole=rendered.whole.get(view),
        target=target,
    )


@torch.no_grad()
def predict(
    model: Model,
    renderer: Renderer,
    loader: Loader,
    tasks: Sequence[Task],
    criteria: Mapping[str, Criterion],
    autocast: AbstractContextManager[object],
) -> tuple[np.ndarray, dict[str, Rows]]:
    """What the model says of every sample of a split, each exactly once.

    Returns:
        Sample ids, and for each task its rows; a task on several views of its own has their rows one after another.
    """
    where = {task.name: (EVALUATION,) if task.label is not None else task.on for task in tasks}
    pretext_views = tuple(dict.fromkeys(view for task in tasks if task.label is None for view in task.on))
    samples: list[Tensor] = []
    kept: dict[str, dict[str, list[Tensor]]] = {task.name: {} for task in tasks}
    training = model.training
    model.eval()
    for batch in loader.epoch(0):
        real = batch.sample >= 0
        samples.append(batch.sample[real].cpu())
        rendered = renderer.evaluation(batch, pretext_views)
        with autocast:
            features = model.encode(rendered.pictures)
            outputs = {(name, view): model.heads[name](features[view]) for name in where for view in where[name]}
        for (name, view), output in outputs.items():
            rows = criteria[name].rows(output, look(rendered, view, batch.target))
            for key, value in rows.items():
                kept[name].setdefault(key, []).append(value[real].cpu())
    model.train(training)
    joined: dict[str, Rows] = {
        name: {key: torch.cat(parts).numpy() for key, parts in rows.items()} for name, rows in kept.items()
    }
    return torch.cat(samples).numpy(), joined


def figures(tasks: Sequence[Task], rows: Mapping[str, Rows]) -> dict[str, float]:
    """All figures of an evaluation as `<task>/<metric>`."""
    return {f"{task.name}/{metric}": value for task in tasks for metric, value in task.measure(rows[task.name]).items()}


def preview(model: Model, renderer: Renderer, batch: Batch, view: str, task: str) -> tuple[Look, Tensor]:
    """One pretext view of a batch as evaluation sees it, and what a head makes of it."""
    training = model.training
    model.eval()
    with torch.no_grad():
        rendered = renderer.evaluation(batch, (view,))
        output = model.heads[task](model.encode({view: rendered.pictures[view]})[view])
    model.train(training)
    return look(rendered, view, batch.target), output
