"""The drawn faces: bits, labels, splits, refusals, and the signs of pose that importers are checked against."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import measure_synthetic
from loaders import Classes, Loader, Numbers
from loaders.sources.synthetic import Synthetic
from loaders.synthetic import EXPRESSIONS, draw_faces
from loaders.synthetic.head import Head, rotation, turn
from loaders.synthetic.raster import NONE, Stack
from loaders.synthetic.scene import paint_faces
from loaders.synthetic.tables import MAX_PITCH, MAX_ROLL, MAX_YAW, moved
from tests.posed_heads import heads, middle, picture

SMALL = Synthetic(train=40, val=9, test=7, size=32)


def open_split(source: Synthetic, split: str, batch_size: int = 4) -> closing[Loader]:
    return closing(Loader.open(source, split, batch_size=batch_size, seed=0, device="cpu"))


# One face alone, in a batch, in another order, in another process: the same bytes.


def test_a_face_does_not_depend_on_the_faces_drawn_with_it() -> None:
    together, drawn = draw_faces(3, "train", np.arange(300), 33)
    for index in (0, 127, 128, 299):
        alone, one = draw_faces(3, "train", np.array([index]), 33)
        assert np.array_equal(alone[0], together[index])
        assert one.yaw[0] == drawn.yaw[index]
        assert one.expression[0] == drawn.expression[index]
    shuffled, _ = draw_faces(3, "train", np.array([299, 5, 131]), 33)
    assert np.array_equal(shuffled, together[[299, 5, 131]])


def test_another_process_draws_the_same_bytes() -> None:
    program = (
        "import hashlib, numpy as np; from loaders.synthetic import draw_faces; "
        "print(hashlib.sha256(draw_faces(1, 'val', np.arange(20), 24)[0].tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert hashlib.sha256(draw_faces(1, "val", np.arange(20), 24)[0].tobytes()).hexdigest() == other


def test_seed_split_and_index_each_change_the_face() -> None:
    base = draw_faces(0, "train", np.array([0]), 24)[0]
    for other in ((1, "train", 0), (0, "val", 0), (0, "train", 1)):
        assert not np.array_equal(base, draw_faces(other[0], other[1], np.array([other[2]]), 24)[0])


@pytest.mark.parametrize("size", [16, 17, 48, 96])
def test_any_size_from_16_on_is_drawn(size: int) -> None:
    pictures, _ = draw_faces(0, "train", np.arange(6), size)
    assert pictures.shape == (6, size, size, 3)
    assert pictures.dtype == np.uint8
    assert (pictures.reshape(6, -1).std(axis=1) > 10.0).all()


def test_a_small_picture_is_the_large_one_scaled_down() -> None:
    happy = {"expression": 0.2, "Look.glasses": 0.0}
    large = picture(96, happy, yaw=20.0).astype(np.float64).reshape(32, 3, 32, 3, 3).mean(axis=(1, 3))
    # Exact-area polygons agree with a box filter but for rounding, blobs and shading sampled at pixel centres.
    assert np.abs(large - picture(32, happy, yaw=20.0)).mean() < 2.0


# The source.


def test_split_knows_its_labels_and_ids() -> None:
    first = 0
    for split, count in (("train", 40), ("val", 9), ("test", 7)):
        with open_split(SMALL, split) as loader:
            opened = loader.split
            assert opened.name == split
            assert opened.sample.tolist() == list(range(first, first + count))
            assert opened.shape == (32, 32, 3)
            assert opened.labels["expression"] == Classes(EXPRESSIONS)
            assert opened.labels["pose"] == Numbers(("yaw", "pitch", "roll"))
            assert opened.labels["glasses"] == Classes(("no", "yes"))
            assert opened.target["expression"].dtype == torch.int64
            assert opened.target["pose"].shape == (count, 3)
            assert opened.target["pose"].dtype == torch.float32
            assert set(opened.target["glasses"].tolist()) <= {0, 1}
        first += count


def test_batches_carry_the_drawn_faces_their_means_and_labels() -> None:
    pictures, drawn = draw_faces(0, "val", np.arange(9), 32)
    with open_split(SMALL, "val") as loader:
        batches = list(loader.epoch(0))
        assert [b.sample.tolist() for b in batches] == [[40, 41, 42, 43], [44, 45, 46, 47], [48, -1, -1, -1]]
        for k, batch in enumerate(batches):
            real = batch.sample >= 0
            rows = (batch.sample[real] - 40).numpy()
            assert np.array_equal(batch.store[batch.row[real]].numpy(), pictures[rows])
            np.testing.assert_allclose(batch.mean[real].numpy(), pictures[rows].mean(axis=(1, 2)), rtol=1e-5)
            assert batch.target["expression"][real].tolist() == drawn.expression[rows].tolist()
            np.testing.assert_allclose(batch.target["pose"][real, :1].numpy(), drawn.yaw[rows], rtol=1e-6)
            assert k == 2 or bool(real.all())


def test_the_size_of_one_split_changes_no_face_of_another() -> None:
    with open_split(SMALL, "val") as few, open_split(replace(SMALL, train=5, val=6), "val") as more:
        a, b = next(iter(few.epoch(0))), next(iter(more.epoch(0)))
        assert torch.equal(a.store[:6], b.store)
        assert torch.equal(few.split.target["expression"][:6], more.split.target["expression"])


def test_every_label_is_common_enough_and_angles_stay_in_their_ranges() -> None:
    _, drawn = draw_faces(0, "train", np.arange(700), 16)
    assert (np.bincount(drawn.expression, minlength=7) > 70).all()
    assert 0.3 < drawn.look.glasses.mean() < 0.5
    for angle, most in (
        (drawn.yaw, MAX_YAW),
        (drawn.pitch, MAX_PITCH),
        (drawn.roll, MAX_ROLL),
    ):
        assert np.abs(angle).max() <= most
        assert np.abs(angle).max() > 0.8 * most
        assert abs(angle.mean()) < 0.1 * most


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"train": 0}, r"Synthetic: train \(=0\) must be an integer of at least 1"),
        ({"val": -3}, r"Synthetic: val \(=-3\) must be an integer of at least 1"),
        ({"test": 1.5}, r"Synthetic: test \(=1.5\) must be an integer of at least 1"),
        ({"train": True}, r"Synthetic: train \(=True\) must be an integer"),
        ({"size": 15}, r"Synthetic: size \(=15\) must be an integer of at least 16; smaller faces show no expression"),
        ({"seed": -1}, r"Synthetic: seed \(=-1\) must be an integer of at least 0"),
        ({"seed": 2**64}, r"Synthetic: seed \(=\d+\) must be below 2\*\*64"),
    ],
)
def test_bad_fields_are_refused(fields: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Synthetic(**fields)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Synthetic: split \(='dev'\) must be one of train, val, test"):
        SMALL.open("dev", "cpu")


# Pose: the signs of 300W-LP, on the matrix and on the pixels.


def test_rotation_has_the_signs_of_300w_lp() -> None:
    def moved(point: tuple[float, float, float], **angles: float) -> np.ndarray:
        given = [np.array([angles.get(name, 0.0)]) for name in ("yaw", "pitch", "roll")]
        return turn(rotation(*given), np.array([[point]]))[0, 0]

    nose, right = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)
    assert moved(nose, yaw=30.0)[0] == pytest.approx(-0.5)  # to the image's left
    assert moved(nose, pitch=30.0)[1] == pytest.approx(-0.5)  # y is down: up
    assert moved(right, roll=30.0)[1] == pytest.approx(0.5)  # the right end sinks: clockwise
    angles = (np.array([33.0]), np.array([-21.0]), np.array([14.0]))
    zero = np.zeros(1)
    parts = [rotation(zero, angles[1], zero), rotation(angles[0], zero, zero), rotation(zero, zero, angles[2])]
    np.testing.assert_allclose(rotation(*angles)[0], parts[0][0] @ parts[1][0] @ parts[2][0], atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation(*angles)), 1.0, rtol=1e-12)


def _mouth_and_eyes(**angles: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel centres (x, y) of what changes when the mouth opens, and when the left and the right eye change."""
    shut, size = heads(**angles), 120
    wide = replace(shut, units=replace(shut.units, au25=np.ones((1, 1))))
    mouth = _centre(paint_faces(shut, size)[0], paint_faces(wide, size)[0])
    blink = replace(shut, units=replace(shut.units, au43=np.ones((1, 1))))
    eyes = np.abs(paint_faces(shut, size)[0].astype(int) - paint_faces(blink, size)[0]).sum(axis=-1)
    y, x = np.nonzero(eyes > 60)
    split = x.mean()
    ends = [np.array([x[half].mean(), y[half].mean()]) for half in (x < split, x >= split)]
    return mouth, ends[0], ends[1]


