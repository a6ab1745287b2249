"""The gradient cosine has known answers, and measuring it changes nothing."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.baselines import supervised_equal_cost
from engine.losses import Uncertainty
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.training.alignment import gradient_cosines
from engine.training.loop import Trainer
from engine.training.objective import Objective
from engine.training.train import open_split, train
from engine.views import Plain
from loaders.terminal import Terminal
from tests.engine import tiny
from tests.engine.scalars import read_scalars

CPU = torch.device("cpu")


def trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)


def after(recipe: Recipe, steps: int) -> tuple[dict[str, Tensor], Trainer]:
    """All weights, buffers and the optimiser's numbers after some steps."""
    made = trainer(recipe)
    faces = [batch for epoch in range(2) for batch in made.train.epoch(epoch)]
    for batch in faces[:steps]:
        made.step([batch] * recipe.accumulate)
    state = dict(made.model.state_dict())
    for number, held in made.optimiser.state_dict()["state"].items():
        state |= {f"{number}.{key}": value for key, value in held.items() if isinstance(value, Tensor)}
    return state | {"rng": torch.get_rng_state()}, made


@pytest.mark.parametrize(("factor", "cosine"), [(1.0, 1.0), (-1.0, -1.0), (3.5, 1.0), (-0.01, -1.0)])
def test_the_same_loss_gives_1_and_its_opposite_minus_1(factor: float, cosine: float) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    loss = layer(torch.randn(5, 4)).square().mean()
    found = gradient_cosines(
        {"main": loss, "pretext": factor * loss},
        {"main": 0.3, "pretext": 1.0},
        frozenset({"main"}),
        [*layer.parameters()],
    )
    assert found.keys() == {"pretext"}
    assert float(found["pretext"]) == pytest.approx(cosine, abs=1e-6)


def test_losses_on_other_parameters_are_at_right_angles_and_several_supervised_ones_are_weighed() -> None:
    a, b = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))
    losses = {"one": a.sum(), "two": b.sum(), "pretext": 5 * b.sum()}
    names = frozenset({"one", "two"})
    # The supervised gradient is (w1, w1, w2), the pretext one (0, 0, 5): the cosine is w2 / sqrt(2 w1^2 + w2^2).
    found = gradient_cosines(losses, {"one": 1.0, "two": 0.0, "pretext": 1.0}, names, [a, b])
    assert float(found["pretext"]) == 0
    losses = {"one": a.sum(), "two": b.sum(), "pretext": 5 * b.sum()}
    found = gradient_cosines(losses, {"one": 1.0, "two": 2.0, "pretext": 1.0}, names, [a, b])
    assert float(found["pretext"]) == pytest.approx(2 / 6**0.5)


def test_in_training_it_is_the_cosine_of_the_two_gradients_on_the_encoder() -> None:
    expression, puzzle = Expression(SYNTHETIC_7, dropout=0.0), SolvePuzzle(weight=0.3, dropout=0.0)
    made = trainer(tiny.recipe(tasks=(expression, puzzle), gradient_cosine_every=1))
    assert made.alignment is not None
    batch = next(iter(made.train.epoch(0)))
    rendered = made.renderer.training(batch, epoch=0, step=0)
    gradients = []
    for name in ("expression", "puzzle"):
        model = copy.deepcopy(made.model)
        Objective(model, made.recipe.tasks, made.criteria)(rendered)[name].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.encoder.parameters() if p.grad is not None]))
    expected = float(torch.cosine_similarity(gradients[0], gradients[1], dim=0))
    objective = Objective(made.model, made.recipe.tasks, made.criteria)
    made.alignment.measure(objective, made.weights(0), rendered)
    assert made.alignment.recent().read() == {"puzzle/gradient_cosine": pytest.approx(expected, abs=1e-5)}
    assert made.alignment.recent().read() == {}
    assert made.alignment.epoch() == {"puzzle/gradient_cosine": pytest.approx(expected, abs=1e-5)}
    assert all(parameter.grad is None for parameter in made.model.parameters())


@pytest.mark.parametrize(
    "changes",
    [{}, {"batch_statistics": "per_view_plain", "accumulate": 2, "ema": 0.9}, {"total": Uncertainty()}],
    ids=["dropout", "per-view-accumulate-ema", "uncertainty"],
)
def test_measuring_leaves_weights_buffers_optimiser_and_random_numbers_bit_for_bit(changes: dict[str, Any]) -> None:
    recipe = tiny.recipe(tasks=(Expression(SYNTHETIC_7, dropout=0.5), SolvePuzzle(dropout=0.5)), **changes)
    plain, _ = after(recipe, 4)
    measured, made = after(replace(recipe, gradient_cosine_every=2), 4)
    assert made.alignment is not None
    assert -1 <= made.alignment.recent().read()["puzzle/gradient_cosine"] <= 1
    assert plain.keys() == measured.keys()
    assert [key for key in plain if not torch.equal(plain[key], measured[key])] == []


def test_it_is_in_the_log_the_curves_and_the_table_of_epochs(tmp_path: Path) -> None:
    recipe = tiny.recipe(gradient_cosine_every=2, log_every=1)
    file = RecipeFile("tiny", recipe, '"""Tiny."""\n')
    train(file, tmp_path / "run", device=CPU, resume=False, deterministic=False, console=Terminal(quiet=True))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    logged = {line["step"]: line["puzzle/gradient_cosine"] for line in steps if "puzzle/gradient_cosine" in line}
    assert sorted(logged) == [1, 3, 5, 7]  # measured at the steps 0, 2, 4, 6; logged after each
    with (tmp_path / "run" / "metrics.csv").open() as table:
        rows = list(csv.DictReader(table))
    for row, mean in zip(rows, ((logged[1] + logged[3]) / 2, (logged[5] + logged[7]) / 2), strict=True):
        assert float(row["train/puzzle/gradient_cosine"]) == pytest.approx(mean, rel=1e-4)
    tags = {tag for _, tag, _ in read_scalars(tmp_path / "run")}
    assert {"step/puzzle/gradient_cosine", "train/puzzle/gradient_cosine"} <= tags


def test_a_recipe_it_says_nothing_about_is_refused_and_baselines_do_without() -> None:
    hybrid = tiny.recipe(gradient_cosine_every=10)
    assert supervised_equal_cost(hybrid).gradient_cosine_every is None
    with pytest.raises(ValueError, match=r"gradient_cosine_every \(=0\) must be 1 or more"):
        tiny.recipe(gradient_cosine_every=0)
    with pytest.raises(ValueError, match=r"compares a supervised task with pretext tasks, and the recipe lacks one"):
        tiny.recipe(views={"plain": Plain()}, tasks=(Expression(SYNTHETIC_7),), gradient_cosine_every=1)
    with pytest.raises(ValueError, match=r"frozen_encoder leaves it none"):
        tiny.recipe(frozen_encoder=True, gradient_cosine_every=1)
