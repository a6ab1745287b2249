"""Two views of a face among those of others: the loss by a double loop, the figure, and what is refused."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.recipe import Recipe, settings
from engine.recipe.written import describe, read
from engine.tasks import SYNTHETIC_7, Contrast, Expression
from engine.tasks.contrast import NTXent
from engine.tasks.pairs import FACES, nearest_is_right
from engine.training.cost import cost_of
from engine.training.evaluate import figures
from engine.training.parts import build_model
from engine.views import EVALUATION, Plain, Puzzle
from loaders import Composed, HideLabels, Synthetic
from tests.engine import tiny
from tests.engine.test_train import trainer

PAIRS = {"first": Plain(fresh=True, of="unlabelled"), "second": Plain(fresh=True, of="unlabelled")}


def recipe(**changes: Any) -> Recipe:
    """Supervision on 3 labelled faces of a batch of 8, contrast between the 5 others."""
    of_pairs = {
        "data": HideLabels(Synthetic(train=32, val=12, test=12, size=32), keep=10),
        "sampler": Composed(labelled=3, unlabelled=5, label="expression"),
        "views": {"plain": Plain(of="labelled"), **PAIRS},
        "tasks": (Expression(SYNTHETIC_7), Contrast()),
    }
    return tiny.recipe(**{**of_pairs, **changes})


def loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    return NTXent(temperature).over_views([first, second], [], "mean")


def by_double_loop(first: Tensor, second: Tensor, temperature: float) -> float:
    """NT-Xent as the paper's equation 1 and algorithm 1 have it, one pair after another."""
    views = [*first.double().tolist(), *second.double().tolist()]
    faces = len(first)

    def similarity(one: list[float], other: list[float]) -> float:
        product = sum(a * b for a, b in zip(one, other, strict=True))
        return product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))

    total = 0.0
    for i, anchor in enumerate(views):
        among = sum(math.exp(similarity(anchor, views[k]) / temperature) for k in range(2 * faces) if k != i)
        right = (i + faces) % (2 * faces)
        total -= math.log(math.exp(similarity(anchor, views[right]) / temperature) / among)
    return total / (2 * faces)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("faces", [1, 2, 5])
def test_the_loss_is_that_of_a_double_loop_over_all_pairs(faces: int, temperature: float) -> None:
    first, second = torch.randn(2, faces, 6, generator=torch.Generator().manual_seed(faces)).unbind(0)
    assert loss(first, second, temperature).item() == pytest.approx(
        by_double_loop(first, second, temperature), rel=1e-5, abs=1e-6
    )


def test_the_loss_is_computed_in_fp32_whatever_the_network_is_in() -> None:
    first, second = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0)).bfloat16().unbind(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(first, second, 0.1)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_double_loop(first, second, 0.1), rel=1e-5)


def test_faces_that_are_all_alike_cost_ln_of_the_others_and_pairs_far_apart_nothing() -> None:
    alike = torch.ones(5, 6)
    assert loss(alike, alike, 0.1).item() == pytest.approx(math.log(9), rel=1e-6)
    apart = torch.eye(5, 6)
    assert loss(apart, 3 * apart, 0.01).item() == pytest.approx(0, abs=1e-6)


def test_the_nearest_is_right_where_a_loop_says_so() -> None:
    embedding = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    embedding[:3, 1] = embedding[:3, 0] + 0.05
    embedding /= np.linalg.norm(embedding, axis=2, keepdims=True)
    expected = np.zeros((7, 2), dtype=bool)
    for face in range(7):
        for view in range(2):
            others = [(i, j) for i in range(7) for j in range(2) if (i, j) != (face, view)]
            nearest = max(others, key=lambda other: float(embedding[face, view] @ embedding[other]))
            expected[face, view] = nearest == (face, 1 - view)
    assert 0 < expected.sum() < 14
    assert (nearest_is_right(embedding) == expected).all()