def _centre(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    change = np.abs(a.astype(int) - b).sum(axis=-1).astype(float)
    y, x = np.indices(change.shape)
    return np.array([(x * change).sum(), (y * change).sum()]) / change.sum()


def test_yaw_moves_the_drawn_mouth_and_eyes_to_the_images_left() -> None:
    for before, after in zip(_mouth_and_eyes(), _mouth_and_eyes(yaw=25.0), strict=True):
        assert after[0] < before[0] - 8.0


def test_pitch_moves_the_drawn_mouth_and_eyes_up() -> None:
    for before, after in zip(_mouth_and_eyes(), _mouth_and_eyes(pitch=20.0), strict=True):
        assert after[1] < before[1] - 6.0


def test_roll_turns_the_drawn_eye_line_clockwise_by_its_angle() -> None:
    _, left, right = _mouth_and_eyes(roll=20.0)
    dx, dy = right - left
    assert np.rad2deg(np.arctan2(dy, dx)) == pytest.approx(20.0, abs=1.5)  # y is down: a sinking right eye


@pytest.mark.parametrize(
    ("streams", "angles"),
    [({}, (35.0, -15.0, 12.0)), ({"expression": 0.6, "Look.glasses": 0.0}, (-20.0, 18.0, 0.0))],
)
def test_a_mirrored_drawing_is_the_drawing_of_the_mirrored_pose(
    streams: dict[str, float], angles: tuple[float, float, float]
) -> None:
    yaw, pitch, roll = angles
    face = picture(96, streams, yaw=yaw, pitch=pitch, roll=roll)
    other = picture(96, streams, yaw=-yaw, pitch=pitch, roll=-roll)
    mirrored = face[:, ::-1].astype(int)
    assert np.abs(mirrored - other).mean() < 0.5
    assert np.abs(mirrored - face).mean() > 5.0


# What else is seen.


def test_glasses_are_drawn_around_the_eyes() -> None:
    bare, worn = picture(96).astype(int), picture(96, {"Look.glasses": 0.0})
    changed = np.abs(bare - worn).sum(axis=-1) > 60
    assert 0.02 < changed.mean() < 0.15
    rows = np.nonzero(changed)[0]
    assert 30 < rows.mean() < 60  # the height of the eyes


def _showing(expression: int, variant: int, intensity: float) -> np.ndarray:
    """A head of 64 px at one of the three prototypes of an expression."""
    units = moved(middle(1, {"Units.variant": variant / 3 + 0.1}), np.array([expression]), np.full((1, 1), intensity))
    return paint_faces(replace(heads(), units=units), 64)[0].astype(int)


def test_every_expression_and_prototype_differs_from_every_other() -> None:
    faces = {(e, v): _showing(e, v, 1.0) for e in range(len(EXPRESSIONS)) for v in range(3)}
    for a, b in itertools.combinations(faces, 2):
        if a[0] != b[0]:
            assert np.abs(faces[a] - faces[b]).mean() > 0.4, (a, b)


def test_intensity_zero_is_neutral_and_the_change_grows_with_it() -> None:
    still, surprise = _showing(0, 0, 1.0), EXPRESSIONS.index("Surprise")
    assert np.array_equal(_showing(EXPRESSIONS.index("Anger"), 0, 0.0), still)
    change = [np.abs(_showing(surprise, 0, i) - still).mean() for i in (0.3, 0.6, 1.0)]
    assert change == sorted(change)
    assert change[0] > 0.2


# The parts the drawing rests on.


def _flat_scene(stack: Stack, size: int) -> np.ndarray:
    """Paint shapes given in pixels on black, without light, tone, blur or noise."""
    return stack.paint(
        size,
        centre=np.zeros((1, 2)),
        scale=np.ones((1, 1)),
        solid=np.array([[0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]]),
        light=np.array([[0.0, 0.0, 1.0, 1.0, 0.0]]),
        ground=np.zeros((1, 14)),
        camera=np.array([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]]),
        key=np.zeros(1, np.uint64),
    )


