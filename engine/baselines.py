"""Makes the two supervised baselines of a hybrid recipe.

The first has the hybrid's epochs and one view. The second costs what the hybrid costs, in FLOPs of training: it has as
many independently augmented plain views as come nearest to that and, where those are off by more than 3 %, as many
epochs. Where batches are composed, their views are of the labelled samples: no loss of theirs looks at the others.
Where the composition follows phases of the run, theirs is that of the last phase throughout.

Supervised tasks keep their weights, and their schedules too; but where the hybrid leaves all of them out for a time, a
baseline, which has nothing else to train, gives each its greatest weight throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.cost import EQUAL
from engine.losses import weight_at
from engine.recipe import Recipe
from engine.recipe.definition import BatchStatistics
from engine.recipe.schedule import phases
from engine.tasks.base import Task
from engine.training.cost import cost_of
from engine.views import Plain
from loaders.base import Part
from loaders.feed.composed import composition, ends_as


def supervised(hybrid: Recipe) -> Recipe:
    """Trains the supervised tasks of the hybrid on one plain view."""
    return _on_plain_views(hybrid, {"plain": Plain(of=_learnt_from(hybrid))})


def supervised_equal_cost(hybrid: Recipe) -> Recipe:
    """Trains them on plain views, each augmented on its own, for as many FLOPs as the hybrid takes.

    Where no number of epochs comes within 3 %, as in a run of few, it has the nearest. A change of epochs, size or
    backbone beside it, by `--set` or in an experiment, changes its cost too: tables and comparisons say what it is.

    Raises:
        ValueError: The hybrid has no supervised task, or its cost cannot be counted; see `engine.training.cost`.
    """
    of = _learnt_from(hybrid)
    steps = max(1000 // hybrid.epochs, 1)  # of an epoch, which only the data knows; both have as many
    one = _on_plain_views(hybrid, {"plain_0": Plain(fresh=True, of=of)})
    ratio = _flops(hybrid, steps) / _flops(one, steps)
    views = max(round(ratio), 1)
    off = ratio / views
    epochs = hybrid.epochs if abs(1 / off - 1) <= EQUAL else max(round(hybrid.epochs * off), 1)
    warmup = min(hybrid.optim.warmup_epochs, epochs)
    equal = _on_plain_views(hybrid, {f"plain_{i}": Plain(fresh=True, of=of) for i in range(views)})
    return replace(equal, epochs=epochs, optim=replace(equal.optim, warmup_epochs=warmup))


_COUNTED: dict[tuple[str, int], float] = {}
"""What recipes cost, by what they say: a table reads the file of its recipes once a row."""


def _flops(recipe: Recipe, steps: int) -> float:
    key = repr(recipe), steps
    if key not in _COUNTED:
        found = cost_of(recipe, steps).flops
        assert found is not None
        _COUNTED[key] = found
    return _COUNTED[key]


def _learnt_from(recipe: Recipe) -> Part:
    """The samples that supervised tasks learn from."""
    return "all" if composition(recipe.sampler) is None else "labelled"


def _on_plain_views(hybrid: Recipe, views: dict[str, Plain]) -> Recipe:
    if not hybrid.supervised:
        names = ", ".join(task.name for task in hybrid.tasks)
        raise ValueError(f"baselines: tasks (={names}) must hold a supervised one; only a hybrid recipe has baselines")
    statistics: BatchStatistics = "joint" if hybrid.batch_statistics == "joint" else "per_view"
    return replace(
        hybrid,
        views=views,
        sampler=ends_as(hybrid.sampler),
        tasks=tuple(_look_at(task, tuple(views)) for task in _weighed(hybrid.supervised)),
        batch_statistics=statistics,
        gradient_cosine_every=None,
    )


def _weighed(tasks: Sequence[Task]) -> list[Task]:
    """Lets each task weigh what it weighs most, if there are steps at which none of them weighs anything."""
    try:
        phases(tasks)
    except ValueError:
        shares = [step / 1000 for step in range(1001)]
        return [replace(task, weight=max(weight_at(task.weight, share) for share in shares)) for task in tasks]
    return list(tasks)


def _look_at(task: Task, on: tuple[str, ...]) -> Task:
    """Lets a task look at other views. It joins them as before; one that looked at a single view takes their mean."""
    changes: dict[str, Any] = {"on": on}
    if len(task.on) == 1 and len(on) > 1:
        changes["join"] = "mean"
    return replace(task, **changes)
