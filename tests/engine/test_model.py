"""One encoder, one head a task; the deployed model is exactly the supervised one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.backbone import Backbone
from engine.tasks import SYNTHETIC_7, Expression, Inpaint, SolvePuzzle
from engine.training.model import Encoder, measure_shape
from engine.training.parts import build_model
from engine.views import Holes, Plain, Puzzle
from tests.engine import tiny

PICTURES = {"plain": torch.randn(3, 3, 32, 32), "puzzle": torch.randn(3, 3, 32, 32)}


def test_inference_gives_the_training_models_outputs_and_has_no_pretext_parameter() -> None:
    recipe = tiny.recipe(
        views={"plain": Plain(), "puzzle": Puzzle(grid=2), "holes": Holes()},
        tasks=(Expression(SYNTHETIC_7), SolvePuzzle(), Inpaint(width=16)),
    )
    model = build_model(recipe).eval()
    deployed = model.inference()
    with torch.no_grad():
        assert torch.equal(
            deployed(PICTURES["plain"])["expression"], model({"plain": PICTURES["plain"]})["expression"]["plain"]
        )
    kept = set(deployed.state_dict())
    assert not [name for name in kept if "puzzle" in name or "inpaint" in name]
    assert kept == {name for name in model.state_dict() if name.startswith(("encoder.", "heads.expression."))}


def test_a_head_on_the_map_changes_neither_the_start_of_the_others_nor_the_deployed_model() -> None:
    pooled, on_map = (
        build_model(tiny.recipe(tasks=(Expression(SYNTHETIC_7), SolvePuzzle(head=head)))) for head in ("pooled", "map")
    )
    start, deployed = pooled.inference().state_dict(), on_map.inference().state_dict()
    assert start.keys() == deployed.keys()
    assert all(torch.equal(value, start[name]) for name, value in deployed.items())
    output = on_map({"puzzle": PICTURES["puzzle"]}, ["puzzle"])["puzzle"]["puzzle"]
    assert output.shape == (3, 4, 4)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in on_map.encoder.parameters())


@pytest.mark.parametrize(("small_pictures", "side"), [(False, 2), (True, 6)])
def test_a_head_on_the_map_reads_the_small_maps_of_small_pictures(small_pictures: bool, side: int) -> None:
    backbone = Backbone("resnet10t", small_pictures=small_pictures)
    recipe = tiny.recipe(backbone=backbone, image_size=48, tasks=(Expression(SYNTHETIC_7), SolvePuzzle(head="map")))
    model = build_model(recipe).eval()
    pictures = {"puzzle": torch.randn(2, 3, 48, 48)}
    with torch.no_grad():
        assert model.encode(pictures)["puzzle"].map.shape[2:] == (side, side)
        assert model(pictures, ["puzzle"])["puzzle"]["puzzle"].shape == (2, 4, 4)


def test_weights_of_the_encoder_keep_the_names_of_timm() -> None:
    model = build_model(tiny.recipe())
    saved = {name: value.clone() for name, value in model.state_dict().items()}
    encoder = {name.removeprefix("encoder."): value for name, value in saved.items() if name.startswith("encoder.")}
    assert list(encoder) == list(tiny.BACKBONE.build().state_dict())
    other = copy.deepcopy(build_model(tiny.recipe(seed=1)))
    other.load_state_dict(saved)
    assert all(torch.equal(value, saved[name]) for name, value in other.state_dict().items())


def test_dropping_a_pretext_task_leaves_encoder_and_supervised_head_at_the_same_start() -> None:
    both, alone = tiny.recipe(), tiny.recipe(views={"plain": Plain()}, tasks=(Expression(SYNTHETIC_7),))
    start = build_model(both).state_dict()
    for name, value in build_model(alone).state_dict().items():
        assert torch.equal(value, start[name]), name


def test_initial_weights_depend_on_the_seed_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_model(tiny.recipe(seed=seed)).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    name = "heads.expression.linear.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_views_encoded_together_equal_views_encoded_alone_in_evaluation() -> None:
    model = build_model(tiny.recipe()).eval()
    with torch.no_grad():
        together = model(PICTURES)
        for task, view in (("expression", "plain"), ("puzzle", "puzzle")):
            alone = model({view: PICTURES[view]})[task][view]
            torch.testing.assert_close(together[task][view], alone, atol=1e-5, rtol=1e-5)


def test_views_of_different_sizes_pass_through_the_encoder_apart() -> None:
    model = build_model(tiny.recipe()).eval()
    found = model({"plain": torch.randn(2, 3, 32, 32), "puzzle": torch.randn(2, 3, 48, 48)})
    assert found["expression"]["plain"].shape == (2, 7)
    assert found["puzzle"]["puzzle"].shape == (2, 4, 4)


@pytest.mark.parametrize("name", ["resnet18", "resnet10t", "efficientnet_b0"])
def test_small_pictures_double_the_resolution_of_the_feature_map(name: str) -> None:
    usual, small = (Encoder(Backbone(name, small_pictures=small).build()) for small in (False, True))
    with torch.no_grad():
        before = measure_shape(usual, name, 64)
        after = measure_shape(small, name, 64)
    assert after.channels == before.channels
    assert after.stride <= before.stride // 2


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Backbone("resnet_eighteen"), r"name \(='resnet_eighteen'\) must be one of timm's; near it: "),
        (Backbone("resnet18", options={"depht": 3}), r"options \(=\{'depht': 3\}\) must fit resnet18"),
        (Backbone("convnext_atto", small_pictures=True), r"first convolution of stride 2, convnext_atto has none"),
        (
            Backbone("mixer_s32_224", options={"img_size": 32}),
            r"not \(1, channels, y, x\); choose a convolutional backbone, or a vision transformer of timm",
        ),
        (
            Backbone("vit_tiny_patch16_224", options={"depth": 1}),
            r"must take pictures of 3 channels and image_size \(=32\) x 32 .*; correct image_size, or the options",
        ),
    ],
)
def test_backbones_that_do_not_fit_are_refused(backbone: Backbone, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(tiny.recipe(backbone=backbone))


@pytest.mark.parametrize("statistics", ["joint", "per_view", "per_view_plain"])
def test_compiles_whole(statistics: Any) -> None:
    recipe = tiny.recipe(tasks=(Expression(SYNTHETIC_7, dropout=0.0), SolvePuzzle(dropout=0.0)))
    model = build_model(replace(recipe, batch_statistics=statistics))
    compiled = torch.compile(copy.deepcopy(model), backend="aot_eager", fullgraph=True)
    expected = model(PICTURES)
    for task, outputs in compiled(PICTURES).items():
        for view, output in outputs.items():
            torch.testing.assert_close(output, expected[task][view], atol=1e-4, rtol=1e-4)
