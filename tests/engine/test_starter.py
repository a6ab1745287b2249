"""`hmtl recipes new STORE` writes a recipe that reads, fits its store and can be trained, whatever the store holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from engine.cli import app
from engine.recipe.file import read
from engine.recipe.starter import write_recipe
from engine.training.cost import cost_of
from engine.training.train import open_split
from engine.training.trial import try_model
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders, ManifestFile
from loaders.prepare import prepare

ROWS = 24


def store(folder: Path, header: str, row: Any, *, size: int = 48) -> Path:
    """A store of faces in three splits, whose labels `row` gives by place."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = [f"path,split,{header}"]
    for place in range(ROWS):
        Image.fromarray(rng.integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(folder / f"{place}.png")
        lines.append(f"{place}.png,{('train', 'train', 'val', 'test')[place % 4]},{row(place)}")
    (folder / "m.csv").write_text("\n".join(lines))
    prepare(ManifestFile(folder / "m.csv"), folder / "store", Form(size), workers=1)
    return folder / "store"


@pytest.mark.parametrize(
    ("header", "row", "options", "says"),
    [
        ("expression", lambda i: "ab"[i // 4 % 2], {}, "Expression(('a', 'b'), label_smoothing"),
        ("mood", lambda i: "ab"[i // 4 % 2], {}, "Attribute(('a', 'b'), label='mood', name='mood'"),
        ("2 of'em", lambda i: "ab"[i // 4 % 2], {}, "label=\"2 of'em\", name='of_em'"),
        ("expression", lambda i: "ab"[i // 4 % 2] if i < 8 else "", {}, "PseudoLabels(weight"),
        ("mood", lambda i: "ab"[i // 4 % 2] if i < 8 else "", {}, "PseudoLabels(of='mood', weight"),
        ("age.years", lambda i: i, {}, "Number(label='age', name='age', column='years'"),
        ("age.years", lambda i: i if i < 8 else "", {}, "Number(label='age', name='age', column='years'"),
        ("pose.yaw,pose.pitch,pose.roll", lambda i: f"{i},1,2", {}, "PoseRotation(label='pose'"),
        ("a,mood", lambda i: f"x,{'pq'[i // 4 % 2]}", {}, "label='mood'"),
        ("a,mood", lambda i: f"{'xy'[i // 4 % 2]},{'pq'[i // 4 % 2]}", {"label": "mood"}, "label='mood'"),
    ],
)
def test_the_recipe_of_a_store_reads_and_fits_it(
    tmp_path: Path, header: str, row: Any, options: dict[str, str], says: str
) -> None:
    made = store(tmp_path / "data", header, row, size=50)
    file = write_recipe(made, out=tmp_path / "mine.py", **options)
    assert says in file.read_text()
    for name in ("recipe", "supervised", "supervised_equal_cost"):
        recipe = read(f"{file}:{name}").recipe
        assert recipe.image_size == 48
        loader = open_split(recipe, recipe.train, torch.device("cpu"))
        recipe.check_labels(loader.split)
        loader.close()
        try_model(recipe)
    hybrid, equal = (cost_of(read(f"{file}:{name}").recipe, 25).flops for name in ("recipe", "supervised_equal_cost"))
    assert hybrid is not None
    assert equal == pytest.approx(hybrid, rel=0.03)


def test_the_scale_of_numbers_is_theirs(tmp_path: Path) -> None:
    made = store(tmp_path / "data", "age.years", lambda i: i / 2 - 3)
    assert "low=-3, high=8)" in write_recipe(made, out=tmp_path / "mine.py").read_text().replace(
        ", label_smoothing", ""
    )


def test_the_label_of_groups_is_not_one_to_learn(tmp_path: Path) -> None:
    made = store(tmp_path / "data", "person,age.years", lambda i: f"{'xy'[i // 4 % 2]},{i}")
    assert "label='person'" in write_recipe(made, out=tmp_path / "first.py").read_text()
    prepare(ManifestFile(tmp_path / "data" / "m.csv", group="person"), tmp_path / "data" / "grouped", Form(48))
    assert "label='age'" in write_recipe(tmp_path / "data" / "grouped", out=tmp_path / "mine.py").read_text()
    with pytest.raises(ValueError, match=r"label \(='person'\) must be one of age; name one of these"):
        write_recipe(tmp_path / "data" / "grouped", label="person", out=tmp_path / "other.py")


def test_no_name_ends_or_changes_the_docstring(tmp_path: Path) -> None:
    made = store(tmp_path / 'a"""b\\x', 'say ""hi""', lambda i: "ab"[i // 4 % 2])
    assert read(str(write_recipe(made, out=tmp_path / "mine.py"))).recipe.tasks[0].label == 'say ""hi""'


def test_faces_of_a_second_store_are_used_without_labels(tmp_path: Path) -> None:
    first = store(tmp_path / "data", "expression", lambda i: "ab"[i // 4 % 2])
    more = tmp_path / "more"
    more.mkdir()
    for place in range(40):
        Image.fromarray(np.full((50, 50, 3), place, np.uint8)).save(more / f"{place}.png")
    prepare(ClassFolders(more, unlabelled=True), tmp_path / "others", Form(48), workers=1)
    file = write_recipe(first, unlabelled=tmp_path / "others", out=tmp_path / "mine.py")
    assert "12 of the 52 training faces have expression" in file.read_text()
    loader = open_split(recipe := read(str(file)).recipe, "train", torch.device("cpu"))
    assert len(loader.split.sample) == 52
    loader.close()
    assert recipe.sampler.labelled == 12  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_command_writes_a_recipe_that_a_smoke_test_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store(tmp_path / "data", "expression", lambda i: "ab"[i // 4 % 2] if i < 8 else "")
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["recipes", "new", str(made), "--out", "mine.py"])
    assert ended.exit_code == 0, ended.output
    assert "wrote mine.py; try it with: hmtl train mine.py --smoke" in ended.output
    from engine.run import app as train

    ended = CliRunner().invoke(train, ["mine.py", "--smoke", "--out", "run"])
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "run" / "report.md").exists()


@pytest.mark.parametrize(
    ("header", "row", "options", "message"),
    [
        ("expression", lambda i: "ab"[i // 4 % 2], {"label": "mood"}, r"label \(='mood'\) must be one of expression"),
        ("expression", lambda i: "a", {}, r"must have a label to learn; it has none"),
        ("expression", lambda i: "ab"[i % 2] if i % 4 > 1 else "", {}, r"no training face has expression"),
        ("expression", lambda i: "ab"[i // 4 % 2], {"out": "9x.py"}, r"out \(=.*9x\.py\) must be a name for a Python"),
        ("expression", lambda i: "ab"[i // 4 % 2], {"out": "m.csv"}, r"m\.csv must not be there yet; move it away"),
        ("expression", lambda i: "ab"[i // 4 % 2], {"unlabelled": "gone"}, r"store .*gone: must be a folder"),
    ],
)
def test_what_no_recipe_can_be_written_for_is_refused(
    tmp_path: Path, header: str, row: Any, options: dict[str, str], message: str
) -> None:
    made = store(tmp_path / "data", header, row)
    paths = {name: tmp_path / "data" / value for name, value in options.items() if name != "label"}
    label = options.get("label", "")
    with pytest.raises(ValueError, match=message):
        write_recipe(made, label=label, **({"out": tmp_path / "mine.py"} | paths))
    assert not (tmp_path / "mine.py").exists()
