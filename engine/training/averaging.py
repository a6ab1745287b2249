"""Evaluates with test-time augmentation: a face is shown several times, and the probabilities are averaged.

The figures of one picture a face stay the main ones; the averaged ones stand beside them as those of a task
`<task>_tta`. Only tasks with classes are averaged: they do not change when a face is shifted or mirrored, poses do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from engine.averaging import Averaging
from engine.tasks.base import Criterion, Look, Rows, Task
from engine.training.evaluate import BatchRows, Kept, joined, on_cpu, over_views
from engine.training.model import Model, evaluating
from engine.training.ranks import Ranks
from engine.training.render import Centre, Renderer, stored
from engine.views import Cells, identity_cells
from kernels import Key
from loaders import Batch, Loader


def render(
    averaging: Averaging, renderer: Renderer, batch: Batch
) -> tuple[Float[Tensor, "v b 3 s s"], Float32[Tensor, "v b 2 3"]]:
    """Renders all pictures of a batch in one launch; gives them and their geometry."""
    size = renderer.image_size
    centre = Centre(renderer.evaluation_crop, size)(Key(renderer.seed, 0, batch.sample), batch.mean, stored(batch))
    where = averaging.where(centre.where, size)
    colour = centre.colour.expand(len(where), -1, -1, -1)
    shows = identity_cells(1, len(batch.row), batch.row.device).expand(len(where), -1, -1)
    return renderer.show(batch, where, colour, shows, size=size), where


def predict(
    averaging: Averaging,
    model: Model,
    renderer: Renderer,
    loader: Loader,
    tasks: Sequence[Task],
    criteria: Mapping[str, Criterion],
    autocast: AbstractContextManager[object],
    ranks: Ranks,
) -> dict[str, Rows]:
    """Gives the rows of each task as in evaluation, with the mean probability over all pictures of a face.

    Samples come in the order of `engine.training.evaluate.predict`. The pictures pass through the encoder one after
    another, so that this needs no more memory than evaluation, but for the pictures.
    """
    kept: list[Kept] = []
    with evaluating(model):
        for batch in loader.epoch(0):
            pictures, where = render(averaging, renderer, batch)
            cells = Cells(identity_cells(1, len(batch.row), batch.row.device))
            with autocast:
                features = [model.encoder(picture) for picture in pictures]
                outputs = {task.name: [model.heads[task.name](feature) for feature in features] for task in tasks}
            looks = [Look(picture, cells, where[i], None, batch.target) for i, picture in enumerate(pictures)]
            averaged: dict[str, BatchRows] = {}
            for name, shown in outputs.items():
                rows = [criteria[name].rows(output, look) for output, look in zip(shown, looks, strict=True)]
                probability = torch.stack([row["probability"] for row in rows]).mean(dim=0)
                averaged[name] = over_views([{**rows[0], "probability": probability}])
            kept.append((batch.sample.clone(), averaged))
    return joined(ranks.in_order(on_cpu(kept)))[1]
