"""Where a network looks is what its last layer says of each place; the sheet shows the surest of each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import engine.training.show
from engine.backbone import Backbone
from engine.tasks import SYNTHETIC_7, Expression
from engine.training.grad_cam import grad_cam
from engine.training.model import Model
from engine.training.show import MISTAKES, show_answers, surest
from engine.views import Plain
from kernels import Augment
from loaders import Loader, Synthetic
from tests.engine import tiny


def model(backbone: Backbone = tiny.BACKBONE, **options: bool) -> Model:
    return Model(
        backbone, {"plain": Plain()}, (Expression(SYNTHETIC_7),), "joint", seed=0, image_size=64, **options
    ).train()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("backbone", [tiny.BACKBONE, Backbone("pvt_v2_b0")], ids=["convolutional", "transformer"])
def test_behind_a_mean_it_is_the_last_layer_at_each_place(backbone: Backbone, frozen: bool) -> None:
    """Both pool by a mean, so the score is the mean over places of what the linear layer says of each of them."""
    network = model(backbone, frozen_encoder=frozen)
    pictures = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([4, 0, 6])
    found = grad_cam(network, pictures, "expression", classes)
    assert network.training  # as it was
    assert all(parameter.grad is None for parameter in network.parameters())
    network.eval()
    with torch.no_grad():
        places = network.encoder(pictures).map
        said = torch.einsum("bcyx,bc->byx", places, network.heads["expression"].linear.weight[classes]).relu()
    large = F.interpolate(said[:, None], size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    for heat, wanted in zip(found, large, strict=True):
        torch.testing.assert_close(heat, wanted / wanted.max() if wanted.max() > 0 else wanted, atol=1e-4, rtol=1e-4)
    assert found.max() == 1


@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "mean"])
def test_of_a_vision_transformer_it_is_of_the_patches_that_enter_the_last_block(options: dict[str, Any]) -> None:
    """Against hooks on a forward pass of timm's own."""
    small = {"img_size": 64, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2, **options}
    whole = model(Backbone("vit_tiny_patch16_224", options=small)).eval()
    pictures, classes = torch.randn(2, 3, 64, 64), torch.tensor([1, 5])
    found = grad_cam(whole, pictures, "expression", classes)
    network, entering = whole.encoder.network, list[torch.Tensor]()

    def kept(_: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        given[0].retain_grad()
        entering.append(given[0])

    network.blocks[-1].register_forward_pre_hook(kept)
    pooled = network.forward_head(network.forward_features(pictures), pre_logits=True)
    whole.heads["expression"].linear(pooled)[[0, 1], classes].sum().backward()
    (tokens,), prefix = entering, network.num_prefix_tokens
    assert tokens.grad is not None
    weight = tokens.grad[:, prefix:].mean(dim=1, keepdim=True)
    heat = (tokens[:, prefix:] * weight).sum(dim=2).relu().view(2, 1, 4, 4)
    large = F.interpolate(heat, size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(found, large / large.amax(dim=(1, 2), keepdim=True), atol=1e-4, rtol=1e-4)


def test_where_nothing_speaks_for_the_class_it_is_0() -> None:
    network = model()
    with torch.no_grad():
        network.heads["expression"].linear.weight.zero_()
    assert grad_cam(network, torch.randn(2, 3, 32, 32), "expression", torch.tensor([0, 1])).abs().max() == 0


def test_the_surest_are_found_by_class_and_faces_without_a_label_are_none() -> None:
    target = np.array([0, 0, 0, 1, 1, -1, 0, 0])
    second = np.array([0.1, 0.3, 0.9, 0.4, 0.8, 0.9, 0.7, 0.6])  # the probability of class 1
    probability = np.stack([1 - second, second, 0 * second], axis=1)
    assert surest(target, probability) == [([0], [2, 6, 7]), ([4], [3])]
    assert len(surest(np.zeros(9, np.int64), np.tile([[0.2, 0.8]], (9, 1)))[0][1]) == MISTAKES


def test_the_sheet_shows_the_faces_that_were_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces and words are those of the samples that `surest` finds, over more than one batch."""
    kept = []
    monkeypatch.setattr(engine.training.show, "answers_sheet", lambda rows, path: kept.append(rows))
    source = Synthetic(train=1, val=1, test=9, size=16)
    renderer = engine.training.show.Renderer(
        views={}, augment=Augment(), image_size=16, evaluation_crop=1.0, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0
    )
    with_labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, -1])
    probability = np.full((9, 7), 0.05, np.float32)
    probability[:, 0] = 0.5 + 0.01 * np.arange(9)
    loader = Loader.open(source, "test", batch_size=4, seed=0, device="cpu")
    said = {
        "sample": loader.split.sample.numpy(),
        "expression.target": with_labels,
        "expression.probability": probability,
    }
    show_answers(model(), renderer, loader, said, "expression", SYNTHETIC_7, tmp_path / "x.png")
    ((right, no_mistake), (none_right, wrong)) = kept[0]
    assert (no_mistake, none_right) == ([], [])
    assert [each.words for each in (*right, *wrong)] == [
        "Neutral 56 %",
        "Neutral 57 %, is Happy",
        "Neutral 55 %, is Happy",
        "Neutral 53 %, is Happy",
    ]
    (stored,) = Loader.open(source, "test", batch_size=9, seed=0, device="cpu").epoch(0)
    for each, place in zip((*right, *wrong), (6, 7, 5, 3), strict=True):
        assert np.abs(each.face.astype(int) - stored.store[stored.row[place]].numpy()).max() <= 1
    said["expression.target"] = np.full(9, -1)
    show_answers(model(), renderer, loader, said, "expression", SYNTHETIC_7, tmp_path / "x.png")
    assert len(kept) == 1
