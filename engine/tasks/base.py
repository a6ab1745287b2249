"""Says what a task is: a head on the encoder, a loss, and the figures that tell how well it is solved.

A task of one's own derives from `Supervised`, which learns a label, or from `Pretext`, which makes its own target and
whose head is dropped for inference. The loop never asks which is which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from engine.figures import Figure
from engine.losses import Join, Weight, join_views
from engine.mixing import Mixed
from engine.views import Cells, CutView, View
from kernels import Augment
from loaders.base import Classes, Label, Split, hidden


@dataclass(frozen=True, slots=True)
class Features:
    """What the encoder gives of one view."""

    map: Float[Tensor, "b c y x"]
    """The last feature map; where the encoder was not given all cells, the others are 0."""
    pooled: Float[Tensor, "b d"]
    """The pooled representation, before any head."""
    finer: tuple[Float[Tensor, "b c2 y2 x2"], ...] = ()
    """The last map of each finer resolution, from the next finer on: as many as a task of the recipe reads."""
    drawn: Cells | None = None
    """What was drawn for the view, where it says which places a head is asked about (`Masked`, `PlacePairs`)."""


@dataclass(frozen=True, slots=True)
class MapShape:
    """What a head must know of a feature map."""

    channels: int
    stride: int
    """Picture pixels a step of the map."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a head must know to be built."""

    channels: int
    """Channels of the last feature map."""
    width: int
    """Length of the pooled representation."""
    stride: int
    """Picture pixels a step of the feature map."""
    finer: tuple[MapShape, ...] = ()
    """Those of `Features.finer`."""


@dataclass(frozen=True, slots=True)
class Look:
    """One view of a batch, as a loss sees it: b samples, those of the part that the view is of."""

    picture: Float[Tensor, "b 3 size size"]
    """The view, normalised; cells hidden in it are 0."""
    cells: Cells
    where: Float32[Tensor, "b 2 3"]
    """Its geometry, from pixels of the view to the stored face: turning or flipping a face changes its pose."""
    whole: Float[Tensor, "b 3 size size"] | None
    """The same view with nothing hidden, for tasks whose `needs_whole` is set."""
    target: Mapping[str, Tensor]
    """Label name to its targets; -1 or NaN where one is missing."""
    mixed: Mixed | None = None
    """What each picture was mixed of, where the recipe mixes those of this view."""
    taught: Tensor | None = None
    """What a teacher's head says of these samples, for tasks that have a `taught_by`; without gradient."""

    @property
    def cut(self) -> Bool[Tensor, " b"] | None:
        """Which samples are shuffled, turned or hidden, where the view shows the others whole; None: all, or none."""
        return self.cells.cut

    def of_whole(self) -> Look:
        """Leaves out the targets of the samples that are cut."""
        if self.cut is None:
            return self
        return replace(self, target={name: hidden(target, self.cut) for name, target in self.target.items()})


def mean_of_cut(losses: Float32[Tensor, " b"], look: Look) -> Float32[Tensor, ""]:
    """Takes the mean over the samples that are cut; 0 if none is."""
    if look.cut is None:
        return losses.mean()
    return (losses * look.cut).sum() / look.cut.sum().clamp(min=1)


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

    def over_views(self, outputs: Sequence[Tensor], looks: Sequence[Look], join: Join) -> Float32[Tensor, ""]:
        """The loss over all views of a task, in its order: those of each view joined; a loss may compare views."""
        return join_views([self.loss(output, look) for output, look in zip(outputs, looks, strict=True)], join)

    def rows(self, output: Tensor, look: Look) -> Mapping[str, Tensor]:
        """What evaluation keeps of each sample: tensors whose first axis is b."""
        raise NotImplementedError

    def rows_over_views(self, outputs: Sequence[Tensor], looks: Sequence[Look]) -> Sequence[Mapping[str, Tensor]]:
        """The rows of one view after another; a task that compares views gives those of a sample once."""
        return [self.rows(output, look) for output, look in zip(outputs, looks, strict=True)]


