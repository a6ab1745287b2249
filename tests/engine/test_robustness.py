"""Robustness: what each corruption does, that the clean row is the run's own, the intervals, and what is refused."""

from __future__ import annotations

import io
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor
from typer.testing import CliRunner, Result

from engine.cli import app
from engine.intervals.groups import Groups
from engine.recipe.file import RecipeFile
from engine.robustness import measuring
from engine.robustness.corruptions import CORRUPTIONS, PARTS, Corruption
from engine.robustness.measuring import CLEAN, FILE, FOLDER, Measured, condition, corrupted, measure
from engine.robustness.report import LINES, MEAN, compared, draws, grouped, table_of, values
from engine.tasks import SYNTHETIC_7, Attribute, Expression, PoseRegression, SolvePuzzle
from engine.training.render import Renderer
from engine.training.train import train
from engine.views import EVALUATION
from kernels import Augment
from loaders import Loader, Synthetic
from loaders.base import Batch
from loaders.terminal import Terminal
from tests.engine import tiny

CHARTS_ARE_DRAWN = True

CPU = torch.device("cpu")
KINDS = {each.name: each for each in CORRUPTIONS}
HARMLESS = {
    "occlusion": 0.0,
    "blur": 0.0,
    "noise": 0.0,
    "contrast": 1.0,
    "brightness": 0.0,
    "shift": 0.0,
    "rotation": 0.0,
    "low resolution": 1.0,
}
"""The strength at which a kind changes nothing, where it has one."""
SIZE = 24
RENDERER = Renderer(
    views={},
    augment=Augment(),
    image_size=SIZE,
    evaluation_crop=1.0,
    mean=(0.0, 0.0, 0.0),
    std=(1 / 255, 1 / 255, 1 / 255),
    seed=0,
)
"""Shows faces of 24 px as they are stored, in gray levels."""


def shown(batch: Batch, kind: str, strength: float, renderer: Renderer = RENDERER) -> Tensor:
    return corrupted(renderer, batch, KINDS[kind], strength, PARTS["fer2013"]).pictures[EVALUATION]


def clean(batch: Batch, renderer: Renderer = RENDERER) -> Tensor:
    return renderer.evaluation(batch).pictures[EVALUATION]


def given(face: Tensor, count: int = 64) -> Batch:
    """One face, (3, y, x) in gray levels, as many samples."""
    store = face.round().to(torch.uint8).permute(1, 2, 0)[None].expand(count, -1, -1, -1).contiguous()
    return replace(
        tiny.batch(count, height=SIZE, width=SIZE),
        store=store,
        mean=store.float().mean(dim=(1, 2)),
    )


# --- corruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "strength"), HARMLESS.items())
def test_a_strength_that_changes_nothing_gives_the_clean_view(kind: str, strength: float, channels: int) -> None:
    batch = tiny.batch(5, height=30, width=26, channels=channels)
    renderer = replace(RENDERER, evaluation_crop=0.9)
    assert torch.equal(shown(batch, kind, strength, renderer), clean(batch, renderer))


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=lambda kind: kind.name)
def test_each_kind_has_five_strengths_each_further_from_the_clean_view(kind: Corruption) -> None:
    faces = Synthetic(train=2, val=2, test=32, size=SIZE)
    drawn = next(Loader.open(faces, "test", batch_size=32, seed=0, device=CPU).epoch(0))
    away = [float((shown(drawn, kind.name, s) - clean(drawn)).square().mean()) for s in kind.strengths]
    assert len(away) == 5
    assert away == sorted(away)
    assert away[0] > 0


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=lambda kind: kind.name)
def test_what_is_shown_is_a_function_of_the_sample_alone(kind: Corruption) -> None:
    batch, strength = tiny.batch(6, height=SIZE, width=SIZE), kind.strengths[2]
    order = torch.tensor([4, 1, 3])
    part = replace(batch, row=batch.row[order], sample=batch.sample[order], mean=batch.mean[order])
    assert torch.equal(shown(part, kind.name, strength), shown(batch, kind.name, strength)[order])
    assert not torch.equal(shown(batch, kind.name, strength), clean(batch))


