"""Makes the two supervised baselines of a hybrid recipe.

Budget means pictures through the encoder in training: the first baseline has the hybrid's epochs and one view, the
second as many independently augmented plain views as the hybrid encodes pictures, which is the same cost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.recipe.definition import BatchStatistics, Recipe
from engine.tasks.base import Task
from engine.views import Plain


def supervised(hybrid: Recipe) -> Recipe:
    """Trains the supervised tasks of the hybrid on one plain view."""
    return _on_plain_views(hybrid, {"plain": Plain()})


def supervised_equal_cost(hybrid: Recipe) -> Recipe:
    """Trains them on as many plain views as the hybrid encodes pictures, each augmented on its own."""
    return _on_plain_views(hybrid, {f"plain_{i}": Plain(fresh=True) for i in range(pictures_a_face(hybrid))})


def pictures_a_face(recipe: Recipe) -> int:
    """Counts the pictures of a face that pass through an encoder in a step: its views, and the passes of a teacher."""
    return len(recipe.views) + sum(task.teacher_passes * len(task.on) for task in recipe.tasks)


def _on_plain_views(hybrid: Recipe, views: dict[str, Plain]) -> Recipe:
    if not hybrid.supervised:
        names = ", ".join(task.name for task in hybrid.tasks)
        raise ValueError(f"baselines: tasks (={names}) must hold a supervised one; only a hybrid recipe has baselines")
    statistics: BatchStatistics = "joint" if hybrid.batch_statistics == "joint" else "per_view"
    return replace(
        hybrid,
        views=views,
        tasks=tuple(_look_at(task, tuple(views)) for task in hybrid.supervised),
        batch_statistics=statistics,
        gradient_cosine_every=None,
    )


def _look_at(task: Task, on: tuple[str, ...]) -> Task:
    """Lets a task look at other views. It joins them as before; one that looked at a single view takes their mean."""
    changes: dict[str, Any] = {"on": on}
    if len(task.on) == 1 and len(on) > 1:
        changes["join"] = "mean"
    return replace(task, **changes)
