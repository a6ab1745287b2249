"""A run evaluated on its own data says what it said; on another store labels are matched by name, or refused."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from engine.deployed import load
from engine.deployed.evaluation import evaluate, made_otherwise, source_named
from engine.deployed.fitting import fitted
from engine.evaluate import app
from engine.recipe.file import RecipeFile, run_file
from engine.reports.evaluation import Evaluation
from engine.tasks import SYNTHETIC_7, Attribute, Expression, PoseRegression, SolvePuzzle
from engine.training.train import train
from engine.views import Plain, Puzzle
from kernels import Augment
from loaders import Loader, Packed, Synthetic
from loaders.base import Classes, Label, Numbers, Preparation
from loaders.decoding.reading import Face
from loaders.feed.order import Order
from loaders.importers import Record
from loaders.store.writing import new_store
from loaders.terminal import Terminal
from tests.engine import tiny

CPU = torch.device("cpu")
OWN = "Synthetic(train=32, val=12, test=12, size=32)"
VIEWS = {"plain": Plain(), "puzzle": Puzzle(grid=2)}
TASKS = (
    Expression(SYNTHETIC_7),
    Attribute(("no", "yes"), label="glasses", group="expression", group_names=SYNTHETIC_7),
    PoseRegression(),
)


def trained(out: Path, **changes: Any) -> Path:
    recipe = tiny.recipe(**changes)
    file = RecipeFile("tiny", recipe, "")
    train(file, out, device=CPU, resume=False, deterministic=False, console=Terminal(quiet=True))
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with tasks of three kinds, and a pretext one."""
    return trained(
        tmp_path_factory.mktemp("evaluate") / "run",
        views=VIEWS,
        tasks=(*TASKS, SolvePuzzle(weight=0.3)),
        augment=Augment(),
    )


def write_store(
    out: Path,
    labels: Mapping[str, Label],
    values: list[Mapping[str, Any]],
    pixels: np.ndarray | None = None,
    prepared: Preparation | None = None,
) -> Path:
    """Writes a store whose split test has a face for each of `values`: by default those of the run's own test."""
    if pixels is None:
        faces = Synthetic(train=32, val=12, test=12, size=32).open("test", CPU).pixels
        assert isinstance(faces, torch.Tensor)
        pixels = faces.numpy()
    with new_store(out, labels, origin={}) as writer:
        for i, value in enumerate(values):
            record = Record("test", f"face{i}.png", value, pixels[i])
            writer.add([Face(record, pixels[i])])
        writer.prepared = prepared
    return out


def expressions(tmp_path: Path, names: tuple[str, ...], given: list[str | None], **changes: Any) -> Path:
    """A store whose faces have these classes of the label `expression`."""
    values = [{} if name is None else {"expression": name} for name in given]
    return write_store(tmp_path / "store", {"expression": Classes(names)}, values, **changes)


def call(run: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [str(run), *words, "--device", "cpu"])


def value(found: Evaluation, name: str) -> float:
    return next(each.value for each in found.figures if f"{each.task}/{each.figure.name}" == name)


@pytest.mark.parametrize("which", ["last", "best"])
@pytest.mark.parametrize("split", ["test", "val"])
def test_on_its_own_data_it_says_what_training_said(run: Path, which: Any, split: str) -> None:
    found = evaluate(run, source_named(OWN), split, checkpoint=which)
    with np.load(run / "predictions" / f"{split}-{which}.npz") as before:
        for key, said in found.arrays.items():  # training encodes the views of pretext tasks in the same batch
            np.testing.assert_allclose(said, before[key], atol=1e-4 if key == "pose.angles" else 1e-6, err_msg=key)
        assert "expression.probability" in found.arrays
    told = json.loads((run / "result.json").read_text())[which][split]
    told = {name: math.nan if number is None else number for name, number in told.items()}  # of a class without faces
    measured = {f"{each.task}/{each.figure.name}": each.value for each in found.figures}
    assert {name for name in told if not name.startswith("puzzle/")} == set(measured)
    for name, number in measured.items():
        assert number == pytest.approx(told[name], rel=1e-5, abs=1e-6, nan_ok=True), name
    assert measured["expression/accuracy"] == told["expression/accuracy"]
    assert found.own_split == "test"
    if split == "test":
        own = {f"{each.task}/{each.figure.name}": each.own for each in found.figures}
        own = {name: math.nan if number is None else number for name, number in own.items()}
        assert own == pytest.approx({name: told[name] for name in measured}, nan_ok=True)


