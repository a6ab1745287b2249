"""`hmtl export --int8`: ranges come from training faces, what it costs is measured, and too much is refused."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import engine.export
from engine.deployed import Deployed, int8, load
from engine.deployed.evaluation import evaluate
from engine.deployed.export import ABOUT, answers_of, faces_of, opened
from engine.deployed.int8 import FILE, Loss, losses, refuse_losses, training_faces
from engine.export import app
from engine.figures import Figure
from engine.tasks import SYNTHETIC_7, Expression, PoseRegression
from engine.views import Plain
from kernels import Augment
from loaders import Synthetic
from tests.engine import tiny

SHARE, DEGREES = Figure("accuracy", greater_is_better=True, unit="%"), Figure("mean_error", unit="°")
DATA = Synthetic(train=96, val=12, test=40, size=32)
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))),
    reason="needs onnx, onnxscript and onnxruntime: pip install 'hmtl[export]'",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny.recipe(
        data=DATA,
        views={"plain": Plain()},
        augment=Augment(),
        tasks=(Expression(SYNTHETIC_7), PoseRegression(name="pose")),
        epochs=3,
    )
    return tiny.trained(recipe, tmp_path_factory.mktemp("int8") / "run")


@pytest.fixture(scope="module")
def model(run: Path) -> Deployed:
    return load(run)


def call(run: Path, out: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [str(run), "--to", "onnx", "--out", str(out), *words])


@needs_onnx
@pytest.mark.slow
def test_it_is_written_beside_the_other_and_what_it_costs_is_measured(
    run: Path, model: Deployed, tmp_path: Path
) -> None:
    import onnx

    ended = call(run, tmp_path / "out", "--int8", "--int8-loss", "50")
    assert ended.exit_code == 0, ended.output
    printed = " ".join(ended.stdout.split())
    file = tmp_path / "out" / FILE
    assert f"wrote {tmp_path / 'out' / 'model.onnx'}, {file}" in printed
    graph = onnx.load(file)
    assert {each.key: each.value for each in graph.metadata_props}[ABOUT]
    kinds = [node.op_type for node in graph.graph.node]
    layers = sum(isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) for layer in model.network.modules())
    assert kinds.count("DequantizeLinear") >= 2 * layers
    stored = {each.name: each.data_type for each in graph.graph.initializer}
    assert list(stored.values()).count(onnx.TensorProto.INT8) >= layers

    faces = faces_of(model, DATA, "test")
    said = dict(zip(model.tasks, answers_of(opened(file, "onnx"), faces.numpy(), 64), strict=True))
    exact = {task: values.numpy() for task, values in model(faces).items()}
    assert 0 < np.abs(said["expression"] - exact["expression"]).max() < 0.2
    target = DATA.open("test", "cpu").split.target["expression"].numpy()
    before, after = (100 * (each["expression"].argmax(1) == target).mean() for each in (exact, said))
    assert f"test: expression: accuracy {before:.2f} % -> {after:.2f} % in int8" in printed
    assert re.search(r"test: pose: .* -> [\d.]+° in int8, [\d.]+° (worse|better)", printed)


@needs_onnx
@pytest.mark.slow
def test_one_that_costs_too_much_is_not_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Loss("expression", SHARE, 0.6, 0.55), Loss("pose", DEGREES, 10.0, 10.4)]
    monkeypatch.setattr(engine.export, "losses", lambda tasks, evaluation, answers: found)
    ended = call(run, tmp_path / "out", "--int8")
    assert ended.exit_code == 2
    said = " ".join(ended.stderr.split())
    assert (
        "export: int8 costs more than int8-loss (=1) allows (expression: accuracy 60.00 % -> 55.00 % in int8, " in said
    )
    assert "5.00 points worse), so nothing is written; allow more by --int8-loss, or leave --int8 out" in said
    assert list(tmp_path.iterdir()) == []


def test_losses_are_told_in_the_unit_of_the_figure() -> None:
    assert str(Loss("a", SHARE, 0.6, 0.55)) == "a: accuracy 60.00 % -> 55.00 % in int8, 5.00 points worse"
    assert str(Loss("a", SHARE, 0.5, 0.51)) == "a: accuracy 50.00 % -> 51.00 % in int8, 1.00 points better"
    assert str(Loss("a", SHARE, 0.5, 0.5)) == "a: accuracy 50.00 % -> 50.00 % in int8, 0.00 points worse"
    assert str(Loss("b", DEGREES, 10.0, 12.5)) == "b: mean error 10.00° -> 12.50° in int8, 2.50° worse"
    refuse_losses([Loss("a", SHARE, 0.5, 0.49), Loss("b", DEGREES, math.nan, math.nan)], 1.01)
    with pytest.raises(ValueError, match=r"costs more than int8-loss \(=1\) allows \(a: accuracy"):
        refuse_losses([Loss("a", SHARE, 0.5, math.nan)], 1.0)
    with pytest.raises(ValueError, match=r"export: int8 \(=True\) must be measured, and no face .* name a labelled"):
        refuse_losses([], 1.0)


def test_losses_of_the_same_answers_are_none_and_of_others_are_their_figures(run: Path, model: Deployed) -> None:
    told = evaluate(run, DATA, "test")
    exact = {task: values.numpy() for task, values in model(faces_of(model, DATA, "test")).items()}
    found = losses(model.tasks, told, exact)
    assert [each.task for each in found] == ["expression", "pose"]
    assert [each.loss for each in found] == pytest.approx([0, 0], abs=1e-4)
    wrong = exact | {"expression": np.roll(exact["expression"], 1, axis=1)}
    target = DATA.open("test", "cpu").split.target["expression"].numpy()
    assert losses(model.tasks, told, wrong)[0].after == pytest.approx((wrong["expression"].argmax(1) == target).mean())


def test_ranges_come_from_training_faces_drawn_by_a_seed(model: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "FACES", 70)
    one, same, other = (training_faces(model, DATA, "train", seed) for seed in (1, 1, 2))
    assert one.shape == (70, 32, 32, 3)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    every = {face.numpy().tobytes() for face in faces_of(model, DATA, "train")}
    assert {face.numpy().tobytes() for face in one} < every
    monkeypatch.setattr(int8, "FACES", 500)
    assert {face.numpy().tobytes() for face in training_faces(model, DATA, "train", 1)} == every


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--int8", "--to", "torch"], "export: int8 (=True) must go with --to onnx (to is torch); leave it out"),
        (["--int8-loss", "2"], "export: int8-loss (=2) must go with --int8; add it, or leave this out"),
        (
            ["--int8", "--int8-loss", "-1"],
            "export: int8-loss (=-1) must be 0 or more, in points or degrees; 1 is usual",
        ),
        (["--int8", "--int8-loss", "nan"], "export: int8-loss (=nan) must be 0 or more, in points or degrees"),
    ],
)
def test_what_does_not_go_together_is_refused(run: Path, tmp_path: Path, words: list[str], said: str) -> None:
    ended = call(run, tmp_path / "out", *words)
    assert ended.exit_code == 2
    assert said in " ".join(ended.stderr.split())
    assert list(tmp_path.iterdir()) == []
