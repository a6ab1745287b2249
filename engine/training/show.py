"""Pictures of a run: what the network saw, what it painted in, and what it named rightly and wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

import kernels
from engine.reports.sheets import Answered, Column, answers_sheet, inpaint_sheet, views_sheet
from engine.tasks.base import Task
from engine.training.evaluate import preview
from engine.training.grad_cam import grad_cam
from engine.training.model import Model
from engine.training.render import Renderer
from engine.views import EVALUATION, Cells
from kernels import Augment
from loaders import Loader
from loaders.base import Batch

FACES = 6
RIGHT, MISTAKES, CLASSES = 1, 3, 12
"""Faces of each class on the sheet of answers, and the most classes on it."""
PAINTED = 6
"""How often a run keeps what it paints."""


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


def painted_epochs(epochs: int) -> frozenset[int]:
    """Chooses after which epochs a run keeps what it paints: the first, the last, and each some times the one before.

    The first epochs change more than all that follow.
    """
    return frozenset(round(epochs ** (step / (PAINTED - 1))) for step in range(PAINTED))


class Paintings:
    """Keeps how the first task that paints completes the same few faces, as training goes on.

    Args:
        tasks: Those of the recipe.
        epochs: Those of the run.
    """

    def __init__(self, tasks: Sequence[Task], epochs: int) -> None:
        self.task = next((task for task in tasks if task.needs_whole), None)
        self.epochs = painted_epochs(epochs)
        self.kept: dict[int, Tensor] = {}
        """After which epoch to the completed faces, uint8 "b size size 3"."""

    def add(self, epoch: int, model: Model, renderer: Renderer, loader: Loader) -> None:
        """Keeps what a model paints after an epoch, if it is one of `painted_epochs`."""
        if self.task is not None and epoch in self.epochs:
            for completed in _pictures(self.task, model, renderer, loader)[-1:]:
                self.kept[epoch] = torch.from_numpy(completed)

    def write(self, model: Model, renderer: Renderer, loader: Loader, folder: Path) -> None:
        """Writes a sheet of faces before, with holes and painted in, and one of them by epoch; none if none paints."""
        if self.task is not None and (pictures := _pictures(self.task, model, renderer, loader)):
            whole, hidden, completed = pictures
            inpaint_sheet(whole, hidden, completed, folder / "inpaint.png")
            epochs = [Column(f"epoch {epoch}", kept.numpy()) for epoch, kept in sorted(self.kept.items())]
            views_sheet([Column("before", whole), Column("hidden", hidden), *epochs], folder / "inpaint-epochs.png")

    def state_dict(self) -> dict[int, Tensor]:
        """Gives what is kept."""
        return dict(self.kept)

    def load_state_dict(self, state: Mapping[int, Tensor]) -> None:
        """Takes over what was kept."""
        self.kept = dict(state)


def _pictures(task: Task, model: Model, renderer: Renderer, loader: Loader) -> tuple[UInt8[np.ndarray, "b s s 3"], ...]:
    """Shows the first faces of a split before, with holes, and painted in; nothing of a task that paints nothing."""
    renderer = replace(renderer, dtype=torch.float32)
    look, guess = preview(model, renderer, first_faces(next(iter(loader.epoch(0)))), task.on[0], task.name)
    painted = task.painted(guess, look)
    if look.whole is None or painted is None:
        return ()
    return tuple(to_bytes(picture, renderer) for picture in (look.whole, look.picture, painted))


def show_answers(
    model: Model,
    renderer: Renderer,
    loader: Loader,
    said: Mapping[str, np.ndarray],
    task: str,
    names: Sequence[str],
    path: Path,
) -> None:
    """Writes a sheet of the faces of each class that were named most surely, rightly and wrongly; none without labels.

    Args:
        loader: Of the split that was answered.
        said: As `prediction_arrays` gives it.
        task: One with classes.
    """
    target, probability = said[f"{task}.target"], said[f"{task}.probability"]
    rows = surest(target, probability)
    places = [place for right, wrong in rows for place in (*right, *wrong)]
    if not places:
        return
    guess = probability[places].argmax(axis=1)
    answered: list[Answered] = []
    renderer = replace(renderer, dtype=torch.float32)
    for batch in loader.some(torch.from_numpy(said["sample"][places])):
        pictures = renderer.evaluation(batch).pictures[EVALUATION]
        first, count = len(answered), int((batch.sample >= 0).sum())
        pictures = pictures[:count]
        asked = torch.from_numpy(guess[first : first + count]).to(pictures.device)
        heat = grad_cam(model, pictures, task, asked).cpu().numpy()
        for i, face in enumerate(to_bytes(pictures, renderer)):
            place, c = places[first + i], guess[first + i]
            is_true = "" if target[place] == c else f", is {names[target[place]]}"
            answered.append(Answered(face, heat[i], f"{names[c]} {100 * probability[place, c]:.0f} %{is_true}"))
    following = iter(answered)
    sheet = [([next(following) for _ in right], [next(following) for _ in wrong]) for right, wrong in rows]
    answers_sheet(sheet, path)


def surest(target: Int64[np.ndarray, " n"], probability: Float[np.ndarray, "n k"]) -> list[tuple[list[int], list[int]]]:
    """Finds, class by class, the places of the faces of it that were named most surely: rightly, and wrongly."""
    guess, sure = probability.argmax(axis=1), probability.max(axis=1)
    order = np.argsort(-sure, kind="stable")
    found = []
    for c in range(min(probability.shape[1], CLASSES)):
        own = order[target[order] == c]
        if len(own):
            right = guess[own] == c
            found.append((own[right][:RIGHT].tolist(), own[~right][:MISTAKES].tolist()))
    return found


def to_bytes(picture: Tensor, renderer: Renderer) -> UInt8[np.ndarray, "b size size 3"]:
    """A normalised picture as uint8, as the network sees it: what is hidden has the mean colour."""
    scale, shift = (torch.tensor(v, device=picture.device).view(3, 1, 1) for v in (renderer.std, renderer.mean))
    levels = ((picture.float() * scale + shift) * 255).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