@dataclass(frozen=True, slots=True)
class TaughtBy:
    """Asks a network, without gradient and in evaluation mode, what the head of a task says of a view.

    Args:
        task: Name of the task whose head answers.
        view: Name of the view that is looked at.
        average: Whether the moving average of the weights answers, the recipe's `ema`, or the weights themselves.
    """

    task: str
    view: str
    average: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(ABC):
    """One head and its loss; a subclass is a frozen dataclass, so that a recipe can hold it.

    Args:
        name: The word for it in logs, checkpoints and `--set`.
        on: Names of the views it looks at in training; one may be given without a tuple around it.
        weight: Weight of its loss: a number, or a schedule over the run. At a step where it is 0 the task is not
            trained: its head and loss are not computed, nor a view that no other task looks at.
        join: How its losses over several views are joined.
    """

    name: str
    on: tuple[str, ...]
    weight: float | Weight = 1.0
    join: Join = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", _as_names(self.on))

    def __str__(self) -> str:
        """How messages name it: Expression 'expression'."""
        return f"{type(self).__name__} {self.name!r}"

    @property
    @abstractmethod
    def label(self) -> str | None:
        """The label it learns; None for a pretext task."""
        ...

    @property
    def head_of(self) -> str:
        """Name of the task whose head it trains: its own, unless it is one more loss of another's."""
        return self.name

    @property
    def taught_by(self) -> TaughtBy | None:
        """Whose answers its loss needs; they stand in `Look.taught`."""
        return None

    @property
    def sees(self) -> tuple[str, ...]:
        """Names of the views that must be rendered for it: those it is trained on, and its teacher's."""
        return self.on if self.taught_by is None else (*self.on, self.taught_by.view)

    @property
    def needs_whole(self) -> bool:
        """Whether its loss needs the view with nothing hidden."""
        return False

    @property
    def maps(self) -> int:
        """How many feature maps of different resolutions its head reads: the last one, and the next finer ones."""
        return 1

    @property
    def needs_augment(self) -> bool:
        """Whether it is evaluated on its views as training draws them in epoch 0, not on the centre of the face."""
        return False

    @property
    def stages(self) -> tuple[int, ...]:
        """Epochs, counted from 0, from which on its loss computes something else: its cost is counted anew then."""
        return ()

    @property
    def learns_of_mixed(self) -> bool:
        """Whether its loss learns both labels of a picture that was mixed of two; see `Look.mixed`."""
        return False

    def check(self, views: Mapping[str, View]) -> None:
        """Refuses views it cannot look at, and fields that cannot be; a subclass that checks more calls this too.

        Raises:
            ValueError: Names the field, its value and the rule.
        """
        if not self.on:
            raise ValueError(f"{self}: on (=()) must name at least one view; the recipe has {', '.join(views)}")
        for view in self.on:
            if view not in views:
                raise ValueError(
                    f"{self}: on names the view {view!r}, the recipe has {', '.join(views)}; name one of these"
                )
        if len(set(self.on)) < len(self.on):
            raise ValueError(f"{self}: on (={self.on}) names a view twice; name each view once")
        if isinstance(self.weight, int | float) and self.weight < 0:
            raise ValueError(f"{self}: weight (={self.weight}) must be 0 or more")

    def check_beside(self, tasks: Sequence[Task], ema: float | None) -> None:  # noqa: B027 - a task may stand alone
        """Refuses, with a ValueError, other tasks of the recipe, or its `ema`, that it cannot be trained with."""

    def check_augment(self, augment: Augment) -> None:  # noqa: B027 - a task may leave it as it is
        """Refuses, with a ValueError, ranges of augmentation under which its target would not hold; by default none."""

    @abstractmethod
    def build_head(self, shape: Shape, views: Mapping[str, View]) -> nn.Module:
        """Builds the module from `Features` to the output."""
        ...

    @abstractmethod
    def criterion(self, split: Split) -> Criterion:
        """Builds the loss, of a training split that has passed the checks."""
        ...

    @abstractmethod
    def figures(self, views: Mapping[str, View]) -> tuple[Figure, ...]:
        """Declares what `measure` computes, in the order it is shown; the first tells how well the task is solved.

        A task without figures is not evaluated.
        """
        ...

    @abstractmethod
    def measure(self, rows: Rows) -> dict[str, float]:
        """Computes each of `figures`, by its name, from the rows of all samples that are not padding."""
        ...

    def painted(self, output: Tensor, look: Look) -> Float[Tensor, "b 3 size size"] | None:
        """The view as an output completes it, to be shown in the report; None for a task that paints nothing."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretext(Task):
    """A task that makes its own target of what was drawn for the views."""

    join: Literal["sum", "mean"] = "sum"

    @property
    def label(self) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised(Task):
    """A task that learns a label; it is evaluated on the un-puzzled, un-masked face, and its head is kept.

    Args:
        label: The label it learns, by its name in the data.
        dropout: Share of the representation that its head drops in training.
        whole_only: Whether it learns of the whole samples alone where a view cuts a share of them (its `samples`).
    """

    on: tuple[str, ...] = ("plain",)
    label: str = field()
    dropout: float = 0.0
    whole_only: bool = False

    def check(self, views: Mapping[str, View]) -> None:
        Task.check(self, views)
        check_dropout(self, self.dropout)
        for name in self.on:
            view = views[name]
            if view.of == "unlabelled":
                raise ValueError(
                    f"{self}: on names {name!r} (={view}), whose samples have no label; name a view of the others"
                )
            if self.whole_only and isinstance(view, CutView) and view.samples == 1:
                raise ValueError(
                    f"{self}: whole_only leaves nothing of {name!r} (={view}), which cuts all samples; "
                    "give it samples below 1, or set whole_only=False"
                )

    @abstractmethod
    def wants(self) -> Mapping[str, Label]:
        """The labels it reads, by name, as the data must have them: `--smoke` makes faces up that do."""
        ...

    def check_labels(self, labels: Mapping[str, Label]) -> None:
        """Refuses, with a ValueError, a data set whose labels are not as it wants them; `label` is among them."""
        for name, wanted in self.wants().items():
            if isinstance(wanted, Classes):
                check_classes(self, labels[name], name, wanted.names)

    def judge(self, split: Split) -> Criterion:
        """Builds what keeps the rows of an evaluation on a split that it is not trained on; by default its loss."""
        return self.criterion(split)

    def constant_guess(self, train: Split, split: Split) -> dict[str, float]:
        """Computes its figures on `split` of the best constant answer that `train` tells; by default none."""
        return {}

    @property
    @abstractmethod
    def answers(self) -> tuple[str, ...]:
        """What the numbers of `answer` are: names of classes, or angles."""
        ...

    @abstractmethod
    def answer(self, output: Tensor) -> Float32[Tensor, "b k"]:
        """What an output of the head says: the probability of each class, or degrees."""
        ...


def _as_names(on: object) -> object:
    """One view may be named without a tuple around it: `on="puzzle"`."""
    return (on,) if isinstance(on, str) else on


def check_dropout(task: Task, dropout: float) -> None:
    """Refuses a share of dropped units outside 0 to 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"{task}: dropout (={dropout}) must be 0 or more and below 1")


def check_classes(task: Task, label: Label, name: str, names: tuple[str, ...], field: str = "names") -> None:
    """Refuses a label of the data that does not have these class names in this order."""
    if not isinstance(label, Classes):
        raise ValueError(f"{task}: label {name!r} holds numbers, not classes; name another")
    if label.names != names:
        raise ValueError(
            f"{task}: {field} (={', '.join(names)}) must be the classes of the data in its "
            f"order (={', '.join(label.names)}); take these names, or prepare the data with those"
        )
