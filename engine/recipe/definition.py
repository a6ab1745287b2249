"""Defines the recipe: one whole experiment as a frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.averaging import Averaging, averaged_name
from engine.backbone import Backbone
from engine.figures import Figure
from engine.losses import ConstantWeight, Geometric, Total, WeightedSum
from engine.mixing import CutMix, MixUp
from engine.optim import Optim
from engine.recipe.hints import advice, check_fields, shown
from engine.recipe.schedule import Phase, phases
from engine.tasks.base import Supervised, Task
from engine.views import EVALUATION, Plain, View
from kernels import Augment
from loaders.base import Classes, Sampler, Source, Split
from loaders.feed.composed import composition
from loaders.feed.samplers import Shuffled

Precision = Literal["auto", "fp32", "bf16", "fp16"]
BatchStatistics = Literal["joint", "per_view", "per_view_plain"]
"""What batch normalisation sees of several views; see `engine.training.batchnorm`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Describes an experiment; change one with `dataclasses.replace`.

    Args:
        data: Where the faces come from.
        views: Name to view; all pictures the network sees in training.
        tasks: One head and loss each; those with a label are kept for inference.
        backbone: The encoder.
        init: What the encoder starts from, found from the working directory: the folder of a finished run (its last
            epoch) or of a checkpoint, or a file of timm's weights; heads start afresh. None is fresh weights, whose
            start depends on (seed, module name) alone. See `engine.runs.initial`.
        frozen_encoder: Keep the encoder as it starts: no gradient, no decay, its normalisation in evaluation mode.
        augment: Ranges of geometry, colour, blur and noise.
        mix: MixUp(alpha=0.2) or CutMix(alpha=1.0) mixes the pictures of plain views that supervised tasks look at, in
            training; None for none.
        optim: Optimiser, learning rate and its schedule.
        epochs: Passes over the training split.
        batch_size: Faces of one forward pass; each is shown in every view, but for views of a part of them.
        image_size: Side in pixels of the views that name no size.
        sampler: Order and choice of the training samples.
        total: How the tasks' losses are joined.
        batch_statistics: What batch normalisation sees of several views; see `engine.training.batchnorm`.
        accumulate: Batches of an optimiser step, whose losses are averaged; ranks share them (docs/ranks.md).
        ema: Decay of a moving average of the weights, which is then what is evaluated and kept; None for none.
        precision: "auto" is bf16 on a CUDA device that has it and on a CPU with AVX512-BF16 or AMX-BF16, else fp32; a
            run that goes on elsewhere keeps what it began with. "fp32" trains the same bits on more machines.
        compile: Whether `torch.compile` is used; None is yes on CUDA, no on a CPU. "reduce-overhead" also
            replays forward and backward passes as CUDA graphs: for a small network, which the host keeps waiting.
        test_time: Pictures of a face whose probabilities are averaged in the last evaluations, beside the figures of
            the one picture; None for none.
        evaluation_crop: Share of the side that evaluation keeps, centred (authors: 0.80 and 0.85).
        mean, std: Normalisation on the 0..1 scale; the default is ImageNet's.
        train, select, test: Splits to train on, to choose epochs on, and to report (None to report none).
        evaluate_every: Epochs between evaluations on `select`; the last is always evaluated.
        checkpoint_every: Optimiser steps between checkpoints inside an epoch; every epoch's end is kept too.
        log_every: Optimiser steps between lines of the log.
        gradient_cosine_every: Optimiser steps between measurements of the cosine between the supervised gradient and
            that of each pretext task, on the encoder; each costs a forward pass, and a backward pass a task. None for
            none.
        seed: Key of every random choice.
    """

    data: Source
    views: Mapping[str, View]
    tasks: tuple[Task, ...]
    backbone: Backbone
    augment: Augment
    optim: Optim
    epochs: int
    batch_size: int
    image_size: int
    init: str | None = None
    frozen_encoder: bool = False
    sampler: Sampler = field(default_factory=Shuffled)
    total: Total = field(default_factory=WeightedSum)
    batch_statistics: BatchStatistics = "joint"
    accumulate: int = 1
    mix: MixUp | CutMix | None = None
    ema: float | None = None
    precision: Precision = "auto"
    compile: bool | Literal["reduce-overhead"] | None = None
    test_time: Averaging | None = None
    evaluation_crop: float = 0.85
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    train: str = "train"
    select: str = "val"
    test: str | None = "test"
    evaluate_every: int = 1
    checkpoint_every: int = 500
    log_every: int = 50
    gradient_cosine_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "Recipe", leave=("views", "tasks"))
        for name in (
            "epochs",
            "batch_size",
            "image_size",
            "accumulate",
            "evaluate_every",
            "checkpoint_every",
            "log_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"Recipe: {name} (={getattr(self, name)}) must be 1 or more")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"Recipe: seed (={self.seed}) must be 0 or more and below 2**63")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"Recipe: ema (={self.ema}) must be between 0 and 1, e.g. 0.999, or None for none")
        if not 0 < self.evaluation_crop <= 1:
            raise ValueError(f"Recipe: evaluation_crop (={self.evaluation_crop}) must be above 0 and at most 1")
        if min(self.std) <= 0:
            raise ValueError(f"Recipe: std (={self.std}) must be above 0 in every channel")
        if self.optim.warmup_epochs > self.epochs:
            raise ValueError(
                f"Recipe: optim.warmup_epochs (={self.optim.warmup_epochs}) must be at most epochs (={self.epochs}); "
                "shorten it too (--set optim.warmup_epochs=0 leaves it out), or train longer"
            )
        check_views(self.views, self.image_size)
        self._check_tasks()
        self._check_parts()
        self._check_mix()
        self._check_gradient_cosine()
        if self.batch_statistics == "per_view_plain" and not any(isinstance(v, Plain) for v in self.views.values()):
            raise ValueError(
                "Recipe: batch_statistics (='per_view_plain') needs a Plain view, the running statistics come from it; "
                "add {'plain': Plain()} to views, or use 'per_view'"
            )

    def _check_gradient_cosine(self) -> None:
        every = self.gradient_cosine_every
        if every is None:
            return
        if every < 1:
            raise ValueError(f"Recipe: gradient_cosine_every (={every}) must be 1 or more, or None for none")
        if self.frozen_encoder:
            raise ValueError(
                f"Recipe: gradient_cosine_every (={every}) measures the encoder's gradient, and frozen_encoder leaves "
                "it none; set one of them back"
            )
        if len(self.supervised) in (0, len(self.tasks)):
            raise ValueError(
                f"Recipe: gradient_cosine_every (={every}) compares a supervised task with pretext tasks, and the "
                "recipe lacks one kind; set it to None"
            )

    def _check_tasks(self) -> None:
        tasks: tuple[object, ...] = self.tasks
        if not tasks:
            raise ValueError("Recipe: tasks (=()) must hold at least one task; e.g. (Expression(FER2013_7),)")
        for task in tasks:
            if not isinstance(task, Task):
                what = advice(task, Task, "give one such as SolvePuzzle()")
                raise ValueError(f"Recipe: tasks holds {shown(task)}, which is no task; {what}")
            if not task.name.isidentifier():
                raise ValueError(f"Recipe: the task name {task.name!r} must be an identifier; e.g. 'expression'")
            check_fields(task, str(task))
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"Recipe: tasks have the names {', '.join(names)}; give each its own, name='...'")
        for task in self.tasks:
            task.check(self.views)
            task.check_beside(self.tasks, self.ema)
            for augment in (self.views[name].augment for name in task.on):
                task.check_augment(self.augment if augment is None else augment)
        if not any(isinstance(task.weight, int | float) and task.weight > 0 for task in self.tasks):
            phases(self.tasks)  # refuses steps at which nothing is trained
        if isinstance(self.total, Geometric):
            for task in self.supervised:
                if len(self.supervised) > 1 and not isinstance(task.weight, int | float | ConstantWeight):
                    raise ValueError(
                        f"Recipe: total (=Geometric()) takes the geometric mean of the supervised losses, which "
                        f"the weight of {task.name!r} (={task.weight}) may pull to 0; "
                        "give it a number, or use WeightedSum()"
                    )
                if task.weight in (0, ConstantWeight(0)) or (len(task.on) > 1 and task.join in ("sum", "mean")):
                    raise ValueError(
                        f"Recipe: total (=Geometric()) takes the geometric mean of supervised losses; {task.name!r} "
                        f"has weight {task.weight} and joins {len(task.on)} views by {task.join!r}: "
                        "set join='geometric' and a weight above 0, or use WeightedSum()"
                    )
        used = {view for task in self.tasks for view in task.sees}
        for view in self.views:
            if view not in used:
                raise ValueError(
                    f"Recipe: no task looks at the view {view!r}; name it in a task's `on`, or take it out of views"
                )

    def _check_parts(self) -> None:
        """Refuses views of a part without composed batches, and pictures of unlabelled samples that no loss sees."""
        composed = composition(self.sampler)
        mixed = set[str]()  # views that are shown while batches hold unlabelled samples
        if composed is not None:
            composed.check_batch_size(self.batch_size)
            mixed.update(*(phase.views for phase in self.phases() if phase.composed and phase.composed.unlabelled))
        for name, view in self.views.items():
            if composed is None and view.of != "all":
                raise ValueError(
                    f"Recipe: views[{name!r}] is of (={view.of!r}) a part of composed batches, and sampler (="
                    f"{self.sampler}) composes none; set sampler=Composed(labelled=..., unlabelled=...), or of='all'"
                )
            tasks = [task for task in self.tasks if name in task.sees]
            if composed and view.of == "all" and name in mixed and all(_lacks(t, composed.label) for t in tasks):
                raise ValueError(
                    f"Recipe: views[{name!r}] is of (='all') labelled and unlabelled samples, and only "
                    f"{', '.join(str(task) for task in tasks)} looks at it, which needs a label; set of='labelled'"
                )

    def phases(self, steps: int = 1000) -> list[Phase]:
        """Lists the phases of a run of so many optimiser steps; see `engine.recipe.schedule.phases`.

        Raises:
            ValueError: At some step no task has a weight above 0, or one looks at a part that batches then lack.
        """
        found = phases(self.tasks, steps, self.sampler)
        for phase in found:
            if phase.composed is None:
                continue
            for task in (task for task in self.tasks if task.name in phase.tasks):
                parts = {self.views[name].of for name in task.sees} - {"all"}
                parts |= {"labelled"} if _lacks(task, phase.composed.label) else set()
                for part in sorted(parts):
                    if getattr(phase.composed, part) == 0:
                        raise ValueError(
                            f"Recipe: batches hold no {part} samples from {phase.start / steps:.0%} to "
                            f"{phase.stop / steps:.0%} of the training (sampler {phase.composed}), and {task} learns "
                            "from them; let it weigh 0 until then or from there on (RampWeight, AnnealWeight), or "
                            "compose some"
                        )
        return found

    def _check_mix(self) -> None:
        """Refuses a mix of nothing, and one of pictures at which a task looks that learns nothing of two labels."""
        if self.mix is None:
            return
        if not self.mixed_views:
            raise ValueError(
                f"Recipe: mix (={self.mix}) mixes the pictures of Plain views that supervised tasks look at, of which "
                "there is none; let such a task look at one, or set mix=None"
            )
        for task in self.tasks:
            for name in self.mixed_views.intersection(task.sees):
                if not task.learns_of_mixed:
                    raise ValueError(
                        f"Recipe: mix (={self.mix}) mixes the pictures of {name!r}, of which {task} cannot learn: only "
                        "tasks with classes can; give it a view of its own, or set mix=None"
                    )

    @property
    def mixed_views(self) -> frozenset[str]:
        """The views whose pictures `mix` mixes: plain ones that a supervised task looks at."""
        if self.mix is None:
            return frozenset()
        seen = {name for task in self.supervised for name in task.on}
        return frozenset(name for name in seen if isinstance(self.views[name], Plain))

    def check_labels(self, split: Split) -> None:
        """Refuses data that lacks a label, or has other classes, than the tasks ask for."""
        for task in self.supervised:
            if task.label not in split.labels:
                raise ValueError(
                    f"{task}: label {task.label!r} is not in the data; it has {', '.join(split.labels) or 'none'}"
                )
            task.check_labels(split.labels)
        if self.test_time is not None and not self.averaged_tasks:
            raise ValueError(
                "Recipe: test_time needs a task with classes, whose probabilities it averages, and there is none; "
                "set it to None"
            )

    @property
    def supervised(self) -> tuple[Supervised, ...]:
        """The tasks that learn a label."""
        return tuple(task for task in self.tasks if isinstance(task, Supervised))

    @property
    def evaluated(self) -> tuple[Task, ...]:
        """The tasks that have figures."""
        return tuple(task for task in self.tasks if task.figures(self.views))

    @property
    def averaged_tasks(self) -> tuple[Supervised, ...]:
        """The tasks whose probabilities `test_time` averages: those that learn classes."""
        if self.test_time is None:
            return ()
        return tuple(task for task in self.supervised if isinstance(task.wants().get(task.label), Classes))

    @property
    def reported(self) -> tuple[tuple[str, Task], ...]:
        """What figures are reported of: each task by its name, and again by another one where `test_time` averages."""
        averaged = ((averaged_name(task.name), task) for task in self.averaged_tasks)
        return (*((task.name, task) for task in self.tasks), *averaged)

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures of all tasks, by `<task>/<figure>`, in the order they are shown; those of `test_time` last."""
        return {f"{name}/{figure.name}": figure for name, task in self.reported for figure in task.figures(self.views)}

    @property
    def headline(self) -> str:
        """The figure that epochs are chosen by, `<task>/<figure>`: the first of the first supervised task, or task."""
        task = (*self.supervised, *self.evaluated)[0]
        return f"{task.name}/{task.figures(self.views)[0].name}"


