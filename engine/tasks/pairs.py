"""Holds what tasks share that compare two plain views of each face of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from engine.figures import Figure
from engine.tasks.base import Criterion, Look, Pretext, Rows, Task
from engine.views import Plain, View

FACES = 64
"""Among how many faces evaluation looks for the other view, whatever the batch size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTask(Pretext):
    """A task on two views of each face, whose fields and figure these are; a subclass has the head and the loss.

    It is evaluated on its views as training draws them in epoch 0: without augmentation both would be one picture. A
    view is right where its nearest by cosine, among all other views of 64 faces, is that of its own face.

    Args:
        on: Two plain views of the same samples, of which one at least is `fresh`.
        width: Length of a projection.
    """

    on: tuple[str, ...] = ("first", "second")
    join: Literal["mean"] = "mean"
    width: int = 128

    @property
    def needs_augment(self) -> bool:
        return True

    def check(self, views: Mapping[str, View]) -> None:
        Task.check(self, views)
        if len(self.on) != 2:
            raise ValueError(
                f"{self}: on (={self.on}) must name two views, which it compares; e.g. ('first', 'second')"
            )
        first, second = (views[name] for name in self.on)
        for name in self.on:
            if not isinstance(views[name], Plain):
                raise ValueError(f"{self}: on names {name!r} (={views[name]}), which is not plain; name a Plain() view")
        if not (first.fresh or second.fresh):
            raise ValueError(
                f"{self}: on (={self.on}) names views that share one draw of the augmentation; "
                "make one of them Plain(fresh=True)"
            )
        if first.of != second.of:
            raise ValueError(
                f"{self}: on (={self.on}) names views of (={first.of!r}) and of (={second.of!r}); "
                "let both show the same samples"
            )
        if self.width < 1:
            raise ValueError(f"{self}: width (={self.width}) must be 1 or more; e.g. 128")

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return (Figure("retrieval_accuracy", greater_is_better=True, unit="%", chance=1 / (2 * FACES - 1)),)

    def measure(self, rows: Rows) -> dict[str, float]:
        embedding = rows["embedding"].astype(np.float32)  # (n, view, width)
        faces = len(embedding)
        right = np.empty((faces, 2), dtype=bool)
        for start in range(0, faces, FACES):
            among = slice(max(min(start, faces - FACES), 0), start + FACES)  # the last faces too are among so many
            right[among] = nearest_is_right(embedding[among])
        return {"retrieval_accuracy": float(right.mean())}


class PairCriterion(Criterion):
    """Keeps of each face the directions of its two projections."""

    def rows_over_views(self, outputs: Sequence[Tensor], looks: Sequence[Look]) -> Sequence[Mapping[str, Tensor]]:
        return [{"embedding": F.normalize(torch.stack(list(outputs), dim=1).float(), dim=2).half()}]


def nearest_is_right(embedding: Float32[np.ndarray, "n 2 d"]) -> np.ndarray:
    """Says of each view whether its nearest among all other views is that of the same face: bool "n 2"."""
    flat = embedding.swapaxes(0, 1).reshape(-1, embedding.shape[2])  # (view * face, width)
    cosine = flat @ flat.T
    np.fill_diagonal(cosine, -np.inf)
    other = np.roll(np.arange(len(flat)), len(embedding))
    right: np.ndarray = cosine.argmax(axis=1) == other
    return right.reshape(2, -1).T


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Computes in the precision of what is given; on the meta device, where costs are counted, there is no autocast."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
