"""A task, a view, a source and an importer that come from files outside the package, with no other file touched."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import engine.compare
import engine.predict
from engine.deployed import load
from engine.deployed.pictures import answers_of, as_csv
from engine.recipe.file import run_file

ROOT = Path(__file__).parents[2]
# A task with a figure of its own name, unit, direction and chance.
NOSE = """
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from engine.figures import Figure
from engine.tasks.base import Criterion, Supervised
from loaders.base import Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class FindNose(Supervised):
    name: str = "nose"
    label: str = "nose"

    def wants(self):
        return {self.label: Numbers(("x", "y"))}

    def build_head(self, shape, views):
        return Head(shape.width)

    def criterion(self, split):
        return Apart(self)

    def figures(self, views):
        return (
            Figure("distance", unit="px", chance=42.0, label="distance to the nose"),
            Figure("reach", unit="px", greater_is_better=True),
        )

    def measure(self, rows):
        apart = np.abs(rows["at"] - rows["target"]).mean(axis=1)
        return {"distance": float(apart.mean()), "reach": float(np.abs(rows["at"]).max())}

    @property
    def answers(self):
        return ("x", "y")

    def answer(self, output):
        return 100 * output.float()


class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, features):
        return self.linear(features.pooled)


class Apart(Criterion):
    def __init__(self, task):
        super().__init__()
        self.task = task

    def loss(self, output, look):
        return (self.task.answer(output) - look.target[self.task.label]).abs().mean()

    def rows(self, output, look):
        return {"at": self.task.answer(output), "target": look.target[self.task.label]}
"""
SQUARES = '''
from dataclasses import dataclass

import torch

from loaders.base import Faces, Numbers, Split


@dataclass(frozen=True, slots=True)
class Squares:
    """Gray faces with a white square where the nose is."""

    faces: int = 16

    def open(self, split, device):
        at = torch.arange(self.faces)[:, None].repeat(1, 2).float() % 24
        pixels = torch.full((self.faces, 32, 32, 1), 90, dtype=torch.uint8)
        for face, (x, y) in zip(pixels, at.int().tolist()):
            face[y : y + 8, x : x + 8] = 255
        labels, target = {"nose": Numbers(("x", "y"))}, {"nose": at + 4}
        known = Split(split, torch.arange(self.faces), (32, 32, 1), labels, target)
        return Faces(known, pixels.float().mean(dim=(1, 2)).expand(-1, 3), pixels.to(device), torch.device(device))
'''
STRIPES = '''
from dataclasses import dataclass

import torch

import kernels
from engine.views import Cells, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Stripes(View):
    """Every second row of cells is hidden."""

    grid: int = 4

    def cells(self, key, frame):
        shows = kernels.identity_cells(self.grid, len(key.sample), key.sample.device)
        return Cells(torch.where(shows // self.grid % 2 == 1, -1, shows))
'''
FILES = '''
from dataclasses import dataclass
from pathlib import Path

from loaders.base import Numbers
from loaders.importers import Contents, Record


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Pictures called SPLIT_X_Y.png, after where the nose is."""

    source: Path

    def survey(self):
        return Contents({"nose": Numbers(("x", "y"))}, (), self.records)

    def records(self):
        for path in sorted(self.source.glob("*.png")):
            split, x, y = path.stem.split("_")
            yield Record(split, path.name, {"nose": (float(x), float(y))}, path)
'''
RECIPE = '''"""Noses, of classes from files beside this one."""

from dataclasses import replace
from pathlib import Path

from engine.backbone import Backbone
from engine.optim import AdamW
from engine.recipe import Recipe
from engine.table import Experiment, Group, Row
from engine.views import Plain
from files import NamedFiles
from kernels import weak
from loaders import Folder
from nose import FindNose
from squares import Squares
from stripes import Stripes

