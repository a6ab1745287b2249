"""Test-time augmentation: a face is shown several times, shifted and mirrored, and the probabilities are averaged.

The figures of one picture a face stay the main ones; the averaged ones stand beside them as those of a task
`<task>_tta`. Only tasks with classes are averaged: they do not change when a face is shifted or mirrored, poses do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor

import kernels
from engine.evaluate import RowParts, joined_rows, keep_rows
from engine.model import Model, encode, evaluating
from engine.render import Renderer
from engine.tasks.base import Criterion, Look, Rows, Task
from engine.views import Cells
from loaders.base import Batch, Classes, Loader, Split

_CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
_EDGES = ((0, -1), (-1, 0), (1, 0), (0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Averaging:
    """Which pictures of a face are averaged: flip doubles the crops, so the default shows 10.

    Args:
        flip: Show each crop mirrored too.
        crops: 1 for the one evaluation shows, 5 with those moved towards the corners, 9 with the edges too.
        shift: How far crops are moved along x and y, as share of the side of the one evaluation shows.
    """

    flip: bool = True
    crops: Literal[1, 5, 9] = 5
    shift: float = 0.05

    def __post_init__(self) -> None:
        if self.crops not in (1, 5, 9):
            raise ValueError(f"Averaging: crops (={self.crops}) must be 1, 5 (corners) or 9 (corners and edges)")
        if not 0 < self.shift < 0.5:
            raise ValueError(f"Averaging: shift (={self.shift}) must be above 0 and below 0.5 of the side; e.g. 0.05")
        if self.crops == 1 and not self.flip:
            raise ValueError(
                "Averaging: crops (=1) without flip shows one picture, nothing to average; set flip=True, or crops=5"
            )

    @property
    def pictures(self) -> int:
        """Pictures a face."""
        return self.crops * (2 if self.flip else 1)

    def where(self, centre: Float32[Tensor, "b 2 3"], size: int) -> Float32[Tensor, "v b 2 3"]:
        """The geometry of all pictures from that of the one evaluation shows, which is the first.

        Args:
            centre: Pixels of the view to pixels of the stored face.
            size: Side of the view in pixels.
        """
        moves = ((0, 0), *_CORNERS, *_EDGES)[: self.crops]
        shown = [_composed(centre, 1.0, (x * self.shift * size, y * self.shift * size)) for x, y in moves]
        if self.flip:  # pixel x of the mirrored view is pixel size - x of the view
            shown += [_composed(where, -1.0, (float(size), 0.0)) for where in shown]
        return torch.stack(shown)


def _composed(where: Float32[Tensor, "b 2 3"], x: float, move: tuple[float, float]) -> Float32[Tensor, "b 2 3"]:
    """`where` after (u, v) -> (x * u + move[0], v + move[1]); numbers alone, so nothing is copied to the device."""
    offset = where[:, :, 0] * move[0] + where[:, :, 1] * move[1] + where[:, :, 2]
    return torch.stack([where[:, :, 0] * x, where[:, :, 1], offset], dim=2)


def render(
    averaging: Averaging, renderer: Renderer, batch: Batch
) -> tuple[Float[Tensor, "v b 3 s s"], Float32[Tensor, "v b 2 3"]]:
    """All pictures of a batch in one launch, and their geometry."""
    size, faces = renderer.image_size, len(batch.row)
    stored = (batch.store.shape[1], batch.store.shape[2])
    centre = kernels.centre(renderer.evaluation_crop, store=stored, size=size, batch=faces, device=batch.row.device)
    where = averaging.where(centre.where, size)
    pictures = kernels.render_views(
        batch.store,
        batch.row,
        where,
        centre.colour.expand(len(where), -1, -1, -1).contiguous(),
        kernels.identity_cells(1, faces, batch.row.device).expand(len(where), -1, -1).contiguous(),
        size=size,
        mean=renderer.mean,
        std=renderer.std,
        dtype=renderer.dtype,
    )
    return pictures, where


def averaged_tasks(tasks: Sequence[Task], split: Split) -> tuple[Task, ...]:
    """The tasks whose probabilities can be averaged: those that learn classes."""
    return tuple(task for task in tasks if task.label is not None and isinstance(split.labels[task.label], Classes))


def averaged_name(task: str) -> str:
    """The name that a task's averaged figures go by."""
    return f"{task}_tta"


def predict(
    averaging: Averaging,
    model: Model,
    renderer: Renderer,
    loader: Loader,
    tasks: Sequence[Task],
    criteria: Mapping[str, Criterion],
    autocast: AbstractContextManager[object],
) -> dict[str, Rows]:
    """For each task its rows as in evaluation, with the mean probability over all pictures of a face.

    Samples come in the order of `engine.evaluate.predict`. The pictures pass through the encoder one after another, so
    that this needs no more memory than evaluation, but for the pictures.
    """
    kept: dict[str, RowParts] = {task.name: {} for task in tasks}
    with evaluating(model):
        for batch in loader.epoch(0):
            pictures, where = render(averaging, renderer, batch)
            cells = Cells(kernels.identity_cells(1, len(batch.row), batch.row.device))
            with autocast:
                features = [encode(model.encoder, picture) for picture in pictures]
                outputs = {task.name: [model.heads[task.name](feature) for feature in features] for task in tasks}
            looks = [Look(picture, cells, where[i], None, batch.target) for i, picture in enumerate(pictures)]
            for name, shown in outputs.items():
                rows = [criteria[name].rows(output, look) for output, look in zip(shown, looks, strict=True)]
                probability = torch.stack([row["probability"] for row in rows]).mean(dim=0)
                keep_rows(kept[name], {**rows[0], "probability": probability}, batch.sample >= 0)
    return joined_rows(kept)
