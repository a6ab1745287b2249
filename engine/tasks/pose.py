"""Holds the supervised task of head pose, with three kinds of head: angles, bins of angles, a continuous rotation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.metrics import angle_figures, measure_angles
from engine.tasks.base import Criterion, Rows, Shape, Supervised
from engine.tasks.linear import LinearHead
from engine.tasks.pose_criteria import AngleL1, BinCrossEntropy, Geodesic, PoseCriterion
from engine.tasks.pose_geometry import ANGLES, angles_of, chosen, rotation_of_6d
from engine.views import View
from kernels import Augment
from loaders.base import Label, Numbers, Split

UNIT = 45.0
"""Degrees that an output of 1 stands for in `PoseRegression` (ours): weights of usual size then reach usual poses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseTask(Supervised):
    """A head pose task, whose fields and figures these are; a subclass gives head, answer and loss.

    The target is the pose as the view shows it: a mirror negates yaw and roll, a turn of the picture
    composes rotations. The figures are the mean absolute error of each angle in degrees, and their mean.

    Args:
        angles: What it learns and is judged by, in this order; the label may have more, and those are left alone.
    """

    angles: tuple[str, ...] = ANGLES
    name: str = "pose"
    label: str = "pose"

    def check(self, views: Mapping[str, View]) -> None:
        Supervised.check(self, views)
        if not self.angles or self.angles != tuple(angle for angle in ANGLES if angle in self.angles):
            raise ValueError(
                f"{self}: angles (={self.angles}) must be one or more of {', '.join(ANGLES)} in this order"
            )

    def wants(self) -> Mapping[str, Label]:
        return {self.label: Numbers(ANGLES)}

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        label = labels[self.label]
        if not isinstance(label, Numbers):
            raise ValueError(f"{self}: label {self.label!r} holds classes, not numbers; name another")
        for angle in self.angles:
            if angle not in label.columns:
                raise ValueError(
                    f"{self}: angles (={self.angles}) must be numbers of the label {self.label!r} "
                    f"(={', '.join(label.columns)}); choose among these"
                )

    @property
    def answers(self) -> tuple[str, ...]:
        return self.angles

    def criterion(self, split: Split) -> Criterion:
        for angle, values in zip(self.angles, self._values(split).T, strict=True):
            if np.isnan(values).all():
                left = tuple(name for name in self.angles if name != angle)
                raise ValueError(
                    f"{self}: {angle} is missing in every sample of the split {split.name!r}; learn angles={left}"
                )
        return self.judge(split)

    def judge(self, split: Split) -> Criterion:
        label = split.labels[self.label]
        assert isinstance(label, Numbers)  # check_labels
        return self.build(label.columns)

    @abstractmethod
    def build(self, columns: tuple[str, ...]) -> PoseCriterion:
        """Builds its loss on a label with these columns."""
        ...

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        """Computes the figures of the median of each angle, which has the least mean absolute error."""
        truth = self._values(split)
        median = np.nanmedian(self._values(train), axis=0)
        return measure_angles(self.angles, np.broadcast_to(median, truth.shape), truth)

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return angle_figures(self.angles)

    def measure(self, rows: Rows) -> dict[str, float]:
        return measure_angles(self.angles, rows["angles"], rows["target"])

    def _values(self, split: Split) -> Float[np.ndarray, "n k"]:
        label = split.labels[self.label]
        assert isinstance(label, Numbers)  # check_labels
        chosen = [label.columns.index(angle) for angle in self.angles]
        return np.asarray(split.target[self.label].numpy()[:, chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseRegression(PoseTask):
    """One linear output an angle, trained by the L1 error in degrees.

    Args:
        beta: Below so many degrees the error is squared (smooth L1, as in torch); 0 for plain L1.
    """

    beta: float = 0.0

    def check(self, views: Mapping[str, View]) -> None:
        PoseTask.check(self, views)
        if self.beta < 0:
            raise ValueError(f"{self}: beta (={self.beta}) must be 0 or more degrees")

    def check_augment(self, augment: Augment) -> None:
        _refuse_turns(self, augment)

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return LinearHead(shape.width, (len(self.angles),), self.dropout)

    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return output.float() * UNIT

    def build(self, columns: tuple[str, ...]) -> PoseCriterion:
        return AngleL1(self.label, columns, self.angles, self.answer, beta=self.beta)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBins(PoseTask):
    """A softmax over bins of each angle; the answer is the expectation over their centres.

    Ruiz, Chong, Rehg: Fine-grained head pose estimation without keypoints, CVPR workshops 2018 (Hopenet): cross-entropy
    + alpha * squared error of the expectation in degrees, summed over the angles. As there, an angle beyond the bins
    has no part in the loss. Ours: expectations are over the centres of the bins (theirs over their lower edges).

    Args:
        alpha: Weight of the expectation's error (Hopenet: 1 and 2).
        distance: That error: "mse" in squared degrees (Hopenet) or "l1" in degrees.
        width: Of a bin, in degrees.
        limit: The bins reach from -limit to limit degrees.
    """

    alpha: float = 1.0
    distance: Literal["mse", "l1"] = "mse"
    width: float = 3.0
    limit: float = 99.0

    @property
    def bins(self) -> int:
        """Bins of each angle."""
        return round(2 * self.limit / self.width)

    def check(self, views: Mapping[str, View]) -> None:
        PoseTask.check(self, views)
        if self.alpha < 0:
            raise ValueError(f"{self}: alpha (={self.alpha}) must be 0 or more")
        if not 0 < self.width <= self.limit <= 180 or abs(self.bins * self.width - 2 * self.limit) > 1e-6:
            raise ValueError(
                f"{self}: width (={self.width}) must part -limit to limit (={self.limit}, at most 180 degrees) into "
                "two or more whole bins; e.g. width=3, limit=99"
            )

    def check_augment(self, augment: Augment) -> None:
        _refuse_turns(self, augment)

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return LinearHead(shape.width, (len(self.angles), self.bins), self.dropout)

    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        centre = (torch.arange(self.bins, device=output.device) + 0.5) * self.width - self.limit
        return (output.float().softmax(dim=-1) * centre).sum(-1)

    def build(self, columns: tuple[str, ...]) -> PoseCriterion:
        return BinCrossEntropy(
            self.label,
            columns,
            self.angles,
            self.answer,
            width=self.width,
            limit=self.limit,
            alpha=self.alpha,
            distance=self.distance,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseRotation(PoseTask):
    """Six numbers made a rotation matrix by Gram-Schmidt, trained by the geodesic distance in radians.

    Zhou et al., CVPR 2019; Hempel, Abdelrahman, Al-Hamadi: 6D rotation representation for unconstrained head pose
    estimation, ICIP 2022 (6DRepNet). A rotation has no edge where angles jump, so this head may see turned pictures.
    Ours: the numbers are added to those of a frontal face, so that training starts there; where roll is missing, or is
    none of `angles`, the loss is the angle between the directions of the nose, which yaw and pitch give alone. At a yaw
    of +-90 degrees a direction does not tell pitch: for data with such faces and no roll take another head.
    """

    def check(self, views: Mapping[str, View]) -> None:
        PoseTask.check(self, views)
        if self.angles not in (ANGLES, ANGLES[:2]):
            raise ValueError(
                f"{self}: angles (={self.angles}) must be {ANGLES} or {ANGLES[:2]}: "
                "a rotation needs yaw and pitch; for one angle take PoseRegression"
            )

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return LinearHead(shape.width, (6,), self.dropout)

    def rotation(self, output: Tensor) -> Float32[Tensor, "b 3 3"]:
        """The rotation an output stands for; 0 is a frontal face."""
        return rotation_of_6d(output.float() + torch.eye(2, 3, device=output.device).flatten())

    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        return chosen(angles_of(self.rotation(output)), self.angles)

    def build(self, columns: tuple[str, ...]) -> PoseCriterion:
        return Geodesic(self.label, columns, self.angles, self.answer, rotation=self.rotation)


def _refuse_turns(task: PoseTask, augment: Augment) -> None:
    """Angles jump where a turned face passes a yaw of 90 degrees, so heads that give angles see none (ours)."""
    if augment.rotation != (0.0, 0.0):
        raise ValueError(
            f"{task}: augment.rotation (={augment.rotation}) must be (0, 0): angles jump "
            "where a turned face passes a yaw of 90 degrees; set augment.rotation=(0, 0), or take PoseRotation"
        )
