"""`--set field=value` reaches every field, by its type, and answers a wrong name with the nearest right ones."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import pytest
from typer.testing import CliRunner

import kernels
from engine.averaging import Averaging
from engine.losses import Geometric, WeightedGeometric
from engine.optim import SGD, Steps
from engine.recipe.settings import apply
from engine.tasks import SYNTHETIC_7, PoseBins
from engine.views import Holes, Plain, Puzzle
from loaders import Fraction, HideLabels, Packed, Union
from tests.engine import tiny


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("epochs=7", lambda r: r.epochs, 7),
        ("seed=2**40", lambda r: r.seed, 2**40),
        ("optim.lr=3e-4", lambda r: r.optim.lr, 3e-4),
        ("optim.lr=1", lambda r: r.optim.lr, 1.0),
        ("ema=0.99", lambda r: r.ema, 0.99),
        ("ema=None", lambda r: r.ema, None),
        ("compile=True", lambda r: r.compile, True),
        ("precision=bf16", lambda r: r.precision, "bf16"),
        ("backbone.name=resnet18", lambda r: r.backbone.name, "resnet18"),
        ("backbone.options={'depth': 3}", lambda r: r.backbone.options, {"depth": 3}),
        ("views.puzzle.grid=3", lambda r: r.views["puzzle"].grid, 3),
        ("views.puzzle.size=(64, 72)", lambda r: r.views["puzzle"].size, (64, 72)),
        ("views.puzzle=Puzzle(grid=3, fresh=True)", lambda r: r.views["puzzle"], Puzzle(grid=3, fresh=True)),
        ("tasks.puzzle.weight=0.1", lambda r: r.tasks[1].weight, 0.1),
        ("tasks.0.label_smoothing=0.1", lambda r: r.tasks[0].label_smoothing, 0.1),
        ("tasks.expression.names=SYNTHETIC_7", lambda r: r.tasks[0].names, SYNTHETIC_7),
        ("augment=strong()", lambda r: r.augment, kernels.strong()),
        ("augment.rotation=(-30, 30)", lambda r: r.augment.rotation, (-30.0, 30.0)),
        ("optim=SGD(lr=0.1, schedule=Steps(at=(1,)))", lambda r: r.optim, SGD(lr=0.1, schedule=Steps(at=(1,)))),
        ("tasks.puzzle.head=map", lambda r: r.tasks[1].head, "map"),
        ("tasks.puzzle.join_tiles=mean", lambda r: r.tasks[1].join_tiles, "mean"),
        ("total=Geometric()", lambda r: r.total, Geometric()),
        ("total=WeightedGeometric(focused=True)", lambda r: r.total, WeightedGeometric(focused=True)),
        ("sampler=Fraction(0.2, label='expression')", lambda r: r.sampler, Fraction(0.2, label="expression")),
        ("data=Packed('data/fer2013')", lambda r: r.data, Packed("data/fer2013")),
        ("data=HideLabels(Packed('a'), keep=402)", lambda r: r.data, HideLabels(Packed("a"), 402)),
        ("data=Union(Packed('a'), (Packed('b'),))", lambda r: r.data, Union(Packed("a"), (Packed("b"),))),
        ("data=Packed(data/fer-2013)", lambda r: r.data, Packed("data/fer-2013")),
        ("data=Union(Packed(a/b), (Packed(c/d),))", lambda r: r.data, Union(Packed("a/b"), (Packed("c/d"),))),
        ("data.train=64", lambda r: r.data.train, 64),
        ("test=None", lambda r: r.test, None),
        ("select=dev", lambda r: r.select, "dev"),
        ("mean=[0.5, 0.5, 0.5]", lambda r: r.mean, (0.5, 0.5, 0.5)),
    ],
)
def test_a_field_is_set(assignment: str, read: Any, value: Any) -> None:
    assert read(apply(tiny.recipe(), [assignment])) == value


def test_views_and_tasks_may_be_set_together() -> None:
    changed = apply(tiny.recipe(), ["tasks=(Expression(SYNTHETIC_7, on=('plain', 'puzzle')),)"])
    assert changed.tasks[0].on == ("plain", "puzzle")


def test_later_assignments_see_earlier_ones() -> None:
    assert apply(tiny.recipe(), ["views.puzzle=Puzzle(grid=3)", "views.puzzle.grid=4"]).views["puzzle"].grid == 4


def test_fields_that_only_hold_together_may_be_set_in_any_order() -> None:
    recipe = tiny.recipe(optim=SGD(lr=0.1, warmup_epochs=2))
    changed = apply(recipe, ["epochs=1", "optim.warmup_epochs=0"])
    assert (changed.epochs, changed.optim.warmup_epochs) == (1, 0)


def test_views_and_the_tasks_that_look_at_them_may_be_set_in_any_order() -> None:
    views = "views={'plain': Plain(), 'holes': Holes(grid=4)}"
    tasks = "tasks=(Expression(SYNTHETIC_7), Inpaint(on='holes'))"
    weight = "tasks.inpaint.weight=2.0"
    for order in ([views, tasks, weight], [tasks, weight, views]):
        changed = apply(tiny.recipe(), order)
        assert list(changed.views) == ["plain", "holes"]
        assert [task.weight for task in changed.tasks] == [1.0, 2.0]


def test_fields_of_one_value_that_only_hold_together_may_be_set_in_any_order() -> None:
    recipe = tiny.recipe(test_time=Averaging(crops=1))
    for order in (["test_time.flip=False", "test_time.crops=5"], ["test_time.crops=5", "test_time.flip=False"]):
        assert apply(recipe, order).test_time == Averaging(flip=False, crops=5)


def test_a_value_set_later_takes_the_place_of_what_was_set_in_it() -> None:
    assert apply(tiny.recipe(), ["views.puzzle.grid=4", "views.puzzle=Puzzle(grid=3)"]).views["puzzle"].grid == 3


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", r"'epochs' must read field=value; e.g. --set optim.lr=3e-4"),
        ("data=Packed(/data/x)", r"must be of type Source; .*text inside a call goes in quotes, as in Packed\('data/"),
        ("data=Packed(a.v2/3.x)", r"text inside a call goes in quotes"),
        ("optim.lr=1e999", r"optim.lr \(=1e999\) must be of type float; give a finite number"),
        ("epoch=3", r"epoch is not a field of Recipe; did you mean epochs"),
        ("lr=3", r"lr is not a field of Recipe; did you mean optim.lr\?"),
        ("grid=3", r"grid is not a field of Recipe; did you mean views.puzzle.grid\?"),
        ("weight=3", r"did you mean tasks.expression.weight or tasks.puzzle.weight\?"),
        ("optim.learning=3", r"optim.learning is not a field of AdamW; it has lr, weight_decay"),
        ("views.puzle.grid=3", r"views.puzle is not a field of views; did you mean views.puzzle\?"),
        ("tasks.puzzel.weight=3", r"tasks.puzzel is not a field of tasks; did you mean tasks.puzzle"),
        ("epochs.more=3", r"epochs \(=2\) has no fields; it cannot be followed by .more"),
        ("epochs=many", r"epochs \(=many\) must be of type int"),
        ("epochs=2.5", r"epochs \(=2.5\) must be of type int"),
        ("epochs=True", r"epochs \(=True\) must be of type int"),
        ("optim.lr=fast", r"optim.lr \(=fast\) must be of type float"),
        ("precision=fp8", r"precision \(=fp8\) must be of type 'auto' or 'fp32' or 'bf16' or 'fp16'"),
        ("views.puzzle.size=(a, b)", r"views.puzzle.size \(=\(a, b\)\) must be of type"),
        ("augment=weakly()", r"augment: weakly is unknown; did you mean weak"),
        ("optim=AdamW(rate=1)", r"optim: AdamW\(...\): .*rate"),
        ("optim=Puzzle(grid=2)", r"optim \(=Puzzle\(grid=2\)\) must be of type Optim"),
        ("data=__import__('os')", r"data: __import__ is unknown"),
        ("test_time=Averaging", r"must be of type Averaging or None; Averaging is a class, write Averaging\(\)$"),
        ("test_time=Plain", r"test_time \(=Plain\) must be of type Averaging or None; give a value like that$"),
        ("optim=SGD", r"optim \(=SGD\) must be of type Optim; SGD is a class, write SGD\(lr=...\)$"),
        ("sampler=Fraction", r"must be of type Sampler; Fraction is a class, write Fraction\(share=...\)$"),
        ("augment=weak", r"augment \(=weak\) must be of type Augment; weak is a function, write weak\(\)$"),
        ("views.puzzle=Puzzle", r"views.puzzle \(=Puzzle\) must be of type View; Puzzle is a class, write Puzzle\(\)$"),
        ("views={'plain': Plain}", r"Plain is a class, write Plain\(\)$"),
        ("tasks=(Expression,)", r"Expression is a class, write Expression\(names=...\)$"),
        ("epochs=0", r"Recipe: epochs \(=0\) must be 1 or more"),
        ("views={'plain': Plain()}", r"names the view 'puzzle'"),
    ],
)
def test_what_does_not_fit_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(tiny.recipe(), [assignment])


def test_a_mapping_of_views_may_be_set_when_the_tasks_fit() -> None:
    recipe = tiny.recipe(views={"plain": Plain(), "puzzle": Puzzle(grid=2)})
    changed = apply(recipe, ["views={'plain': Plain(fresh=True), 'puzzle': Puzzle(grid=3)}"])
    assert changed.views == {"plain": Plain(fresh=True), "puzzle": Puzzle(grid=3)}
    assert Holes() not in changed.views.values()


def test_a_task_or_view_may_be_replaced_by_one_of_another_kind() -> None:
    recipe = tiny.recipe(augment=kernels.Augment(flip=0.5))
    changed = apply(recipe, ["tasks.expression=PoseBins(alpha=2.0)", "views.plain=Holes(grid=4)"])
    assert changed.tasks[0] == PoseBins(alpha=2.0)
    assert changed.views["plain"] == Holes(grid=4)
    with pytest.raises(ValueError, match=r"tasks.puzzle \(=Plain\(\)\) must be of type Task"):
        apply(recipe, ["tasks.puzzle=Plain()"])


def test_fewer_epochs_than_the_warm_up_are_refused_with_the_words_that_work() -> None:
    recipe = apply(tiny.recipe(epochs=9), ["optim.warmup_epochs=4"])
    with pytest.raises(
        ValueError, match=r"warmup_epochs \(=4.0\) must be at most epochs \(=1\); .*=0 leaves it"
    ) as refused:
        apply(recipe, ["epochs=1"])
    (words,) = re.findall(r"--set (\S+)", str(refused.value))
    for order in (["epochs=1", words], [words, "epochs=1"]):
        assert apply(recipe, order).epochs == 1


@pytest.mark.parametrize("command", [("engine.run",), ("engine.table.__main__",), ("engine.bench.__main__", "step")])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "3"], "No such option: --epochs; a field of the recipe is set by --set epochs=VALUE"),
        (["--batch-size=3"], "No such option: --batch-size; a field of the recipe is set by --set batch_size=3"),
        (["--devise", "cpu"], "No such option: --devise (Possible options: --device"),
    ],
)
def test_a_field_taken_for_an_option_is_told_how_it_is_set(
    command: tuple[str, ...], words: list[str], said: str
) -> None:
    module, *rest = command
    result = CliRunner().invoke(import_module(module).app, [*rest, "demo", *words])
    assert result.exit_code == 2
    assert f"Error: {said}" in result.stderr


def test_what_an_option_is_given_is_no_option() -> None:
    result = CliRunner().invoke(import_module("engine.table.__main__").app, ["none.py", "--sbatch", "--time=1"])
    assert result.stderr == "error: table: sbatch (=--time=1) goes with --on slurm; add it\n"
