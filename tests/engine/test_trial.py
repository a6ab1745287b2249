"""A model that cannot take the recipe's pictures or batches is refused before the data is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.backbone import Backbone
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.tasks import SYNTHETIC_7, Expression
from engine.training.train import train
from engine.training.trial import try_model
from engine.views import Plain
from loaders import Packed
from loaders.terminal import Terminal
from tests.engine import tiny


def alone(backbone: Backbone, **changes: object) -> Recipe:
    """One view and one task, of data that is not there."""
    views, tasks = {"plain": Plain()}, (Expression(SYNTHETIC_7),)
    return tiny.recipe(data=Packed("nowhere"), views=views, tasks=tasks, backbone=backbone, **changes)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            alone(Backbone("resnet10t", options={"in_chans": 1})),
            r"Backbone: resnet10t must take .* 3 channels",
        ),
        (
            alone(Backbone("resnet10t", options={"block": 7})),
            r"options .* must fit resnet10t \(AttributeError",
        ),
        (alone(Backbone("resnet10t", options={"layers": (1,)})), r"Backbone: (options .* must fit )?resnet10t"),
        (alone(Backbone("vit_tiny_patch16_224")), r"Backbone: vit_tiny_patch16_224 must take .*image_size \(=32\)"),
        (
            alone(Backbone("resnet10t"), batch_size=1),
            r"Recipe: resnet10t cannot be trained on batches of these views \(plain 1 x 3 x 32 x 32\): Expected "
            r"more than 1 value per channel.*; give it a larger batch_size or image_size",
        ),
    ],
)
def test_what_a_library_refuses_late_is_refused_before_anything_is_opened(
    tmp_path: Path, recipe: Recipe, message: str
) -> None:
    file, cpu = RecipeFile("tiny", recipe, ""), torch.device("cpu")
    with pytest.raises(ValueError, match=message):
        train(
            file,
            tmp_path / "out",
            device=cpu,
            resume=False,
            deterministic=False,
            console=Terminal(quiet=True),
        )
    assert not (tmp_path / "out").exists()


def test_what_can_be_trained_passes_and_nothing_is_drawn_from_the_global_generator() -> None:
    state = torch.get_rng_state()
    for recipe in (
        tiny.recipe(),
        tiny.recipe(batch_statistics="per_view"),
        alone(tiny.BACKBONE, batch_size=1, image_size=64),
    ):
        try_model(recipe)
        assert torch.equal(torch.get_rng_state(), state)