def test_a_polygon_covers_each_pixel_by_the_exact_shared_area() -> None:
    stack = Stack(1)
    box = np.array([[(2.25, 3.5), (7.75, 3.5), (7.75, 6.125), (2.25, 6.125)]])
    stack.polygon(box, np.full((1, 3), 255.0), lit=0.0)
    across = np.clip(np.minimum(np.arange(10) + 1, 7.75) - np.maximum(np.arange(10), 2.25), 0.0, 1.0)
    down = np.clip(np.minimum(np.arange(10) + 1, 6.125) - np.maximum(np.arange(10), 3.5), 0.0, 1.0)
    expected = np.floor(255.0 * down[:, None] * across + 0.5)
    assert np.array_equal(_flat_scene(stack, 10)[0, :, :, 0], expected)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (-7.3, 2.1), (9.4, -8.2)])
def test_a_slanted_polygon_agrees_with_dense_sampling_inside_and_across_the_border(shift: tuple[float, float]) -> None:
    corner = np.array([(3.2, 1.1), (14.7, 5.9), (10.3, 14.2), (1.4, 9.6), (6.0, 7.0)]) + shift
    stack = Stack(1)
    stack.polygon(corner[None], np.full((1, 3), 200.0), lit=0.0)
    fine = 16
    grid = (np.arange(16 * fine) + 0.5) / fine
    x, y = np.meshgrid(grid, grid)
    inside = np.zeros_like(x, bool)
    for (ax, ay), (bx, by) in zip(corner, np.roll(corner, -1, axis=0), strict=True):
        inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    expected = 200.0 * inside.reshape(16, fine, 16, fine).mean(axis=(1, 3))
    assert np.abs(_flat_scene(stack, 16)[0, :, :, 0] - expected).max() < 4.0