def _lacks(task: Task, label: str | None) -> bool:
    """Says whether a task learns nothing of samples without a label: the one named, or any."""
    return isinstance(task, Supervised) and label in (None, task.label)


def check_views(views: Mapping[str, object], image_size: int) -> None:
    """Refuses no view, a name that is no identifier, what is no view, and a grid larger than the picture."""
    if not views:
        raise ValueError("Recipe: views (={}) must name at least one view; e.g. {'plain': Plain()}")
    for name, view in views.items():
        if not name.isidentifier():
            raise ValueError(f"Recipe: views has {name!r}, a name must be an identifier; e.g. 'plain' or 'puzzle_3'")
        if name == EVALUATION:
            raise ValueError(f"Recipe: views has the name {EVALUATION!r}, which is kept for evaluation; choose another")
        if not isinstance(view, View):
            what = advice(view, View, "give one such as Puzzle(grid=3)")
            raise ValueError(f"Recipe: views[{name!r}] (={shown(view)}) must be a view; {what}")
        check_fields(view, f"Recipe: views[{name!r}]")
        if view.size is None and view.grid > image_size:
            raise ValueError(
                f"Recipe: views[{name!r}] has grid (={view.grid}) larger than image_size (={image_size}); "
                "use fewer cells or larger pictures"
            )
