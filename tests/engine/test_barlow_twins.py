"""Barlow Twins: the loss by loops over pairs of numbers, cases by hand, gradients, and what is refused."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.recipe import Recipe, settings
from engine.recipe.written import describe, read
from engine.tasks import SYNTHETIC_7, BarlowTwins, Expression
from engine.tasks.barlow_twins import CrossCorrelation
from engine.training.evaluate import figures
from engine.training.parts import build_model
from engine.views import Plain, Puzzle
from loaders import Composed, HideLabels, Synthetic
from tests.engine import tiny
from tests.engine.test_train import trainer

PAIRS = {"first": Plain(fresh=True, of="unlabelled"), "second": Plain(fresh=True, of="unlabelled")}


def recipe(**changes: Any) -> Recipe:
    """Supervision on 3 labelled faces of a batch of 8, twins of the 5 others."""
    of_pairs = {
        "data": HideLabels(Synthetic(train=32, val=12, test=12, size=32), keep=10),
        "sampler": Composed(labelled=3, unlabelled=5, label="expression"),
        "views": {"plain": Plain(of="labelled"), **PAIRS},
        "tasks": (Expression(SYNTHETIC_7), BarlowTwins(width=16)),
    }
    return tiny.recipe(**{**of_pairs, **changes})


def loss(first: Tensor, second: Tensor, redundancy: float = 0.005) -> Tensor:
    return CrossCorrelation(redundancy).over_views([first, second], [], "mean")


def by_loops(first: Tensor, second: Tensor, redundancy: float) -> float:
    """The paper's equations 1 and 2 on projections of mean 0 and variance 1, one pair of numbers after another."""
    faces, width = first.shape

    def column(of: Tensor, i: int) -> list[float]:
        values = of[:, i].double().tolist()
        mean = sum(values) / faces
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / faces + 1e-5)
        return [(value - mean) / deviation for value in values]

    total = 0.0
    for i in range(width):
        for j in range(width):
            c = sum(a * b for a, b in zip(column(first, i), column(second, j), strict=True)) / faces
            total += (1 - c) ** 2 if i == j else redundancy * c**2
    return total / width


def drawn(faces: int, width: int) -> tuple[Tensor, Tensor]:
    both = torch.randn(2, faces, width, generator=torch.Generator().manual_seed(faces)) * 3 + 1
    return both[0], both[0] + 0.7 * both[1]


@pytest.mark.parametrize("redundancy", [0.0, 0.005, 1.0])
@pytest.mark.parametrize(("faces", "width"), [(2, 3), (7, 4), (16, 1)])
def test_the_loss_is_that_of_loops_over_all_pairs(faces: int, width: int, redundancy: float) -> None:
    first, second = drawn(faces, width)
    assert loss(first, second, redundancy).item() == pytest.approx(by_loops(first, second, redundancy), rel=1e-4)


def test_the_loss_is_computed_in_fp32_whatever_the_network_is_in() -> None:
    first, second = (each.bfloat16() for each in drawn(7, 4))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(first, second, 1.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_loops(first.float(), second.float(), 1.0), rel=1e-4)


def test_cases_by_hand() -> None:
    independent = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # C is the identity
    assert loss(independent, 5 * independent + 3, 1.0).item() == pytest.approx(0, abs=1e-4)
    assert loss(independent, -independent, 1.0).item() == pytest.approx(4, abs=1e-3)  # (1 - -1)^2 each
    twice = independent[:, :1].expand(4, 2)  # all of C is 1: the two terms beside the diagonal, over a width of 2
    assert loss(twice, twice, 0.3).item() == pytest.approx(0.3, abs=1e-4)
    assert loss(torch.ones(4, 2), torch.ones(4, 2)).item() == 1  # all faces alike, at which guessing would be


