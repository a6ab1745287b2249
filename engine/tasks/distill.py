"""Holds distillation: learn what a trained network says of the same pictures, its features or its logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.tasks.base import Criterion, Features, Look, Pretext, Rows, Shape, Task
from engine.tasks.perceptual import CheckpointTeacher, Colours, Teacher, TimmTeacher
from engine.tasks.softmax import ClassHead, SoftmaxTask
from engine.views import View
from engine.weights import Weights, load_weights
from loaders.base import Classes, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill(Pretext):
    """Learns what a trained network says of the pictures that are learned from; no label is needed.

    With `of`, the head of that task learns the softmax of the teacher's logits: temperature^2 times the divergence of
    the student's softmax from the teacher's, both at `temperature` (Hinton, Vinyals and Dean, 2015); the teacher is an
    earlier run with a task of that name and the same classes. Without, a linear layer on the student's representation
    learns the teacher's, brought to mean 0 and variance 1 over its numbers: the mean squared error (FitNets, Romero et
    al., ICLR 2015; such targets: Wei et al., 2022). The teacher sees the very pictures that the student sees, as a
    patient one does (Beyer et al., CVPR 2022), in evaluation mode; its passes are counted in the cost, its own training
    is not: in a table, let the row start from that of the teacher.

    Args:
        teacher: An earlier run, or a timm model from a local file, for features alone.
        of: Name of the task with classes whose head learns logits; None learns features.
        temperature: Divides the logits of both; above 1 it shows more of what is unlikely.
    """

    on: tuple[str, ...] = ("plain",)
    teacher: CheckpointTeacher | TimmTeacher
    of: str | None = None
    temperature: float = 2.0
    name: str = "distill"

    @property
    def head_of(self) -> str:
        return self.of or self.name

    @property
    def learns_of_mixed(self) -> bool:
        return True  # the teacher sees the mixed picture too

    def check(self, views: Mapping[str, View]) -> None:
        Task.check(self, views)
        self.teacher.check(f"{self}: teacher")
        if self.temperature <= 0:
            raise ValueError(f"{self}: temperature (={self.temperature}) must be above 0; e.g. 2")
        if self.of is not None and isinstance(self.teacher, TimmTeacher):
            raise ValueError(
                f"{self}: of (={self.of!r}) asks for logits, and the teacher (={self.teacher}) knows no class of ours; "
                "set of=None to learn its features, or take an earlier run, CheckpointTeacher(...)"
            )

    def check_beside(self, tasks: Sequence[Task], ema: float | None) -> None:
        known = [task.name for task in tasks if isinstance(task, SoftmaxTask)]
        if self.of is not None and self.of not in known:
            raise ValueError(
                f"{self}: of (={self.of!r}) must name a task with classes of the recipe, which has "
                f"{', '.join(known) or 'none'}; name one, or set of=None to learn features"
            )

    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        return Regressor(shape.width, self.teacher.width())

    def criterion(self, split: Split) -> Criterion:
        if self.of is None:
            return FeaturesOfTeacher(self.teacher)
        assert isinstance(self.teacher, CheckpointTeacher)
        return LogitsOfTeacher(self.teacher, self.of, self.temperature, split, f"{self}: teacher.path")

    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        return (Figure("mse", chance=1.0, label="MSE"),) if self.of is None else ()

    def measure(self, rows: Rows) -> dict[str, float]:
        return {"mse": float(rows["error"].mean())} if self.of is None else {}


class Regressor(nn.Module):
    """One linear layer from the student's representation to the teacher's."""

    def __init__(self, width: int, to: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, to)

    def forward(self, features: Features) -> Float[Tensor, "b d"]:
        guess: Tensor = self.linear(features.pooled)
        return guess


class TaughtCriterion(Criterion):
    """A loss against what a teacher says of the pictures that the student sees."""

    teacher: Teacher

    def __init__(self, teacher: CheckpointTeacher | TimmTeacher) -> None:
        super().__init__()
        self.made_of = teacher

    def attach(self, encoder: nn.Module, mean: Colours, std: Colours) -> None:
        self.teacher = self.made_of.build(encoder, mean, std).to(next(encoder.parameters()).device)

    def pooled(self, look: Look) -> Float[Tensor, "b d"]:
        """Gives the teacher's representation of the pictures, without gradient."""
        with torch.no_grad():
            pooled: Tensor = self.teacher(look.picture)[0]
        return pooled


class FeaturesOfTeacher(TaughtCriterion):
    """Mean squared error from the teacher's representation; see `Distill`."""

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        return self.errors(output, look).mean()

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        return {"error": self.errors(output, look)}

    def errors(self, output: Tensor, look: Look) -> Float32[Tensor, " b"]:
        """Gives the error of each sample."""
        truth = self.pooled(look).float()
        return (output.float() - F.layer_norm(truth, truth.shape[1:])).square().mean(dim=1)


class LogitsOfTeacher(TaughtCriterion):
    """Divergence from the teacher's softmax; see `Distill`."""

    def __init__(self, teacher: CheckpointTeacher, of: str, temperature: float, split: Split, where: str) -> None:
        super().__init__(teacher)
        self.temperature = temperature
        self.head = head_of_run(load_weights(Path(teacher.path)), of, split, f"{where} (={teacher.path})")

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        pooled = self.pooled(look)
        with torch.no_grad():
            truth = self.head(Features(pooled, pooled)).float() / self.temperature
        guess = (output.float() / self.temperature).log_softmax(dim=1)
        divergence = F.kl_div(guess, truth.log_softmax(dim=1), reduction="batchmean", log_target=True)
        return self.temperature**2 * divergence


def head_of_run(weights: Weights, task: str, split: Split, where: str) -> nn.Module:
    """Makes the head of a task with classes of an earlier run, frozen.

    Raises:
        ValueError: The run has no such task, or other classes than any label of the data.
    """
    known: Mapping[str, Any] = weights.about["classes"]
    if task not in known:
        raise ValueError(
            f"{where} must be a run with a task {task!r} that has classes, and has "
            f"{', '.join(known) or 'none'}; name another run, or set of to one of these"
        )
    names = tuple(known[task])
    if not any(isinstance(label, Classes) and label.names == names for label in split.labels.values()):
        raise ValueError(
            f"{where} tells the classes {', '.join(names)}, in this order, which no label of the data has; "
            "take a run that was trained on these classes"
        )
    prefix = f"heads.{task}."
    own = {key.removeprefix(prefix): value for key, value in weights.tensors.items() if key.startswith(prefix)}
    first = own.get("hidden.0.weight")
    width = own["linear.weight"].shape[1] if first is None else first.shape[1]
    head = ClassHead(width, len(names), dropout=0.0, hidden=0 if first is None else len(first))
    head.load_state_dict(own)
    return head.requires_grad_(False).eval()
