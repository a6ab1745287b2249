"""Vision transformers: their maps, what the encoder is not given, and the pretext tasks made for them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import kernels
from engine.backbone import Backbone
from engine.recipe import Recipe, settings
from engine.recipe.written import describe, read
from engine.tasks import SYNTHETIC_7, Expression, Inpaint, MaskedPatches, RelativePositions
from engine.tasks.base import Features, Shape
from engine.tasks.masked_patches import patches_of, picture_of
from engine.tasks.relative_positions import PairHead
from engine.training.cost import cost_of
from engine.training.objective import Objective, encoder_graphs
from engine.training.parts import build_model
from engine.training.trial import try_model
from engine.views import Cells, Frame, Masked, PlacePairs, Plain
from kernels import Key
from loaders import Composed, HideLabels, Synthetic
from tests.engine import tiny
from tests.engine.test_tasks import look
from tests.engine.test_train import trainer

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
VIT = Backbone("vit_tiny_patch16_224", options=SMALL)
MASKED = MaskedPatches(width=16, heads=2)
POSITIONS = RelativePositions(width=16)
KEY = Key(0, 0, torch.arange(500))
FRAME = Frame(torch.eye(2, 3).expand(500, 2, 3), 32, (32, 32))


def recipe(**changes: Any) -> Recipe:
    """A transformer on 4 x 4 patches: labels and distances on the plain view, patches on one of which 4 are left."""
    both: dict[str, Any] = {
        "backbone": VIT,
        "views": {"plain": PlacePairs(pairs=8), "masked": Masked(grid=4)},
        "tasks": (Expression(SYNTHETIC_7), MASKED, POSITIONS),
    }
    return tiny.recipe(**{**both, **changes})


def masked(faces: int = 3) -> Cells:
    return Masked(grid=4).cells(Key(0, 0, torch.arange(faces)), FRAME)


# --- views -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grid", "share", "left"), [(4, 0.75, 4), (8, 0.75, 16), (3, 0.5, 5), (2, 0.25, 3)])
def test_as_many_patches_of_every_sample_are_left_out_and_all_equally_often(grid: int, share: float, left: int) -> None:
    view = Masked(grid=grid, share=share)
    cells = view.cells(KEY, FRAME)
    assert cells.visible is not None
    assert view.visible == left == cells.visible.shape[1]
    shown = cells.shows >= 0
    assert (shown.sum(dim=1) == left).all()
    assert torch.equal(shown.nonzero()[:, 1].view(-1, left), cells.visible)  # in order
    assert torch.equal(cells.shows[shown].long(), cells.visible.flatten())  # each shows itself
    often = shown.float().mean(dim=0)
    assert (often - left / grid**2).abs().max() < 4 * (0.25 / 500) ** 0.5
    again = view.cells(Key(0, 0, torch.arange(499, -1, -1)), FRAME)
    assert torch.equal(again.shows.flip(0), cells.shows)  # a sample's own, wherever it stands in the batch


def test_places_are_drawn_uniformly_by_sample() -> None:
    view = PlacePairs(pairs=6)
    pairs = view.cells(KEY, FRAME).pairs
    assert pairs is not None
    assert pairs.shape == (500, 6, 2, 2)
    assert pairs.min() >= 0
    assert pairs.max() < 1
    assert (pairs.mean(dim=0) - 0.5).abs().max() < 5 * (1 / 12 / 500) ** 0.5
    assert len(pairs.flatten().unique()) > 11_900  # of 12,000: no two alike but by chance
    other = view.cells(Key(0, 1, torch.arange(500)), FRAME).pairs
    assert other is not None
    assert not torch.equal(pairs, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Masked(grid=1), "Masked: grid (=1) must be 2 to 64, the patches on a side"),
        (lambda: Masked(grid=2, share=0.1), "share (=0.1) must leave out one of the 4 patches or more, and not all"),
        (
            lambda: Masked(share=1.0),
            "share (=1.0) must leave out one of the 64 patches or more, and not all; e.g. 0.75",
        ),
        (lambda: PlacePairs(pairs=0), "PlacePairs: pairs (=0) must be 1 to 4096; e.g. 64"),
    ],
)
def test_views_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


# --- the encoder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"class_token": False, "global_pool": "avg"}, {"reg_tokens": 2, "pre_norm": True}, {"no_embed_class": True}],
)
def test_the_encoder_sees_visible_patches_as_if_there_were_no_others(options: dict[str, Any]) -> None:
    """Against timm's own forward pass, its dropping of patches replaced by one that keeps those that are visible."""
    backbone = replace(VIT, options={**SMALL, **options})
    model = build_model(recipe(backbone=backbone)).eval()
    network, cells, pictures = model.encoder.network, masked(), torch.randn(3, 3, 32, 32)
    prefix = network.num_prefix_tokens

    class Keep(torch.nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            assert cells.visible is not None
            rows = [torch.cat([t[:prefix], t[prefix:][kept]]) for t, kept in zip(tokens, cells.visible, strict=True)]
            return torch.stack(rows)

    with torch.no_grad():
        found = model.encode({"masked": pictures}, {"masked": cells})["masked"]
        network.patch_drop = Keep()
        tokens = network.forward_features(pictures)
        torch.testing.assert_close(found.pooled, network.forward_head(tokens, pre_logits=True))
    assert found.map.shape == (3, 16, 4, 4)
    for face in range(3):
        for cell in range(16):
            kept = (cells.visible[face] == cell).nonzero()  # type: ignore[index]
            expected = tokens[face, prefix + kept[0, 0]] if len(kept) else torch.zeros(16)
            torch.testing.assert_close(found.map[face, :, cell // 4, cell % 4], expected)


def test_what_a_patch_left_out_holds_changes_nothing() -> None:
    model = build_model(recipe()).eval()
    cells, pictures = masked(), torch.randn(3, 3, 32, 32)
    hidden = kernels.grid.over_pixels(cells.shows < 0, 32).unsqueeze(1)
    other = torch.where(hidden, torch.randn(3, 3, 32, 32), pictures)
    first, second = (
        model({"masked": p}, ["patches"], {"masked": cells})["patches"]["masked"] for p in (pictures, other)
    )
    assert torch.equal(first, second)
    whole = model.encode({"plain": pictures})["plain"].map
    assert not torch.equal(whole, model.encode({"plain": other})["plain"].map)


def test_views_with_and_without_patches_left_out_pass_through_the_encoder_apart() -> None:
    model = build_model(recipe()).eval()
    pictures = {"plain": torch.randn(2, 3, 32, 32), "masked": torch.randn(3, 3, 32, 32)}
    cells = {"plain": PlacePairs(pairs=8).cells(Key(0, 0, torch.arange(2)), FRAME), "masked": masked()}
    together = model(pictures, None, cells)
    assert together["expression"]["plain"].shape == (2, 7)
    assert together["patches"]["masked"].shape == (3, 16, 3 * 64)
    alone = model({"plain": pictures["plain"]}, ["expression"])["expression"]["plain"]
    torch.testing.assert_close(together["expression"]["plain"], alone)
    assert encoder_graphs(recipe().views, 32) == 2
    assert (
        encoder_graphs({**recipe().views, "again": Masked(grid=4, fresh=True), "fewer": Masked(grid=4, share=0.5)}, 32)
        == 3
    )


def test_the_cost_falls_with_the_patches_that_are_left_out() -> None:
    """The decoder costs as much whatever is left out; it is narrow beside an encoder of ordinary width."""
    wide = replace(VIT, options={**SMALL, "embed_dim": 64})

    def cost(share: float) -> float:
        of = recipe(backbone=wide, views={"masked": Masked(grid=4, share=share)}, tasks=(MASKED,))
        return cost_of(of, steps=1).flops or 0.0

    quarter, half, three = cost(0.75), cost(0.5), cost(0.25)
    assert three - half == pytest.approx(half - quarter, rel=0.1)  # attention alone grows faster
    whole = recipe(backbone=wide, views={"plain": Plain()}, tasks=(Expression(SYNTHETIC_7),))
    assert quarter < 0.5 * (cost_of(whole, steps=1).flops or 0.0)


@pytest.mark.parametrize("left", [4, 8])
def test_the_encoder_computes_what_is_left_alone(left: int) -> None:
    encoder, visible = build_model(recipe()).encoder.to("meta"), torch.arange(left, device="meta").expand(3, -1)
    with FlopCounterMode(display=False) as counter:  # it does not know the CPU's attention; costs are counted on meta
        encoder(torch.zeros(3, 3, 32, 32, device="meta"), visible=visible)
    tokens = left + 1  # with the class token
    block = 12 * tokens * 16**2 + 2 * tokens**2 * 16  # products of width 16, and attention
    assert counter.get_total_flops() == 2 * 3 * (16 * 192 * 16 + 2 * block)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backbone": tiny.BACKBONE},
            "leaves patches out before the encoder, and test_resnet must be given whole pictures; take a "
            "VisionTransformer of timm such as vit_tiny_patch16_224, or a view Holes()",
        ),
        (
            {"views": {"plain": PlacePairs(), "masked": Masked(grid=8)}},
            "has grid (=8), and vit_tiny_patch16_224 cuts 32 px into patches of 8 px; set grid=4, or the backbone's",
        ),
        ({"tasks": (Expression(SYNTHETIC_7, on=("plain", "masked")), Inpaint(on=("masked",)))}, "which hides nothing"),
    ],
)
def test_backbones_and_views_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        try_model(recipe(**changes))


