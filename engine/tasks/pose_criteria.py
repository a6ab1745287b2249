"""Holds the losses of head pose: on angles, on bins of angles, and on rotation matrices.

What an output says in degrees is its task's to tell; a loss reads the target as the view shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from engine.tasks.base import Criterion, Look
from engine.tasks.pose_geometry import ANGLES, NOSE, between, chosen, geodesic, matrix_of, seen_pose, wrapped

Answer = Callable[[Tensor], Tensor]
"""From an output of the head to what it says."""


class PoseCriterion(Criterion):
    """Reads the target as the view shows it; a subclass says what an output costs.

    Args:
        label: Name of the label.
        columns: Its columns; an angle that is none of them is missing.
        angles: The angles that are learned, among yaw, pitch and roll in this order.
        answer: What an output says in degrees; see `engine.tasks.base.Supervised.answer`.
    """

    def __init__(self, label: str, columns: tuple[str, ...], angles: tuple[str, ...], answer: Answer) -> None:
        super().__init__()
        self.label, self.angles, self.answer = label, angles, answer
        self.columns = tuple(columns.index(angle) if angle in columns else None for angle in ANGLES)

    def pose(self, look: Look) -> Float32[Tensor, "b 3"]:
        """Yaw, pitch and roll of the face in this view, NaN where missing."""
        target = look.target[self.label].float()
        missing = torch.full_like(target[:, 0], torch.nan)
        stored = torch.stack([missing if i is None else target[:, i] for i in self.columns], dim=-1)
        return seen_pose(stored, look.where)

    def truth(self, look: Look) -> Float32[Tensor, "b k"]:
        """The learned ones of the angles."""
        return chosen(self.pose(look), self.angles)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"angles": self.answer(output), "target": self.truth(look)}


class AngleL1(PoseCriterion):
    """Mean over the known angles of the batch of the (smooth) L1 error in degrees; 0 if none is known."""

    def __init__(
        self, label: str, columns: tuple[str, ...], angles: tuple[str, ...], answer: Answer, *, beta: float
    ) -> None:
        super().__init__(label, columns, angles, answer)
        self.beta = beta

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        truth = self.truth(look)
        known = ~truth.isnan()
        error = wrapped(self.answer(output) - torch.where(known, truth, 0.0))
        each = F.smooth_l1_loss(error, torch.zeros_like(error), beta=self.beta, reduction="none")
        return _mean(each, known)


class BinCrossEntropy(PoseCriterion):
    """Sum over the angles of the mean over the known ones of cross-entropy + alpha * distance of the expectation."""

    def __init__(
        self,
        label: str,
        columns: tuple[str, ...],
        angles: tuple[str, ...],
        answer: Answer,
        *,
        width: float,
        limit: float,
        alpha: float,
        distance: Literal["mse", "l1"],
    ) -> None:
        super().__init__(label, columns, angles, answer)
        self.width, self.limit, self.alpha, self.distance = width, limit, alpha, distance

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        truth = self.truth(look)
        known = truth.abs() <= self.limit  # false for NaN
        truth = torch.where(known, truth, 0.0)
        number = ((truth + self.limit) / self.width).long().clamp(0, output.shape[-1] - 1)
        entropy = F.cross_entropy(output.float().movedim(-1, 1), number, reduction="none")
        error = self.answer(output) - truth
        off = error.square() if self.distance == "mse" else error.abs()
        each = [_mean(entropy[:, i] + self.alpha * off[:, i], known[:, i]) for i in range(len(self.angles))]
        return torch.stack(each).sum()


class Geodesic(PoseCriterion):
    """Mean angle in radians between the predicted and the true rotation; 0 if no pose is known.

    Where roll is missing, or is not learned, it is the angle between the directions of the nose.
    """

    def __init__(
        self, label: str, columns: tuple[str, ...], angles: tuple[str, ...], answer: Answer, *, rotation: Answer
    ) -> None:
        super().__init__(label, columns, angles, answer)
        self.rotation = rotation

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        guess, pose = self.rotation(output), self.pose(look)
        truth = matrix_of(pose.nan_to_num(0.0))
        each = between(guess[..., NOSE], truth[..., NOSE])
        if len(self.angles) == len(ANGLES):
            each = torch.where(pose[:, 2].isnan(), each, geodesic(guess, truth))
        return _mean(each, ~pose[:, :2].isnan().any(1))


def _mean(each: Tensor, known: Tensor) -> Float32[Tensor, ""]:
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)