@pytest.mark.parametrize("alike", [False, True])
def test_gradients_are_those_of_finite_differences(alike: bool) -> None:
    """At doubles, of which `float()` of the criterion would leave too few digits: the criterion is given them."""
    first, second = (each.double().requires_grad_() for each in drawn(5, 3))
    criterion = CrossCorrelation(0.3)

    class Doubles(torch.Tensor):
        def float(self, *_: Any, **__: Any) -> Tensor:
            return self.as_subclass(torch.Tensor)

    def found(one: Tensor, two: Tensor) -> Tensor:
        other = one if alike else two
        return criterion.over_views([one.as_subclass(Doubles), other.as_subclass(Doubles)], [], "mean")

    assert torch.autograd.gradcheck(found, (first, second), eps=1e-6, atol=1e-6)


def test_gradients_are_finite_where_nothing_varies() -> None:
    same = torch.ones(4, 3, requires_grad=True)
    loss(same, same).backward()
    assert same.grad is not None
    assert bool(same.grad.isfinite().all())


def test_the_gradient_reaches_the_encoder_and_the_head_is_gone_from_the_deployed_model() -> None:
    made = trainer(recipe())
    rendered = made.renderer.training(next(iter(made.train.epoch(0))), epoch=0, step=0)
    assert {name: len(picture) for name, picture in rendered.pictures.items()} == {"plain": 3, "first": 5, "second": 5}
    made.trains(("barlow_twins",)).objective(rendered)["barlow_twins"].backward()
    gradients = [parameter.grad for parameter in made.model.encoder.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool((gradient != 0).any()) for gradient in gradients if gradient is not None)
    assert not [name for name in build_model(recipe()).inference().state_dict() if "barlow" in name]


def test_a_trained_step_is_evaluated_on_every_face_once() -> None:
    made = trainer(recipe(accumulate=2))
    made.step(list(made.train.epoch(0))[:2])
    assert all(math.isfinite(value) for value in made.watch.epoch().values())
    samples, rows = made.predict(made.evaluated, made.select)
    assert len(samples) == 12
    assert rows["barlow_twins"]["embedding"].shape == (12, 2, 16)
    assert 0 <= figures(made.recipe.tasks, made.recipe.views, rows)["barlow_twins/retrieval_accuracy"] <= 1


def test_steps_on_one_batch_make_the_views_agree() -> None:
    made = trainer(recipe())
    batch = next(iter(made.train.epoch(0)))
    losses = []
    for _ in range(12):
        made.step([batch])
        losses.append(made.watch.epoch()["barlow_twins/loss"])
    assert losses[-1] < 0.9 * losses[0]


def test_the_command_line_sets_its_fields_and_the_recipe_is_read_back() -> None:
    asked = ["tasks.barlow_twins.redundancy=0.01", "tasks.barlow_twins.width=32"]
    changed = settings.apply(recipe(), asked)
    assert changed.tasks[1] == BarlowTwins(redundancy=0.01, width=32)
    assert read(json.loads(json.dumps(describe(changed))), Recipe, "recipe.json") == changed


@pytest.mark.parametrize(
    ("task", "views", "message"),
    [
        (BarlowTwins(on=("first",)), {}, "BarlowTwins 'barlow_twins': on (=('first',)) must name two views"),
        (BarlowTwins(), {"second": Puzzle(fresh=True, of="unlabelled")}, "which is not plain; name a Plain() view"),
        (BarlowTwins(), dict.fromkeys(PAIRS, Plain(of="unlabelled")), "share one draw of the augmentation; make one"),
        (BarlowTwins(), {"second": Plain()}, "of (='unlabelled') and of (='all'); let both show the same samples"),
        (BarlowTwins(redundancy=-1), {}, "redundancy (=-1) must be 0 or more; e.g. 0.005"),
        (BarlowTwins(width=0), {}, "width (=0) must be 1 or more; e.g. 128"),
    ],
)
def test_what_cannot_be_compared_is_refused(task: BarlowTwins, views: Any, message: str) -> None:
    made = recipe()
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(made, views={**made.views, **views}, tasks=(made.tasks[0], task))
