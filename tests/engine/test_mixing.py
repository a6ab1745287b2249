"""MixUp and CutMix: timm's mathematics, draws keyed by sample, both labels learnt, and never in evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.data import mixup as timm_mixup
from torch import Tensor

from engine.mixing import CutMix, Mix, Mixed, MixUp
from engine.recipe import settings
from engine.tasks import SYNTHETIC_7, Expression, FixMatch, PoseRegression
from engine.tasks.base import Look
from engine.training.evaluate import look
from engine.training.parts import renderer
from engine.views import EVALUATION, Cells, Plain, Puzzle
from kernels import Augment, Key
from loaders import Composed
from tests.engine import tiny

SIZE = 24
TWO = {"plain": Plain(), "strong": Plain(fresh=True)}
FIXMATCH = (FixMatch(weak="plain"),)
MIXES = (MixUp(alpha=0.4), CutMix(alpha=1.0))


def drawn(faces: int, seed: int = 0) -> Tensor:
    return torch.randn(faces, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def key(sample: Tensor, seed: int = 3) -> Key:
    return Key(seed, 1, sample, torch.zeros(len(sample), dtype=torch.int32)).stream("mix of shared")


@pytest.mark.parametrize("mix", MIXES)
def test_pictures_and_shares_are_those_of_timm_at_the_same_draws(mix: Mix, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = 16
    own, at = drawn(faces), torch.rand(faces, 2, generator=torch.Generator().manual_seed(1))
    share = torch.rand(faces, generator=torch.Generator().manual_seed(2))
    centres = iter([int(x * SIZE) for pair in at.tolist() for x in pair])
    monkeypatch.setattr(np.random, "beta", lambda a, b, size: share.numpy())
    monkeypatch.setattr(np.random, "randint", lambda low, high, size: next(centres))
    alpha = {
        "mixup_alpha": 0.0,
        "cutmix_alpha": 0.0,
        ("cutmix" if isinstance(mix, CutMix) else "mixup") + "_alpha": 1.0,
    }
    theirs = timm_mixup.Mixup(**alpha, mode="elem", label_smoothing=0.1, num_classes=7)
    target = torch.arange(faces) % 7
    expected, soft = theirs(own.clone(), target)
    found, kept = mix.join(own, own.flip(0), share, at)  # timm mixes with the flipped batch
    torch.testing.assert_close(found, expected)
    output = torch.randn(faces, 7, generator=torch.Generator().manual_seed(3))
    task = Expression(SYNTHETIC_7, label_smoothing=0.1)
    loss = task.criterion(tiny.split([0])).loss(output, seen(target, Mixed(torch.arange(faces).flip(0), kept)))
    torch.testing.assert_close(loss, torch.sum(-soft * F.log_softmax(output, dim=1), dim=1).mean())


def seen(target: Tensor, mixed: Mixed | None) -> Look:
    nothing = torch.zeros(0)
    return Look(nothing, Cells(nothing.short()), nothing, None, {"expression": target}, mixed=mixed)


@pytest.mark.parametrize("mix", MIXES)
def test_a_sample_is_mixed_alike_wherever_it_stands_in_the_batch_and_with_another(mix: Mix) -> None:
    sample, pictures = torch.arange(40, 56), drawn(16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    mixed, of = mix(key(sample), pictures)
    again, of_again = mix(key(sample[order]), pictures[order])
    assert torch.equal(again, mixed[order])
    assert torch.equal(sample[order][of_again.partner], sample[of.partner][order])
    assert torch.equal(of.partner.sort().values, torch.arange(16))
    assert not (of.partner == torch.arange(16)).any()
    other, _ = mix(key(sample, seed=4), pictures)
    assert not torch.equal(other, mixed)


def test_parts_are_mixed_among_themselves() -> None:
    _, of = MixUp(alpha=1.0)(key(torch.arange(9)), drawn(9), (slice(3), slice(3, 9)))
    assert set(of.partner[:3].tolist()) == {0, 1, 2}
    assert set(of.partner[3:].tolist()) == {3, 4, 5, 6, 7, 8}


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_a_beta_distribution(alpha: float) -> None:
    _, of = MixUp(alpha=alpha)(key(torch.arange(20000)), torch.zeros(20000, 3, 1, 1))
    assert of.share.mean().item() == pytest.approx(0.5, abs=0.01)
    assert of.share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.04)


def test_a_missing_label_has_no_part_in_the_loss() -> None:
    criterion = Expression(SYNTHETIC_7).criterion(tiny.split([0]))
    output = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    mixed = Mixed(torch.tensor([1, 2, 0]), torch.tensor([0.7, 0.6, 0.9]))
    log = F.log_softmax(output, dim=1)
    by_hand = -(0.7 * log[0, 4] + 0.4 * log[1, 5] + 0.9 * log[2, 5] + 0.1 * log[2, 4]) / 2.1
    torch.testing.assert_close(criterion.loss(output, seen(torch.tensor([4, -1, 5]), mixed)), by_hand)
    assert criterion.loss(output, seen(torch.full((3,), -1), mixed)) == 0


def test_plain_views_of_supervised_tasks_are_mixed_in_training_alone() -> None:
    recipe = settings.apply(tiny.recipe(), ["mix=CutMix(alpha=1.0)"])
    batch = tiny.batch(8)
    plain, mixing = renderer(replace(recipe, mix=None), torch.float32), renderer(recipe, torch.float32)
    mixed, whole = mixing.training(batch, epoch=1, step=0), plain.training(batch, epoch=1, step=0)
    assert set(mixed.mixed) == {"plain"}
    assert look(mixed, "puzzle").mixed is None
    assert torch.equal(mixed.pictures["puzzle"], whole.pictures["puzzle"])
    partner = whole.pictures["plain"][mixed.mixed["plain"].partner]
    own = whole.pictures["plain"]
    assert ((mixed.pictures["plain"] == own) | (mixed.pictures["plain"] == partner)).all()
    assert not torch.equal(mixed.pictures["plain"], own)
    shown = mixing.evaluation(batch)
    assert shown.mixed == {}
    assert torch.equal(shown.pictures[EVALUATION], plain.evaluation(batch).pictures[EVALUATION])


def test_fresh_views_have_partners_of_their_own() -> None:
    views = {"plain_0": Plain(fresh=True), "plain_1": Plain(fresh=True)}
    recipe = tiny.recipe(views=views, tasks=(Expression(SYNTHETIC_7, on=tuple(views)),), mix=MixUp(alpha=0.2))
    mixed = renderer(recipe, torch.float32).training(tiny.batch(8), epoch=0, step=0).mixed
    assert not torch.equal(mixed["plain_0"].share, mixed["plain_1"].share)


def test_composed_batches_mix_labelled_with_labelled() -> None:
    composed = Composed(labelled=3, unlabelled=5)
    batch = replace(tiny.batch(8), labelled=3)
    labelled = {"plain": Plain(of="labelled"), "puzzle": Puzzle(grid=2)}
    mixed = renderer(tiny.recipe(views=labelled, sampler=composed, mix=MixUp(alpha=0.2)), torch.float32)
    assert sorted(mixed.training(batch, epoch=0, step=0).mixed["plain"].partner.tolist()) == [0, 1, 2]
    both = tiny.recipe(tasks=(Expression(SYNTHETIC_7), *FIXMATCH), views=TWO, sampler=composed)
    mixed = replace(renderer(both, torch.float32), mix=MixUp(alpha=0.2), mixed=frozenset({"plain"}))
    partner = mixed.training(batch, epoch=0, step=0).mixed["plain"].partner.tolist()
    assert (sorted(partner[:3]), sorted(partner[3:])) == ([0, 1, 2], [3, 4, 5, 6, 7])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tasks": (PoseRegression(), *tiny.recipe().tasks[1:]), "augment": Augment()},
            r"mix \(=MixUp\(alpha=0.2\)\) mixes the pictures of 'plain', of which PoseRegression 'pose' cannot learn: "
            r"only tasks with classes can; give it a view of its own, or set mix=None",
        ),
        (
            {"tasks": (Expression(SYNTHETIC_7), *FIXMATCH), "views": TWO},
            r"mixes the pictures of 'plain', of which FixMatch .* cannot learn",
        ),
        (
            {"tasks": tiny.recipe().tasks[1:], "views": {"puzzle": Puzzle(grid=2)}},
            r"mixes the pictures of Plain views that supervised tasks look at, of which there is none; .* set mix=None",
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.recipe(mix=MixUp(alpha=0.2), **changes)


def test_an_alpha_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"CutMix: alpha \(=0\) must be 0.01 to 100; e.g. 0.2"):
        CutMix(alpha=0)
