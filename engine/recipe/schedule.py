"""Tells what the tasks of a recipe weigh at each step of a run, and what is trained in which phase of it, on what.

A weight is a function of the share of the training that is done: (step + 0.5) / steps at the optimiser step `step`,
counted from 0 over the whole run, so it depends neither on the length of a run nor on where it was interrupted. The
composition of the batches follows the same share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.losses import TaskWeights, weight_at
from engine.tasks.base import Task
from loaders.base import Sampler
from loaders.feed.composed import Composed, composition, share_at


@dataclass(frozen=True, slots=True)
class Phase:
    """Holds steps of a run, one after another, in which the same tasks are trained on batches of one composition."""

    start: int
    """The first step, counted from 0."""
    stop: int
    """The step after the last one."""
    tasks: tuple[str, ...]
    """Names of the tasks that are trained, in the order of the recipe."""
    views: frozenset[str]
    """Names of the views they look at; only these are rendered and encoded."""
    composed: Composed | None = None
    """How the batches are composed; None where they are not."""

    @property
    def steps(self) -> int:
        """How many optimiser steps it lasts."""
        return self.stop - self.start


def weights_at(tasks: Sequence[Task], step: int, steps: int) -> dict[str, float]:
    """Gives what each task weighs at an optimiser step, counted from 0 over all `steps` of the run."""
    share = share_at(step, steps)
    return {task.name: weight_at(task.weight, share) for task in tasks}


def live_tasks(weights: TaskWeights) -> tuple[str, ...]:
    """Lists the tasks that are trained at these weights: those above 0."""
    return tuple(name for name, weight in weights.items() if weight)


def phases(tasks: Sequence[Task], steps: int = 1000, sampler: Sampler | None = None) -> list[Phase]:
    """Lists the phases of a run of so many optimiser steps, from its first step to its last.

    Where it is not known how long a run will be, the phases of 1000 steps tell their shares of it.

    Raises:
        ValueError: No task has a weight above 0 at some step: there is nothing to train then.
    """
    found: list[tuple[int, tuple[str, ...], Composed | None]] = []
    for step in range(steps):
        live = live_tasks(weights_at(tasks, step, steps))
        if not live:
            names = ", ".join(task.name for task in tasks)
            raise ValueError(
                f"Recipe: tasks (={names}) must have one with a weight above 0 at every step, and have none after "
                f"{step / steps:.0%} of the training; let one start earlier or end later"
            )
        composed = composition(sampler, share_at(step, steps))
        if not found or found[-1][1:] != (live, composed):
            found.append((step, live, composed))
    stops = [*(start for start, *_ in found[1:]), steps]
    views = {task.name: task.sees for task in tasks}
    return [
        Phase(start, stop, live, frozenset(view for name in live for view in views[name]), composed)
        for (start, live, composed), stop in zip(found, stops, strict=True)
    ]
