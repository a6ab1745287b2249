"""A trained model in use: it says what evaluation said, holds nothing of the pretext tasks, and reads pictures."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from engine.calibration import at_temperature, fit_temperature
from engine.deployed import Deployed, load
from engine.deployed.evaluation import evaluate
from engine.deployed.pictures import answers_of, fit_of, treatment
from engine.predict import app
from engine.recipe.written import describe
from engine.tasks import (
    SYNTHETIC_7,
    Attribute,
    Expression,
    Inpaint,
    PoseBins,
    PoseRegression,
    PoseRotation,
    SolvePuzzle,
)
from engine.views import Holes, Plain, Puzzle
from engine.weights import ABOUT, load_weights
from kernels import Augment
from loaders import Folder, Loader, Packed, Synthetic
from loaders.base import Batch, Fit, Preparation
from loaders.decoding.pictures import Form
from loaders.importers import ClassFolders
from loaders.prepare import prepare
from tests.engine import tiny

CPU = torch.device("cpu")
SUPERVISED = (
    Expression(SYNTHETIC_7),
    Attribute(("no", "yes"), label="glasses", hidden=8),
    PoseRegression(name="pose"),
    PoseBins(name="bins", angles=("yaw", "pitch")),
    PoseRotation(name="rotation"),
)
POSES = ("pose", "bins", "rotation")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of supervised head, and two pretext tasks."""
    recipe = tiny.recipe(
        views={"plain": Plain(), "puzzle": Puzzle(grid=2), "holes": Holes()},
        augment=Augment(flip=0.5, scale=(0.9, 1.1)),
        tasks=(*SUPERVISED, SolvePuzzle(weight=0.3), Inpaint(width=16)),
        evaluation_crop=0.9,
    )
    return tiny.trained(recipe, tmp_path_factory.mktemp("deployed") / "run")


@pytest.fixture(scope="module")
def batch() -> Batch:
    """The faces of the run's test split."""
    loader = Loader.open(Synthetic(train=32, val=12, test=12, size=32), "test", batch_size=12, seed=0, device=CPU)
    return next(loader.epoch(0))


def faces_of(batch: Batch) -> torch.Tensor:
    return batch.store[batch.row]


def stored(run: Path, batch: Batch) -> dict[str, np.ndarray]:
    """What the run's last evaluation said of these faces, in their order."""
    with np.load(run / "predictions" / "test-best.npz") as file:
        place = {int(sample): i for i, sample in enumerate(file["sample"])}
        order = [place[int(sample)] for sample in batch.sample]
        return {key: file[key][order] for key in file}


def test_it_says_what_evaluation_said(run: Path, batch: Batch) -> None:
    said, before = load(run)(faces_of(batch)), stored(run, batch)
    for task in ("expression", "glasses"):
        np.testing.assert_allclose(said[task], before[f"{task}.probability"], atol=1e-5)
    for task in POSES:
        np.testing.assert_allclose(said[task], before[f"{task}.angles"], atol=1e-3)
    assert set(said) == {"expression", "glasses", *POSES}


def test_calibrated_it_says_what_evaluation_said_at_the_temperature_of_val(run: Path, batch: Batch) -> None:
    model, before = load(run, calibrated=True), stored(run, batch)
    said, plain = model(faces_of(batch)), load(run)(faces_of(batch))
    assert set(model.temperatures) == {"expression", "glasses"}
    with np.load(run / "predictions" / "val-best.npz") as val:
        for task, temperature in model.temperatures.items():
            assert temperature == fit_temperature(val[f"{task}.probability"], val[f"{task}.target"])
            expected = at_temperature(before[f"{task}.probability"], temperature)
            np.testing.assert_allclose(said[task], expected, atol=1e-4)
            assert f"{task} at temperature {temperature:.2f}" in model.taken
    assert not torch.equal(said["expression"], plain["expression"])
    for task in POSES:
        assert torch.equal(said[task], plain[task])


