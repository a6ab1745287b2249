"""What a task is: a head on the encoder, a loss, and the figures that tell how well it is solved.

The supervised task is a task like the others; the loop never asks which is which. What sets it apart is its `label`:
a task without one makes its own target (a pretext task), and its head is dropped for inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor, nn

from engine.losses import Join
from engine.views import Cells, View
from kernels import Augment
from loaders.base import Label, Split


@dataclass(frozen=True, slots=True)
class Features:
    """What the encoder gives of one view."""

    map: Float[Tensor, "b c y x"]
    """The last feature map."""
    pooled: Float[Tensor, "b d"]
    """The pooled representation, before any head."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a head must know to be built."""

    channels: int
    """Channels of the last feature map."""
    width: int
    """Length of the pooled representation."""
    stride: int
    """Picture pixels a step of the feature map."""


@dataclass(frozen=True, slots=True)
class Look:
    """One view of a batch, as a loss sees it."""

    picture: Float[Tensor, "b 3 size size"]
    """The view, normalised; cells hidden in it are 0."""
    cells: Cells
    where: Float32[Tensor, "b 2 3"]
    """Its geometry, from pixels of the view to the stored face: turning or flipping a face changes its pose."""
    whole: Float[Tensor, "b 3 size size"] | None
    """The same view with nothing hidden, for tasks whose `needs_whole` is set."""
    target: Mapping[str, Tensor]
    """Label name to its targets."""


Rows = Mapping[str, np.ndarray]
"""What is kept of an evaluation: name to an array whose first axis is the sample."""


class Criterion(nn.Module):
    """A task's loss, built once the training split is known (it may weigh classes by their counts).

    Its parameters are not trained and its state is kept in checkpoints: a loss may hold a teacher network.
    """

    def attach(self, encoder: nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        """Called once, with the encoder at its start and on its device, and how pictures are normalised."""

    def begin(self, epoch: int) -> None:
        """Called before the first step of each epoch, counted from 0, and when a run goes on inside one."""

    def follow(self, encoder: nn.Module) -> None:
        """Called after every optimiser step, with the encoder as it is then."""

    def loss(self, output: Tensor, look: Look) -> Float32[Tensor, ""]:
        """The batch mean of the loss on one view, in fp32."""
        raise NotImplementedError

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        """What evaluation keeps of each sample: tensors whose first axis is b."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Headline:
    """The one figure that tells how well a task is solved."""

    metric: str
    greater_is_better: bool


@runtime_checkable
class Task(Protocol):
    """One head and its loss; a frozen dataclass, so that a recipe can hold it."""

    @property
    def name(self) -> str:
        """The word for it in logs, checkpoints and `--set`."""
        ...

    @property
    def weight(self) -> float: ...

    @property
    def on(self) -> tuple[str, ...]:
        """Names of the views it looks at in training."""
        ...

    @property
    def label(self) -> str | None:
        """The label it learns; None for a pretext task."""
        ...

    @property
    def join(self) -> Join: ...

    @property
    def needs_whole(self) -> bool:
        """Whether its loss needs the view with nothing hidden."""
        ...

    @property
    def teacher_passes(self) -> int:
        """Pictures a face and step that its loss sends through a network of its own, part of a recipe's cost."""
        ...

    @property
    def headline(self) -> Headline: ...

    def check(self, views: Mapping[str, View]) -> None:
        """Refuses views it cannot look at, with a ValueError."""
        ...

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        """Refuses a data set whose labels are not the ones it learns, with a ValueError; `label` is among them."""
        ...

    def head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        """A module from `Features` to the output."""
        ...

    def criterion(self, split: Split) -> Criterion: ...

    def measure(self, rows: Rows) -> dict[str, float]:
        """The figures of an evaluation, from the rows of all samples that are not padding."""
        ...


class Defaults:
    """What holds for a task that says nothing else: its loss sees the views alone, through no network of its own."""

    __slots__ = ()
    on: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", _as_names(self.on))

    @property
    def needs_whole(self) -> bool:
        return False

    @property
    def teacher_passes(self) -> int:
        return 0


class Pretext(Defaults):
    """What pretext tasks have in common: they make their own target, so they have no label."""

    __slots__ = ()

    @property
    def label(self) -> None:
        return None

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        raise AssertionError("a pretext task has no label")


def _as_names(on: object) -> object:
    """One view may be named without a tuple around it: `on="puzzle"`."""
    return (on,) if isinstance(on, str) else on


@runtime_checkable
class Supervised(Protocol):
    """What a task with a label can say beside; without it a recipe neither smokes nor stands beside a guess."""

    def wants(self) -> Mapping[str, Label]:
        """The labels it reads, by name, as the data must have them: `--smoke` makes faces up that do."""
        ...

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        """The figures on `split` of the best constant answer: the largest class or the median of `train`."""
        ...


@runtime_checkable
class DeployedTask(Task, Protocol):
    """A task with a label whose head can be used by itself; without `answer` a recipe trains and its model cannot."""

    @property
    def answers(self) -> tuple[str, ...]:
        """What the numbers of `answer` are: names of classes, or angles."""
        ...

    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        """What an output of the head says: the probability of each class, or degrees."""
        ...


@runtime_checkable
class LimitsAugment(Protocol):
    """What a task adds whose target does not survive every change of the picture."""

    def check_augment(self, augment: Augment) -> None:
        """Refuses ranges it cannot learn under, with a ValueError."""
        ...


def check_on(task: Task, views: Mapping[str, View]) -> None:
    """Refuses a task that looks at nothing or at a view the recipe does not have, and a negative weight."""
    where = f"{type(task).__name__} {task.name!r}"
    if not task.on:
        raise ValueError(f"{where}: on (=()) must name at least one view; the recipe has {', '.join(views)}")
    for view in task.on:
        if view not in views:
            raise ValueError(
                f"{where}: on names the view {view!r}, the recipe has {', '.join(views)}; name one of these"
            )
    if len(set(task.on)) < len(task.on):
        raise ValueError(f"{where}: on (={task.on}) names a view twice; name each view once")
    if task.weight < 0:
        raise ValueError(f"{where}: weight (={task.weight}) must be 0 or more")


def check_dropout(task: Task, dropout: float) -> None:
    """Refuses a share of dropped units outside 0 to 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"{type(task).__name__} {task.name!r}: dropout (={dropout}) must be 0 or more and below 1")
