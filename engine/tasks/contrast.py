"""Holds the pretext task of contrast: find, among the pictures of a batch, the other view of the same face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.losses import Join
from engine.tasks.base import Criterion, Features, Look, Pretext, Rows, Shape, Task
from engine.views import Plain, View
from loaders.base import Split

FACES = 64
"""Among how many faces evaluation looks for the other view, whatever the batch size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast(Pretext):
    """Tells two views of a face from those of the other faces of its batch: SimCLR's NT-Xent (Chen et al., ICML 2020).

    The loss is the mean over all 2 * b views of the cross-entropy of a softmax over the 2 * b - 1 others, whose logits
    are cosines divided by `temperature`; the right one is the other view of the face. Where all are alike it is
    ln(2 * b - 1). With `accumulate` each batch of a step is compared within itself alone.

    It is evaluated on its views as training draws them in epoch 0: without augmentation both would be one picture. A
    view is right where its nearest, among all other views of 64 faces, is that of its own face.

    Args:
        on: Two plain views of the same samples, of which one at least is `fresh`.
        temperature: Divides the cosines (SimCLR: 0.5 on CIFAR-10, 0.1 on ImageNet).
        width: Length of a projection (SimCLR: 128).
    """

    on: tuple[str, ...] = ("first", "second")
    join: Literal["mean"] = "mean"
    temperature: float = 0.5
    width: int = 128
    name: str = "contrast"

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
        if self.temperature <= 0:
            raise ValueError(f"{self}: temperature (={self.temperature}) must be above 0; e.g. 0.5")
        if self.width < 1:
            raise ValueError(f"{self}: width (={self.width}) must be 1 or more; e.g. 128")

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return ProjectionHead(shape.width, self.width)

    def criterion(self, split: Split) -> Criterion:
        return NTXent(self.temperature)

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


def nearest_is_right(embedding: Float32[np.ndarray, "n 2 d"]) -> np.ndarray:
    """Says of each view whether its nearest among all other views is that of the same face: bool "n 2"."""
    flat = embedding.swapaxes(0, 1).reshape(-1, embedding.shape[2])  # (view * face, width)
    cosine = flat @ flat.T
    np.fill_diagonal(cosine, -np.inf)
    other = np.roll(np.arange(len(flat)), len(embedding))
    right: np.ndarray = cosine.argmax(axis=1) == other
    return right.reshape(2, -1).T


class ProjectionHead(nn.Module):
    """A hidden layer as wide as the representation, with ReLU, and a linear one (SimCLR)."""

    def __init__(self, representation: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(representation, representation)
        self.linear = nn.Linear(representation, width)

    def forward(self, features: Features) -> Float[Tensor, "b d"]:
        projection: Tensor = self.linear(F.relu(self.hidden(features.pooled)))
        return projection


def _without_autocast(device: str) -> AbstractContextManager[object]:
    """Computes in the precision of what is given; on the meta device, where costs are counted, there is no autocast."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


class NTXent(Criterion):
    """Normalised-temperature cross-entropy between two views of a batch; see `Contrast`."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def over_views(self, outputs: Sequence[Tensor], looks: Sequence[Look], join: Join) -> Float32[Tensor, ""]:
        faces = len(outputs[0])
        embedding = F.normalize(torch.cat(list(outputs)).float(), dim=1)  # (view * face, width)
        with _without_autocast(embedding.device.type):  # which would round the cosines
            logits = embedding @ embedding.T / self.temperature
        here = torch.arange(2 * faces, device=logits.device)
        logits = logits.masked_fill(here[:, None] == here, -torch.inf)
        return F.cross_entropy(logits, here.roll(faces))

    def rows_over_views(self, outputs: Sequence[Tensor], looks: Sequence[Look]) -> Sequence[Mapping[str, Tensor]]:
        return [{"embedding": F.normalize(torch.stack(list(outputs), dim=1).float(), dim=2).half()}]
