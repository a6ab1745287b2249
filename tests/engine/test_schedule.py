"""A task's weight may follow a schedule over the run: what is off is neither rendered, encoded nor paid for."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.baselines import supervised, supervised_equal_cost
from engine.losses import AnnealWeight, ConstantWeight, Geometric, RampWeight, Uncertainty, Weight
from engine.recipe import Recipe
from engine.recipe.file import RecipeFile
from engine.recipe.schedule import Phase, live_tasks, phases, weights_at
from engine.recipe.settings import apply
from engine.recipe.written import describe, read
from engine.reports.curves import curve_panels
from engine.runs.result import read_run
from engine.tasks import SYNTHETIC_7, Expression, Inpaint, Perceptual, SolvePuzzle
from engine.training.cost import cost_of, cost_of_step
from engine.training.loop import Live, Trainer
from engine.training.objective import Objective, compile_objective
from engine.training.train import open_split, train
from engine.views import Holes, Plain, Puzzle
from loaders.terminal import Terminal
from tests.engine import tiny
from tests.engine.scalars import read_scalars

CPU = torch.device("cpu")
CONFIG: Any = importlib.import_module("torch._dynamo.config")
HANDED_OVER = (
    Expression(SYNTHETIC_7, weight=RampWeight(1.0, start=0.25, end=0.75)),
    SolvePuzzle(weight=AnnealWeight(0.3, hold=0.25, end=0.5)),
)
"""Of 8 steps the puzzle alone is trained in 2, both in 2 and expression alone in 4."""


def trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe, open_split(recipe, "train", CPU), open_split(recipe, "val", CPU), CPU)


def run(recipe: Recipe, out: Path) -> dict[str, Any]:
    file = RecipeFile("tiny", recipe, '"""Tiny."""\n')
    train(file, out, device=CPU, resume=False, deterministic=False, console=Terminal(quiet=True))
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (ConstantWeight(0.3), {0.0: 0.3, 0.5: 0.3, 1.0: 0.3}),
        (RampWeight(2.0, end=0.5), {0.0: 0.0, 0.125: 0.5, 0.25: 1.0, 0.5: 2.0, 1.0: 2.0}),
        (RampWeight(2.0, start=0.25, end=0.75), {0.0: 0.0, 0.25: 0.0, 0.375: 0.5, 0.75: 2.0, 1.0: 2.0}),
        (RampWeight(2.0, start=0.5, end=0.5), {0.499: 0.0, 0.5: 2.0}),
        (AnnealWeight(2.0, hold=0.5, end=0.75), {0.0: 2.0, 0.5: 2.0, 0.625: 1.0, 0.75: 0.0, 1.0: 0.0}),
        (AnnealWeight(2.0, hold=0.0, end=1.0), {0.0: 2.0, 0.25: 1.5, 1.0: 0.0}),
        (AnnealWeight(2.0, hold=0.5, end=0.5), {0.499: 2.0, 0.5: 0.0}),
    ],
)
def test_a_weight_is_what_a_hand_computes(weight: Weight, expected: Mapping[float, float]) -> None:
    assert {share: weight.at(share) for share in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConstantWeight(-1), r"ConstantWeight: value \(=-1\) must be 0 or more; e.g. 0.3"),
        (lambda: RampWeight(float("nan"), end=1.0), r"RampWeight: value \(=nan\) must be 0 or more"),
        (lambda: AnnealWeight(float("inf"), 0, 1), r"AnnealWeight: start \(=inf\) must be 0 or more"),
        (lambda: RampWeight(1.0, start=0.6, end=0.5), r"start \(=0.6\) and end \(=0.5\) .* 0 <= start <= end <= 1"),
        (lambda: AnnealWeight(1.0, 0.5, 30), r"hold \(=0.5\) and end \(=30\) must be shares of the training"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_step_stands_for_the_middle_of_its_share_of_the_run() -> None:
    tasks = (SolvePuzzle(weight=AnnealWeight(1.0, hold=0.0, end=1.0)), Expression(SYNTHETIC_7, weight=2.0))
    weights = [weights_at(tasks, step, 4) for step in range(4)]
    assert [each["puzzle"] for each in weights] == pytest.approx([0.875, 0.625, 0.375, 0.125])
    assert [each["expression"] for each in weights] == [2.0] * 4


def test_phases_part_a_run_where_a_task_comes_or_goes() -> None:
    expression, puzzle, both = frozenset({"plain"}), frozenset({"puzzle"}), frozenset({"plain", "puzzle"})
    assert phases(HANDED_OVER, 8) == [
        Phase(0, 2, ("puzzle",), puzzle),
        Phase(2, 4, ("expression", "puzzle"), both),
        Phase(4, 8, ("expression",), expression),
    ]
    assert phases(tiny.recipe().tasks, 8) == [Phase(0, 8, ("expression", "puzzle"), both)]


def test_the_passes_of_a_teacher_are_counted_while_its_task_is_trained() -> None:
    taught = Inpaint(on="puzzle", width=16, perceptual=Perceptual(), weight=AnnealWeight(1.0, 0.5, 0.5))  # type: ignore[arg-type]
    recipe = tiny.recipe(views={"plain": Plain(), "puzzle": Holes()}, tasks=(Expression(SYNTHETIC_7), taught))
    found = cost_of(recipe, steps=4)  # its task for the first of two epochs, its teacher from the second on: never
    assert (found.trained, found.forward_only) == (4 * 2 * 8 + 4 * 8, 0)
    assert cost_of_step(recipe).trained == 2 * 8
    longer = cost_of(replace(recipe, epochs=8), steps=1)
    assert (longer.trained, longer.forward_only) == (4 * 2 * 8 + 4 * 8, 3 * 2 * 8)


def test_a_step_at_which_nothing_is_trained_is_refused() -> None:
    message = (
        r"tasks \(=expression, puzzle\) must have one with a weight above 0 at every step, and have none after 60%"
    )
    late, early = RampWeight(1.0, start=0.8, end=1.0), AnnealWeight(1.0, hold=0.2, end=0.6)
    with pytest.raises(ValueError, match=message):
        tiny.recipe(tasks=(Expression(SYNTHETIC_7, weight=late), SolvePuzzle(weight=early)))
    with pytest.raises(ValueError, match="have none after 0% of the training"):
        tiny.recipe(tasks=(Expression(SYNTHETIC_7, weight=0.0), SolvePuzzle(weight=0)))


def test_a_geometric_mean_of_several_supervised_losses_refuses_a_schedule_in_it() -> None:
    other = Expression(SYNTHETIC_7, name="other", weight=AnnealWeight(1.0, 0.5, 1.0))
    with pytest.raises(ValueError, match=r"the weight of 'other' \(=AnnealWeight.* may pull to 0; give it a number"):
        tiny.recipe(tasks=(Expression(SYNTHETIC_7), other, SolvePuzzle()), total=Geometric())
    tiny.recipe(tasks=HANDED_OVER, total=Geometric())


def test_the_command_line_sets_a_schedule_and_its_fields_and_the_recipe_is_read_back() -> None:
    changed = apply(tiny.recipe(), ["tasks.puzzle.weight=AnnealWeight(0.3, hold=0.5, end=0.8)"])
    assert changed.tasks[1].weight == AnnealWeight(0.3, 0.5, 0.8)
    changed = apply(changed, ["tasks.puzzle.weight.hold=0.4", "tasks.expression.weight=RampWeight(1, end=0.2)"])
    assert changed.tasks[1].weight == AnnealWeight(0.3, 0.4, 0.8)
    assert read(json.loads(json.dumps(describe(changed))), Recipe, "recipe.json") == changed
    with pytest.raises(ValueError, match=r"tasks.puzzle.weight \(=0.3\) has no fields"):
        apply(tiny.recipe(), ["tasks.puzzle.weight.hold=0.4"])
    with pytest.raises(ValueError, match=r"weight \(=often\) must be of type float or Weight"):
        apply(tiny.recipe(), ["tasks.puzzle.weight=often"])


def test_baselines_keep_schedules_unless_they_would_leave_nothing_to_train() -> None:
    joins_late, leaves = HANDED_OVER
    hybrid = tiny.recipe(tasks=HANDED_OVER)
    assert cost_of(hybrid, steps=4).pictures == 1.25 * 8 * 8
    assert supervised(hybrid).tasks[0].weight == joins_late.weight.at(1.0) == 1.0  # type: ignore[union-attr]
    equal = supervised_equal_cost(replace(hybrid, epochs=8))
    assert (list(equal.views), equal.epochs) == (["plain_0"], 10)
    second = Expression(SYNTHETIC_7, name="second")
    kept = supervised(tiny.recipe(tasks=(joins_late, second, leaves)))
    assert [task.weight for task in kept.tasks] == [joins_late.weight, 1.0]


def test_what_no_live_task_looks_at_is_neither_rendered_nor_encoded_nor_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    rendered: list[tuple[str, ...]] = []
    step = Trainer.step

    def watched(self: Trainer, batches: Any) -> None:
        hook = self.model.encoder.register_forward_pre_hook(lambda _, pictures: encoded.append(len(pictures[0])))
        live = self.trains(live_tasks(self.weights(self.at.total)))
        step(self, batches)
        rendered.append(tuple(live.renderer.views))
        hook.remove()

    monkeypatch.setattr(Trainer, "step", watched)
    result = run(tiny.recipe(tasks=HANDED_OVER, log_every=2), tmp_path / "run")
    assert encoded == [8, 8, 16, 16, 8, 8, 8, 8]
    assert rendered == [("puzzle",)] * 2 + [("plain", "puzzle")] * 2 + [("plain",)] * 4
    assert result["pictures_through_encoder"] == result["pictures_trained"] == sum(encoded)
    assert result["pictures_forward_only"] == 0
    assert result["pictures_a_face"] == 1.25

    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [float(row["weight/puzzle"]) for row in rows] == pytest.approx([0.3 * 0.25, 0.0])
    assert [float(row["weight/expression"]) for row in rows] == pytest.approx([0.375, 1.0])
    assert rows[0]["train/puzzle/loss"]
    assert not rows[1]["train/puzzle/loss"]
    assert all(row["val/puzzle/tile_accuracy"] for row in rows), "a head that is no longer trained is still evaluated"
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    steps = [line for line in log if line["event"] == "step"]
    assert [line["weight/puzzle"] for line in steps] == pytest.approx([0.3, 0.3 * 0.25, 0.0, 0.0])
    assert ["puzzle/loss" in line for line in steps] == [True, True, False, False]
    assert ["expression/loss" in line for line in steps] == [False, True, True, True]
    assert {"step/weight/puzzle", "weight/puzzle"} <= {tag for _, tag, _ in read_scalars(tmp_path / "run")}
    made = read_run(tmp_path / "run")
    panels = {quantity: columns for row in curve_panels(made.metrics) for quantity, columns in row.items()}
    assert panels["puzzle/weight"] == {"": "weight/puzzle"}
    assert "weight" not in made.last.figures


def test_a_view_that_a_live_task_still_looks_at_is_shown_without_the_twin_of_a_task_that_is_off() -> None:
    recipe = tiny.recipe(
        views={"holes": Holes()},
        tasks=(Expression(SYNTHETIC_7, on="holes"), Inpaint(width=16, weight=AnnealWeight(1.0, 0.5, 0.5))),  # type: ignore[arg-type]
    )
    made = trainer(recipe)
    batch = next(iter(made.train.epoch(0)))
    both = made.trains(("expression", "inpaint")).renderer.training(batch, epoch=0, step=0)
    alone = made.trains(("expression",)).renderer.training(batch, epoch=0, step=0)
    assert both.whole.keys() == {"holes"}
    assert alone.whole == {}
    assert torch.equal(alone.pictures["holes"], both.pictures["holes"])


def weights_after(recipe: Recipe, steps: int) -> tuple[dict[str, Tensor], Trainer]:
    made = trainer(recipe)
    for batch in list(made.train.epoch(0))[:steps]:
        made.step([batch])
    return {**made.model.state_dict(), **made.total_loss.state_dict()}, made


def test_a_constant_schedule_is_a_number_bit_for_bit() -> None:
    number, made = weights_after(tiny.recipe(), 3)
    schedule, scheduled = weights_after(
        tiny.recipe(tasks=(Expression(SYNTHETIC_7), SolvePuzzle(weight=ConstantWeight(0.3)))), 3
    )
    assert all(torch.equal(number[name], schedule[name]) for name in number)
    assert made.watch.epoch() == scheduled.watch.epoch()


def test_a_task_that_is_off_leaves_its_head_and_its_learned_weight_as_they_are() -> None:
    tasks = (Expression(SYNTHETIC_7), SolvePuzzle(weight=AnnealWeight(0.3, hold=0.25, end=0.25)))
    recipe = tiny.recipe(tasks=tasks, total=Uncertainty())
    before, _ = weights_after(recipe, 2)
    after, _ = weights_after(recipe, 4)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    of_puzzle = {name for name in before if "puzzle" in name}
    assert of_puzzle > {"log_variance.puzzle"}
    assert not changed & of_puzzle
    assert "log_variance.expression" in changed
    assert any(name.startswith("heads.expression") for name in changed)


def test_a_task_of_weight_0_is_off_from_the_first_step_to_the_last() -> None:
    off, made = weights_after(tiny.recipe(tasks=(Expression(SYNTHETIC_7), SolvePuzzle(weight=0.0))), 3)
    alone, _ = weights_after(tiny.recipe(views={"plain": Plain()}, tasks=(Expression(SYNTHETIC_7),)), 3)
    assert all(torch.equal(off[name], alone[name]) for name in alone)
    assert made.watch.epoch().keys() == {"loss", "expression/loss"}


def test_the_gradient_cosine_is_measured_where_both_kinds_of_tasks_are_trained() -> None:
    made = trainer(tiny.recipe(tasks=HANDED_OVER, gradient_cosine_every=1))
    assert made.alignment is not None
    found = []
    for epoch in range(2):
        made.at.epoch, made.at.step = epoch, 0
        for batch in made.train.epoch(epoch):
            made.step([batch])
            found.append(bool(made.alignment.recent().read()))
    assert found == [False, False, True, True, False, False, False, False]


@pytest.mark.parametrize("size", [None, (24, 32)])
def test_each_set_of_live_tasks_compiles_once_and_a_changing_weight_not_at_all(
    size: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[object] = []

    def backend(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(module)
        return module.forward

    recipe = tiny.recipe(tasks=HANDED_OVER, views={"plain": Plain(), "puzzle": Puzzle(grid=2, size=size)}, epochs=4)
    torch.compiler.reset()
    with CONFIG.patch(fail_on_recompile_limit_hit=True, recompile_limit=1):
        made = trainer(recipe)
        for phase in made.phases:
            objective = Objective(made.model, [t for t in recipe.tasks if t.name in phase.tasks], made.criteria)
            compiled = compile_objective(objective, recipe.views, recipe.image_size, backend=backend)
            made.live[phase.tasks] = Live(made.trains(phase.tasks).renderer, objective, compiled)
        for epoch in range(4):
            made.at.epoch, made.at.step = epoch, 0
            for batch in made.train.epoch(epoch):
                made.step([batch])
    torch.compiler.reset()
    assert len(graphs) == 3  # of several sizes: 8 faces of 24 px, 8 of 32 px in one view or the other, and 16 of 32 px
