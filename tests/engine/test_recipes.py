"""What the recipes of an experiment promise of each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from engine.cost import Cost
from engine.recipe import Recipe, settings
from engine.recipe import file as recipe_file
from engine.runs.initial import MissingWeightsError, locate
from engine.tasks import Inpaint, Perceptual
from engine.tasks.base import Shape
from engine.training.cost import cost_of
from loaders.feed.composed import composition

SHAPE = Shape(channels=8, width=8, stride=32)
RECIPES = Path(__file__).parents[2] / "recipes"


def read(name: str, variant: str = "") -> Recipe:
    return recipe_file.read(f"{RECIPES / name}.py{':' if variant else ''}{variant}").recipe


def test_pre_training_and_fine_tuning_cost_what_the_hybrid_costs() -> None:
    hybrid, pretrain, finetune = (read(f"fer2013_{name}") for name in ("hmtl", "pretrain", "finetune"))
    spent = cost_of(pretrain, steps=1) + cost_of(finetune, steps=1)
    assert spent.pictures == cost_of(hybrid, steps=1).pictures
    assert spent.beside(cost_of(hybrid, steps=1)) == "equal FLOPs within 0.1 %"
    assert finetune.init == "runs/fer2013_pretrain"
    for field in ("data", "augment", "backbone", "image_size", "evaluation_crop", "batch_size", "sampler", "optim"):
        assert getattr(pretrain, field) == getattr(finetune, field) == getattr(hybrid, field), field
    assert {task.label for task in pretrain.tasks} == {None}
    assert finetune.tasks == hybrid.tasks[:1]


@pytest.mark.parametrize("name", ["fer2013_augmentation", "affectnet_augmentation"])
def test_the_cells_of_e1_differ_by_augmentation_and_start_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weak = read(name, "weak")
    augments = set()
    for level in ("none", "weak", "strong"):
        scratch, imagenet = read(name, level), read(name, f"{level}_imagenet")
        assert replace(scratch, augment=weak.augment) == weak
        assert replace(imagenet, init=None) == scratch
        assert imagenet.init is not None
        monkeypatch.chdir(RECIPES)
        with pytest.raises(MissingWeightsError, match=r"is not there, and nothing is fetched; put a file of timm's"):
            locate(imagenet.init, imagenet.backbone.name)
        augments.add(scratch.augment)
    assert len(augments) == 3


@pytest.mark.parametrize("name", ["fer2013_frozen", "ckplus_frozen"])
def test_frozen_features_are_those_of_the_hybrid_and_its_backbone(name: str) -> None:
    hybrid = read("fer2013_hmtl")
    for variant in ("linear", "nonlinear"):
        recipe = read(name, variant)
        assert recipe.frozen_encoder
        assert recipe.init == "runs/fer2013_hmtl"
        assert recipe.backbone == hybrid.backbone
        assert recipe.image_size == hybrid.image_size
        head = recipe.tasks[0].build_head(SHAPE, recipe.views)
        linear_layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
        assert len(linear_layers) == (1 if variant == "linear" else 2)
    assert read(name) == read(name, "nonlinear")


@pytest.mark.parametrize("path", ["runs/other-run", "weights/resnet10t.safetensors", "../run 2/checkpoints/best"])
def test_what_an_encoder_starts_from_is_set_as_it_is_written(path: str) -> None:
    recipe = settings.apply(read("fer2013_frozen"), [f"init={path}", "frozen_encoder=False"])
    assert (recipe.init, recipe.frozen_encoder) == (path, False)
    assert settings.apply(recipe, ["init=None"]).init is None
    assert settings.apply(recipe, ["tasks.expression.hidden=64"]).tasks[0].hidden == 64  # type: ignore[attr-defined]


@pytest.mark.parametrize("labels", [140, 402, 2010])
def test_rows_with_few_labels_cost_equal_flops(labels: int) -> None:
    def cost(name: str) -> Cost:
        recipe = read("fer2013_semi", name)
        composed = composition(recipe.sampler)
        assert composed is not None
        return cost_of(recipe, steps=(28_709 - labels) // composed.unlabelled)

    hybrid = cost("")
    for name in ("supervised", "labelled_only", "unlabelled_stream", "fixmatch", "puzzled_fixmatch"):
        assert cost(name).beside(hybrid).startswith("equal FLOPs"), name
    assert (cost("pretrain") + cost("finetune")).beside(hybrid).startswith("equal FLOPs")


@pytest.mark.parametrize(("file", "steps"), [("fer2013_inpaint", None), ("fer2013_vit", 89)])
def test_rows_of_in_painting_and_of_transformers_cost_equal_flops(file: str, steps: int | None) -> None:
    def cost(recipe: Recipe) -> Cost:
        composed = composition(recipe.sampler)
        return cost_of(recipe, steps=steps or (28_709 - 2010) // composed.unlabelled)  # type: ignore[union-attr]

    labels_alone = cost(read(file, "supervised"))
    rows = ("", "last_map", "puzzled", "perceptual", "cutout", "one_stream")
    for name in rows if file == "fer2013_inpaint" else ("", "masked", "positions", "convolutional"):
        assert cost(read(file, name)).beside(labels_alone).startswith("equal FLOPs"), name
    if file == "fer2013_inpaint":
        taught = read(file, "taught")
        assert isinstance(taught.tasks[1], Inpaint)
        there = replace(taught.tasks[1], perceptual=Perceptual(from_epoch=0))  # as dear, and its weights need no run
        spent = cost(read(file, "teacher")) + cost(replace(taught, tasks=(taught.tasks[0], there)))
        assert spent.beside(labels_alone).startswith("equal FLOPs")