def test_clip_and_carve_leave_only_their_part() -> None:
    def square(a: float, b: float) -> np.ndarray:
        return np.array([[(a, 0.0), (b, 0.0), (b, 8.0), (a, 8.0)]])

    white = np.full((1, 3), 255.0)
    for how, expected in (("clip", [0, 0, 0, 255, 255, 0, 0, 0]), ("carve", [255, 255, 255, 0, 0, 255, 0, 0])):
        stack = Stack(1)
        stack.polygon(square(3.0, 5.0), white, 0.0, keep=0)
        stack.polygon(square(0.0, 6.0), white, lit=0.0, **{"clip": NONE, "carve": NONE, how: 0})
        assert _flat_scene(stack, 8)[0, 4, :, 0].tolist() == expected


def test_the_skull_lies_inside_the_outline_of_the_head() -> None:
    head = Head(heads(2, yaw=30.0, pitch=-10.0))
    skull, outline = head.hull(head.skull()), head.outline()
    directions = np.stack([np.cos(np.linspace(0, 6, 9)), np.sin(np.linspace(0, 6, 9))])
    assert ((outline @ directions).max(axis=1) >= (skull @ directions).max(axis=1) - 1e-3).all()


# The command that says how hard it is.


@pytest.mark.slow
def test_the_measuring_command_measures_and_saves_its_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure_synthetic.main(["--train", "128", "--test", "32", "--size", "16", "--epochs", "1", "--decay", "1"])
    table = capsys.readouterr().out
    for row in ("expression, commonest class", "glasses, logistic regression", "expression, test_resnet", "roll, mean"):
        assert f"| {row}" in table
    measure_synthetic.sheet(tmp_path / "sheet.png", seed=0, side=24, columns=3)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size == (76 + 3 * 28, 7 * 28 + 4)