def test_what_cannot_be_calibrated_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no run folder, whose predictions on val calibrated \(=True\) needs"):
        load(run / "checkpoints" / "best", calibrated=True)
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    predictions = copy / "predictions" / "val-best.npz"
    with np.load(predictions) as arrays:
        changed = {**arrays}
    changed["glasses.target"] = np.full_like(changed["glasses.target"], -1)
    np.savez(predictions, **changed)
    with pytest.raises(ValueError, match="cannot be calibrated: glasses has no labels on val; leave calibrated out"):
        load(copy, calibrated=True)
    predictions.unlink()
    with pytest.raises(ValueError, match=r"cannot be calibrated: predictions/val-best.npz cannot be read"):
        load(copy, calibrated=True)
    posed = tiny.recipe(views={"plain": Plain()}, augment=Augment(), tasks=(PoseRegression(),), epochs=1)
    with pytest.raises(ValueError, match=r"has no task with classes, and calibrated \(=True\) is for those"):
        load(tiny.trained(posed, tmp_path / "posed"), calibrated=True)


def test_its_answers_have_names(run: Path) -> None:
    assert load(run).answers == {
        "expression": SYNTHETIC_7,
        "glasses": ("no", "yes"),
        "pose": ("yaw", "pitch", "roll"),
        "bins": ("yaw", "pitch"),
        "rotation": ("yaw", "pitch", "roll"),
    }


def test_the_weights_file_alone_is_enough(run: Path, batch: Batch, tmp_path: Path) -> None:
    best = run / "checkpoints" / "best"
    shutil.copy(best / "weights.safetensors", tmp_path / "face.safetensors")
    whole = load(run)(faces_of(batch))
    for path in (best, str(tmp_path / "face.safetensors")):
        said = load(path)(faces_of(batch))
        assert all(torch.equal(said[task], whole[task]) for task in whole)


def test_a_checkpoint_is_taken_where_it_is_named(run: Path) -> None:
    last = load(run / "checkpoints" / "last")
    assert last.about["epoch"] == 2
    wanted = load_file(run / "checkpoints" / "last" / "weights.safetensors")
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in last.network.state_dict().items())


def test_a_run_gives_the_checkpoint_that_is_asked_for(run: Path) -> None:
    for which in ("last", "best"):
        taken, named = load(run, checkpoint=which), load(run / "checkpoints" / which)
        assert taken.checkpoint == named.checkpoint == run / "checkpoints" / which
        assert taken.taken == f"{run / 'checkpoints' / which}, epoch {taken.about['epoch']}"
        ours, its = taken.network.state_dict(), named.network.state_dict()
        assert all(torch.equal(tensor, its[key]) for key, tensor in ours.items())
    assert load(run).checkpoint.name == "best"


def test_a_checkpoint_that_is_not_there_is_refused(run: Path, tmp_path: Path) -> None:
    said = r"checkpoint \(=last\) chooses one of a run folder, and .*best is none; leave it out, or name the folder"
    with pytest.raises(ValueError, match=said):
        load(run / "checkpoints" / "best", checkpoint="last")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"must have the checkpoint best, and has none; go on with the run by --res"):
        load(tmp_path)
    shutil.copytree(run / "checkpoints" / "last", tmp_path / "checkpoints" / "last")
    with pytest.raises(ValueError, match=r"must have the checkpoint best, and has none; take last"):
        load(tmp_path, checkpoint="best")
    assert load(tmp_path, checkpoint="last").about["epoch"] == 2


