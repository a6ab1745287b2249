"""The `hmtl` command: quick where it needs no torch, and elsewhere the same apps that `python -m` runs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from engine import catalogue
from engine.cli import MODULES, app
from engine.recipe import Recipe
from engine.recipe import file as recipe_file
from engine.table.experiment import read as read_experiment

ROOT = Path(__file__).parents[1]


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["recipes"], ["recipes", "copy", "demo"], ["train"]])
def test_what_needs_no_torch_imports_none(words: list[str], tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from engine.cli import app
try:
    app({words!r})
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == str(words == ["train"]), done.stderr


def test_completion_imports_no_torch(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom engine.cli import app\n"
    code += "try:\n    app(prog_name='hmtl')\nfinally:\n    print('torch' in sys.modules)"
    asked = {"_HMTL_COMPLETE": "complete_bash", "COMP_WORDS": "hmtl re", "COMP_CWORD": "1", "PATH": ""}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=asked, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["report", "recipes", "False"], done.stderr


@pytest.mark.parametrize("command", MODULES)
def test_a_command_is_the_app_that_python_m_runs(command: str) -> None:
    module = MODULES[command][0]
    own = CliRunner().invoke(import_module(module).app, ["--help"])
    ours = call(command, "--help")
    assert ours.exit_code == 0
    assert ours.stdout.strip().splitlines()[1:] == own.stdout.strip().splitlines()[1:]  # the first names the command
    assert call(command, "--no-such-option").exit_code == 2


def test_the_home_folder_is_known_in_every_word_and_behind_an_equals_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("Happy", "Sad"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 90).save(tmp_path / "faces" / name / "a.png")
    assert call("prepare", "folder", "~/faces", "--out=~/store").exit_code == 0
    assert (tmp_path / "store" / "source.json").is_file()
    assert call("prepare", "--out", "~/other", "folder", "~/faces").exit_code == 0
    assert (tmp_path / "other" / "source.json").is_file()
    assert f"{tmp_path}/none" in call("recipes", "new", "~/none", "--out=~/mine.py").stderr
    refused = call("compare", "~/no-run", "--out=~/c.md")
    assert f"{tmp_path}/no-run" in refused.stderr
    kept = call("prepare", "folder", "~/faces", "--out", "~/third", "--label=~mood")  # no path
    assert kept.exit_code == 0
    assert "~mood" in (tmp_path / "third" / "source.json").read_text()


def test_help_lists_every_command_whole() -> None:
    text = call("--help").stdout
    assert "..." not in text.partition("Commands:")[2]
    assert all(f"  {name}" in text for name in (*MODULES, "recipes"))


def test_recipes_are_listed_with_their_first_line() -> None:
    lines = call("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == catalogue.names()
    assert "demo                    The embedded experiment: expression on drawn faces" in "\n".join(lines)


def test_a_recipe_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("recipes", "copy", "demo").stdout == "wrote demo.py; train it with: hmtl train demo.py\n"
    assert Path("demo.py").read_text() == (ROOT / "recipes" / "demo.py").read_text()
    again = call("recipes", "copy", "demo")
    assert (again.exit_code, again.stderr) == (
        2,
        "error: recipes: demo.py must not be here yet; move it away, or copy into another folder\n",
    )
    unknown = call("recipes", "copy", "dmo")
    assert unknown.exit_code == 2
    assert "recipes: NAME (=dmo) must be one of the package; did you mean demo?" in unknown.stderr
    assert "must be one of the package; `hmtl recipes` lists them" in call("recipes", "copy", "xyz").stderr


def test_recipes_are_found_by_name_away_from_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = ROOT / "recipes" / "demo.py"
    assert [catalogue.find(where) for where in ("demo", "recipes/demo.py")] == [own, own]
    for where in ("demo.py", "other/demo.py", "dome", "recipes/dome.py", "runs/demo", "recipes/__init__.py"):
        assert catalogue.find(where) == Path(where)
    Path("recipes").mkdir()
    Path("recipes/demo.py").write_text("")
    assert catalogue.find("recipes/demo.py") == Path("recipes/demo.py")
    assert recipe_file.read("demo:supervised").name == "demo-supervised"
    assert read_experiment("e2_fer2013_small").name == "e2_fer2013_small"
    with pytest.raises(ValueError, match=r"recipe: dmo is not there; did you mean demo\?"):
        recipe_file.read("dmo")
    with pytest.raises(ValueError, match=r"mine.py is not there; give the path of one, or a name that `hmtl recipes`"):
        recipe_file.read("mine.py")


def test_print_shows_the_recipe_as_it_would_be_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = call("train", "fer2013_hmtl", "--print", "--set", "views.puzzle.grid=4", "--set", "seed=1")
    assert shown.exit_code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == "data=Packed(path='data/fer2013')"
    assert {"views.puzzle=Puzzle(grid=4)", "tasks.puzzle=SolvePuzzle(weight=0.3)", "seed=1"} < set(lines)
    assert not [line for line in lines if line.startswith("checkpoint_every=")]
    told = json.loads(call("train", "fer2013_hmtl", "--print-all", "--set", "views.puzzle.grid=3").stdout)
    assert told["kind"] == Recipe.__name__
    assert told["views"]["puzzle"]["grid"] == 3
    assert told["checkpoint_every"] == 500
    assert list(tmp_path.iterdir()) == []
