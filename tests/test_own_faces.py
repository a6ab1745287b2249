"""The page on your own faces: each of its commands is run on drawn faces, and leaves what the page says."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from engine.cli import app
from engine.tasks import SYNTHETIC_7
from loaders import Classes, Numbers
from loaders.store.opening import open_store
from loaders.synthetic import draw_faces

PAGE = Path(__file__).parents[1] / "docs" / "own_faces.md"
SHORT = ("epochs=1", "optim.warmup_epochs=0", "batch_size=16", 'backbone=Backbone("test_resnet")', "image_size=32")
"""Makes the training of the page one of seconds."""
SIDE = 32
POINTS = np.array([[10, 12], [22, 12], [16, 18], [12, 24], [20, 24]])


def write_faces(folder: Path) -> None:
    """Writes 48 drawn faces of six persons: in class folders, and in larger pictures of two shapes, with a list."""
    pictures, drawn = draw_faces(0, "train", np.arange(48), SIDE)
    boxes = [f"box_{side}" for side in ("left", "top", "right", "bottom")]
    points = [f"landmark_{number}_{axis}" for number in range(5) for axis in "xy"]
    rows = [["path", "split", "expression", "glasses", "age.years", "person", *boxes, *points]]
    for i, (face, number) in enumerate(zip(pictures, drawn.expression, strict=True)):
        person, name = f"p{i % 6}", SYNTHETIC_7[number]
        crop = folder / "faces" / name / f"{person}_{i}.png"
        crop.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(crop)
        width, height = ((90, 60), (48, 80))[i % 2]
        left, top = i % 10, 5 + i % 15
        photo = np.full((height, width, 3), 128, np.uint8)
        photo[top : top + SIDE, left : left + SIDE] = face
        path = Path("photos", f"{i}.png")
        (folder / path).parent.mkdir(exist_ok=True)
        Image.fromarray(photo).save(folder / path)
        split = ("train", "train", "train", "train", "val", "test")[i % 6]
        values = [name if i % 7 else "", "yes" if i % 3 else "no", f"{20 + i}" if i % 5 else "nan", person]
        box = [left, top, left + SIDE, top + SIDE]
        rows.append([str(path), split, *values, *map(str, box), *map(str, np.add(POINTS, (left, top)).ravel())])
    with (folder / "faces.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "crops").mkdir()
    Image.fromarray(pictures[0]).save(folder / "crops" / "a.png")


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("hmtl ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def test_the_commands_of_the_page_run_on_drawn_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path)
    monkeypatch.chdir(tmp_path)
    for words in commands():
        # The order of two classes alone is for lists that have no others.
        words = [
            word.replace("expression=Happy,Sad", f"expression={','.join(reversed(SYNTHETIC_7))}") for word in words
        ]
        if words[0] == "train":
            words += [word for setting in SHORT for word in ("--set", setting)]
        if words[0] in ("train", "evaluate", "predict"):
            words += ["--device", "cpu"]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (words, result.output)
    folders, mine = open_store(Path("data/folders")), open_store(Path("data/mine"))
    assert folders.manifest.group == mine.manifest.group == "person"
    assert set(folders.manifest.splits) == {"train", "val", "test"}
    kinds = mine.manifest.labels
    assert list(kinds) == ["expression", "glasses", "age", "person"]
    assert kinds["age"] == Numbers(("years",))
    assert kinds["glasses"] == Classes(("no", "yes"))
    assert int((mine.manifest.target["expression"] < 0).sum()) == 7
    assert int(mine.manifest.target["age"].isnan().sum()) == 10
    assert mine.source["prepared"] == {"size": 32, "fit": "crop", "colour": "auto", "crop": "box", "margin": 0.1}
    assert open_store(Path("data/aligned")).source["prepared"]["crop"] == "align"
    whole = open_store(Path("data/whole"))
    assert whole.shape == (32, 32, 1)
    assert whole.manifest.labels["expression"] == Classes(tuple(reversed(SYNTHETIC_7)))
    result = json.loads(Path("runs/mine/result.json").read_text())
    assert result["classes"] == {"expression": list(kinds["expression"].names)}  # type: ignore[union-attr]
    with Path("said.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"].endswith("a.png")
    assert row["expression"] in SYNTHETIC_7
