"""The losses of head pose: on angles, on bins of angles, and on rotation matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from engine.tasks.base import Criterion, Look
from engine.tasks.pose_geometry import (
    ANGLES,
    NOSE,
    angles_of,
    between,
    geodesic,
    matrix_of,
    rotation_of_6d,
    seen_pose,
    wrapped,
)


class PoseCriterion(Criterion):
    """Reads the target as the view shows it; a subclass says what its output means and costs.

    Args:
        label: Name of the label.
        columns: Its columns; an angle that is none of them is missing.
        angles: The angles that are learned, among yaw, pitch and roll in this order.
    """

    def __init__(self, label: str, columns: tuple[str, ...], angles: tuple[str, ...]) -> None:
        super().__init__()
        self.label = label
        self.columns = tuple(columns.index(angle) if angle in columns else None for angle in ANGLES)
        self.chosen = [ANGLES.index(angle) for angle in angles]

    def pose(self, look: Look) -> Float32[Tensor, "b 3"]:
        """Yaw, pitch and roll of the face in this view, NaN where missing."""
        target = look.target[self.label].float()
        missing = torch.full_like(target[:, 0], torch.nan)
        stored = torch.stack([missing if i is None else target[:, i] for i in self.columns], dim=-1)
        return seen_pose(stored, look.where)

    def truth(self, look: Look) -> Float32[Tensor, "b k"]:
        """The learned ones of the angles."""
        return self.choose(self.pose(look))

    def choose(self, pose: Float32[Tensor, "b 3"]) -> Float32[Tensor, "b k"]:
        """The learned angles of a pose; an index by a list would be sent to the device at every step."""
        return torch.stack([pose[:, i] for i in self.chosen], dim=-1)

    def angles(self, output: Tensor) -> Float32[Tensor, "b k"]:
        """What an output says in degrees."""
        raise NotImplementedError

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"angles": self.angles(output), "target": self.truth(look)}


class AngleL1(PoseCriterion):
    """Mean over the known angles of the batch of the (smooth) L1 error in degrees; 0 if none is known."""

    def __init__(self, label: str, columns: tuple[str, ...], angles: tuple[str, ...], beta: float, unit: float) -> None:
        super().__init__(label, columns, angles)
        self.beta, self.unit = beta, unit

    def angles(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return output.float() * self.unit

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        truth = self.truth(look)
        known = ~truth.isnan()
        error = wrapped(self.angles(output) - torch.where(known, truth, 0.0))
        each = F.smooth_l1_loss(error, torch.zeros_like(error), beta=self.beta, reduction="none")
        return _mean(each, known)


class BinCrossEntropy(PoseCriterion):
    """Sum over the angles of the mean over the known ones of cross-entropy + alpha * distance of the expectation."""

    centre: Tensor

    def __init__(
        self,
        label: str,
        columns: tuple[str, ...],
        angles: tuple[str, ...],
        centre: Float[Tensor, " n"],
        alpha: float,
        distance: Literal["mse", "l1"],
    ) -> None:
        super().__init__(label, columns, angles)
        self.alpha, self.distance = alpha, distance
        self.width = float(centre[1] - centre[0])
        self.lowest = float(centre[0]) - self.width / 2
        self.register_buffer("centre", centre.float())

    def angles(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return (output.float().softmax(dim=-1) * self.centre).sum(-1)

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        truth = self.truth(look)
        reach = self.width * len(self.centre)
        known = (truth - self.lowest >= 0) & (truth - self.lowest <= reach)  # false for NaN
        truth = torch.where(known, truth, 0.0)
        number = ((truth - self.lowest) / self.width).long().clamp(0, len(self.centre) - 1)
        entropy = F.cross_entropy(output.float().movedim(-1, 1), number, reduction="none")
        error = self.angles(output) - truth
        off = error.square() if self.distance == "mse" else error.abs()
        each = [_mean(entropy[:, i] + self.alpha * off[:, i], known[:, i]) for i in range(len(self.chosen))]
        return torch.stack(each).sum()


class Geodesic(PoseCriterion):
    """Mean angle in radians between the predicted and the true rotation; 0 if no pose is known.

    Where roll is missing, or is not learned, it is the angle between the directions of the nose.
    """

    frontal: Tensor

    def __init__(self, label: str, columns: tuple[str, ...], angles: tuple[str, ...]) -> None:
        super().__init__(label, columns, angles)
        self.register_buffer("frontal", torch.tensor([1.0, 0, 0, 0, 1, 0]), persistent=False)

    def rotation(self, output: Tensor) -> Float32[Tensor, "b 3 3"]:
        """The rotation an output stands for; 0 is a frontal face."""
        return rotation_of_6d(output.float() + self.frontal)

    def angles(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return self.choose(angles_of(self.rotation(output)))

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        guess, pose = self.rotation(output), self.pose(look)
        truth = matrix_of(pose.nan_to_num(0.0))
        each = between(guess[..., NOSE], truth[..., NOSE])
        if len(self.chosen) == len(ANGLES):
            each = torch.where(pose[:, 2].isnan(), each, geodesic(guess, truth))
        return _mean(each, ~pose[:, :2].isnan().any(1))


def _mean(each: Tensor, known: Tensor) -> Float32[Tensor, ""]:
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)
