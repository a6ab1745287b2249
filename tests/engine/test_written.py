"""A recipe is written as JSON and read back as it was, by a reader that makes nothing it does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.averaging import Averaging
from engine.baselines import supervised
from engine.losses import Uncertainty
from engine.optim import SGD, Steps
from engine.recipe import Recipe
from engine.recipe.file import run_file
from engine.recipe.settings import apply
from engine.recipe.smoke import smoke
from engine.recipe.written import assignments, describe, differences, read
from engine.tasks import SYNTHETIC_7, Expression, Inpaint, Perceptual, TimmTeacher
from engine.views import HiddenParts, Plain, Puzzle
from loaders import Folder, Fraction, HideLabels, Packed, Union, WithTest
from loaders.importers import FairFace, Fer2013
from tests.engine import tiny

RECIPES = {
    f"{path.stem}:{name}": value
    for path in sorted(Path(__file__).parents[2].joinpath("recipes").glob("*.py"))
    if path.stem != "__init__"
    for name, value in run_file(path).items()
    if isinstance(value, Recipe)
}


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(describe(value)))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_is_read_back_as_it_was(recipe: Recipe) -> None:
    assert read(through_json(recipe), Recipe, "recipe.json") == recipe
    small = smoke(recipe)
    assert read(through_json(small), Recipe, "recipe.json") == small


@pytest.mark.parametrize(
    "changes",
    [
        {"data": WithTest(Folder(FairFace(Path("a"))), Folder(Fer2013(Path("b"), ferplus=False), size=48))},
        {"data": Packed("data/x", tier="mapped"), "sampler": Fraction(0.5, label="expression", of=Fraction(0.5))},
        {
            "data": Union(
                (HideLabels(Packed("a"), 402), Packed("b")), Packed("c"), {"expression": {"x": "y", "z": None}}
            )
        },
        {"optim": SGD(lr=1, schedule=Steps(at=(1, 2.5))), "total": Uncertainty(), "test_time": Averaging(crops=1)},
        {"backbone": replace(tiny.BACKBONE, options={"channels": (8, 8, 16, 16), "kind": None, "more": {"a": (1,)}})},
        {
            "views": {"kind": HiddenParts(parts=((0.1, 0.2, 0.3, 0.4),), size=(32, 48))},
            "tasks": (
                Expression(SYNTHETIC_7, on="kind", cap=None),  # type: ignore[arg-type]
                Inpaint(on="kind", perceptual=Perceptual(teacher=TimmTeacher("resnet18", "w.pth"))),  # type: ignore[arg-type]
            ),
        },
    ],
    ids=["paths", "sources", "joined sources", "optimisers", "mappings", "nested tuples"],
)
def test_every_value_is_read_back_as_it_was(changes: dict[str, Any]) -> None:
    recipe = tiny.recipe(**changes)
    assert read(through_json(recipe), Recipe, "recipe.json") == recipe


def test_a_path_is_read_back_as_text_where_text_may_stand() -> None:
    recipe = tiny.recipe(data=Packed(Path("data/x")))
    back = read(through_json(recipe), Recipe, "recipe.json")
    assert back == replace(recipe, data=Packed("data/x"))
    assert describe(back) == describe(recipe)


def test_a_field_that_was_added_since_has_its_default() -> None:
    written = through_json(tiny.recipe())
    del written["test_time"], written["views"]["puzzle"]["turn"]
    assert read(written, Recipe, "recipe.json") == tiny.recipe()


def test_two_recipes_are_compared_field_by_field() -> None:
    written = through_json(tiny.recipe())
    drawn = {"fresh": False, "size": None, "of": "all", "augment": None, "samples": 1.0}
    assert written["views"]["puzzle"] == {"kind": "Puzzle", **drawn, "grid": 2, "turn": False}
    assert differences(written, through_json(tiny.recipe())) == []
    other = tiny.recipe(epochs=3, views={"plain": Plain(), "puzzle": Puzzle(grid=3)})
    assert differences(written, through_json(other)) == ["views.puzzle.grid: 2 -> 3", "epochs: 2 -> 3"]
    del written["views"]["puzzle"]["turn"], written["seed"]  # added since
    assert differences(written, through_json(tiny.recipe())) == []


def test_a_part_that_one_recipe_lacks_and_another_kind_are_told_in_a_line() -> None:
    hybrid, other = tiny.recipe(), tiny.recipe(optim=SGD(lr=0.1))
    assert differences(describe(hybrid), describe(supervised(hybrid))) == [
        "views.puzzle: Puzzle(grid=2) -> –",
        "tasks.puzzle: SolvePuzzle(weight=0.3) -> –",
    ]
    (line,) = differences(describe(other), describe(hybrid))
    assert line.startswith("optim: SGD(lr=0.1) -> AdamW(")
    turned = replace(hybrid, tasks=hybrid.tasks[::-1])
    (line,) = differences(describe(hybrid), describe(turned))  # the first task chooses the epoch
    assert line.startswith("tasks: (Expression(names=SYNTHETIC_7")
    unknown = {"kind": "Gone", "b": ["x"], "c": {"d": 1}}
    assert differences(unknown, {**unknown, "b": None}) == ["b: ('x',) -> None"]
    assert differences(unknown, None) == [": Gone(b=('x',), c={'d': 1}) -> None"]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_each_line_of_a_recipe_may_be_set(recipe: Recipe) -> None:
    lines = assignments(describe(recipe))
    assert not [line for line in lines if apply(recipe, [line]) != recipe]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"field": object()}, r"of type object cannot be written down; use dataclasses, finite numbers"),
        ({"kind": "Puzzle"}, r"the key 'kind' of .* cannot be written down; use another string"),
        ({1: "a"}, r"the key 1 of .* cannot be written down; use another string"),
    ],
)
def test_what_cannot_be_written_down_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(value)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"kind": "Pretend"}, "x: the kind 'Pretend' is unknown; import the file that defines it first"),
        ({"kind": "Popen", "args": ["true"]}, "x: the kind 'Popen' is unknown"),
        ({"kind": "Puzzle", "size_of": 3}, r"x: Puzzle: .*size_of.*; another version wrote it, read it with that"),
        ({"kind": "Backbone"}, r"x: Backbone: .*name.*; another version wrote it"),
        ({"kind": "Puzzle", "grid": "3"}, r"x: Puzzle: .*; another version wrote it"),
        ({"kind": "Puzzle", "fresh": "no"}, r"x: fresh \(='no'\) must be of type bool"),
        ({"kind": "Puzzle", "grid": 1}, r"Puzzle: grid \(=1\) must be 2 to 15"),
        ({"kind": "Plain", "fresh": True}, r"x \(=Plain\(.*\)\) must be of type Puzzle or .*; take another copy of"),
    ],
)
def test_what_cannot_be_read_back_is_refused(described: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(described, Puzzle | type(tiny.BACKBONE), "x")


def test_a_task_of_a_users_own_file_is_known_once_the_file_has_run(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from dataclasses import dataclass\nfrom engine.tasks import Expression\n"
        "@dataclass(frozen=True, slots=True)\nclass Grimace(Expression):\n    pain: float = 0.5\n"
    )
    described = {"kind": "Grimace", "names": ["a", "b"], "pain": 1.5}
    with pytest.raises(ValueError, match="the kind 'Grimace' is unknown; import the file that defines it first"):
        read(described, Expression, "x")
    run_file(own)
    kind = run_file(own)["Grimace"]  # the last time counts
    assert read(described, Expression, "x") == kind(("a", "b"), pain=1.5)


def test_a_kind_that_two_modules_define_is_refused(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text("from engine.views import Plain\nclass Twin(Plain):\n    pass\n")
        run_file(tmp_path / f"{name}.py")
    with pytest.raises(ValueError, match=r"'Twin' is defined by recipe_first and by recipe_second; import one of them"):
        read({"kind": "Twin"}, Plain, "x")
