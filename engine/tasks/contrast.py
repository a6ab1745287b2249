"""Holds the pretext task of contrast: find, among the pictures of a batch, the other view of the same face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.losses import Join
from engine.tasks.base import Criterion, Features, Look, Shape
from engine.tasks.pairs import PairCriterion, PairTask, without_autocast
from engine.views import View
from loaders.base import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast(PairTask):
    """Tells two views of a face from those of the other faces of its batch: SimCLR's NT-Xent (Chen et al., ICML 2020).

    The loss is the mean over all 2 * b views of the cross-entropy of a softmax over the 2 * b - 1 others, whose logits
    are cosines divided by `temperature`; the right one is the other view of the face. Where all are alike it is
    ln(2 * b - 1). With `accumulate` each batch of a step is compared within itself alone.

    Args:
        temperature: Divides the cosines (SimCLR: 0.5 on CIFAR-10, 0.1 on ImageNet).
        width: Length of a projection (SimCLR: 128).
    """

    temperature: float = 0.5
    name: str = "contrast"

    def check(self, views: Mapping[str, View]) -> None:
        PairTask.check(self, views)
        if self.temperature <= 0:
            raise ValueError(f"{self}: temperature (={self.temperature}) must be above 0; e.g. 0.5")

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return ProjectionHead(shape.width, self.width)

    def criterion(self, split: Split) -> Criterion:
        return NTXent(self.temperature)


class ProjectionHead(nn.Module):
    """A hidden layer as wide as the representation, with ReLU, and a linear one (SimCLR)."""

    def __init__(self, representation: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(representation, representation)
        self.linear = nn.Linear(representation, width)

    def forward(self, features: Features) -> Float[Tensor, "b d"]:
        projection: Tensor = self.linear(F.relu(self.hidden(features.pooled)))
        return projection


class NTXent(PairCriterion):
    """Normalised-temperature cross-entropy between two views of a batch; see `Contrast`."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def over_views(self, outputs: Sequence[Tensor], looks: Sequence[Look], join: Join) -> Float32[Tensor, ""]:
        faces = len(outputs[0])
        embedding = F.normalize(torch.cat(list(outputs)).float(), dim=1)  # (view * face, width)
        with without_autocast(embedding.device.type):  # which would round the cosines
            logits = embedding @ embedding.T / self.temperature
        here = torch.arange(2 * faces, device=logits.device)
        logits = logits.masked_fill(here[:, None] == here, -torch.inf)
        return F.cross_entropy(logits, here.roll(faces))
