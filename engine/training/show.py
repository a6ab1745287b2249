"""Pictures of a run: what the network saw, and what it painted in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

import kernels
from engine.reports.sheets import Column, inpaint_sheet, views_sheet
from engine.tasks.base import Task
from engine.training.evaluate import preview
from engine.training.model import Model
from engine.training.render import Renderer
from engine.views import Cells
from kernels import Augment
from loaders.base import Batch

FACES = 6


def first_faces(batch: Batch, count: int = FACES) -> Batch:
    """The first faces of a batch."""
    count = min(count, len(batch.row))
    return Batch(
        store=batch.store,
        row=batch.row[:count],
        sample=batch.sample[:count],
        occurrence=batch.occurrence[:count],
        mean=batch.mean[:count],
        target={name: target[:count] for name, target in batch.target.items()},
    )


def show_views(renderer: Renderer, batch: Batch, path: Path) -> None:
    """A sheet of faces as stored, and each view of them, weakly and strongly augmented and as the recipe does."""
    batch = first_faces(batch)
    stored = batch.store[batch.row].cpu().numpy()
    columns = [Column("stored", stored, None)]
    for level, augment in _levels(renderer.augment).items():
        rendered = replace(renderer, augment=augment, dtype=torch.float32).training(batch, epoch=0, step=0)
        for name, picture in rendered.pictures.items():
            columns.append(Column(f"{name} · {level}", to_bytes(picture, renderer), _shows(rendered.cells[name])))
    views_sheet(columns, path)


def _levels(own: Augment) -> Mapping[str, Augment]:
    known = {"weak": kernels.weak(), "strong": kernels.strong()}
    return known if own in known.values() else {"this recipe": own, **known}


def _shows(cells: Cells) -> np.ndarray | None:
    return cells.shows.cpu().numpy() if cells.shows.shape[1] > 1 else None


def show_inpainting(model: Model, renderer: Renderer, batch: Batch, task: Task, path: Path) -> None:
    """Writes a sheet of faces before, with their holes, and painted in; none of a task that paints nothing."""
    renderer = replace(renderer, dtype=torch.float32)
    look, guess = preview(model, renderer, first_faces(batch), task.on[0], task.name)
    painted = task.painted(guess, look)
    if look.whole is not None and painted is not None:
        whole, hidden, filled = (to_bytes(picture, renderer) for picture in (look.whole, look.picture, painted))
        inpaint_sheet(whole, hidden, filled, path)


def to_bytes(picture: Tensor, renderer: Renderer) -> UInt8[np.ndarray, "b size size 3"]:
    """A normalised picture as uint8, as the network sees it: what is hidden has the mean colour."""
    scale, shift = (torch.tensor(v, device=picture.device).view(3, 1, 1) for v in (renderer.std, renderer.mean))
    levels = ((picture.float() * scale + shift) * 255).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