recipe = Recipe(
    data=Squares(),
    augment=weak(),
    views={"plain": Plain(), "stripes": Stripes()},
    backbone=Backbone("test_resnet", options={"channels": (8, 8, 16, 16)}),
    tasks=(FindNose(on=("plain", "stripes")),),
    optim=AdamW(lr=1e-3),
    epochs=2,
    batch_size=8,
    image_size=32,
)
of_files = replace(recipe, data=Folder(NamedFiles(Path(__file__).parent / "pictures"), workers=0))
experiment = Experiment(
    title="Noses",
    table="none",
    data="squares",
    groups=(Group((Row("one", ":recipe", baseline=True), Row("the same", ":recipe"))),),
    metric="nose/distance",
    seeds=1,
)
'''


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and its classes in files beside it."""
    folder = tmp_path_factory.mktemp("outside")
    files = {"nose": NOSE, "squares": SQUARES, "stripes": STRIPES, "files": FILES, "noses": RECIPE}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "pictures").mkdir()
    for i, split in enumerate(("train",) * 8 + ("val",) * 2 + ("test",) * 2):
        Image.fromarray(np.full((32, 32), 20 * i, np.uint8)).save(folder / "pictures" / f"{split}_{i}_{2 * i}.png")
    return folder


def call(*words: str) -> str:
    """What a command prints."""
    environment = os.environ | {"COLUMNS": "200"}
    ended = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def smoked(outside: Path) -> tuple[Path, str]:
    """The run of --smoke, and what the terminal showed."""
    return outside / "smoke", call("engine.run", str(outside / "noses.py"), "--smoke", "--out", str(outside / "smoke"))


def test_the_figures_of_a_new_task_are_in_all_that_a_run_leaves(smoked: tuple[Path, str]) -> None:
    run, shown = smoked
    summary = next(line for line in shown.splitlines() if "distance to the nose" in line)
    assert "distance to the nose (px)" in summary
    assert "42.0" in summary
    assert "reach (px)" in shown
    report = (run / "report.md").read_text(encoding="utf-8")
    result = json.loads((run / "result.json").read_text())
    assert f"distance to the nose {result['last']['test']['nose/distance']:.2f} px last" in report
    assert "(chance 42.00 px)" in report
    assert re.search(r"\| reach +\| +[\d.]+ px", report)
    with (run / "metrics.csv").open() as lines:
        assert [float(row["val/nose/distance"]) for row in csv.DictReader(lines)][-1] == pytest.approx(
            result["last"]["val"]["nose/distance"], rel=1e-5
        )
    assert result["select_on"] == "val/nose/distance"
    values = [result[which]["val"]["nose/distance"] for which in ("best", "last")]
    assert values[0] <= values[1], "less is better"


def test_a_comparison_has_the_figure_with_unit_and_chance(smoked: tuple[Path, str]) -> None:
    shown = CliRunner().invoke(engine.compare.app, [str(smoked[0])], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "distance to the nose" in shown.output
    assert "test (px)" in shown.output
    assert "Guessing reaches: distance to the nose of nose 42.00 px." in shown.output


def test_where_its_file_was_not_imported_the_model_of_a_new_task_is_refused(smoked: tuple[Path, str]) -> None:
    with pytest.raises(ValueError, match=r"the kind 'FindNose' is unknown; import the file that defines it first, or "):
        load(smoked[0])


def test_where_its_file_was_imported_it_predicts(smoked: tuple[Path, str], outside: Path) -> None:
    run_file(outside / "nose.py")
    model = load(smoked[0])
    pictures = sorted((outside / "pictures").glob("*.png"))
    rows, skipped = answers_of(model, pictures)
    assert not skipped
    assert as_csv(model, rows).splitlines()[0] == "path,nose/x,nose/y"
    assert all(torch.isfinite(torch.from_numpy(numbers["nose"])).all() for _, numbers in rows)


def test_predict_takes_the_file_of_a_new_task(smoked: tuple[Path, str], outside: Path) -> None:
    words = [str(smoked[0]), str(outside / "pictures"), "--tasks", str(outside / "nose.py"), "--device", "cpu"]
    ended = CliRunner().invoke(engine.predict.app, words)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.startswith("path,nose/x,nose/y\n")
    words[-3] = str(outside / "pictures")
    refused = CliRunner().invoke(engine.predict.app, words)
    assert refused.exit_code == 2
    assert f"error: tasks: {outside / 'pictures'} is not there; give the path of one" in " ".join(
        refused.stderr.split()
    )


def test_a_table_of_a_new_task_on_a_new_source_has_its_unit_chance_and_direction(outside: Path) -> None:
    shown = call(
        "engine.table",
        str(outside / "noses.py"),
        *("--out", str(outside / "runs"), "--results", str(outside / "results"), "--resamples", "10"),
    )
    assert "distance to the nose of nose (px) on test; guessing reaches 42.00 px." in shown
    assert "difference (px)" in shown
    assert "no claim: the interval holds 0" in shown  # of a figure that the package does not know
    (done,) = (json.loads(path.read_text()) for path in (outside / "results").rglob("*.json"))
    assert done["recipe"]["tasks"][0]["kind"] == "FindNose"


def test_a_new_importer_is_read_by_folder(outside: Path) -> None:
    call("engine.run", f"{outside / 'noses.py'}:of_files", "--out", str(outside / "files"), "--set", "epochs=1")
    assert json.loads((outside / "files" / "result.json").read_text())["counts"] == {"train": 8, "val": 2, "test": 2}
