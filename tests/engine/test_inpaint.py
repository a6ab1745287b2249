"""In-painting: the decoder on several maps by hand, what cannot leak, one stream, and what a run keeps of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.backbone import Backbone
from engine.recipe import Recipe
from engine.tasks import SYNTHETIC_7, Expression, Inpaint, Perceptual
from engine.tasks.base import Features, MapShape, Shape
from engine.tasks.inpaint import Decoder
from engine.training.objective import Objective
from engine.training.parts import build_model
from engine.training.show import Paintings, painted_epochs
from engine.views import Holes, Plain
from kernels import Augment
from tests.engine import tiny
from tests.engine.test_train import trainer

PYRAMID = Shape(channels=6, width=6, stride=32, finer=(MapShape(5, 16), MapShape(4, 8), MapShape(3, 4)))


def pyramid(size: int = 48) -> Features:
    """Maps of a picture of `size` px, as a network of ceil'd halvings gives them: 48 px has 2, 3, 6 and 12 places."""
    drawn = torch.Generator().manual_seed(size)
    maps = [torch.randn(2, c, -(-size // s), -(-size // s), generator=drawn) for c, s in ((6, 32), (5, 16), (4, 8))]
    return Features(maps[0], torch.zeros(2, 6), tuple(maps[1:]))


def one_stream(**changes: Any) -> Recipe:
    """Half of the faces have holes; both heads look at that one view."""
    of_holes: dict[str, Any] = {
        "augment": Augment(),
        "views": {"holes": Holes(grid=4, samples=0.5)},
        "tasks": (Expression(SYNTHETIC_7, on=("holes",), dropout=0.0), Inpaint(width=16, maps=3)),
        "evaluation_crop": 1.0,
    }
    return tiny.recipe(**{**of_holes, **changes})


def by_hand(decoder: Decoder, features: Features) -> Tensor:
    """The decoder of three maps, written out: 1 x 1, twice raised with a map added, twice doubled, shuffled."""
    convolutions = [step for step in decoder.steps if isinstance(step, nn.Conv2d)]
    norms = iter([step for step in decoder.steps if isinstance(step, nn.GroupNorm)])

    def active(x: Tensor) -> Tensor:
        norm = next(norms)
        grouped = x.reshape(len(x), 8, -1)
        centred = grouped - grouped.mean(dim=2, keepdim=True)
        x = (centred / (centred.square().mean(dim=2, keepdim=True) + norm.eps).sqrt()).reshape(x.shape)
        return F.gelu(x * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1))

    def raised(x: Tensor, side: int) -> Tensor:
        nearest = torch.arange(side) * x.shape[-1] // side
        return x[:, :, nearest][:, :, :, nearest]

    x = convolutions[0](features.map)
    for finer, wide, after in zip(features.finer, decoder.added, convolutions[1:3], strict=True):
        x = after(raised(active(x), finer.shape[-1]) + wide(finer))
    for after in convolutions[3:5]:
        x = after(raised(active(x), 2 * x.shape[-1]))
    return F.pixel_shuffle(convolutions[5](active(x)), 2)


@pytest.mark.parametrize("size", [48, 33, 64])
def test_the_decoder_adds_each_finer_map_at_its_resolution(size: int) -> None:
    decoder, features = Decoder(PYRAMID, 32, maps=3), pyramid(size)
    assert [layer.in_channels for layer in decoder.added] == [5, 4]
    found = decoder(features)
    assert found.shape[-1] == 8 * features.finer[1].shape[-1] >= size
    torch.testing.assert_close(found, by_hand(decoder, features), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("maps", [1, 2, 3])
def test_gradients_reach_the_maps_that_are_read_and_no_others(maps: int) -> None:
    features = pyramid()
    read = [each.requires_grad_() for each in (features.map, *features.finer)]
    Decoder(PYRAMID, 16, maps)(features).square().mean().backward()
    assert [each.grad is not None and bool(each.grad.any()) for each in read] == [place < maps for place in range(3)]


@pytest.mark.parametrize(
    ("backbone", "strides"),
    [
        (tiny.BACKBONE, [16, 8]),
        (replace(tiny.BACKBONE, small_pictures=True), [4, 2]),
        (Backbone("efficientnet_b0"), [16, 8]),
    ],
)
def test_the_maps_are_the_last_of_each_resolution_as_the_encoder_has_them(
    backbone: Backbone, strides: list[int]
) -> None:
    model = build_model(one_stream(backbone=backbone, image_size=64))
    with torch.no_grad():
        features = model.eval().encode({"holes": torch.randn(2, 3, 64, 64)})["holes"]
        plain = model.encoder(torch.randn(2, 3, 64, 64))
    assert [64 // each.shape[-1] for each in features.finer] == strides
    assert [layer.in_channels for layer in model.heads["inpaint"].added] == [each.shape[1] for each in features.finer]
    assert plain.finer == ()  # what is deployed gives none


def test_reading_finer_maps_changes_nothing_else() -> None:
    read, alone = (
        build_model(one_stream(tasks=(Expression(SYNTHETIC_7, on="holes"), Inpaint(maps=m)))) for m in (3, 1)
    )  # type: ignore[arg-type]
    alone.load_state_dict(read.state_dict(), strict=False)
    picture = {"holes": torch.randn(2, 3, 32, 32)}
    assert torch.equal(
        read.eval()(picture, ["expression"])["expression"]["holes"], alone.eval()(picture)["expression"]["holes"]
    )


def test_what_a_hidden_pixel_holds_changes_nothing_but_the_truth() -> None:
    """The encoder sees the masked view alone, so no map can tell: in training mode too, whose statistics are joint."""
    recipe = one_stream(views={"holes": Holes(grid=4)}, image_size=24)
    made = trainer(recipe)
    batch = tiny.batch(4)
    first = made.renderer.training(batch, epoch=0, step=0)
    hidden = first.cells["holes"].shows < 0
    store = batch.store.clone()
    for face, cells in enumerate(hidden):
        for cell in cells.nonzero().flatten().tolist():
            y, x = 6 * (cell // 4), 6 * (cell % 4)
            store[face, y : y + 6, x : x + 6] ^= 255
    second = made.renderer.training(replace(batch, store=store), epoch=0, step=0)
    assert hidden.any(dim=1).all()
    assert not torch.equal(first.whole["holes"], second.whole["holes"])
    outputs = [made.model.train()(rendered.pictures) for rendered in (first, second)]
    for task in ("expression", "inpaint"):
        assert torch.equal(outputs[0][task]["holes"], outputs[1][task]["holes"])
    losses = [Objective(made.model, recipe.tasks, made.criteria)(rendered) for rendered in (first, second)]
    assert losses[0]["expression"] == losses[1]["expression"]
    assert losses[0]["inpaint"] != losses[1]["inpaint"]


def test_one_stream_learns_both_and_compiles() -> None:
    made = trainer(one_stream())
    rendered = made.renderer.training(next(iter(made.train.epoch(0))), epoch=0, step=0)
    objective = Objective(made.model, made.recipe.tasks, made.criteria)
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    for name, loss in compiled(rendered).items():
        torch.testing.assert_close(loss, objective(rendered)[name], atol=1e-5, rtol=1e-5)
    for task in ("expression", "inpaint"):
        gradient = torch.autograd.grad(objective(rendered)[task], next(made.model.encoder.parameters()))[0]
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 3, 4, 5]), (200, [1, 3, 8, 24, 69, 200])]
)
def test_what_is_painted_is_kept_after_the_first_and_last_epoch_and_some_between(
    epochs: int, expected: list[int]
) -> None:
    assert sorted(painted_epochs(epochs)) == expected


def test_a_run_shows_what_it_painted_epoch_by_epoch(tmp_path: Path) -> None:
    of = one_stream(ema=0.9, sampler=tiny.recipe().sampler)
    run = tiny.trained(of, tmp_path / "run")
    assert (run / "charts" / "inpaint-epochs.png").is_file()
    report = (run / "report.md").read_text()
    assert report.count("charts/inpaint-epochs.png") == 1
    assert 0 < json.loads((run / "result.json").read_text())["last"]["val"]["inpaint/l1"] < 3
    kept = torch.load(run / "checkpoints" / "last" / "state.pt", weights_only=True)["paintings"]
    assert sorted(kept) == [1, 2]
    assert kept[1].shape == (6, 32, 32, 3)
    assert not torch.equal(kept[1], kept[2])  # the network learned
    paintings = Paintings(of.tasks, of.epochs)
    paintings.load_state_dict(kept)
    assert paintings.state_dict() == kept


def test_a_recipe_that_paints_nothing_keeps_nothing(tmp_path: Path) -> None:
    made = trainer(tiny.recipe())
    made.paintings.add(1, made.evaluated, made.renderer, made.select)
    made.paintings.write(made.evaluated, made.renderer, made.select, tmp_path)
    assert made.paintings.state_dict() == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Inpaint(maps=0), "Inpaint 'inpaint': maps (=0) must be 1 or more; 1 reads the last feature map alone"),
        (
            Inpaint(maps=6),
            "Inpaint 'inpaint': maps (=6) must be at most 5, the resolutions of which test_resnet has feature maps at "
            "image_size (=32); lower it, or take another backbone",
        ),
        (
            Inpaint(perceptual=Perceptual(strides=())),
            "perceptual: strides (=()) must be one or more different strides of stages; e.g. (4, 8, 16)",
        ),
        (Inpaint(perceptual=Perceptual(strides=(4, 4))), "strides (=(4, 4)) must be one or more different"),
    ],
)
def test_maps_that_are_not_there_are_refused(task: Inpaint, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build_model(one_stream(views={"plain": Plain(), "holes": Holes()}, tasks=(Expression(SYNTHETIC_7), task)))


def test_only_the_strides_that_are_asked_for_are_compared() -> None:
    task = Inpaint(width=16, perceptual=Perceptual(strides=(8,), from_epoch=0))
    made = trainer(one_stream(tasks=(Expression(SYNTHETIC_7, on=("holes",)), task)))
    criterion: Any = made.criteria["inpaint"]
    assert criterion.stages == [2]
    with pytest.raises(ValueError, match=r"has stages at the strides 2, 4, 8, 16, 32, those at 64 are compared; name"):
        trainer(one_stream(tasks=(replace(task, perceptual=Perceptual(strides=(64,))),)))