def test_predict_says_at_which_temperature_it_answers(run: Path, pictures: Path, tmp_path: Path) -> None:
    words = [str(run), str(pictures), "--out", str(tmp_path / "said.csv"), "--calibrated"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert f"expression at temperature {load(run, calibrated=True).temperatures['expression']:.2f}" in done.output


def test_predict_says_which_checkpoint_it_took(run: Path, pictures: Path, tmp_path: Path) -> None:
    for words, which in (([], "best"), (["--checkpoint", "last"], "last")):
        out = tmp_path / f"{which}.csv"
        result = CliRunner().invoke(app, [str(run), str(pictures), "--out", str(out), "--device", "cpu", *words])
        assert f"checkpoint: {load(run, checkpoint=which).taken}\n" in result.stderr  # type: ignore[arg-type]
        assert result.exit_code == 0, result.output


def test_nothing_is_left_of_the_pretext_tasks(run: Path, tmp_path: Path) -> None:
    alone = tiny.trained(tiny.recipe(views={"plain": Plain()}, augment=Augment(), tasks=SUPERVISED), tmp_path / "alone")
    sizes = [{name: tuple(p.shape) for name, p in load(path).named_parameters()} for path in (run, alone)]
    assert sizes[0] == sizes[1]
    assert any("heads.puzzle" in key for key in load_file(run / "checkpoints" / "best" / "weights.safetensors"))


def test_it_stays_in_evaluation_mode_and_gives_no_gradients(run: Path, batch: Batch) -> None:
    model = load(run)
    assert not any(part.training for part in model.modules())
    one, other = model(faces_of(batch)), model(faces_of(batch)[:3])
    assert not one["expression"].requires_grad
    assert torch.allclose(one["expression"][:3], other["expression"], atol=1e-6)  # not of the batch


def test_its_network_can_be_exported(run: Path) -> None:
    network = load(run).network
    shapes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(network, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=shapes).module()
    pictures = torch.rand(5, 3, 32, 32)
    wanted = network(pictures)
    assert all(torch.allclose(output, wanted[task], atol=1e-6) for task, output in exported(pictures).items())


def test_faces_of_another_size_are_taken(run: Path, batch: Batch) -> None:
    # Each pixel four times: the same face, but for the interpolation at the edges of pixels.
    large = faces_of(batch).repeat_interleave(2, 1).repeat_interleave(2, 2)
    model = load(run)
    wanted = model(faces_of(batch))["expression"]
    off = (model(large)["expression"] - wanted).abs().max()
    assert off < 0.5 * (model(large[:, :32, :32])["expression"] - wanted).abs().max()  # one that shows a quarter
    assert off < 0.01


@pytest.mark.parametrize(
    ("faces", "said"),
    [
        (
            torch.zeros(2, 32, 32, 1, dtype=torch.uint8),
            r"faces \(=\(2, 32, 32, 1\), torch.uint8\) must be uint8 of shape",
        ),
        (torch.zeros(0, 32, 32, 3, dtype=torch.uint8), r"faces \(=\(0, 32, 32, 3\)\) must be one or more; skip empty"),
        (torch.zeros(1, 32, 32, 3, dtype=torch.uint8, device="meta"), r"faces \(on meta\) must be where the model is"),
        (torch.zeros(2, 32, 32, 3), r"faces \(=\(2, 32, 32, 3\), torch.float32\) must be uint8"),
        (torch.zeros(32, 32, 3, dtype=torch.uint8), r"\(batch, height, width, 3\), as it was trained on; convert"),
    ],
)
def test_other_faces_are_refused(run: Path, faces: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load(run)(faces)


def test_faces_may_lie_in_memory_as_they_like(run: Path, batch: Batch) -> None:
    model, turned = load(run), faces_of(batch).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert torch.equal(model(turned)["expression"], model(faces_of(batch))["expression"])


def test_loading_leaves_the_random_generator_as_it_was(run: Path) -> None:
    before = torch.get_rng_state()
    load(run)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("file", [".", "weights.safetensors"])
def test_a_damaged_checkpoint_is_refused(run: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(run / "checkpoints" / "best", tmp_path / "best")
    weights = tmp_path / "best" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged \(weights.safetensors was cut or changed\); take another"):
        load(tmp_path / "best" / file)


def changed(run: Path, out: Path, **about: Any) -> Path:
    """The run's weights with another description."""
    file = run / "checkpoints" / "best" / "weights.safetensors"
    known = {**load_weights(file).about, **about}
    save_file(load_file(file), out / "weights.safetensors", {ABOUT: json.dumps(known)})
    return out / "weights.safetensors"


def test_a_checkpoint_of_version_0_1_is_read(run: Path, batch: Batch, tmp_path: Path) -> None:
    old = changed(run, tmp_path, tasks={task.name: repr(task) for task in SUPERVISED})
    said, now = load(old), load(run)
    assert said.tasks == now.tasks == {task.name: task for task in SUPERVISED}
    assert torch.equal(said(faces_of(batch))["rotation"], now(faces_of(batch))["rotation"])


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"tasks": {}}, "has no supervised head, only pretext ones; fine-tune it first"),
        (
            {"tasks": {"mine": {"kind": "Mine", "names": ["a", "b"]}}},
            r"its task: the kind 'Mine' is unknown; import the file that defines it first",
        ),
        (
            {"tasks": {"expression": {"kind": "Plain"}}},
            r"its task \(=Plain\(.*\)\) must be of type Supervised; take another copy",
        ),
        (
            {"tasks": {"expression": describe(Expression(("a", "b")))}},
            r"does not fit what it says of itself \(heads.expression",
        ),
        (
            {"tasks": {"mine": "Mine(names=('a', 'b'))"}},
            r"a head that `engine.tasks` does not make \(its task: Mine is",
        ),
        ({"preprocessing": {"image_size": 32}}, "does not say which heads it has; it is of an older version, train it"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused(
    run: Path, tmp_path: Path, about: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=f"deployed: .*weights.safetensors {said}" if "fit what" in said else said):
        load(changed(run, tmp_path, **about))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not there; give a run, or its checkpoints/last or checkpoints/best"):
        load(tmp_path)


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(batch: Batch, tmp_path: Path) -> Path:
    """The same faces as PNG files in two folders."""
    for sample, face in zip(batch.sample.tolist(), faces_of(batch).numpy(), strict=True):
        folder = tmp_path / "pictures" / ("a" if sample % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(folder / f"{sample}.png")
    return tmp_path / "pictures"


def test_pictures_become_a_row_each(run: Path, batch: Batch, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "said.csv"
    result = CliRunner().invoke(app, [str(run), str(pictures), "--out", str(out), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    with out.open(newline="") as file:
        rows = {int(Path(row["path"]).stem): row for row in csv.DictReader(file)}
    before = stored(run, batch)
    assert set(rows) == set(batch.sample.tolist())
    for i, sample in enumerate(batch.sample.tolist()):
        row, probability = rows[sample], before["expression.probability"][i]
        assert row["expression"] == SYNTHETIC_7[probability.argmax()]
        assert [float(row[f"expression/{name}"]) for name in SYNTHETIC_7] == pytest.approx(probability, abs=1e-4)
        assert float(row["pose/yaw"]) == pytest.approx(before["pose.angles"][i, 0], abs=1e-2)
    assert {"bins/yaw", "bins/pitch", "rotation/roll", "glasses", "glasses/yes"} <= set(row)


def test_without_out_the_csv_is_printed_and_nothing_else(run: Path, pictures: Path) -> None:
    one = next((pictures / "a").iterdir())
    result = CliRunner().invoke(app, [str(run), str(one), "--device", "cpu"])
    assert result.exit_code == 0
    head, row = result.stdout.splitlines()
    assert head.startswith("path,expression,expression/")
    assert row.startswith(f"{one},")


def test_pictures_that_cannot_be_read_are_told_and_the_others_written(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "a" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    result = CliRunner().invoke(app, [str(run), str(pictures), "--out", str(tmp_path / "said.csv"), "--device", "cpu"])
    assert result.exit_code == 1
    assert f"skipped: {pictures / 'a' / 'cut.jpg'}: unreadable picture" in result.stderr
    assert len((tmp_path / "said.csv").read_text().splitlines()) == 1 + 12


def test_what_folders_hold_beside_pictures_is_told(run: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "link").symlink_to(pictures.parent / "elsewhere")
    (pictures.parent / "elsewhere").mkdir()
    next((pictures / "a").iterdir()).rename(pictures.parent / "elsewhere" / "phone.JFIF")
    (pictures / "again").symlink_to(pictures / "a")
    (pictures / "notes.txt").touch()
    result = CliRunner().invoke(app, [str(run), str(pictures), "--device", "cpu"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1 + 12
    assert f"{pictures / 'link' / 'phone.JFIF'}," in result.stdout
    assert f"skipped: {pictures / 'again'}: folder that is read already (as a)" in result.stderr
    assert f"skipped: {pictures / 'notes.txt'}: not a picture (its name ends in '.txt')" in result.stderr
    (pictures / "gone.png").symlink_to("/nowhere.png")
    result = CliRunner().invoke(app, [str(run), str(pictures), "--device", "cpu"])
    assert result.exit_code == 1
    assert f"skipped: {pictures / 'gone.png'}: no such file" in result.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "is not there; give picture files, or folders with"),
        ("empty", "has no picture in it or in its folders"),
    ],
)
def test_names_without_pictures_are_refused(run: Path, pictures: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "said.csv"
    result = CliRunner().invoke(app, [str(run), str(pictures), str(tmp_path / name), "--out", str(out)])
    assert result.exit_code == 2
    assert f"error: predict: {tmp_path / name} {said}" in result.stderr
    assert not out.exists()


def test_names_that_are_no_text_come_out_as_they_are(run: Path, pictures: Path, tmp_path: Path) -> None:
    name = os.fsencode(pictures) + b"/\xff.png"
    next((pictures / "a").iterdir()).rename(os.fsdecode(name))
    result = CliRunner().invoke(app, [str(run), os.fsdecode(name), "--out", str(tmp_path / "said.csv")])
    assert result.exit_code == 0, result.output
    assert name in (tmp_path / "said.csv").read_bytes()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("missing/said.csv", "file {out}: must lie in a folder that exists; make"),
        (".", "file {out}: must not be a folder; name a file in it"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_work_starts(tmp_path: Path, out: str, message: str) -> None:
    result = CliRunner().invoke(app, ["no-run", "no-pictures", "--out", str(tmp_path / out)])
    assert result.exit_code == 2
    assert message.format(out=tmp_path / out) in result.stderr


def with_faces(model: Deployed, shape: tuple[int, int, int]) -> Deployed:
    model.faces = shape
    return model


def test_pictures_are_brought_to_the_size_and_colours_of_the_training(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    Image.new("L", (90, 60), 128).save(tmp_path / "gray.png")
    rows, skipped = answers_of(load(run), [tmp_path / "gray.png"])
    assert not skipped
    Image.new("RGB", (32, 32), (128, 128, 128)).save(tmp_path / "rgb.png")
    same, _ = answers_of(load(run), [tmp_path / "rgb.png"])
    assert rows[0][1]["pose"] == pytest.approx(same[0][1]["pose"], abs=1e-4)


def test_a_picture_that_is_not_square_is_cut_or_squeezed(run: Path, batch: Batch, tmp_path: Path) -> None:
    face = faces_of(batch)[0].numpy()
    wide = np.concatenate([np.zeros_like(face), face, np.full_like(face, 255)], axis=1)
    for name, pixels in (("face", face), ("wide", wide)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    model = load(run)
    (_, alone), (_, cut) = answers_of(model, [tmp_path / "face.png", tmp_path / "wide.png"], "crop")[0]
    (_, squeezed), *_ = answers_of(model, [tmp_path / "wide.png"], "stretch")[0]
    assert np.array_equal(cut["pose"], alone["pose"])
    assert not np.allclose(squeezed["pose"], alone["pose"], atol=1e-3)


def test_a_model_of_faces_that_are_not_square_takes_their_size_alone(run: Path, tmp_path: Path) -> None:
    for name, size in (("right", (24, 32)), ("wrong", (90, 60))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    model = with_faces(load(run), (32, 24, 3))
    assert len(answers_of(model, [tmp_path / "right.png"] * 2)[0]) == 2
    with pytest.raises(ValueError, match=r"wrong.png \(=90 x 60\) must be 24 x 32 pixels, as the faces that the model"):
        answers_of(model, [tmp_path / "right.png", tmp_path / "wrong.png"])


def test_a_model_of_gray_faces_takes_pictures_in_colour(tmp_path: Path, pictures: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            shutil.copytree(pictures / name, tmp_path / "data" / split / name)
    source = Folder(tmp_path / "data", size=32, colour="gray", workers=0)
    tasks = (Expression(("a", "b")), SolvePuzzle(weight=0.3))
    model = load(tiny.trained(tiny.recipe(data=source, tasks=tasks, batch_size=4), tmp_path / "gray"))
    rows, _ = answers_of(model, sorted((pictures / "a").iterdir()))
    assert model.faces == (32, 32, 1)
    with np.load(tmp_path / "gray" / "predictions" / "test-best.npz") as file:
        known = file["expression.probability"][np.argsort(file["sample"])][: len(rows)]  # folder a comes first
    assert np.stack([row["expression"] for _, row in rows]) == pytest.approx(known, abs=1e-5)


FITS = ("stretch", "pad")
VERB = {"stretch": "stretched", "pad": "padded"}


@pytest.fixture(scope="module", params=FITS)
def fitted_run(
    request: pytest.FixtureRequest, batch: Batch, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Path], Fit]:
    """A run on wide pictures that were stretched or padded, and the pictures of its test split."""
    top, fit = tmp_path_factory.mktemp("fitted"), request.param
    for sample, face in zip(batch.sample.tolist(), faces_of(batch).numpy(), strict=True):
        for split in ("train", "val", "test"):
            file = top / "data" / split / ("a" if sample % 2 else "b") / f"{sample}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(face).resize((80, 32)).save(file)
    source = Folder(top / "data", size=32, fit=fit, workers=0)
    tasks = (Expression(("a", "b")), SolvePuzzle(weight=0.3))
    run = tiny.trained(tiny.recipe(data=source, tasks=tasks, batch_size=4), top / "run")
    return run, sorted((top / "data" / "test" / "a").iterdir()), fit


def test_pictures_are_fitted_as_those_of_the_training_were(fitted_run: tuple[Path, list[Path], Fit]) -> None:
    run, files, fit = fitted_run
    model = load(run)
    assert model.prepared == (Preparation(32, fit),)
    said, cut = (np.stack([row["expression"] for _, row in answers_of(model, files, how)[0]]) for how in (None, "crop"))
    with np.load(run / "predictions" / "test-best.npz") as file:
        known = file["expression.probability"][np.argsort(file["sample"])][: len(files)]  # folder a comes first
    assert said == pytest.approx(known, abs=1e-5)
    assert not np.allclose(cut, known, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "done", "besides"), [([], "{verb}", ""), (["--fit", "crop"], "cropped", "; --fit crop is not theirs")]
)
def test_what_is_done_to_pictures_is_said(
    fitted_run: tuple[Path, list[Path], Fit], options: list[str], done: str, besides: str
) -> None:
    run, files, fit = fitted_run
    result = CliRunner().invoke(app, [str(run), str(files[0]), "--device", "cpu", *options])
    assert result.exit_code == 0
    own, done = f"{VERB[fit]} to 32 x 32", done.format(verb=VERB[fit])
    wanted = f"pictures: {done} to 32 x 32; those that the model was trained on: {own}{besides}\n"
    assert wanted in result.stderr


def test_an_evaluation_on_a_store_that_is_fitted_alike_is_the_runs_own(
    fitted_run: tuple[Path, list[Path], Fit], tmp_path: Path
) -> None:
    run, files, fit = fitted_run
    prepare(ClassFolders(files[0].parents[2]), tmp_path / "store", Form(32, fit))
    found = evaluate(run, Packed(tmp_path / "store"), "test")
    assert not any("made otherwise" in fact for fact in found.facts)
    with np.load(run / "predictions" / "test-best.npz") as file:
        assert found.arrays["expression.probability"] == pytest.approx(file["expression.probability"], abs=1e-6)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([(32, 32), (640, 640), (178, 127), (500, 80)], None),  # faces, and no photo for sure
        ([(640, 480)], "0.png (640 x 480 pixels) is not square"),
        ([(32, 32), (128, 200), (640, 480), (900, 700)], "1.png (128 x 200 pixels) and 2 more are not square"),
    ],
)
def test_whole_photos_are_noticed(run: Path, tmp_path: Path, sizes: list[tuple[int, int]], told: str | None) -> None:
    for number, size in enumerate(sizes):
        Image.new("RGB", size, "gray").save(tmp_path / f"{number}.png")
    result = CliRunner().invoke(app, [str(run), str(tmp_path), "--device", "cpu"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1 + len(sizes)
    if told is None:
        assert "note" not in result.stderr
    else:
        assert f"{tmp_path}/{told} and large for a face cut out; of whole photos, --find the faces\n" in result.stderr


def with_preparations(model: Deployed, *prepared: Preparation) -> Deployed:
    model.prepared = prepared
    return model


def test_a_model_of_pictures_fitted_in_two_ways_must_be_told_which(run: Path) -> None:
    model = with_preparations(load(run), Preparation(32), Preparation(32, "stretch"), Preparation())
    with pytest.raises(
        ValueError, match=r"predict: fit \(=None\) must be one of crop, stretch: .* in all these ways; choose by --fit"
    ):
        fit_of(model)
    assert fit_of(with_preparations(model, Preparation(32, "stretch"), Preparation())) == "stretch"
    assert fit_of(with_preparations(model, Preparation(fit="stretch"))) == "crop"  # of pictures that were kept


def test_crops_drawn_faces_and_older_checkpoints_are_told_apart(run: Path) -> None:
    model = load(run)
    assert treatment(model, None) == "pictures: cropped to 32 x 32"  # its faces were drawn
    model = with_preparations(model, Preparation(32, crop="box", margin=0.25))
    assert treatment(model, None).endswith(
        "cut by their box (margin 0.25), cropped to 32 x 32; faces are not searched for: give pictures cut alike, or "
        "--find them"
    )
    model = with_preparations(model)
    del model.about["preprocessing"]["prepared"]  # type: ignore[attr-defined]
    assert "an older version, does not say how its own were made; --fit chooses" in treatment(model, None)
    assert treatment(with_faces(model, (32, 24, 3)), None).startswith("pictures: must be 24 x 32 pixels")
