"""What a training costs, against sums by hand; and that a baseline of equal cost has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from engine.backbone import Backbone
from engine.baselines import supervised, supervised_equal_cost
from engine.cost import Cost
from engine.losses import AnnealWeight, RampWeight
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.recipe import file as recipe_file
from engine.tasks import SYNTHETIC_7, Expression, Inpaint, Perceptual, SolvePuzzle
from engine.tasks.base import Criterion, Look
from engine.tasks.softmax import SoftmaxTask
from engine.training.cost import _unnormalised, cost_of, cost_of_step
from engine.training.loop import Trainer
from engine.training.model import Model
from engine.training.parts import build_model
from engine.training.train import open_split
from engine.views import Holes, Plain, Puzzle
from loaders import Composed, Split
from tests.engine import tiny

RECIPES = Path(__file__).parents[2] / "recipes"
CPU = torch.device("cpu")
ONE_VIEW: dict[str, Any] = {"views": {"plain": Plain()}, "tasks": (Expression(SYNTHETIC_7),)}


@contextmanager
def products(module: nn.Module) -> Iterator[list[int]]:
    """Lists what each convolution and linear layer takes to compute forward, by the formula of a textbook."""
    found: list[int] = []

    def note(layer: Any, _: Any, out: Tensor) -> None:
        outputs = out.numel() if isinstance(layer, nn.Conv2d) else len(out) * layer.out_features
        found.append(2 * outputs * layer.weight[0].numel())

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    yield found
    for hook in hooks:
        hook.remove()


def forward(model: Model, pictures: int, side: int = 32) -> list[int]:
    with products(model) as found, torch.no_grad():
        model({"plain": torch.zeros(pictures, 3, side, side)})
    return found


@pytest.mark.parametrize("backbone", [tiny.BACKBONE, Backbone("test_efficientnet")])
def test_flops_are_those_of_a_hand(backbone: Backbone) -> None:
    recipe = tiny.recipe(backbone=backbone, **ONE_VIEW)
    layers = forward(build_model(recipe), recipe.batch_size)
    a_batch = 3 * sum(layers) - layers[0]  # forward, to the weights, and to the input but where that is the picture
    batches = recipe.epochs * 4
    assert cost_of(recipe, steps=4) == Cost(batches * 8, 0, batches * a_batch)
    assert cost_of(replace(recipe, accumulate=3), steps=4) == cost_of(recipe, steps=4).times(3)
    assert cost_of_step(replace(recipe, accumulate=3)) == Cost(3 * 8, 0, 3 * a_batch)
    frozen = cost_of(replace(recipe, frozen_encoder=True), steps=4)
    assert frozen == Cost(batches * 8, batches * 8, batches * (sum(layers) + layers[-1]))
    assert frozen.trained == 0


def test_a_teacher_is_counted_forward_and_back_to_the_picture_from_its_first_epoch_on() -> None:
    def taught(from_epoch: int) -> Recipe:
        task = Inpaint(width=16, perceptual=Perceptual(from_epoch=from_epoch))
        return tiny.recipe(views={"holes": Holes(grid=4)}, tasks=(task,), epochs=4)

    recipe = taught(0)
    criterion: Any = recipe.tasks[0].criterion(tiny.split([0, 1]))
    criterion.attach(build_model(recipe).encoder.network, recipe.mean, recipe.std)
    with products(criterion.teacher) as layers, torch.no_grad():
        criterion.teacher(torch.zeros(8, 3, 32, 32), criterion.stages)
    never, always, late = (cost_of(taught(epoch), steps=5) for epoch in (9, 0, 3))
    assert (never.pictures, never.forward_only) == (20 * 8, 0)
    assert always == never + Cost(20 * 16, 20 * 16, 20 * 3 * sum(layers))  # original; completed one and its gradient
    assert late == never + Cost(5 * 16, 5 * 16, 5 * 3 * sum(layers))


def test_a_task_that_is_off_costs_nothing() -> None:
    expression, puzzle = tiny.recipe().tasks
    late, early = RampWeight(1.0, start=0.25, end=0.5), AnnealWeight(0.3, hold=0.25, end=0.5)
    both = tiny.recipe(tasks=(replace(expression, weight=late), replace(puzzle, weight=early)))
    alone = tiny.recipe(**ONE_VIEW, epochs=1), tiny.recipe(views={"puzzle": Puzzle(grid=2)}, tasks=(puzzle,), epochs=1)
    plain, cut = (cost_of(recipe, steps=1) for recipe in alone)
    assert cost_of(both, steps=4) == plain.times(6) + cut.times(4)


def test_views_of_several_sizes_cost_the_mean_and_views_of_a_part_their_part() -> None:
    sizes = [cost_of(tiny.recipe(**ONE_VIEW, image_size=size), steps=1) for size in (32, 48)]
    several = tiny.recipe(**ONE_VIEW | {"views": {"plain": Plain(size=(32, 48))}})
    assert cost_of(several, steps=1) == (sizes[0] + sizes[1]).times(0.5)
    part = {"views": {"plain": Plain(of="labelled")}, "sampler": Composed(labelled=3, unlabelled=5)}
    assert cost_of(tiny.recipe(**ONE_VIEW | part), steps=1) == sizes[0].times(3 / 8)


def test_a_step_of_a_run_takes_what_was_counted_and_counting_draws_nothing() -> None:
    task = Inpaint(width=16, perceptual=Perceptual(from_epoch=0))
    views = {"plain": Plain(), "holes": Holes(grid=4)}
    recipe = tiny.recipe(views=views, tasks=(Expression(SYNTHETIC_7, dropout=0.2), task), batch_statistics="per_view")
    trainer = Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)
    drawn = torch.get_rng_state()
    counted = cost_of(recipe, steps=1).flops
    assert torch.equal(torch.get_rng_state(), drawn)
    with FlopCounterMode(display=False) as counter:
        trainer.step([next(iter(trainer.train.epoch(0)))])
    assert counted == recipe.epochs * counter.get_total_flops()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picky(Expression):
    """Learns of the samples alone that it finds at run time."""

    def criterion(self, split: Split) -> Criterion:
        return Picking(SoftmaxTask.criterion(self, split))


class Picking(Criterion):
    def __init__(self, of: Criterion) -> None:
        super().__init__()
        self.of = of

    def loss(self, output: Tensor, look: Look) -> Tensor:
        return output[look.target["expression"] > 0].mean()


def test_a_loss_that_needs_values_is_named() -> None:
    with pytest.raises(ValueError, match=r"cost: the losses of expression cannot be counted on shapes .* masks"):
        cost_of(tiny.recipe(views={"plain": Plain()}, tasks=(Picky(SYNTHETIC_7),)), steps=1)


def unlabelled_and_annealed() -> Recipe:
    puzzle = SolvePuzzle(weight=AnnealWeight(0.3, hold=0.4, end=0.8))
    views = {"plain": Plain(of="labelled"), "puzzle": Puzzle(grid=2)}
    sampler = Composed(labelled=3, unlabelled=5)
    return tiny.recipe(views=views, tasks=(Expression(SYNTHETIC_7), puzzle), sampler=sampler, epochs=30)


@pytest.mark.parametrize(
    ("make", "views", "epochs"),
    [
        (lambda: recipe_file.read(f"{RECIPES}/demo.py").recipe, 1, 28),
        (lambda: recipe_file.read(f"{RECIPES}/fer2013_hmtl.py").recipe, 2, 40),
        (lambda: recipe_file.read(f"{RECIPES}/e2_fer2013.py:inpaint").recipe, 2, 43),
        (lambda: recipe_file.read(f"{RECIPES}/e2_fer2013.py:inpaint_pl").recipe, 3, 38),
        (unlabelled_and_annealed, 3, 31),
    ],
)
def test_a_baseline_of_equal_cost_has_it_within_three_percent(
    make: Callable[[], Recipe], views: int, epochs: int
) -> None:
    hybrid = make()
    equal = supervised_equal_cost(hybrid)
    assert (len(equal.views), equal.epochs) == (views, epochs)
    own, its = cost_of(equal, steps=25), cost_of(hybrid, steps=25)
    assert own.beside(its).startswith("equal FLOPs within ")
    assert cost_of(supervised(hybrid), steps=25).beside(its).startswith("not equal: -")


def test_a_baseline_of_fewer_epochs_warms_up_within_them() -> None:
    expression, puzzle = tiny.recipe().tasks
    tasks = (expression, replace(puzzle, weight=AnnealWeight(0.3, hold=0.7, end=0.7)))
    hybrid = tiny.recipe(tasks=tasks, epochs=10, optim=AdamW(lr=1e-3, warmup_epochs=10))
    equal = supervised_equal_cost(hybrid)
    assert (len(equal.views), equal.epochs, equal.optim.warmup_epochs) == (2, 9, 9)


def test_costs_are_written_read_added_and_set_beside_each_other() -> None:
    cost = Cost(300.0, 100.0, 1e12)
    assert Cost.read(cost.written()) == cost
    assert cost.written()["pictures_trained"] == 200
    old = Cost.read({"pictures_through_encoder": 300})
    assert old == Cost(300, None, None)
    assert cost + old == Cost(600, None, None)
    assert [each.pictures_in_words() for each in (cost, old, Cost())] == ["200 / 100", "300 in all", "–"]
    assert cost.beside(Cost(1, 1, 1.02e12)) == "equal FLOPs within 2 %"
    assert cost.beside(cost) == "equal FLOPs within 0.1 %"
    assert cost.beside(Cost(300, 100, 0.8e12)) == "not equal: +25 % FLOPs"
    assert old.beside(cost) == "equal pictures within 0.1 %"
    assert old.beside(Cost()) == "–"


@pytest.mark.parametrize("affine", [True, False])
def test_normalisation_is_left_out_and_gradients_reach_as_far(affine: bool) -> None:
    def flops(count: Callable[[nn.Module], None]) -> int:
        with torch.device("meta"):
            layers = (nn.BatchNorm2d(3, affine=affine), nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
            network, pictures = nn.Sequential(*layers), torch.empty(2, 3, 16, 16)
        network.apply(count)
        with FlopCounterMode(display=False) as counter:
            network(pictures).sum().backward()
        return counter.get_total_flops()

    def leave_out(layer: nn.Module) -> None:
        if isinstance(layer, nn.BatchNorm2d):
            layer.forward = partial(_unnormalised, layer)  # type: ignore[method-assign]

    assert flops(leave_out) == flops(lambda layer: None)
