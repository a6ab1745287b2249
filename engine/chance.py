"""What guessing reaches: the figure a metric has where a model knows nothing of the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def chance_of(quantity: str, classes: Mapping[str, Sequence[str]], recipe: Mapping[str, Any]) -> float | None:
    """The figure that guessing reaches.

    Of k classes one is guessed at random: accuracy and mean recall are 1 / k, the error rate 1 - 1 / k. A puzzle of n
    tiles is guessed as any one order of them: of its tiles 1 / n are right on average, and all of them in 1 of n!
    puzzles. A turned tile has one of four turns.

    Args:
        quantity: "task/metric".
        classes: Task name to class names.
        recipe: The resolved recipe, as recipe.json holds it.

    Returns:
        The share, 0..1; None where guessing has no figure, or the recipe does not say enough.
    """
    task, _, metric = quantity.rpartition("/")
    if metric in ("accuracy", "mean_recall", "error_rate") and classes.get(task):
        share = 1 / len(classes[task])
        return 1 - share if metric == "error_rate" else share
    if metric in ("tile_accuracy", "puzzle_accuracy") and (answers := _answers(task, recipe)):
        return 1 / answers if metric == "tile_accuracy" else 1 / math.factorial(answers)
    return None


def _answers(task: str, recipe: Mapping[str, Any]) -> int | None:
    """Answers that a tile may have: the tiles of a puzzle, or four quarter turns."""
    views = recipe.get("views")
    for found in recipe.get("tasks") or ():
        if isinstance(found, Mapping) and found.get("name") == task and isinstance(views, Mapping):
            if found.get("kind") == "SolveTurns":
                return 4
            on = found.get("on") or [None]
            view = views.get(on[0])
            grid = view.get("grid") if isinstance(view, Mapping) else None
            return grid * grid if isinstance(grid, int) else None
    return None
