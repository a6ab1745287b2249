"""An exported model says what the model says, in batches of any size, and is not written where it does not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from engine.deployed import load
from engine.deployed.export import ABOUT, Exported, Format, export, opened
from engine.export import app
from engine.recipe.file import RecipeFile
from engine.tasks import SYNTHETIC_7, Attribute, Expression, PoseBins, PoseRegression, PoseRotation, SolvePuzzle
from engine.training.train import train
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders.base import Preparation
from loaders.terminal import Terminal
from tests.engine import tiny

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
SUPERVISED = (
    Expression(SYNTHETIC_7),
    Attribute(("no", "yes"), label="glasses", hidden=8),
    PoseRegression(name="pose"),
    PoseBins(name="bins", angles=("yaw", "pitch")),
    PoseRotation(name="rotation"),
)
NO_ONNX = "needs onnx, onnxscript and onnxruntime: pip install 'hmtl[export]'"
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
FORMATS = [pytest.param("onnx", marks=pytest.mark.skipif(not HAS_ONNX, reason=NO_ONNX)), "torch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking(Expression):
    """Asks for a value in its answer, which no graph can hold."""

    def answer(self, output: Tensor) -> Tensor:
        return output.softmax(1) if float(output.max()) > 0 else output.softmax(1) + 0


def trained(out: Path, **changes: Any) -> Path:
    file = RecipeFile("tiny", tiny.recipe(**changes), "")
    train(file, out, device=CPU, resume=False, deterministic=False, console=Terminal(quiet=True))
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of supervised head and a pretext one, on a part of the face."""
    return trained(
        tmp_path_factory.mktemp("export") / "run",
        views={"plain": Plain(), "puzzle": Puzzle(grid=2)},
        augment=Augment(),
        tasks=(*SUPERVISED, SolvePuzzle(weight=0.3)),
        evaluation_crop=0.85,
    )


def call(run: Path, to: str, out: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [str(run), "--to", to, "--out", str(out), *words])


@pytest.fixture(scope="module", params=FORMATS)
def exported(request: pytest.FixtureRequest, run: Path) -> tuple[Format, Path, Result]:
    """The format, the file, and what the command said."""
    to: Format = request.param
    out = run.parent / to
    result = call(run, to, out)
    assert result.exit_code == 0, result.output
    return to, out / {"onnx": "model.onnx", "torch": "model.pt2"}[to], result