def test_intervals_hold_the_figures_of_single_pictures(run: Path) -> None:
    figures = evaluate(run, source_named(OWN), "test").figures
    intervals = {f"{each.task}/{each.figure.name}": each.interval for each in figures}
    with_one = {name for name, interval in intervals.items() if interval}
    assert {"expression/accuracy", "expression/macro_f1", "glasses/error_rate", "pose/mae_yaw"} <= with_one
    assert not {"expression/cross_entropy", "expression/calibration_error"} & with_one
    for each in figures:
        if each.interval is not None:
            assert each.interval[0] <= each.value <= each.interval[1]
    assert any(each.interval is not None and each.interval[0] < each.interval[1] for each in figures)
    faces = Synthetic(train=32, val=12, test=12, size=32).open("test", "cpu").split.target["expression"]
    of_each = {f"glasses/{name} error_rate": int((faces == i).sum()) for i, name in enumerate(SYNTHETIC_7)}
    of_each = {name: count for name, count in of_each.items() if count}  # a class without faces has no error rate
    support = {f"{each.task}/{each.figure.name}": each.support for each in figures}
    assert {name: support[name] for name in of_each} == of_each
    assert of_each.keys() <= with_one
    assert (support["expression/accuracy"], support["pose/mae_yaw"], support["expression/cross_entropy"]) == (
        12,
        12,
        None,
    )


@pytest.mark.parametrize(
    ("own", "trained", "said"),
    [
        (Preparation(32), (Preparation(48),), None),
        (Preparation(32, "stretch"), (), None),
        (None, (Preparation(32),), None),
        (Preparation(32, "stretch"), (Preparation(32),), "stretched to 32 x 32; there cropped to 32 x 32"),
        (Preparation(32, "pad"), (Preparation(32, "stretch"),), "padded to 32 x 32; there stretched to 32 x 32"),
        (
            Preparation(32),
            (Preparation(32), Preparation(32, crop="align", margin=0.1)),
            "cropped to 32 x 32; there cropped to 32 x 32 or aligned by landmarks (margin 0.1), cropped to 32 x 32",
        ),
    ],
)
def test_faces_made_otherwise_than_those_of_the_training_are_said(
    run: Path, tmp_path: Path, own: Preparation | None, trained: tuple[Preparation, ...], said: str | None
) -> None:
    model = load(run)
    model.prepared = trained
    split = Packed(expressions(tmp_path, SYNTHETIC_7, [SYNTHETIC_7[0]] * 2, prepared=own)).open("test", CPU).split
    wanted = "" if said is None else f"faces were made otherwise than those of the training: {said}"
    assert made_otherwise(split, model) == wanted


def test_classes_in_another_order_and_other_capitals_are_the_same(run: Path, tmp_path: Path) -> None:
    truth = Synthetic(train=32, val=12, test=12, size=32).open("test", CPU).split.target["expression"]
    names = tuple(name.lower() for name in reversed(SYNTHETIC_7))
    store = expressions(tmp_path, names, [SYNTHETIC_7[i].lower() for i in truth])
    own, other = (evaluate(run, source, "test") for source in (source_named(OWN), Packed(store)))
    for name in ("accuracy", "macro_f1", "mean_recall", "cross_entropy"):
        assert value(other, f"expression/{name}") == value(own, f"expression/{name}")
    assert {row.model for row in other.labels[0].rows} == set(SYNTHETIC_7)
    assert other.notes[:2] == (
        "Attribute 'glasses' is left out: the store has no label 'glasses'",
        "PoseRegression 'pose' is left out: the store has no label 'pose'",
    )


