"""What is compiled, and into how many graphs: a view shown at many sizes must not fall back to slow code in silence."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.recipe import Recipe
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.training.loop import Live, Trainer
from engine.training.objective import Objective, compile_objective, encoder_graphs
from engine.training.train import open_split
from engine.views import LARGER_SIZES, SMALLER_SIZES, Plain, Puzzle
from tests.engine import tiny

CPU = torch.device("cpu")
CONFIG: Any = importlib.import_module("torch._dynamo.config")


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    """No graphs of other tests, and hitting the limit is an error instead of slow code."""
    torch.compiler.reset()
    with CONFIG.patch(fail_on_recompile_limit_hit=True, recompile_limit=1):
        yield
    torch.compiler.reset()


def several_sizes(**changes: Any) -> Recipe:
    """The shape of the authors' multi-size script: a plain view, and a puzzle larger, as large and smaller."""
    puzzles = {
        "larger": Puzzle(grid=2, size=(36, 40)),
        "same": Puzzle(grid=2),
        "smaller": Puzzle(grid=2, size=(16, 24)),
    }
    return tiny.recipe(
        views={"plain": Plain(), **puzzles},
        tasks=(
            Expression(SYNTHETIC_7, on=("plain", *puzzles), join="geometric", dropout=0.0),
            SolvePuzzle(on=tuple(puzzles), weight=0.3, dropout=0.0),
        ),
        **changes,
    )


def trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)


def counting(graphs: list[object]) -> Callable[..., Any]:
    def backend(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(module)
        return module.forward

    return backend


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["joint", "per_view_plain"])
def test_a_view_at_several_sizes_compiles_one_graph_a_size_and_gives_the_same_losses(statistics: Any) -> None:
    recipe = several_sizes(batch_statistics=statistics)
    made = trainer(recipe)
    batch = next(iter(made.train.epoch(0)))
    graphs: list[object] = []
    plain = Objective(made.model, recipe.tasks, made.criteria)
    expected, seen = [], set()
    steps = [made.renderer.training(batch, epoch=0, step=step) for step in range(12)]
    for rendered in steps:
        expected.append(plain(rendered))
        seen.add(tuple(picture.shape[-1] for picture in rendered.pictures.values()))
    assert len(seen) == 4, "all combinations of sizes are met"
    objective = compile_objective(plain, recipe.views, recipe.image_size, backend=counting(graphs))
    for rendered, losses in zip(steps, expected, strict=True):
        for name, loss in objective(rendered).items():
            torch.testing.assert_close(loss, losses[name], atol=1e-5, rtol=1e-5)
    assert len(graphs) == 5 == encoder_graphs(recipe.views, recipe.image_size)


def test_fixed_sizes_compile_one_graph_of_everything() -> None:
    recipe = tiny.recipe()
    made = trainer(recipe)
    graphs: list[object] = []
    objective = compile_objective(
        Objective(made.model, recipe.tasks, made.criteria), recipe.views, recipe.image_size, backend=counting(graphs)
    )
    for step, batch in enumerate(made.train.epoch(0)):
        objective(made.renderer.training(batch, epoch=0, step=step))
    assert len(graphs) == 1


def test_evaluation_stays_uncompiled_and_the_model_can_be_copied() -> None:
    recipe = several_sizes(ema=0.9)
    made = trainer(recipe)
    graphs: list[object] = []
    objective = Objective(made.model, recipe.tasks, made.criteria)
    compiled = compile_objective(objective, recipe.views, recipe.image_size, backend=counting(graphs))
    made.live[objective.names] = Live(made.renderer, objective, compiled)
    for batch in made.train.epoch(0):
        made.step([batch])
    trained = len(graphs)
    made.predict(made.evaluated, made.select)
    made.predict(made.model, made.select)
    assert 0 < trained == len(graphs)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([None, LARGER_SIZES, (112,), SMALLER_SIZES], 9),
        ([None], 1),
        ([None, (112,), (64,)], 2),
        ([None, (64, 112)], 3),  # 64; 112 alone; 112 with the puzzle
        ([(64, 72), (64, 72)], 6),  # each alone, and both, at both sizes
    ],
)
def test_graphs_are_counted_by_size_and_by_the_views_that_share_it(sizes: list[Any], expected: int) -> None:
    views = {f"view_{i}": Puzzle(grid=2, size=size) for i, size in enumerate(sizes)}
    assert encoder_graphs(views, 112) == expected


@pytest.mark.parametrize("recipe", [tiny.recipe(), several_sizes()], ids=["fixed-sizes", "several-sizes"])
@pytest.mark.parametrize(("asked", "mode"), [(True, None), ("reduce-overhead", "reduce-overhead")])
def test_a_recipe_says_how_it_is_compiled(
    monkeypatch: pytest.MonkeyPatch, recipe: Recipe, asked: bool | str, mode: str | None
) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda work, **how: given.append(how) or work)
    made = trainer(replace(recipe, compile=asked))
    made.step([next(iter(made.train.epoch(0)))])
    assert [how["mode"] for how in given] == [mode]


@pytest.mark.gpu
@pytest.mark.parametrize("accumulate", [1, 2])
def test_graphs_of_the_device_train_as_launches_one_by_one_do(accumulate: int) -> None:
    weights = []
    for compiled in (True, "reduce-overhead"):
        recipe = tiny.recipe(compile=compiled, accumulate=accumulate, precision="bf16")
        cuda = torch.device("cuda")
        made = Trainer(recipe, open_split(recipe, "train", cuda), open_split(recipe, "val", cuda), cuda)
        for epoch in range(3):
            for batches in zip(*[iter(made.train.epoch(epoch))] * accumulate, strict=False):
                made.step(batches)
        weights.append([parameter.detach().cpu() for parameter in made.model.parameters()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)
