"""Makes the two supervised baselines of a hybrid recipe.

Budget means pictures through the encoder in training: the first baseline has the hybrid's epochs and one view, the
second as many independently augmented plain views as the hybrid encodes pictures, which is the same cost. Where batches
are composed, their views are of the labelled samples: no loss of theirs looks at the others.

Supervised tasks keep their weights, and their schedules too; but where the hybrid leaves all of them out for a time, a
baseline, which has nothing else to train, gives each its greatest weight throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.losses import weight_at
from engine.recipe.definition import BatchStatistics, Recipe
from engine.recipe.schedule import Phase, phases
from engine.tasks.base import Task
from engine.views import Plain
from loaders.base import Part
from loaders.feed.samplers import composition


def supervised(hybrid: Recipe) -> Recipe:
    """Trains the supervised tasks of the hybrid on one plain view."""
    return _on_plain_views(hybrid, {"plain": Plain(of=_learnt_from(hybrid))})


def supervised_equal_cost(hybrid: Recipe) -> Recipe:
    """Trains them on as many plain views as the hybrid encodes pictures, each augmented on its own.

    Where that is no whole number of views, because they are of a part of the batch or of a part of the run, it is the
    nearest.
    """
    of = _learnt_from(hybrid)
    views = max(round(pictures_a_batch(hybrid) / _faces(hybrid, of)), 1)
    return _on_plain_views(hybrid, {f"plain_{i}": Plain(fresh=True, of=of) for i in range(views)})


def pictures_a_batch(recipe: Recipe) -> float:
    """Computes how many pictures of a batch pass through an encoder, as a mean over the run; see `pictures_in`."""
    found = phases(recipe.tasks)
    return sum(phase.steps * pictures_in(recipe, phase) for phase in found) / sum(phase.steps for phase in found)


def pictures_in(recipe: Recipe, phase: Phase) -> int:
    """Counts the pictures of a batch that pass through an encoder in a phase: its views, and a teacher's passes."""
    live = [task for task in recipe.tasks if task.name in phase.tasks]
    passes = {name: 1 + sum(task.teacher_passes for task in live if name in task.on) for name in phase.views}
    return sum(_faces(recipe, recipe.views[name].of) * each for name, each in passes.items())


def _faces(recipe: Recipe, of: Part) -> int:
    """Counts the faces of a part of a batch."""
    composed = composition(recipe.sampler)
    if composed is None or of == "all":
        return recipe.batch_size
    return composed.labelled if of == "labelled" else composed.unlabelled


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
