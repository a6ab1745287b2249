"""`engine.bench step`: sources that can augment are measured both ways, once their views are those of the kernel."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from engine.bench import report
from engine.bench.__main__ import app
from engine.bench.both_ways import AHEAD, BOUND, STEP_NAMES, compare, in_gray_levels, of_recipe
from engine.bench.feeds import OfSource
from engine.bench.stepping import CEILING, measure_steps
from engine.recipe import Recipe
from engine.tasks import Expression, SolvePuzzle
from engine.training.train import open_split
from engine.views import Holes, Plain, Puzzle, View
from loaders import Folder
from loaders.base import augments
from loaders.sources import dali_drawing
from tests.engine import tiny
from tests.loaders.conftest import dali, interpreted_ffcv  # noqa: F401 - fixtures
from tests.loaders.data_sets import CLASSES, write_folders

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Expression and a puzzle on 23 faces of 10 px, shown at 32 px."""
    faces = write_folders(tmp_path_factory.mktemp("faces"), {"train": (11, 8, 4), "val": (1, 1, 1)})
    return tiny.recipe(data=Folder(faces), batch_size=8, tasks=(Expression(CLASSES), SolvePuzzle(weight=0.3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dali", "ffcv", "ffcv-jpeg"])
def test_a_step_is_measured_with_the_kernel_augmenting_and_with_the_source(
    recipe: Recipe, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    request.getfixturevalue("dali" if name == "dali" else "interpreted_ffcv")
    both = (name, name + AHEAD)
    data = of_recipe(recipe, tmp_path, faces=0, names=both)
    assert [augments(case.feed.source) for case in data.cases if isinstance(case.feed, OfSource)] == [False, True]
    said: list[str] = []
    rows, compiled = measure_steps(recipe, data, device=CPU, steps=1, rounds=1, say=said.append)
    assert [row.name for row in rows] == [CEILING, *both]
    assert [text for text in said if "views" in text] == [f"{both[1]}: views, compared with those of the kernel"]
    assert rows[1].off is None
    assert rows[2].off is not None
    assert 0.05 < rows[2].off.mean < rows[2].off.most <= BOUND  # rounded, so it was not the kernel that did both
    shown = report.of_steps(data, rows, {"recipe": "tiny"}, CPU, compiled)
    assert any(re.match(rf"{both[1]}: views are 0\.\d\d from the kernel's on average", note) for note in shown.notes)
    assert shown.figures["rows"][2]["views_off"]["most"] == rows[2].off.most
    assert [row[0] for row in shown.table.rows] == [CEILING, *both]


def test_views_that_are_not_the_kernels_are_not_timed(
    recipe: Recipe, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.getfixturevalue("dali")
    data = of_recipe(recipe, tmp_path, faces=0, names=("dali" + AHEAD,))
    right = dali_drawing.augmented

    def upside_down(package: Any, *rest: Any, **named: Any) -> Any:
        return package.fn.flip(right(package, *rest, **named), vertical=1)

    monkeypatch.setattr(dali_drawing, "augmented", upside_down)
    with pytest.raises(
        ValueError, match=r"bench: dali augment=loader must give the views of dali within 0\.51 gray levels; it is \d+"
    ):
        measure_steps(recipe, data, device=CPU, steps=1, rounds=1)


def test_a_source_that_shows_other_samples_is_not_timed(
    recipe: Recipe, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.getfixturevalue("dali")
    (case,) = of_recipe(recipe, tmp_path, faces=0, names=("dali" + AHEAD,)).cases

    def reseeded(own: Recipe, split: str, device: torch.device) -> Any:
        return open_split(replace(own, seed=own.seed + augments(own.data)), split, device)

    monkeypatch.setattr("engine.bench.both_ways.open_split", reseeded)
    with pytest.raises(ValueError, match=r"bench: dali augment=loader must give the samples of dali; it gives \[\d+,"):
        compare(case, recipe, "train", CPU)


def test_tiles_that_stand_between_pixels_are_compared_uncut(recipe: Recipe) -> None:
    views: dict[str, View] = {"plain": Plain(), "halves": Puzzle(grid=2), "thirds": Puzzle(), "holes": Holes(grid=4)}
    tasks = (
        Expression(CLASSES),
        SolvePuzzle(name="halves", on=("halves",)),
        SolvePuzzle(name="thirds", on=("thirds",)),
        replace(Expression(CLASSES), name="hidden", on=("holes",)),
    )
    render = in_gray_levels(replace(recipe, views=views, tasks=tasks))
    assert render.views == views | {"thirds": Plain()}
    assert render.shared().size == 32


def test_a_recipe_of_several_draws_is_measured_with_the_kernel_alone(
    recipe: Recipe, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("dali")
    several = replace(recipe, views={"plain": Plain(fresh=True), "puzzle": Puzzle(grid=2)})
    data = of_recipe(several, tmp_path / "a", faces=0, names=("dali", "folder"))
    assert [case.name for case in data.cases] == ["folder", "dali"]
    with pytest.raises(
        ValueError,
        match=r"bench: source \(='dali augment=loader'\) must be there .*; Recipe: data.augment .* views ask for",
    ):
        of_recipe(several, tmp_path / "b", faces=0, names=("dali" + AHEAD,))


def test_all_that_carry_labels_are_measured_where_none_is_named(recipe: Recipe, tmp_path: Path) -> None:
    data = of_recipe(recipe, tmp_path, faces=0)
    assert {case.name for case in data.cases} | data.left_out.keys() >= set(STEP_NAMES) - {
        name + AHEAD for name in ("dali", "ffcv", "ffcv-jpeg") if name in data.left_out
    }
    assert "torchvision" not in STEP_NAMES
    assert all(isinstance(case.feed, OfSource) for case in data.cases)


def test_the_command_writes_both_ways(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("dali")
    text = (
        "from engine.tasks import Expression, SolvePuzzle\nfrom loaders import Folder\nfrom tests.engine import tiny\n"
        f"recipe = tiny.recipe(data=Folder({str(tmp_path / 'faces')!r}), batch_size=8,\n"
        f"    tasks=(Expression({CLASSES!r}), SolvePuzzle(weight=0.3)))\n"
    )
    write_folders(tmp_path / "faces", {"train": (11, 8, 4), "val": (1, 1, 1)})
    (tmp_path / "small.py").write_text(text)
    sources = ["--source", "dali", "--source", "dali augment=loader"]
    options = ["--steps", "1", "--rounds", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["step", str(tmp_path / "small.py"), *sources, *options])
    assert done.exit_code == 0, done.output
    table = (tmp_path / "out" / "step.md").read_text()
    for row in ("| one batch repeated", "| dali ", "| dali augment=loader"):
        assert row in table