def test_a_map_renames_and_leaves_out(run: Path, tmp_path: Path) -> None:
    given = ["glad", "contempt", "Sad", "glad", "contempt", "Neutral", None]
    store = expressions(tmp_path, ("glad", "contempt", "Sad", "Neutral"), given)
    result = call(run, str(store), "--map", "glad=Happy, contempt=", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    printed = " ".join(result.stdout.split())
    assert "expression: glad became Happy computed in" in printed
    assert (
        "expression: 1 face(s) have no label in the store expression: 2 face(s) of contempt are left out of the figures"
        in printed
    )
    assert "expression: no face is Surprise, Fear, Disgust, Anger; where the model says so it is wrong" in printed
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert [row["expression/label"] for row in rows] == ["Happy", "", "Sad", "Happy", "", "Neutral", ""]
    assert [row["path"] for row in rows] == [f"face{i}.png" for i in range(7)]
    labelled = [row for row in rows if row["expression/label"]]
    right = sum(row["expression"] == row["expression/label"] for row in labelled)
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["figures"]["expression/accuracy"]["value"] == right / 4
    assert told["labels"]["expression"]["classes"] == {
        "glad": "Happy",
        "contempt": None,
        "Sad": "Sad",
        "Neutral": "Neutral",
    }


def test_the_csv_holds_the_numbers_of_predict(run: Path, tmp_path: Path) -> None:
    call(run, OWN, "--out", str(tmp_path / "out"))
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    batch = next(Loader.open(source_named(OWN), "test", batch_size=12, seed=0, device=CPU).epoch(0))
    said = load(run)(batch.store[batch.row])
    for i, row in enumerate(rows):
        assert [float(row[f"expression/{name}"]) for name in SYNTHETIC_7] == pytest.approx(
            said["expression"][i].tolist(), abs=1e-5
        )
        assert row["expression"] == SYNTHETIC_7[int(said["expression"][i].argmax())]
        assert [float(row[f"pose/{angle}"]) for angle in ("yaw", "pitch", "roll")] == pytest.approx(
            said["pose"][i].tolist(), abs=1e-3
        )
        assert float(row["pose/label/yaw"]) == pytest.approx(float(batch.target["pose"][i, 0]), rel=1e-5)


def test_calibrated_probabilities_are_measured_and_no_answer_changes(run: Path, tmp_path: Path) -> None:
    result = call(run, OWN, "--calibrated", "--html")
    assert result.exit_code == 0, result.output
    out = run / "evaluations" / "Synthetic-test-calibrated"
    assert f"report: {out / 'report.html'}" in result.stdout.replace("\n", "")
    assert (out / "report.html").read_text().count('src="data:image/png;base64,') == 4
    temperature = load(run, calibrated=True).temperatures["expression"]
    assert f"scores of expression are divided by {temperature:.2f}" in (out / "report.md").read_text()
    said = np.load(run / "predictions" / "test-best.npz")
    scores = np.log(said["expression.probability"].astype(np.float64)) / temperature
    share = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    wanted = -np.log(share[np.arange(len(share)), said["expression.target"]]).mean()
    figures = json.loads((out / "result.json").read_text())["figures"]
    assert figures["expression/cross_entropy"]["value"] == pytest.approx(wanted, rel=1e-4)
    assert figures["expression/accuracy"]["value"] == figures["expression/accuracy"]["own"]
    assert figures["pose/mae_yaw"]["value"] == pytest.approx(figures["pose/mae_yaw"]["own"], rel=1e-4)
    np.testing.assert_allclose(np.load(out / "predictions.npz")["expression.probability"], share, atol=1e-4)


def test_the_report_shows_figures_labels_and_classes(run: Path, tmp_path: Path) -> None:
    result = call(run, OWN, "--checkpoint", "last")
    out = run / "evaluations" / "Synthetic-test"
    assert result.exit_code == 0, result.output
    assert f"checkpoint: {run / 'checkpoints' / 'last'}, epoch 2\n" in result.stdout
    assert f"report: {out / 'report.md'}\n" in result.stdout
    text = (out / "report.md").read_text()
    assert text.startswith("# tiny on test of Synthetic\n\n> **Drawn faces.** The faces of this store are drawn by")
    for part in ("## Figures", "## Labels", "## Classes of expression", "## Classes of glasses", "| own test |"):
        assert part in text, part
    assert [path.name for path in sorted((out / "charts").iterdir())] == [
        *("confusion-expression.png", "confusion-glasses.png", "recall-expression.png", "recall-glasses.png")
    ]
    assert all(f"(charts/{path.name})" in text for path in (out / "charts").iterdir())
    again = call(run, OWN)
    assert again.exit_code == 2
    assert f"evaluate: out (={out}) is there already; write over it by --force, or name another" in again.stderr
    forced = call(run, OWN, "--force")
    assert forced.exit_code == 0, forced.output
    assert "checkpoints/best" in (out / "report.md").read_text()


def test_a_label_of_another_name_is_taken(run: Path, tmp_path: Path) -> None:
    values = [{"feeling": name} for name in SYNTHETIC_7]
    store = write_store(tmp_path / "store", {"feeling": Classes(SYNTHETIC_7)}, values)
    found = evaluate(run, Packed(store), "test", labels={"expression": "feeling"})
    assert (found.labels[0].name, found.labels[0].own) == ("expression", "feeling")
    assert len(found.arrays["sample"]) == 7
    assert any("no label 'glasses'" in note for note in found.notes)


def test_without_its_groups_a_task_has_no_figures_by_group(run: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", {"glasses": Classes(("yes", "no"))}, [{"glasses": "yes"}] * 12)
    found = evaluate(run, Packed(store), "test")
    assert np.isnan(value(found, "glasses/spread_of_error_rate"))
    assert value(found, "glasses/error_rate") == float((found.arrays["glasses.probability"].argmax(1) != 1).mean())
    note = "Attribute 'glasses' has no figures by expression: the store has no label 'expression'"
    assert note in found.notes


def test_an_angle_that_the_store_lacks_is_said_and_the_others_measured(run: Path, tmp_path: Path) -> None:
    truth = Synthetic(train=32, val=12, test=12, size=32).open("test", CPU).split.target["pose"]
    values = [{"pose": [float(pitch), float(yaw)]} for yaw, pitch, _ in truth]
    store = write_store(tmp_path / "store", {"pose": Numbers(("pitch", "yaw"))}, values)
    own, other = (evaluate(run, source, "test") for source in (source_named(OWN), Packed(store)))
    for angle in ("yaw", "pitch"):
        assert value(other, f"pose/mae_{angle}") == pytest.approx(value(own, f"pose/mae_{angle}"))
    assert np.isnan(value(other, "pose/mae_roll"))
    assert "pose: roll is not known of any face, so figures of it are missing" in other.notes


def test_faces_of_another_size_and_colour_are_brought_to_those_of_the_run(run: Path, tmp_path: Path) -> None:
    small = Synthetic(train=32, val=12, test=12, size=32).open("test", CPU).pixels
    assert isinstance(small, torch.Tensor)
    large = small.numpy().repeat(3, axis=1).repeat(3, axis=2)
    given = [SYNTHETIC_7[i % 7] for i in range(12)]
    stores = [
        expressions(tmp_path / name, SYNTHETIC_7, given, pixels=pixels)
        for name, pixels in (("own", None), ("large", large), ("gray", large[..., :1]))
    ]
    own, same, gray = (evaluate(run, Packed(store), "test") for store in stores)
    assert own.facts == ("computed in fp32",)
    assert same.facts[0] == "faces are resized from 96 x 96 to 32 x 32 pixels"
    assert gray.facts[0] == "faces are resized from 96 x 96 to 32 x 32 pixels and brought to RGB"
    said = [each.arrays["expression.probability"] for each in (own, same, gray)]
    assert np.abs(said[0] - said[1]).max() < 0.02
    assert not np.array_equal(said[0], said[2])


@pytest.mark.parametrize("resident", [True, False])
def test_fitting_does_what_prepare_does(tmp_path: Path, resident: bool) -> None:
    faces = Synthetic(test=4, train=1, val=1, size=48).open("test", CPU)
    assert isinstance(faces.pixels, torch.Tensor)
    if not resident:
        values = [{"expression": "Sad"}] * 4
        store = write_store(tmp_path / "s", {"expression": Classes(("Sad",))}, values, pixels=faces.pixels.numpy())
        faces = Packed(store, tier="mapped").open("test", CPU)
    shown, done = fitted(faces, (32, 32, 1), "here")
    assert done == "resized from 48 x 48 to 32 x 32 pixels and brought to gray"
    original, _ = fitted(faces, (48, 48, 3), "here")
    assert original is faces
    batch = next(Loader(shown, Order(shown.split, 4, 0)).epoch(0))
    before = next(Loader(faces, Order(faces.split, 4, 0)).epoch(0))
    for i in range(4):
        picture = Image.fromarray(before.store[before.row[i]].numpy()).convert("L")
        wanted = picture.resize((32, 32), Image.Resampling.LANCZOS, (0, 0, 48, 48), reducing_gap=3.0)
        assert np.array_equal(batch.store[batch.row[i], :, :, 0], np.asarray(wanted))


def test_faces_of_another_shape_are_refused(run: Path, tmp_path: Path) -> None:
    pixels = np.zeros((1, 32, 24, 3), np.uint8)
    store = expressions(tmp_path, SYNTHETIC_7, ["Sad"], pixels=pixels)
    result = call(run, str(store))
    assert result.exit_code == 2
    assert "evaluate: test of store: faces (=24 x 32) must be square, or 32 x 32 pixels as those that" in result.stderr
    assert not (run / "evaluations" / "store-test").exists()


@pytest.mark.parametrize(
    ("names", "words", "said"),
    [
        (
            ("Sad", "contempt"),
            [],
            "expression has classes that the model does not know: contempt (2 faces); the model's are Neutral, Happy",
        ),
        (("Sad", "contempt"), [], 'leave their faces out: --map "contempt="'),
        (("Sad", "contempt"), ["--map", "contmpt="], "map (='contmpt') must name a class of the store; did you mean"),
        (
            ("Sad", "contempt"),
            ["--map", "contempt=Angr"],
            "map (contempt=Angr) must lead to a class of the model; did you mean 'Anger'?",
        ),
        (("Sad", "contempt"), ["--map", "contempt"], "map (='contempt') must read OLD=NEW, or OLD= to leave"),
        (("Sad", "contempt"), ["--map", "a=,a=b"], "map names 'a' twice; name each class once"),
        (("Sad", "contempt"), ["--label", "expression"], "label (='expression') must read OWN=STORE, the model's"),
        (("Sad", "contempt"), ["--label", "mood=expression"], "label (='mood') must be one of the model's, expression"),
        (("Sad", "contempt"), ["--label", "expression=mood"], "label 'mood' is not there; it has expression, name one"),
        (
            ("Sad", "contempt"),
            ["--label", "pose=expression"],
            "label 'expression' must have numbers (yaw, pitch, roll) and has classes; name another by --label",
        ),
        (("Sad", "contempt"), ["--split", "val"], "split (='val') must be one of test; name one of these"),
        (("Sad", "contempt"), ["--checkpoint", "first"], "Invalid value for '--checkpoint'"),
    ],
)
def test_what_does_not_match_is_refused(
    run: Path, tmp_path: Path, names: tuple[str, ...], words: list[str], said: str
) -> None:
    store = expressions(tmp_path, names, ["Sad", "contempt", "contempt"])
    result = call(run, str(store), *words, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("labels", "value", "words", "said"),
    [
        (
            {"age": Numbers(("years",))},
            [3.0],
            [],
            "no face has one of the labels of the model (expression, glasses, pose); the store has age",
        ),
        (
            {"age": Numbers(("years",))},
            [3.0],
            ["--label", "expression=age"],
            "label 'age' must have classes and holds numbers; name another by --label",
        ),
        (
            {"age": Numbers(("years",))},
            [3.0],
            ["--label", "pose=age"],
            "label 'age' must have numbers (yaw, pitch, roll) and has years; name another by --label",
        ),
        (
            {"expression": Classes(SYNTHETIC_7)},
            None,
            [],
            "no face has one of the labels of the model (expression, glasses, pose); the",
        ),
    ],
)
def test_labels_of_another_kind_are_refused(
    run: Path, tmp_path: Path, labels: Mapping[str, Label], value: Any, words: list[str], said: str
) -> None:
    store = write_store(tmp_path / "store", labels, [{} if value is None else dict.fromkeys(labels, value)])
    result = call(run, str(store), *words)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("Sintetic(seed=1)", "store: Sintetic is unknown; did you mean Synthetic or"),
        ("Puzzle(grid=3)", "must be of type Source"),
        ("nowhere", "store nowhere: must be a folder; there is none"),
    ],
)
def test_what_is_no_store_is_refused(run: Path, store: str, said: str) -> None:
    result = call(run, store)
    assert result.exit_code == 2
    assert said in result.stderr


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    for path in (tmp_path, run / "checkpoints" / "best"):
        result = call(path, OWN)
        assert result.exit_code == 2
        assert "so it is not a run; name a folder that hmtl train wrote" in result.stderr


def test_tasks_of_ones_own_are_named_by_their_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from dataclasses import dataclass\nfrom engine.tasks import Expression\n\n"
        "@dataclass(frozen=True, slots=True, kw_only=True)\nclass MineOfEvaluate(Expression):\n    pass\n"
    )
    kind = run_file(mine, what="tasks")["MineOfEvaluate"]
    run = trained(tmp_path / "run", tasks=(kind(SYNTHETIC_7),), views={"plain": Plain()})
    result = call(run, OWN, "--tasks", str(mine))
    assert result.exit_code == 0, result.output