@pytest.mark.parametrize("batch", [1, 2, 33])
def test_it_says_what_the_model_says(run: Path, exported: tuple[Format, Path, Result], batch: int) -> None:
    to, file, _ = exported
    faces = torch.randint(0, 256, (batch, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(batch))
    said, answers = load(run)(faces), opened(file, to)(faces.numpy())
    assert len(answers) == len(said) == len(SUPERVISED)
    for (task, wanted), found in zip(said.items(), answers, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5 if task in ("expression", "glasses") else 1e-3)


def test_the_command_tells_how_closely_it_agrees(run: Path, exported: tuple[Format, Path, Result]) -> None:
    _, file, result = exported
    lines = result.stdout.splitlines()
    assert lines[0] == f"checkpoint: {run / 'checkpoints' / 'best'}, epoch {load(run).about['epoch']}"
    assert lines[1].startswith("test: expression: largest difference ")
    assert lines[1].endswith("e-08, same class 12/12, in batches of 64 and 7") or "same class 12/12" in lines[1]
    assert lines[3].startswith("test: pose: largest difference ")
    assert "same class" not in lines[3]
    assert lines[-1] == f"wrote {file}"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_the_file_says_what_it_is(run: Path, exported: tuple[Format, Path, Result]) -> None:
    to, file, _ = exported
    if to == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        text = session.get_modelmeta().custom_metadata_map[ABOUT]
        (given,) = session.get_inputs()
        assert (given.name, given.type, given.shape[1:]) == ("faces", "tensor(uint8)", [32, 32, 3])
        assert [output.name for output in session.get_outputs()] == [task.name for task in SUPERVISED]
    else:
        extra = {ABOUT: ""}
        torch.export.load(file, extra_files=extra)
        text = extra[ABOUT]
    about = json.loads(text)
    assert about["answers"] == {name: list(answers) for name, answers in load(run).answers.items()}
    assert (about["classes"], about["faces"]) == (["expression", "glasses"], [32, 32, 3])
    assert about["checkpoint"] == load(run).taken


@pytest.mark.skipif(not HAS_ONNX, reason=NO_ONNX)
def test_the_example_needs_numpy_and_onnxruntime_alone(run: Path, tmp_path: Path) -> None:
    result = call(run, "onnx", tmp_path / "out", "--checkpoint", "last")
    assert f"checkpoint: {run / 'checkpoints' / 'last'}, epoch 2" in result.stdout
    faces = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    np.save(tmp_path / "faces.npy", faces.numpy())
    example = ROOT / "examples" / "onnx_answers.py"
    assert example.read_text().count("\n") <= 25
    words = [sys.executable, str(example), "out/model.onnx", "faces.npy"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = load(run, checkpoint="last")(faces)["expression"]
    lines = [line.split() for line in done.stdout.splitlines() if " expression " in line]
    assert [line[2] for line in lines] == [f"{SYNTHETIC_7[int(row.argmax())]}:" for row in said]
    assert float(lines[0][4]) == pytest.approx(float(said[0, 0]), abs=6e-4)


def test_a_file_that_says_something_else_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Exported.forward
    monkeypatch.setattr(Exported, "forward", lambda self, faces: tuple(a + 0.01 for a in right(self, faces)))
    result = call(run, "torch", tmp_path / "out")
    assert result.exit_code == 2
    assert "export: the exported file does not say what the model says (expression: largest diff" in result.stderr
    assert "0.0001 is allowed), so nothing is written; please report it with the recipe" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused_with_nothing_left(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", views={"plain": Plain()}, tasks=(Asking(SYNTHETIC_7),))
    result = call(run, "torch", tmp_path / "out")
    assert result.exit_code == 2
    assert "export: the model cannot be written as torch (" in result.stderr
    assert "a task of your own must compute its answer by torch's operations alone" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_it_says_what_to_install(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, sys if name != package else None)
    result = call(run, "onnx", tmp_path / "out")
    assert result.exit_code == 2
    assert f"export: package (={package}) must be importable, and is not" in result.stderr
    assert "run `pip install 'hmtl[export]'`" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_calibrated_model_is_exported_as_such(run: Path, tmp_path: Path) -> None:
    """The command compares the file with the calibrated model; here it is told from the model as trained."""
    result = call(run, "torch", tmp_path / "out", "--calibrated")
    assert result.exit_code == 0, result.output
    model = load(run, calibrated=True)
    assert f"expression at temperature {model.temperatures['expression']:.2f}" in " ".join(result.stdout.split())
    faces = torch.randint(0, 256, (3, *model.faces), dtype=torch.uint8)
    said = dict(zip(model.tasks, opened(tmp_path / "out" / "model.pt2", "torch")(faces.numpy()), strict=True))
    torch.testing.assert_close(torch.as_tensor(said["expression"]), model(faces)["expression"], atol=1e-5, rtol=0)
    assert not torch.allclose(torch.as_tensor(said["expression"]), load(run)(faces)["expression"], atol=1e-5)


def test_it_is_tried_on_other_faces(run: Path, tmp_path: Path) -> None:
    result = call(
        run, "torch", tmp_path / "out", "--faces", "Synthetic(test=2,val=9,train=1,size=48)", "--split", "val"
    )
    assert result.exit_code == 0, result.output
    assert "same class 9/9, in batches of 64 and 7" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--faces", "nowhere"], "store nowhere: must be a folder; there is none"),
        (["--split", "dev"], "split (='dev') must be one of"),
        (["--to", "tflite"], "Invalid value for '--to'"),
        (["--encoder"], "export: encoder (=True) must go with --to hub (to is torch); leave it out"),
        (["--licence", "mit"], "export: licence (=mit) must go with --to hub (to is torch); leave it out"),
    ],
)
def test_what_cannot_be_is_refused(run: Path, tmp_path: Path, words: list[str], said: str) -> None:
    result = call(run, "torch", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_and_what_is_no_run_are_refused(run: Path, tmp_path: Path) -> None:
    result = call(run, "torch", tmp_path)
    assert result.exit_code == 2
    assert f"export: out (={tmp_path}) is there already; name a folder that is not" in result.stderr
    result = call(run / "checkpoints" / "best", "torch", tmp_path / "out")
    assert result.exit_code == 2
    assert "so it is not a run; name a folder that hmtl train wrote" in result.stderr


def test_the_file_says_what_was_done_to_pictures_before(run: Path, tmp_path: Path) -> None:
    model = load(run)
    model.prepared = (Preparation(32, "stretch", "rgb", "box", 0.25),)
    files = {ABOUT: ""}
    torch.export.load(export(model, "torch", tmp_path), extra_files=files)
    wanted = {"size": 32, "fit": "stretch", "colour": "rgb", "crop": "box", "margin": 0.25}
    assert json.loads(files[ABOUT])["prepared"] == [wanted]