def test_the_figure_looks_among_as_many_faces_for_every_face() -> None:
    embedding = np.random.default_rng(0).normal(size=(2 * FACES + 5, 2, 4)).astype(np.float16)
    task = Contrast()
    figure = task.figures(PAIRS)[0]
    chance = figure.chance
    assert chance is not None
    assert task.measure({"embedding": embedding})[figure.name] == pytest.approx(chance, abs=0.02)
    embedding[:, 1] = embedding[:, 0]
    embedding /= np.linalg.norm(embedding.astype(np.float32), axis=2, keepdims=True)
    embedding[-1] = embedding[-6]  # the two are alike, and only in the last window together
    found = task.measure({"embedding": embedding})[figure.name]
    assert found == pytest.approx(1 - 2 / len(embedding), abs=1.01 / len(embedding))
    few = np.tile(np.eye(3, 4, dtype=np.float16)[:, None], (1, 2, 1))
    assert task.measure({"embedding": few}) == {figure.name: 1.0}


def test_evaluation_augments_the_two_views_alike_every_time_and_the_supervised_one_not_at_all() -> None:
    made = trainer(recipe())
    batch = next(iter(made.select.epoch(0)))
    once = made.renderer.evaluation(batch, ("first", "second")).pictures
    again = made.renderer.evaluation(batch, ("second", "first")).pictures
    assert all(torch.equal(once[name], again[name]) for name in ("first", "second", EVALUATION))
    assert not torch.equal(once["first"], once["second"])
    plain = replace(made.renderer, augmented=frozenset()).evaluation(batch, ("first", "second")).pictures
    assert torch.equal(plain[EVALUATION], once[EVALUATION])
    assert torch.equal(plain["first"], plain["second"])


def test_the_gradient_reaches_the_encoder_and_the_head_is_gone_from_the_deployed_model() -> None:
    made = trainer(recipe())
    rendered = made.renderer.training(next(iter(made.train.epoch(0))), epoch=0, step=0)
    assert {name: len(picture) for name, picture in rendered.pictures.items()} == {"plain": 3, "first": 5, "second": 5}
    made.trains(("contrast",)).objective(rendered)["contrast"].backward()
    gradients = [parameter.grad for parameter in made.model.encoder.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert not [name for name in build_model(recipe()).inference().state_dict() if "contrast" in name]


def test_a_trained_step_is_evaluated_on_every_face_once() -> None:
    made = trainer(recipe(accumulate=2))
    made.step(list(made.train.epoch(0))[:2])
    assert all(math.isfinite(value) for value in made.watch.epoch().values())
    samples, rows = made.predict(made.evaluated, made.select)
    assert len(samples) == 12
    assert rows["contrast"]["embedding"].shape == (12, 2, 128)
    found = figures(made.recipe.tasks, made.recipe.views, rows)
    assert 0 <= found["contrast/retrieval_accuracy"] <= 1


def test_the_command_line_sets_its_fields_and_the_recipe_is_read_back() -> None:
    changed = settings.apply(recipe(), ["tasks.contrast.temperature=0.1", "tasks.contrast.width=32"])
    assert changed.tasks[1] == Contrast(temperature=0.1, width=32)
    assert read(json.loads(json.dumps(describe(changed))), Recipe, "recipe.json") == changed


def test_one_view_may_be_that_of_the_supervised_task() -> None:
    views = {"plain": Plain(), "other": Plain(fresh=True)}
    shared = tiny.recipe(views=views, tasks=(Expression(SYNTHETIC_7), Contrast(on=("plain", "other"))))
    assert cost_of(shared, 1).pictures == shared.epochs * 2 * shared.batch_size


@pytest.mark.parametrize(
    ("task", "views", "message"),
    [
        (Contrast(on=("first",)), {}, "Contrast 'contrast': on (=('first',)) must name two views, which it compares"),
        (Contrast(), {"second": Puzzle(fresh=True, of="unlabelled")}, "which is not plain; name a Plain() view"),
        (Contrast(), dict.fromkeys(PAIRS, Plain(of="unlabelled")), "share one draw of the augmentation; make one of"),
        (Contrast(), {"second": Plain()}, "of (='unlabelled') and of (='all'); let both show the same samples"),
        (Contrast(temperature=0), {}, "temperature (=0) must be above 0; e.g. 0.5"),
        (Contrast(width=0), {}, "width (=0) must be 1 or more; e.g. 128"),
        (Contrast(join="sum"), {}, "join (='sum') must be of type 'mean'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_compared_is_refused(task: Contrast, views: Any, message: str) -> None:
    made = recipe()
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(made, views={**made.views, **views}, tasks=(made.tasks[0], task))
