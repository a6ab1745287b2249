"""A recipe that does not hold together is refused before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.averaging import Averaging
from engine.backbone import Backbone
from engine.baselines import supervised, supervised_equal_cost
from engine.losses import Geometric
from engine.optim import SGD, AdaBelief, AdamW, Cosine, Steps
from engine.tasks import SYNTHETIC_7, Expression, SolvePuzzle
from engine.views import Holes, Plain, Puzzle
from loaders import Packed, Union
from loaders.base import Split
from tests.engine import tiny


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2.5}, r"Recipe: epochs \(=2.5\) must be of type int"),
        ({"precision": "bfloat16"}, r"precision \(='bfloat16'\) must be of type 'auto' or 'fp32' or 'bf16' or 'fp16'"),
        ({"batch_statistics": "perview"}, r"batch_statistics \(='perview'\) must be of type 'joint' or"),
        (
            {"tasks": (Expression(SYNTHETIC_7, join="geometrc"), SolvePuzzle())},  # type: ignore[arg-type]
            r"Expression 'expression': join \(='geometrc'\) must be of type 'sum' or 'mean' or",
        ),
        (
            {"tasks": (Expression(SYNTHETIC_7), SolvePuzzle(head="pool"))},  # type: ignore[arg-type]
            r"SolvePuzzle 'puzzle': head \(='pool'\) must be of type 'pooled' or 'map'",
        ),
        (
            {"tasks": (Expression(SYNTHETIC_7), SolvePuzzle(join_tiles="geometric"))},  # type: ignore[arg-type]
            r"SolvePuzzle 'puzzle': join_tiles \(='geometric'\) must be of type 'sum' or 'mean'",
        ),
        (
            {"tasks": (Expression(SYNTHETIC_7, on=("plain", "puzzle")), SolvePuzzle()), "total": Geometric()},
            r"joins 2 views by 'sum': set join='geometric'",
        ),
        (
            {"optim": AdamW(lr=1, schedule=Steps(15))},
            r"Recipe: optim: schedule: at \(=15\) must be of type tuple\[float",
        ),  # type: ignore[arg-type]
        ({"optim": AdamW(lr=float("inf"))}, r"Recipe: optim: lr \(=inf\) must be of type float; give a finite number"),
        ({"mean": (0.5, float("nan"), 0.5)}, r"mean \(=\(0.5, nan, 0.5\)\) must be of type .*; give a finite number"),
        (
            {"data": Union(Packed("a"), Packed(3))},  # type: ignore[arg-type]
            r"Recipe: data: unlabelled: path \(=3\) must be of type",
        ),
        ({"epochs": 0}, r"Recipe: epochs \(=0\) must be 1 or more"),
        ({"seed": -1}, r"Recipe: seed \(=-1\) must be 0 or more"),
        ({"ema": 1.0}, r"Recipe: ema \(=1.0\) must be between 0 and 1"),
        ({"evaluation_crop": 0.0}, r"Recipe: evaluation_crop \(=0.0\)"),
        ({"std": (0.0, 1.0, 1.0)}, r"Recipe: std \(=\(0.0, 1.0, 1.0\)\) must be above 0"),
        ({"optim": AdamW(lr=1, warmup_epochs=3)}, r"warmup_epochs \(=3\) must be at most epochs \(=2\)"),
        ({"tasks": ()}, r"Recipe: tasks \(=\(\)\) must hold at least one task"),
        ({"tasks": ("expression",)}, r"tasks holds 'expression', which is no task; give one such as SolvePuzzle\(\)"),
        ({"tasks": (SolvePuzzle,)}, r"SolvePuzzle, which is no task; SolvePuzzle is a class, write SolvePuzzle\(\)"),
        ({"tasks": (Plain,)}, r"tasks holds Plain, which is no task; give one such as SolvePuzzle\(\)$"),
        ({"tasks": (int,)}, r"tasks holds <class 'int'>, which is no task; give one such as SolvePuzzle\(\)$"),
        ({"views": {"plain": SolvePuzzle}}, r"\(=SolvePuzzle\) must be a view; give one such as Puzzle\(grid=3\)$"),
        ({"views": {"plain": Plain}}, r"views\['plain'\] \(=Plain\) must be a view; .* write Plain\(\)"),
        (
            {"test_time": Averaging},
            r"test_time \(=Averaging\) must be of type Averaging or None; .*Averaging\(\)$",
        ),
        ({"tasks": (Expression(SYNTHETIC_7, name="a b"), SolvePuzzle())}, r"task name 'a b' must be an identifier"),
        ({"tasks": (Expression(SYNTHETIC_7), SolvePuzzle(name="expression"))}, r"give each its own, name='...'"),
        ({"tasks": (Expression(SYNTHETIC_7, on=("plane",)),)}, r"names the view 'plane', the recipe has plain, puzzle"),
        ({"tasks": (Expression(SYNTHETIC_7),)}, r"no task looks at the view 'puzzle'"),
        ({"views": {"plain": Plain(), "puzzle": Puzzle(grid=15)}, "image_size": 12}, r"grid \(=15\) larger than"),
        (
            {"views": {"puzzle": Puzzle(grid=2)}, "tasks": (SolvePuzzle(),), "batch_statistics": "per_view_plain"},
            r"needs a Plain view",
        ),
    ],
)
def test_inconsistent_fields_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.recipe(**changes)


def test_data_without_the_tasks_label_or_with_other_classes_is_refused() -> None:
    split = tiny.split([0, 1])
    with pytest.raises(ValueError, match=r"label 'expression' is not in the data; it has none"):
        tiny.recipe().check_labels(Split("train", split.sample, split.shape, {}, {}))
    with pytest.raises(ValueError, match=r"must be the classes of the data in its order"):
        tiny.recipe().check_labels(tiny.split([0, 1], ("No", "Yes")))


def test_the_first_baseline_has_one_view_and_the_second_the_hybrids_cost() -> None:
    hybrid = tiny.recipe(
        views={"plain": Plain(), "puzzle": Puzzle(grid=2), "holes": Holes()},
        tasks=(
            Expression(SYNTHETIC_7, on=("plain", "holes"), join="geometric"),
            SolvePuzzle(weight=0.3),
        ),
        batch_statistics="per_view_plain",
    )
    one, equal = supervised(hybrid), supervised_equal_cost(hybrid)
    assert one.views == {"plain": Plain()}
    assert [task.name for task in one.tasks] == ["expression"]
    assert list(equal.views.values()) == [Plain(fresh=True)] * 3
    assert equal.tasks[0].on == tuple(equal.views)
    assert equal.tasks[0].join == "geometric"  # as the hybrid's, which looked at several views
    single = tiny.recipe(tasks=(Expression(SYNTHETIC_7), SolvePuzzle()))
    assert supervised_equal_cost(single).tasks[0].join == "mean"
    assert (one.epochs, equal.epochs, one.seed) == (hybrid.epochs, hybrid.epochs, hybrid.seed)


def test_a_recipe_of_pretext_tasks_alone_has_no_supervised_baseline() -> None:
    with pytest.raises(ValueError, match=r"baselines: tasks \(=puzzle\) must hold a supervised one"):
        supervised(tiny.recipe(views={"puzzle": Puzzle(grid=2)}, tasks=(SolvePuzzle(),)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Steps((15, -1)), r"Steps: at \(=\(15, -1\)\) must rise from 0 on"),
        (lambda: Steps((40, 15)), r"Steps: at \(=\(40, 15\)\) must rise from 0 on"),
        (lambda: Steps((1,), factor=0.0), r"Steps: factor \(=0.0\) must be above 0"),
        (lambda: Cosine(final=1.5), r"Cosine: final \(=1.5\) must be in 0..1"),
        (lambda: AdamW(lr=1, betas=(0.9, 1.0)), r"AdamW: betas \(=\(0.9, 1.0\)\) must be 0 or more and below 1"),
        (lambda: AdaBelief(lr=1, betas=(-0.1, 0.9)), r"AdaBelief: betas .* must be 0 or more and below 1"),
        (lambda: AdaBelief(lr=1, eps=0.0), r"AdaBelief: eps \(=0.0\) must be above 0"),
        (lambda: SGD(lr=1, momentum=1.0), r"SGD: momentum \(=1.0\) must be 0 or more and below 1"),
        (lambda: Backbone("resnet18", drop_path=1.0), r"Backbone: drop_path \(=1.0\) must be 0 or more and below 1"),
    ],
)
def test_values_in_values_have_their_ranges_too(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