def test_occlusion_hides_a_box_of_the_part_and_no_pixel_else() -> None:
    batch = given(torch.full((3, SIZE, SIZE), 200.0))
    hidden = (shown(batch, "occlusion", 1.0) == 0).all(1)
    boxes = set()
    for each in hidden:
        rows, columns = torch.nonzero(each.any(1)).flatten().tolist(), torch.nonzero(each.any(0)).flatten().tolist()
        assert int(each.sum()) == len(rows) * len(columns)
        boxes.add((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    assert boxes == {tuple(round(SIZE * side) for side in box) for box in PARTS["fer2013"]}
    left = shown(batch, "occlusion", 1.0)[~hidden[:, None].expand(-1, 3, -1, -1)]
    torch.testing.assert_close(left, torch.full_like(left, 200.0))


def test_occlusion_follows_the_crop() -> None:
    batch = replace(given(torch.full((3, SIZE, SIZE), 200.0)), sample=torch.arange(64))
    whole, half = (shown(batch, "occlusion", 1.0, replace(RENDERER, evaluation_crop=crop)) for crop in (1.0, 0.5))
    nose = [(each == 0).sum(dim=(1, 2, 3)).float() for each in (whole, half)]
    for part, box in enumerate(PARTS["fer2013"]):
        inside = [max(0.0, min(2 * side - 0.5, 1.0)) for side in box]  # of the central half
        expected = 3 * math.prod(
            round(SIZE * b) - round(SIZE * a) for a, b in ((inside[0], inside[2]), (inside[1], inside[3]))
        )
        full = 3 * math.prod(round(SIZE * b) - round(SIZE * a) for a, b in ((box[0], box[2]), (box[1], box[3])))
        of = nose[0] == full
        assert bool(of.any()), part
        assert torch.equal(nose[1][of].unique(), torch.tensor([float(expected)]))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_and_blur_are_those_of_pillow(channels: int) -> None:
    batch = tiny.batch(4, height=SIZE, width=SIZE, channels=channels)
    for kind, strength in (("JPEG", 10), ("blur", 0.04)):
        for face, picture in zip(batch.store, shown(batch, kind, strength), strict=True):
            image = Image.fromarray(face.numpy().squeeze())
            if kind == "JPEG":
                image.save(written := io.BytesIO(), "JPEG", quality=10)
                image = Image.open(written)
            else:
                image = image.filter(ImageFilter.GaussianBlur(0.04 * SIZE))
            expected = torch.from_numpy(np.array(image)).float().view(SIZE, SIZE, channels).permute(2, 0, 1)
            torch.testing.assert_close(picture, expected.expand(3, -1, -1), atol=1e-3, rtol=0)


def test_low_resolution_averages_and_interpolates() -> None:
    batch = tiny.batch(4, height=SIZE, width=SIZE)
    faces = batch.store.permute(0, 3, 1, 2).float()
    small = F.avg_pool2d(faces, 2)
    expected = F.interpolate(small, size=SIZE, mode="bilinear", align_corners=False)
    assert float((shown(batch, "low resolution", 0.5) - expected).abs().max()) <= 1.001  # Pillow rounds twice


def test_noise_has_its_deviation() -> None:
    noise = shown(given(torch.full((3, SIZE, SIZE), 128.0)), "noise", 16) - 128
    assert abs(float(noise.std()) - 16) < 0.2
    assert abs(float(noise.mean())) < 0.2


def test_contrast_turns_about_the_mean_and_brightness_goes_either_way() -> None:
    batch = given(torch.linspace(90, 160, SIZE).expand(3, SIZE, SIZE))
    face, mean = clean(batch), batch.mean[:, :, None, None]
    torch.testing.assert_close(shown(batch, "contrast", 0.2), mean + 0.2 * (face - mean), atol=1e-3, rtol=0)
    added = shown(batch, "brightness", 0.1) - face
    assert added.flatten(1).std(dim=1).max() < 1e-3
    brighter = added.mean(dim=(1, 2, 3)) > 0
    torch.testing.assert_close(added[brighter], torch.full_like(added[brighter], 25.5))
    torch.testing.assert_close(added[~brighter], torch.full_like(added[~brighter], -25.5))
    assert 0.25 < brighter.float().mean() < 0.75


def slopes(pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of pictures that are planes in their middle: level at the centre, and how it grows to the right and down."""
    middle = pictures[:, 0, 8:16, 8:16]
    across, down = (middle[:, :, 1:] - middle[:, :, :-1]).mean((1, 2)), (middle[:, 1:] - middle[:, :-1]).mean((1, 2))
    return middle.mean((1, 2)), across, down


def test_a_face_is_shifted_by_a_share_of_its_side_in_all_directions() -> None:
    x = torch.arange(SIZE).float()
    right, down = (given((4 * each).expand(3, SIZE, SIZE)) for each in (x, x[:, None]))
    by = torch.stack([(slopes(clean(b))[0] - slopes(shown(b, "shift", 0.1))[0]) / 4 for b in (right, down)])
    torch.testing.assert_close(by.norm(dim=0), torch.full((64,), 0.1 * SIZE), atol=1e-3, rtol=0)
    quarters = {(bool(a > 0), bool(b > 0)) for a, b in by.T}
    assert len(quarters) == 4


def test_a_face_is_rotated_about_its_centre_either_way() -> None:
    batch = given((4 * torch.arange(SIZE).float()).expand(3, SIZE, SIZE))
    centre, across, down = slopes(shown(batch, "rotation", 18))
    torch.testing.assert_close(centre, slopes(clean(batch))[0], atol=1e-2, rtol=0)
    angle = torch.rad2deg(torch.atan2(down, across))
    torch.testing.assert_close(angle.abs(), torch.full((64,), 18.0), atol=0.05, rtol=0)
    assert 0.25 < (angle > 0).float().mean() < 0.75


# --- a run ---------------------------------------------------------------------------------------------------------


def finished(out: Path, **changes: Any) -> Path:
    recipe = tiny.recipe(
        **{
            "data": Synthetic(train=32, val=12, test=20, size=32),
            "tasks": (Expression(SYNTHETIC_7), PoseRegression(name="pose"), SolvePuzzle(weight=0.3)),
            "augment": Augment(flip=0.5, noise=(0.0, 20.0)),
            "evaluation_crop": 0.9,
            "epochs": 1,
        }
        | changes
    )
    quiet = Terminal(quiet=True)
    train(RecipeFile("tiny", recipe, ""), out, device=CPU, resume=False, deterministic=False, console=quiet)
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a recipe, and one of another; and what was measured of them. Copy what you change."""
    folder = tmp_path_factory.mktemp("robustness")
    for seed in (0, 1):
        measured_of(finished(folder / f"a{seed}", seed=seed))
    measured_of(finished(folder / "b", views={"plain": tiny.recipe().views["plain"]}, tasks=(Expression(SYNTHETIC_7),)))
    return folder


def measured_of(run: Path, **options: Any) -> Measured:
    asked: dict[str, Any] = {"at": "last", "split": None, "parts": "fer2013", "device": CPU} | options
    return measure(run, console=Terminal(quiet=True), **asked)[0]


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A copy of a run, to be changed."""
    return Path(shutil.copytree(runs / "a0", tmp_path / "run"))


def edit(file: Path, change: Any) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_the_clean_row_is_the_runs_own(runs: Path) -> None:
    for at in ("last", "best"):
        for split in ("test", "val"):
            measured = measured_of(runs / "a0", at=at, split=split)
            own = json.loads((runs / "a0" / "result.json").read_text())[at][split]
            supervised = {k: v for k, v in own.items() if not k.startswith("puzzle/")}
            assert measured.figures[CLEAN] == pytest.approx(supervised, rel=1e-6)
            assert measured.apart == []
            accuracy = measured.figures[CLEAN]["expression/accuracy"]
            assert accuracy == supervised["expression/accuracy"]


def test_without_pretext_views_it_is_the_runs_own_bit_for_bit(runs: Path) -> None:
    measured = measured_of(runs / "b")
    assert measured.figures[CLEAN] == measured.reported


def test_it_computes_in_the_precision_of_the_run(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", precision="bf16")
    assert measured_of(run).apart == []


def test_every_kind_is_measured_at_every_strength_as_evaluation_would(runs: Path) -> None:
    measured = measured_of(runs / "a0")
    assert list(measured.figures) == [CLEAN, *(condition(each, s) for each in CORRUPTIONS for s in each.strengths)]
    assert len({tuple(row.values()) for row in measured.figures.values()}) > 40
    for which, answers in measured.pictures.items():
        for task, name in (("expression", "accuracy"), ("pose", "mae_yaw_pitch_roll")):
            again = answers[task].figure(name, np.ones((1, 20), np.float32))
            assert again is not None
            assert measured.value(which, task) == pytest.approx(again[0], rel=2e-3)


def test_what_was_measured_is_read_again_for_the_same_weights_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measured_of(run)

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(measuring._Measuring, "_rows", refuse)
    again = measured_of(run)
    assert again.figures == first.figures
    for change in (
        lambda c: c["known"].update(weights="other"),
        lambda c: c["known"]["corruptions"].update(blur=[1]),
        lambda c: c.pop("known"),
    ):
        edit(run / FOLDER / FILE, change)
        with pytest.raises(AssertionError, match="measured again"):
            measured_of(run)
    (run / FOLDER / FILE).write_text("{")
    with pytest.raises(AssertionError, match="measured again"):
        measured_of(run)
    with pytest.raises(AssertionError, match="measured again"):
        measured_of(run, parts="fairface")


def test_means_are_over_strengths_and_intervals_hold_them(runs: Path) -> None:
    measured = measured_of(runs / "a0")
    for task in ("expression", "pose"):
        found, drawn = values(measured, task), draws(measured, task, None, resamples=200)
        assert drawn is not None
        assert list(found) == list(drawn) == list(LINES)
        blur = [measured.value(condition(KINDS["blur"], s), task) for s in KINDS["blur"].strengths]
        assert found["blur"] == pytest.approx(sum(blur) / 5)
        assert found[MEAN] == pytest.approx(sum(found[name] for name in KINDS) / 9)
        for line, value in found.items():
            assert drawn[line].shape == (201,)
            assert drawn[line][0] == pytest.approx(value, rel=2e-3)
            assert drawn[line][1:].min() <= value <= drawn[line][1:].max()


def test_faces_that_belong_together_are_drawn_together(runs: Path) -> None:
    measured = measured_of(runs / "a0")
    assert measured.groups is None
    count = measured.pictures[CLEAN]["expression"].count
    groups = Groups("person", np.arange(count) // 2)
    grouped_ones = replace(measured, groups=groups)
    assert "95 % interval" in table_of(measured, "expression", resamples=20).heads
    assert f"95 % interval over {groups}" in table_of(grouped_ones, "expression", resamples=20).heads
    one, other = (draws(measured, "expression", each, resamples=20) for each in (None, groups))
    assert one is not None
    assert other is not None
    assert one[CLEAN][0] == other[CLEAN][0]
    assert not np.array_equal(one[CLEAN], other[CLEAN])
    assert draws(measured, "expression", Groups("person", np.zeros(count, np.int64))) is None
    other_run = measured_of(runs / "b")
    for known, over in ((groups, f" over {groups}"), (None, "")):  # one that does not know them is drawn by picture
        table = compared(grouped([grouped_ones, replace(other_run, groups=known)]), resamples=20)["expression"]
        assert table.heads[-1].endswith(f"95 % interval{over}")


def test_a_figure_of_a_kind_unknown_here_has_an_interval_too(tmp_path: Path) -> None:
    task = Attribute(("no", "yes"), label="glasses", group="expression", group_names=SYNTHETIC_7)
    run = finished(tmp_path / "run", tasks=(task,), views={"plain": tiny.recipe().views["plain"]})
    drawn = draws(measured_of(run), "glasses", None, resamples=20)
    assert drawn is not None
    assert drawn[CLEAN][0] == pytest.approx(values(measured_of(run), "glasses")[CLEAN])


# --- refusals ------------------------------------------------------------------------------------------------------


def test_a_run_that_has_not_ended_is_refused(run: Path) -> None:
    (run / "result.json").unlink()
    with pytest.raises(ValueError, match=r"robustness: .*run must have ended; go on with it by hmtl train .* --resume"):
        measured_of(run)
    with pytest.raises(ValueError, match=r"robustness: run \(=.*nothing\) must be a folder"):
        measured_of(run / "nothing")


def test_a_split_that_was_not_evaluated_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match=r"reported no figures of split \(='train'\); it has val, test"):
        measured_of(run, split="train")
    edit(run / "recipe.json", lambda c: c.update(test=None))
    with pytest.raises(ValueError, match=r"has no test split; name the split it was chosen on, --split val"):
        measured_of(run)


def test_other_data_and_other_figures_are_refused(run: Path) -> None:
    edit(run / "result.json", lambda c: c["last"]["test"].update({"pose/mae_yaw_pitch_roll": 1.0}))
    with pytest.raises(
        ValueError, match=r"pose/mae_yaw_pitch_roll of the clean faces \(=.*\) must be the one that .*=1\)"
    ):
        measured_of(run)
    edit(run / "environment.json", lambda c: c[-1].update(data={"kind": "other"}))
    with pytest.raises(ValueError, match=r"was trained on other data than is here, by the hashes in its env"):
        measured_of(run)


def test_a_figure_that_is_off_by_rounding_is_told(run: Path) -> None:
    edit(run / "result.json", lambda c: c["last"]["test"].update({"expression/cross_entropy": 9.0}))
    assert call(run).exit_code == 0
    report = (run / FOLDER / "report.md").read_text()
    assert (
        "On this machine the clean figures differ from those that the run reported: expression/cross_entropy" in report
    )
    assert "for 9." in report


def test_runs_that_cannot_be_compared_are_refused(runs: Path, run: Path) -> None:
    one = measured_of(runs / "a0")
    with pytest.raises(ValueError, match=r"a0 is of the recipe and seed of .*a0; name one of them"):
        grouped([one, one])
    with pytest.raises(ValueError, match=r"a1 was measured on other faces than .*a0; compare runs of one test split"):
        grouped([one, measured_of(runs / "a1", split="val")])
    other = replace(measured_of(runs / "b"), headlines={})
    with pytest.raises(
        ValueError, match="the runs have no supervised task in common; compare runs that answer the same"
    ):
        grouped([one, other])


# --- the command ---------------------------------------------------------------------------------------------------


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["robustness", *map(str, words), "--device", "cpu"])


def test_the_command_writes_a_report_a_chart_a_task_and_a_sheet(run: Path) -> None:
    shutil.rmtree(run / FOLDER)
    done = call(run)
    assert done.exit_code == 0, done.output
    assert f"report: {run / FOLDER / 'report.md'}" in done.output
    names = {path.name for path in (run / FOLDER).iterdir()}
    assert names == {FILE, "report.md", "sheet.png", "expression.png", "pose.png"}
    report = (run / FOLDER / "report.md").read_text()
    assert "The clean figures are those that the run reported." in report
    measured = measured_of(run)
    for line, value in values(measured, "expression").items():
        row = next(row for row in report.splitlines() if row.startswith(f"| {line} "))
        assert f" {100 * value:.1f} % " in row
    for name in ("sheet.png", "expression.png", "pose.png"):
        assert f"]({name})" in report
        with Image.open(run / FOLDER / name) as image:
            assert min(image.size) > 300


def test_several_runs_are_compared_in_pairs_and_seeds_count_as_one(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared.md"
    done = call(runs / "a0", runs / "b", runs / "a1", "--out", out)
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert "| faces" in text
    assert "a0 (2 seeds)" in text
    assert "minus a0, 95 % interval" in text
    assert "](compared-expression.png)" in text
    assert (tmp_path / "compared-expression.png").is_file()
    assert "pose" not in text  # not of all of them
    a0, a1, b = (measured_of(runs / name) for name in ("a0", "a1", "b"))
    row = next(row for row in text.splitlines() if row.startswith("| blur "))
    means = [100 * values(each, "expression")["blur"] for each in (a0, a1, b)]
    assert f" {(means[0] + means[1]) / 2:.1f} % " in row
    gap = 100 * (values(b, "expression")["blur"] - values(a0, "expression")["blur"])
    assert f" {gap:+.1f} (" in row  # of the seed that both have
    same = compared(
        grouped([a0, replace(a0, run=replace(a0.run, recipe={**a0.run.recipe, "epochs": 9}))]), resamples=50
    )
    assert {row[3] for row in same["expression"].rows} == {"+0.0 (+0.0 to +0.0)"}
    assert {row[3] for row in same["pose"].rows} == {"+0.0 (+0.0 to +0.0)"}


def test_what_the_command_cannot_do_is_refused_before_it_works(runs: Path, tmp_path: Path) -> None:
    for words, message in (
        (("--parts", "celeba"), "robustness: parts (='celeba') must be fer2013 or fairface"),
        (("--out", tmp_path / "a.md"), "needs two runs or more to compare; of one run see"),
        ((runs / "b", "--out", tmp_path / "no" / "a.md"), "must lie in a folder that exists"),
        ((runs / "b", "--out", tmp_path), "must not be a folder; name a file in it"),
        (("--tasks", tmp_path / "none.py"), "tasks: "),
    ):
        done = call(runs / "a0", *words)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