# --- masked patches ----------------------------------------------------------------------------------------------


def test_patches_are_cut_row_by_row_and_put_together_again() -> None:
    pictures = torch.arange(2 * 3 * 6 * 6.0).view(2, 3, 6, 6)
    patches = patches_of(pictures, 3)
    assert patches.shape == (2, 9, 12)
    assert torch.equal(patches[1, 5], pictures[1, :, 2:4, 4:6].flatten())
    assert torch.equal(picture_of(patches, 3), pictures)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_error_is_that_of_loops_over_the_patches_left_out(normalise: bool) -> None:
    drawn = torch.Generator().manual_seed(1)
    whole, output = torch.randn(3, 3, 32, 32, generator=drawn), torch.randn(3, 16, 192, generator=drawn)
    cells = masked()
    expected = []
    for face in range(3):
        for cell in (cells.shows[face] < 0).nonzero().flatten().tolist():
            y, x = 8 * (cell // 4), 8 * (cell % 4)
            truth = whole[face, :, y : y + 8, x : x + 8].flatten().double().numpy()
            if normalise:
                truth = (truth - truth.mean()) / np.sqrt(truth.var(ddof=1) + 1e-6)
            expected.append(((output[face, cell].double().numpy() - truth) ** 2).mean())
    assert len(expected) == 3 * 12
    criterion = replace(MASKED, normalise=normalise).criterion(tiny.split([0]))
    seen = replace(look(whole=whole), cells=cells)
    assert criterion.loss(output, seen).item() == pytest.approx(np.mean(expected), rel=1e-5)
    rows = {name: value.numpy() for name, value in criterion.rows(output, seen).items()}
    assert MASKED.measure(rows)["mse"] == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_perfect_guess_costs_nothing_and_paints_the_face(normalise: bool) -> None:
    task, cells, whole = replace(MASKED, normalise=normalise), masked(), torch.randn(3, 3, 32, 32)
    truth = patches_of(whole, 4)
    if normalise:
        truth = (truth - truth.mean(2, keepdim=True)) / (truth.var(2, keepdim=True) + 1e-6).sqrt()
    hidden = (cells.shows < 0).unsqueeze(2)
    output = torch.where(hidden, truth, 99.0).requires_grad_()  # what is said of visible patches does not count
    seen = replace(look(whole=whole), picture=torch.zeros_like(whole), cells=cells)
    loss = task.criterion(tiny.split([0])).loss(output, seen)
    assert loss.item() == pytest.approx(0, abs=1e-9)
    (output + 1).retain_grad()
    task.criterion(tiny.split([0])).loss(output + 1, seen).backward()
    assert torch.equal((output.grad != 0).any(dim=2, keepdim=True), hidden)  # type: ignore[operator]
    painted = patches_of(task.painted(output.detach(), seen), 4)
    torch.testing.assert_close(painted, torch.where(hidden, patches_of(whole, 4), 0.0), atol=1e-5, rtol=1e-5)


def test_the_decoder_puts_one_token_where_nothing_is_known() -> None:
    head = MASKED.build_head(Shape(16, 16, 8), recipe().views).eval()
    cells, feature_map = masked(), torch.randn(3, 16, 4, 4)
    hidden = (cells.shows < 0).view(3, 1, 4, 4)
    seen = head(Features(feature_map, torch.zeros(3, 16), drawn=cells))
    other = torch.where(hidden, torch.randn_like(feature_map), feature_map)
    assert torch.equal(seen, head(Features(other, torch.zeros(3, 16), drawn=cells)))
    tokens = head.embed(feature_map.flatten(2).transpose(1, 2))  # type: ignore[operator]
    for face, cell in (cells.shows < 0).nonzero().tolist():
        tokens[face, cell] = head.absent
    for block in head.blocks:  # type: ignore[union-attr]
        tokens = block(tokens if block is not head.blocks[0] else tokens + head.position)  # type: ignore[index]
    torch.testing.assert_close(seen, head.pixels(head.norm(tokens)))  # type: ignore[operator]
    position = head.position
    assert isinstance(position, Tensor)
    assert position.shape == (16, 16)
    assert position[5, 0].item() == pytest.approx(np.sin(1.0))  # row 1, column 1
    assert len(position.unique(dim=0)) == 16


# --- relative positions ------------------------------------------------------------------------------------------


def test_distances_of_a_case_by_hand() -> None:
    """On 4 x 4 places: (0, 0) to (3, 1) are 3/4 and 1/4 apart, a place is 0 from itself."""
    pairs = torch.tensor([[[[0.0, 0.0], [0.99, 0.26]], [[0.6, 0.6], [0.74, 0.5]]]])
    head = PairHead(2, 4)
    feature_map = torch.arange(32.0).view(1, 2, 4, 4)
    seen: list[Tensor] = []
    head.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    output = head(Features(feature_map, torch.zeros(1, 2), drawn=Cells(torch.zeros(1, 1), pairs=pairs)))
    assert output[0, :, 1].tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert seen[0].tolist() == [[[0, 16, 7, 23], [10, 26, 10, 26]]]  # place (3, 1) is number 7, (2, 2) number 10
    guessed = torch.tensor([[[[0.5, 0.5], [0.75, 0.25]], [[0.1, 0.0], [0.0, 0.0]]]], requires_grad=True)
    criterion = POSITIONS.criterion(tiny.split([0]))
    loss = criterion.loss(guessed, look())
    assert loss.item() == pytest.approx((0.25 + 0.25 + 0.1) / 2)
    (gradient,) = torch.autograd.grad(loss, guessed)
    torch.testing.assert_close(gradient[0, :, 0], torch.tensor([[-0.5, 0.5], [0.5, 0.0]]))
    rows = {name: value.numpy() for name, value in criterion.rows(guessed.detach(), look()).items()}
    assert POSITIONS.measure(rows) == {"l1": pytest.approx(0.3)}


def test_distances_can_be_learned_of_a_map_that_knows_its_places() -> None:
    head = PairHead(2, 32)
    place = torch.arange(16)
    feature_map = torch.stack([place % 4, place // 4]).float().view(1, 2, 4, 4).expand(64, -1, -1, -1) / 3
    cells = PlacePairs(pairs=16).cells(Key(0, 0, torch.arange(64)), FRAME)
    criterion, optimiser = POSITIONS.criterion(tiny.split([0])), torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(60):
        loss = criterion.loss(head(Features(feature_map, torch.zeros(64, 2), drawn=cells)), look())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.15  # a constant guess is off by 0.5


# --- in training -------------------------------------------------------------------------------------------------


def test_both_compile_and_their_gradients_reach_the_encoder() -> None:
    made = trainer(recipe())
    rendered = made.renderer.training(next(iter(made.train.epoch(0))), epoch=0, step=0)
    objective = Objective(made.model, made.recipe.tasks, made.criteria).eval()  # without dropout
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    losses = objective(rendered)
    for name, loss in compiled(rendered).items():
        torch.testing.assert_close(loss, losses[name], atol=1e-5, rtol=1e-5)
        gradient = torch.autograd.grad(
            losses[name], made.model.encoder.network.blocks[0].mlp.fc1.weight, retain_graph=True
        )
        assert gradient[0].abs().sum() > 0, name


def test_a_run_of_both_is_trained_evaluated_and_painted(tmp_path: Path) -> None:
    of = recipe(
        data=HideLabels(Synthetic(train=32, val=8, test=8, size=32), keep=6),
        sampler=Composed(labelled=3, unlabelled=5, label="expression"),
        views={"plain": PlacePairs(pairs=8), "masked": Masked(grid=4, of="unlabelled")},
        tasks=(Expression(SYNTHETIC_7), MASKED, replace(POSITIONS, on=("plain",))),
        ema=0.9,
        accumulate=2,
        epochs=1,
    )
    run = tiny.trained(of, tmp_path / "run")
    report = (run / "report.md").read_text()
    assert "charts/inpaint-epochs.png" in report
    assert "patches" in report
    kept = [name for name in build_model(of).inference().state_dict() if "patches" in name or "positions" in name]
    assert not kept


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (replace(MASKED, on="plain"), "on names 'plain' (=PlacePairs("),
        (replace(MASKED, width=18), "width (=18) must be a multiple of 4 and of heads (=2); e.g. 64 and 4"),
        (replace(MASKED, heads=0), "width (=16) must be a multiple of 4 and of heads (=0)"),
        (replace(MASKED, depth=0), "MaskedPatches 'patches': depth (=0) must be 1 or more blocks; e.g. 2"),
        (replace(MASKED, on=("masked", "coarse")), "on (=('masked', 'coarse')) names views of different grids"),
        (replace(POSITIONS, on="masked"), "on names 'masked' (=Masked("),
        (replace(POSITIONS, on="bare"), "which draws no places; make it PlacePairs(), which is Plain() with places"),
        (replace(POSITIONS, width=0), "RelativePositions 'positions': width (=0) must be 1 or more; e.g. 512"),
    ],
)
def test_fields_that_cannot_be_are_refused(task: Any, message: str) -> None:
    views = {**recipe().views, "coarse": Masked(grid=2), "bare": Plain()}
    with pytest.raises(ValueError, match=re.escape(message)):
        task.check(views)


def test_recipes_of_them_are_set_written_and_read() -> None:
    changed = settings.apply(recipe(), ["views.masked.share=0.5", "tasks.patches.depth=1", "tasks.positions.width=8"])
    assert changed.views["masked"] == Masked(grid=4, share=0.5)
    assert read(describe(changed), Recipe, "recipe") == changed
    named = settings.apply(recipe(), ["tasks=(MaskedPatches(width=8), RelativePositions())"])
    assert named.tasks == (MaskedPatches(width=8), RelativePositions())
