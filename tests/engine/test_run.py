"""The command line: every recipe smokes, and a mistake is one sentence, not a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from typer.testing import CliRunner, Result

from engine.run import app
from engine.table.experiment import read
from engine.table.plan import make_plan
from engine.training.device import choose_device
from engine.weights import load_weights
from tests import charts

FILES = sorted(p for p in Path(__file__).parents[2].joinpath("recipes").glob("*.py") if p.stem != "__init__")
RECIPES = [path for path in FILES if "\nrecipe = " in path.read_text()]
EXPERIMENTS = [path for path in FILES if "\nexperiment = " in path.read_text()]


DRAWN = ("demo", "affectnet_inpaint", "fairface_hmtl", "fer2013_semi", "pointing04_hmtl")
"""Recipes of every kind of chart."""
RUNS = ("tiny_recipe", "tiny_recipe-again", "other")


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_smokes(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if recipe.stem in DRAWN:
        monkeypatch.setattr(Figure, "savefig", charts.draw)
    result = call(str(recipe), "--smoke", "--device", "cpu", "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "report.md").is_file()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["finished"]
    assert "report:" in result.output


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_row_of_an_experiment_is_a_recipe_that_can_be_made(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(experiment.parents[1])  # rows name recipes from here
    plan = make_plan(read(experiment), seeds=2, out=Path("none"), results=Path("none"))
    assert len(plan.jobs) >= 4
    assert {file for file in FILES if file not in RECIPES} <= set(EXPERIMENTS), "every file is one or the other"


def test_a_second_smoke_run_in_its_default_place_takes_the_place_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "tiny_recipe.py"
    recipe.write_text("from tests.engine import tiny\nrecipe = tiny.recipe()\n")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert call(str(recipe), "--smoke", "--device", "cpu").exit_code == 0
    assert (tmp_path / "runs" / "tiny_recipe-smoke" / "report.md").is_file()


def test_a_run_is_run_again_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "tiny_recipe.py"
    recipe.write_text("from tests.engine import tiny\nrecipe = tiny.recipe(epochs=4)\n")
    monkeypatch.chdir(tmp_path)
    for words in (
        ["tiny_recipe.py", "--set", "epochs=1"],
        ["runs/tiny_recipe"],
        ["runs/tiny_recipe", "--set", "seed=1", "--out", "runs/other"],
    ):
        assert call(*words, "--device", "cpu").exit_code == 0
    weights = {name: load_weights(Path("runs", name, "checkpoints", "last")) for name in RUNS}
    same, other = weights["tiny_recipe-again"], weights["other"]
    assert same.about == weights["tiny_recipe"].about
    for name, tensor in weights["tiny_recipe"].tensors.items():
        assert torch.equal(same.tensors[name], tensor)
    assert any(not torch.equal(other.tensors[name], tensor) for name, tensor in same.tensors.items())
    (before, after) = (Path("runs", name) for name in RUNS[:2])
    for file in ("recipe.json", "recipe.py"):
        assert (after / file).read_text() == (before / file).read_text()


def test_a_run_with_classes_of_its_own_file_is_run_again_from_its_source(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"kind": "Recipe", "data": {"kind": "MyFaces"}}')
    result = call(str(tmp_path))
    assert result.exit_code == 2
    assert (
        f"recipe: {tmp_path / 'recipe.json'}: the kind 'MyFaces' is unknown; run its source, {tmp_path / 'recipe.py'}, "
        "with the options it was started with"
    ) in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipes/none.py"], "recipe: recipes/none.py is not there"),
        (["recipes"], "recipe: recipes is no run folder, it has no recipe.json; name a recipe's file or a run"),
        (["README.md"], "README.md must be a Python file that defines `recipe`"),
        (["recipes/e1_fer2013.py"], "is run by hmtl table recipes/e1_fer2013.py"),
        (["engine/run.py"], "engine/run.py has no Recipe called 'recipe'; it defines no Recipe at all"),
        (["recipes/demo.py:hybrid"], "has no Recipe called 'hybrid'; it has recipes/demo.py:recipe"),
        (["recipes/demo.py", "--set", "epoch=3"], "epoch is not a field of Recipe; did you mean epochs"),
        (["recipes/demo.py", "--device", "tpu5"], "--device: tpu5 is no device"),
        (["recipes/demo.py", "--device", "meta"], "--device: meta is not supported; use cpu or cuda"),
        (["recipes/demo.py", "--device", "cuda:99"], "--device: cuda:99 is not there"),
        (["recipes/affectnet_hmtl.py"], "data/affectnet8"),
        (["recipes/affectnet_supervised.py"], "run `hmtl prepare"),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    result = call(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_a_recipe_file_that_does_not_run_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_like_it\n")
    result = call(str(broken))
    assert result.exit_code == 2
    assert "does not run: ModuleNotFoundError" in " ".join(result.stderr.split())
    inconsistent = tmp_path / "inconsistent.py"
    inconsistent.write_text("from tests.engine import tiny\nrecipe = tiny.recipe(epochs=0)\n")
    assert "Recipe: epochs (=0) must be 1 or more" in call(str(inconsistent)).stderr


def test_the_cpu_is_chosen_when_asked_for() -> None:
    assert choose_device("cpu").type == "cpu"
