"""Holds tasks that learn, of faces without a label, what the network says of them: soft pseudo-labels, and FixMatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.tasks.base import Criterion, Look, Pretext, Rows, Shape, Task, TaughtBy
from engine.tasks.softmax import SoftmaxTask
from engine.views import CutView, View
from loaders.base import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtTask(Pretext):
    """A task that trains the head of another on a strong view, by what a teacher says of a weak view of those faces.

    It has no head and no figures of its own: how good the labels are is told by the figures of the other task.

    Args:
        on: The strong view, which is learned from.
        of: Name of the task with classes whose head is taught.
        weak: Name of the view that the teacher looks at.
    """

    on: tuple[str, ...] = ("strong",)
    of: str = "expression"
    weak: str = "weak"

    @property
    def head_of(self) -> str:
        return self.of

    def check(self, views: Mapping[str, View]) -> None:
        Task.check(self, views)
        if self.weak not in views:
            raise ValueError(
                f"{self}: weak names the view {self.weak!r}, the recipe has {', '.join(views)}; name one of these"
            )
        for name in self.on:
            if views[name].of != views[self.weak].of:
                raise ValueError(
                    f"{self}: on names {name!r} of (={views[name].of!r}), and weak (={self.weak!r}) is of "
                    f"(={views[self.weak].of!r}); let both show the same samples"
                )
        for name in (*self.on, self.weak):
            if isinstance(views[name], CutView):
                raise ValueError(
                    f"{self}: it looks at {name!r} (={views[name]}), which is cut; give the recipe a view Plain()"
                )

    def check_beside(self, tasks: Sequence[Task], ema: float | None) -> None:
        known = [task.name for task in tasks if isinstance(task, SoftmaxTask)]
        if self.of not in known:
            raise ValueError(
                f"{self}: of (={self.of!r}) must name a task with classes of the recipe, which has "
                f"{', '.join(known) or 'none'}; name one, or add Expression(...)"
            )
        assert self.taught_by is not None
        if self.taught_by.average and ema is None:
            raise ValueError(
                f"{self}: its teacher is the moving average of the weights, and the recipe's ema (=None) keeps none; "
                "set ema=0.995"
            )

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        raise AssertionError(f"{self} trains the head of {self.of!r}")

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return ()

    def measure(self, rows: Rows) -> dict[str, float]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabels(TaughtTask):
    """Learns the probabilities that the moving average of the network gives: soft pseudo-labels, no face left out.

    The loss is the cross-entropy of the student with the teacher's softmax at `temperature`, the mean over the samples
    (Mean Teacher's pair of networks, Tarvainen and Valpola, NeurIPS 2017, with the strong view of FixMatch and soft
    targets; the combination is ours). It needs a teacher that knows something: let its weight start when the supervised
    task has been learned.

    Args:
        temperature: Divides the teacher's logits; below 1 sharpens its answers.
    """

    temperature: float = 1.0
    name: str = "pseudo_labels"

    @property
    def taught_by(self) -> TaughtBy:
        return TaughtBy(self.of, self.weak)

    def check(self, views: Mapping[str, View]) -> None:
        TaughtTask.check(self, views)
        if self.temperature <= 0:
            raise ValueError(
                f"{self}: temperature (={self.temperature}) must be above 0; 1 takes the answers as they are"
            )

    def criterion(self, split: Split) -> Criterion:
        return SoftCrossEntropy(self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixMatch(TaughtTask):
    """Learns the class that the network is sure of on the weak view; samples below the threshold count as 0.

    Sohn et al., FixMatch, NeurIPS 2020: the mean over *all* samples of [confidence >= threshold] * cross-entropy.
    Unlike there the teacher is in evaluation mode, normalised by running statistics and without dropout (ours).

    Args:
        threshold: Probability of the likeliest class from which it is learned (FixMatch: 0.95).
        teacher_is: The network itself, as FixMatch has it, or the moving average of its weights.
    """

    threshold: float = 0.95
    teacher_is: Literal["student", "average"] = "student"
    name: str = "fixmatch"

    @property
    def taught_by(self) -> TaughtBy:
        return TaughtBy(self.of, self.weak, average=self.teacher_is == "average")

    def check(self, views: Mapping[str, View]) -> None:
        TaughtTask.check(self, views)
        if not 0 <= self.threshold < 1:
            raise ValueError(f"{self}: threshold (={self.threshold}) must be 0 or more and below 1; FixMatch: 0.95")

    def criterion(self, split: Split) -> Criterion:
        return ConfidentCrossEntropy(self.threshold)


class SoftCrossEntropy(Criterion):
    """Mean over the samples of the cross-entropy with the teacher's softmax."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def loss(self, output: Float[Tensor, "b k"], look: Look) -> Float32[Tensor, ""]:
        assert look.taught is not None
        return F.cross_entropy(output.float(), (look.taught.float() / self.temperature).softmax(dim=1))


class ConfidentCrossEntropy(Criterion):
    """Mean over all samples of the cross-entropy with the teacher's class, 0 where the teacher is not sure."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def loss(self, output: Float[Tensor, "b k"], look: Look) -> Float32[Tensor, ""]:
        assert look.taught is not None
        confidence, label = look.taught.float().softmax(dim=1).max(dim=1)
        each = F.cross_entropy(output.float(), label, reduction="none")
        return torch.where(confidence >= self.threshold, each, 0.0).mean()
