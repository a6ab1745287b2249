"""Builds the parts of a recipe: its model, its renderer, and the description of the weights it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from engine.recipe import Recipe
from engine.recipe.written import describe
from engine.tasks.base import Task
from engine.training.model import Model
from engine.training.render import Renderer
from loaders import Classes, Loader


def build_model(recipe: Recipe) -> Model:
    """Builds the model of a recipe at its start, on the CPU."""
    return Model(
        recipe.backbone,
        recipe.views,
        recipe.tasks,
        recipe.batch_statistics,
        seed=recipe.seed,
        image_size=recipe.image_size,
        frozen_encoder=recipe.frozen_encoder,
    )


def renderer(recipe: Recipe, dtype: torch.dtype, tasks: Sequence[Task] | None = None) -> Renderer:
    """Builds the renderer of a recipe: of the views that some of its tasks (None: all) look at."""
    tasks = recipe.tasks if tasks is None else tasks
    seen = {view for task in tasks for view in task.sees}
    return Renderer(
        views={name: view for name, view in recipe.views.items() if name in seen},
        augment=recipe.augment,
        image_size=recipe.image_size,
        evaluation_crop=recipe.evaluation_crop,
        mean=recipe.mean,
        std=recipe.std,
        seed=recipe.seed,
        dtype=dtype,
        hiding=frozenset(view for task in tasks if task.needs_whole for view in task.on),
        augmented=frozenset(view for task in tasks if task.needs_augment for view in task.on),
        mix=recipe.mix,
        mixed=recipe.mixed_views,
    )


def classes(recipe: Recipe, loader: Loader) -> dict[str, list[str]]:
    """Lists the class names of each task whose answers are the classes of its label."""
    labels = {task: loader.split.labels[task.label] for task in recipe.supervised}
    return {
        task.name: list(label.names)
        for task, label in labels.items()
        if isinstance(label, Classes) and set(task.answers) == set(label.names)
    }


def describe_weights(recipe: Recipe, loader: Loader) -> dict[str, Any]:
    """Describes what must be known to use the weights of a recipe: class names, architecture, preprocessing, tasks."""
    return {
        "classes": classes(recipe, loader),
        "backbone": {
            "name": recipe.backbone.name,
            "small_pictures": recipe.backbone.small_pictures,
            "options": dict(recipe.backbone.options),
        },
        "preprocessing": {
            "image_size": recipe.image_size,
            "evaluation_crop": recipe.evaluation_crop,
            "mean": recipe.mean,
            "std": recipe.std,
            "faces": loader.split.shape,
            "prepared": [asdict(each) for each in loader.split.prepared],
        },
        "tasks": {task.name: describe(task) for task in recipe.supervised},
    }
