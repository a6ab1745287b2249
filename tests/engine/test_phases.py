"""Batches composed by phases of a run, together with tasks that come and go."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.baselines import supervised, supervised_equal_cost
from engine.losses import AnnealWeight, RampWeight
from engine.recipe import Recipe
from engine.recipe.schedule import Phase, live_tasks
from engine.recipe.settings import apply
from engine.recipe.smoke import smoke
from engine.recipe.written import describe, read
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.training.cost import cost_of
from engine.training.finish import shown_faces
from engine.training.loop import Live
from engine.training.objective import Objective, compile_objective
from engine.views import Plain, Puzzle
from loaders import Composed, Fraction, HideLabels, Phased, Synthetic
from tests.engine import tiny
from tests.engine.test_objective import counting
from tests.engine.test_train import trainer

CONFIG: Any = importlib.import_module("torch._dynamo.config")
BARE, FEW, MANY = (Composed(labelled=some, unlabelled=8 - some, label="expression") for some in (0, 1, 3))
ALL = Composed(labelled=8, unlabelled=0, epoch="labelled", label="expression")


def phased(**changes: Any) -> Recipe:
    """The puzzle on 8 unlabelled faces; from a quarter on with 1 labelled face, from a half on with 3."""
    plain = {
        "data": HideLabels(Synthetic(train=40, val=12, test=12, size=32), keep=10),
        "sampler": Phased(((0.0, BARE), (0.25, FEW), (0.5, MANY))),
        "views": {"plain": Plain(of="labelled"), "puzzle": Puzzle(grid=2, of="unlabelled")},
        "tasks": (Expression(SYNTHETIC_7, weight=RampWeight(1.0, start=0.25, end=0.25)), SolvePuzzle(weight=0.3)),
    }
    return tiny.recipe(**{**plain, **changes})


def test_phases_part_a_run_where_the_composition_changes_and_count_their_own_pictures() -> None:
    recipe = phased()
    puzzle, both = frozenset({"puzzle"}), frozenset({"plain", "puzzle"})
    found = recipe.phases(12)
    assert found == [
        Phase(0, 3, ("puzzle",), puzzle, BARE),
        Phase(3, 6, ("expression", "puzzle"), both, FEW),
        Phase(6, 12, ("expression", "puzzle"), both, MANY),
    ]
    assert cost_of(recipe, steps=6).pictures == 12 * 8
    alone = replace(recipe, tasks=recipe.tasks[1:], views={"puzzle": recipe.views["puzzle"]})
    assert cost_of(alone, steps=6).pictures == 3 * 8 + 3 * 7 + 6 * 5


@pytest.mark.parametrize(("epochs", "accumulate"), [(1, 1), (3, 1), (5, 2), (2, 4)])
def test_a_task_and_its_faces_come_at_the_same_step_whatever_the_length_of_the_run(
    epochs: int, accumulate: int
) -> None:
    made = trainer(phased(epochs=epochs, accumulate=accumulate))
    steps = iter(range(epochs * made.steps))
    for epoch in range(epochs):
        for batch in list(made.train.epoch(epoch))[: made.steps * accumulate : accumulate]:
            step = next(steps)
            (phase,) = (phase for phase in made.phases if phase.start <= step < phase.stop)
            assert phase.composed is not None
            assert batch.labelled == phase.composed.labelled
            assert bool(batch.labelled) == ("expression" in live_tasks(made.weights(step)))


def test_a_run_says_what_it_saw_in_all_phases() -> None:
    recipe = phased(accumulate=2)
    made = trainer(recipe)
    assert [phase.steps for phase in made.phases] == [1, 2, 3]  # 30 faces without a label: 6 batches of the last phase
    assert shown_faces(recipe, made.train.split, made.phases) == {
        "labelled": {"faces": 10, "shown": 2 * (1 * 0 + 2 * 1 + 3 * 3)},
        "unlabelled": {"faces": 30, "shown": 2 * (1 * 8 + 2 * 7 + 3 * 5)},
    }


def test_baselines_have_the_composition_of_the_last_phase_throughout() -> None:
    hybrid = phased(sampler=Fraction(0.9, of=phased().sampler))
    one = supervised(hybrid)
    assert one.sampler == Fraction(0.9, of=MANY)
    assert one.tasks[0].weight == 1.0
    assert trainer(one).steps == trainer(hybrid).steps
    assert cost_of(one, steps=6).pictures == 12 * 3
    assert supervised_equal_cost(hybrid).sampler == one.sampler


def test_each_phase_compiles_once() -> None:
    graphs: list[object] = []
    recipe = phased(epochs=1)
    torch.compiler.reset()
    with CONFIG.patch(fail_on_recompile_limit_hit=True, recompile_limit=1):
        made = trainer(recipe)
        for names in (("puzzle",), ("expression", "puzzle")):
            objective = Objective(made.model, [t for t in recipe.tasks if t.name in names], made.criteria)
            compiled = compile_objective(
                objective, recipe.views, recipe.image_size, compositions=len(names), backend=counting(graphs)
            )
            made.live[names] = Live(made.trains(names).renderer, objective, compiled)
        for batch in made.train.epoch(0):
            made.step([batch])
    torch.compiler.reset()
    assert len(graphs) == len(made.phases) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tasks": (Expression(SYNTHETIC_7), SolvePuzzle())},
            r"hold no labelled samples from 0% to 25% of the training \(sampler Comp.*, and Expression 'expression' ",
        ),
        (
            {"tasks": (Expression(SYNTHETIC_7, on="puzzle"), SolvePuzzle()), "views": {"puzzle": Puzzle(grid=2)}},
            r"no labelled samples from 0% to 25%",
        ),
        (
            {"sampler": Phased(((0, MANY), (0.5, ALL)))},
            r"no unlabelled samples from 50% to 100% .* and SolvePuzzle 'puzzle' learns from them; let it weigh 0",
        ),
        ({"batch_size": 9}, r"labelled \(=0\) and unlabelled \(=8\) must add up to batch_size \(=9\)"),
        (
            {"sampler": Phased(((0, BARE), (0.25, replace(MANY, labelled=3.0))))},  # type: ignore[arg-type]
            r"Recipe: sampler: phases\[1\]\[1\]: labelled \(=3.0\) must be of type int",
        ),
    ],
)
def test_a_phase_in_which_a_task_has_no_faces_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        phased(**changes)


def test_a_task_that_leaves_may_leave_no_faces_of_its_part() -> None:
    tasks = (Expression(SYNTHETIC_7), SolvePuzzle(weight=AnnealWeight(0.3, hold=0.2, end=0.5)))
    recipe = phased(tasks=tasks, sampler=Phased(((0.0, MANY), (0.5, ALL))))
    assert recipe.phases(8)[-1].composed == ALL
    alone = replace(recipe, sampler=ALL, tasks=tasks[:1], views={"plain": Plain()})
    assert cost_of(alone, steps=6).pictures == 12 * 8  # a view of all faces, where all of them are labelled


def test_phases_are_set_from_the_command_line_and_the_recipe_is_read_back() -> None:
    text = "Phased(((0, Composed(labelled=0, unlabelled=8)), (0.25, Composed(labelled=3, unlabelled=5))))"
    recipe = apply(phased(), [f"sampler={text}"])
    assert recipe.sampler == Phased(((0, replace(BARE, label=None)), (0.25, replace(MANY, label=None))))
    assert read(json.loads(json.dumps(describe(recipe))), Recipe, "recipe.json") == recipe
    later = apply(phased(), ["sampler.phases.2.0=0.75"])
    assert later.sampler == Phased(((0.0, BARE), (0.25, FEW), (0.75, MANY)))


def test_smoke_keeps_the_phases() -> None:
    large = Phased(
        ((0.0, Composed(labelled=0, unlabelled=128)), (0.5, Composed(labelled=4, unlabelled=124, epoch="labelled")))
    )
    small = smoke(phased(sampler=Fraction(0.5, of=large), batch_size=128, tasks=phased_from_half()))
    assert small.sampler == Phased(
        ((0.0, Composed(labelled=0, unlabelled=16)), (0.5, Composed(labelled=1, unlabelled=15, epoch="labelled")))
    )
    made = trainer(small)
    assert made.steps == 3
    assert [batch.labelled for epoch in range(2) for batch in made.train.epoch(epoch)] == [0, 0, 0, 1, 1, 1]


def phased_from_half() -> Any:
    return (Expression(SYNTHETIC_7, weight=RampWeight(1.0, start=0.5, end=0.5)), SolvePuzzle())
