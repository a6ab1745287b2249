"""Tries a recipe's model on shapes alone, before its data is opened: what a library refuses late is refused early."""

from __future__ import annotations

import torch

from engine.recipe import Recipe
from engine.training.cost import META, batch_of_shapes, made_up_split
from engine.training.parts import build_model, renderer


def try_model(recipe: Recipe) -> None:
    """Sends one training batch of a recipe forward on torch's meta device, which knows shapes and computes nothing.

    Raises:
        ValueError: The backbone or a head does not take pictures of this size, or batches of so few.
    """
    with META:
        model = build_model(recipe).train()
    batch = batch_of_shapes(recipe, made_up_split(recipe), next(iter(recipe.phases(recipe.epochs))).composed)
    rendered = renderer(recipe, torch.float32).training(batch, epoch=0, step=0)
    pictures = rendered.pictures
    try:
        with torch.no_grad():
            model(pictures, cells=rendered.cells)
    except (RuntimeError, ValueError) as error:
        shapes = ", ".join(f"{name} {' x '.join(map(str, picture.shape))}" for name, picture in pictures.items())
        raise ValueError(
            f"Recipe: {recipe.backbone.name} cannot be trained on batches of these views ({shapes}): "
            f"{str(error).splitlines()[0]}; give it a larger batch_size or image_size, or another backbone"
        ) from error
